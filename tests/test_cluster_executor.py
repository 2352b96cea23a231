"""Workers as Slurm jobs, against a Slurm that answers late, wrongly, or not at all."""

import shlex
import time

import pytest

from jobs import cluster as clusters
from jobs import files, slurm
from jobs import submissions as notes
from jobs.cluster import Cluster
from jobs.contract import END, FULL, NOTE, READY, SUBMITTED, Claim
from jobs.executor import SubmitError
from jobs.folder import RunFolder


@pytest.fixture
def run(tmp_path):
    """An empty run's folder."""
    folder = RunFolder(tmp_path / "run")
    folder.make()
    return folder


def executor(run, per_job=1, **options):
    """The executor of that run."""
    return Cluster(run, "ab12", options, per_job)


def submissions(run):
    """The folders of submissions that are remembered."""
    return files.names(run.jobs)


def test_jobs_are_an_array_under_the_runs_name(run, fake_slurm):
    """One sbatch, with the study's options and no way back into the queue."""
    fake_slurm.says("sbatch", "Welcome to the cluster!\nSubmitted batch job 77\n")
    executor(run, gres="gpu:1", cpus_per_task=2).submit(5)
    (call,) = fake_slurm.calls("sbatch")
    (name,) = submissions(run)
    script = (run.jobs / name / "77_submission.sh").read_text()
    for line in ("job-name=tn-ab12", f"comment={name}", "array=0-4", "gres=gpu:1", "no-requeue",
                 "cpus-per-task=2"):  # fmt: skip
        assert f"#SBATCH --{line}" in script
    assert "wckey" not in script
    assert "ab12" not in " ".join(call["argv"][1:])


def test_more_than_256_jobs_run_at_once(run, fake_slurm):
    """submitit's own default would hold the others back."""
    fake_slurm.says("sbatch", "Submitted batch job 77\n")
    executor(run).submit(400)
    (name,) = submissions(run)
    assert "#SBATCH --array=0-399%400" in (run.jobs / name / "77_submission.sh").read_text()


def test_a_job_in_an_image_sees_the_run_and_the_project(run, fake_slurm):
    """Through apptainer, and still by way of the guard."""
    fake_slurm.says("sbatch", "Submitted batch job 77\n")
    Cluster(run, "ab12", {}, 1, image="/images/my torch.sif").submit(1)
    (name,) = submissions(run)
    script = (run.jobs / name / "77_submission.sh").read_text()
    (line,) = [line for line in script.splitlines() if "apptainer" in line]
    words = shlex.split(line)
    words = words[words.index("apptainer") :]
    image = words.index("/images/my torch.sif")
    assert words[:3] == ["apptainer", "exec", "--nv"]
    assert {f"--bind={run.path}", f"--bind={slurm.PROJECT}"} <= set(words[3:image])
    assert words[image + 1 : image + 4] == ["python3", "-m", "jobs.guard"]


def test_workers_share_a_job_where_the_study_says_so(run, fake_slurm):
    """Three workers a GPU: eight workers are three jobs, and count as nine."""
    fake_slurm.says("sbatch", "Submitted batch job 77\n")
    packed = executor(run, per_job=3)
    packed.submit(8)
    (name,) = submissions(run)
    assert files.read(run.jobs / name / NOTE)["jobs"] == 3
    fake_slurm.queue(*[(f"77_{i}", "RUNNING", 0, name, "n1", "None") for i in range(3)])
    assert packed.slots().workers == 9


def test_the_environment_of_a_job_is_an_allow_list(run, fake_slurm, monkeypatch):
    """No token, and nothing of the controller's own job."""
    monkeypatch.setenv("SECRET_TOKEN", "s3cret")
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "500")
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm/slurm.conf")
    fake_slurm.says("sbatch", "Submitted batch job 77\n")
    executor(run).submit(1)
    (call,) = fake_slurm.calls("sbatch")
    assert not {"SECRET_TOKEN", "SLURM_MEM_PER_NODE"} & call["env"].keys()
    assert call["env"]["SLURM_CONF"] == "/etc/slurm/slurm.conf"


def test_states_are_told_apart(run, fake_slurm):
    """Queued jobs hold a slot; ending ones hold none but still live; ended ones do neither."""
    fake_slurm.queue(
        ("1_0", "PENDING", 0, "s", "n1", "Resources"),
        ("1_1", "RUNNING", 0, "s", "n1", "None"),
        ("1_2", "COMPLETING", 1, "s", "n1", "None"),
        ("1_3", "COMPLETED", 0, "s", "n1", "None"),
        ("1_4", "NODE_FAIL", 0, "s", "n1", "NodeDown"),
    )
    slots = executor(run).slots()
    assert (slots.workers, slots.queued) == (2, 1)
    # the restart count rises before the old process is gone
    assert slots.alive == {("1_0", 0), ("1_1", 0), ("1_2", 1), ("1_2", 0)}
    assert slots.waiting_for == "Resources"


def test_a_job_that_trained_what_it_was_to_is_replaced_at_once(run, fake_slurm):
    """Slurm is asked again much later; who found nothing to train, or failed, is not replaced."""
    name = "slurm-1"
    files.make_folder(run.jobs / name)
    fake_slurm.queue(*[(f"1_{i}", "RUNNING", 0, name, "n1", "None") for i in range(4)])
    one = executor(run, per_job=2)
    assert one.slots().workers == 8
    ends = [("1_0", FULL), ("1_0", FULL), ("1_1", FULL), ("1_2", "nothing waits"), ("1_2", FULL)]
    for i, (job, reason) in enumerate(ends):
        files.write_once(run.jobs / name / f"n1-{i}{END}", {"job": job, "reason": reason})
    slots = one.slots()
    assert (slots.workers, slots.queued) == (6, 0)
    assert ("1_0", 0) in slots.alive
    assert len(fake_slurm.calls("squeue")) == 1
    one._submitted_at = time.monotonic()  # the next submission may come ten seconds later
    assert one.slots().workers == 8
    fake_slurm.queue(("1_0", "RUNNING", 1, name, "n1", "None"))  # somebody had it run again
    assert executor(run, per_job=2).slots().workers == 2


def test_jobs_that_slurm_holds_for_ever_are_replaced_but_not_endlessly(run, fake_slurm):
    """A node that failed to launch a requeued job leaves it held; a soak stood still for that."""
    held = ("PENDING", 1, "s", "", "launch failed requeued held")
    fake_slurm.queue(("1_0", "RUNNING", 0, "s", "n1", "None"), ("1_1", *held))
    assert executor(run).slots().workers == 1
    fake_slurm.queue(*[(f"1_{i}", *held) for i in range(12)])
    assert executor(run).slots().workers == 2


def test_a_slurm_that_does_not_answer_is_unknown_and_not_empty(run, fake_slurm):
    """None: nothing is submitted, nobody is declared dead."""
    fake_slurm.says("squeue", stderr="slurm_load_jobs error: Unable to contact", rc=1)
    assert executor(run).slots() is None


def test_slurm_is_asked_rarely_and_at_once_after_a_submission(run, fake_slurm):
    """An admin counts these."""
    fake_slurm.says("sbatch", "Submitted batch job 77\n")
    one = executor(run)
    for _ in range(5):
        one.slots()
    assert len(fake_slurm.calls("squeue")) == 1
    one.submit(1)
    one.slots()
    assert len(fake_slurm.calls("squeue")) == 2


def test_a_submission_of_unknown_fate_counts_until_two_answers_lack_it(
    run, fake_slurm, monkeypatch
):
    """sbatch may fail and submit all the same: asking again would train twice."""
    fake_slurm.says("sbatch", stderr="sbatch: error: Socket timed out on send/recv", rc=1)
    monkeypatch.setattr(clusters, "_ASK_OFTEN", 0.0)
    monkeypatch.setattr(clusters, "_ASK_RARELY", 0.0)
    one = executor(run)
    one.submit(4)
    assert one.slots().workers == 4
    later = time.time() + notes._VOID_AFTER + 1
    monkeypatch.setattr(notes.time, "time", lambda: later)
    assert one.slots().workers == 0


def test_a_submission_of_unknown_fate_that_shows_up_is_counted_once(run, fake_slurm):
    """Its comment names it."""
    fake_slurm.says("sbatch", stderr="sbatch: error: Socket timed out on send/recv", rc=1)
    one = executor(run)
    one.submit(2)
    (name,) = submissions(run)
    fake_slurm.queue(*[(f"9_{i}", "PENDING", 0, name, "", "None") for i in range(2)])
    assert one.slots().workers == 2


def test_a_full_queue_means_wait(run, fake_slurm):
    """A submit limit is no error, and leaves nothing behind."""
    fake_slurm.says(
        "sbatch", stderr="sbatch: error: QOSMaxSubmitJobPerUserLimit\nsbatch: error: Batch job"
        " submission failed: Job violates accounting/QOS policy", rc=1,
    )  # fmt: skip
    executor(run).submit(4)
    assert submissions(run) == []


def test_a_refusal_for_good_is_said(run, fake_slurm):
    """In sbatch's words."""
    fake_slurm.says(
        "sbatch", stderr="sbatch: error: Batch job submission failed: Invalid account", rc=1
    )
    with pytest.raises(SubmitError, match="Invalid account"):
        executor(run).submit(4)
    assert submissions(run) == []


@pytest.mark.parametrize(
    ("states", "word"),
    [
        ("7_1|TIMEOUT\n7_1.batch|CANCELLED\n", "TIMEOUT"),
        ("7_1|CANCELLED by 1000\n", "CANCELLED"),
        ("7_1|FAILED\n7_1.batch|FAILED\n7_1.0|OUT_OF_MEMORY\n", "OUT_OF_MEMORY"),
        ("7_1|REQUEUED\n7_1.0|CANCELLED\n7_1|RUNNING\n", "REQUEUED"),  # its second run lives
        ("7_1|RUNNING\n", "NODE_FAIL"),  # accounting is down or late
        ("", "NODE_FAIL"),  # accounting is late: the queue still knows
    ],
)
def test_slurms_word_for_the_end_is_kept(run, fake_slurm, states, word):
    """From accounting, else from the queue."""
    fake_slurm.says("sacct", states)
    fake_slurm.queue(("7_1", "NODE_FAIL", 0, "s", "n1", "None"))
    one = executor(run)
    one.slots()
    assert one.why(Claim(0, 1, "7_1")) == word


def test_an_end_that_nobody_knows_is_said_so(run, fake_slurm):
    """No accounting, and purged from the queue."""
    fake_slurm.says("sacct", stderr="Slurm accounting storage is disabled", rc=1)
    one = executor(run)
    one.slots()
    assert one.why(Claim(0, 1, "7_1")) == "gone from the queue without a trace"


def test_files_of_workers_that_ended_well_go_and_others_stay(run, fake_slurm):
    """Few inodes, but the logs of a failure."""
    for name, end in (("slurm-good", {"trials": 3}), ("slurm-bad", {"error": "boom"})):
        files.make_folder(run.jobs / name)
        files.write_once(run.jobs / name / NOTE, {"jobs": 1, "time": 0})
        files.write_once(run.jobs / name / f"n1-5{END}", end)
    one = executor(run)
    one.slots()
    one.tidy()
    assert submissions(run) == ["slurm-bad"]


def test_the_end_of_the_job_is_asked_once_where_slurm_does_not_say_it(fake_slurm, monkeypatch):
    """SLURM_JOB_END_TIME came with Slurm 23."""
    monkeypatch.setenv("SLURM_JOB_ID", "5")
    monkeypatch.delenv("SLURM_JOB_END_TIME", raising=False)
    fake_slurm.says("squeue", "2026-11-24T10:00:00\n")
    asked = slurm.own_end()
    assert time.strftime("%H:%M", time.localtime(asked)) == "10:00"
    monkeypatch.setenv("SLURM_JOB_END_TIME", "123")
    assert slurm.own_end() == 123.0
    assert len(fake_slurm.calls("squeue")) == 1


def test_a_slurm_that_does_not_answer_three_times_stops_no_study(run, fake_slurm):
    """No worker came because none was taken: that says nothing about the workers."""
    fake_slurm.says("sbatch", stderr="sbatch: error: Socket timed out on send/recv", rc=1)
    hung = executor(run)
    for _ in range(3):
        hung.submit(1)
    assert len(submissions(run)) == 3
    assert hung.failing(since=0.0) == ""


@pytest.mark.parametrize("error", ["Invalid job array specification", "AssocMaxSubmitJobLimit"])
def test_an_array_beyond_a_limit_is_cut(run, fake_slurm, monkeypatch, error):
    """Smaller ones are tried until one is taken."""
    one, sizes = executor(run), []

    def limited(jobs):
        sizes.append(jobs)
        return "" if jobs <= 3 else error

    monkeypatch.setattr(one, "_submit_array", limited)
    one.submit(7)
    assert sizes == [7, 3, 3, 1]


def test_a_full_queue_is_not_asked_again_at_once(run, fake_slurm):
    """An admin counts these too."""
    fake_slurm.says("sbatch", stderr="sbatch: error: AssocMaxSubmitJobLimit", rc=1)
    one = executor(run)
    one.submit(4)
    asked = len(fake_slurm.calls("sbatch"))
    one.submit(4)
    assert asked == len(fake_slurm.calls("sbatch")) == 3  # of four, two, one


def an_unready_worker(run, host, submission, at=None):
    """A submission whose worker on a host ended before it could train."""
    folder = run.jobs / submission
    files.make_folder(folder)
    at = time.time() if at is None else at
    files.write_once(folder / NOTE, {"jobs": 1, "time": at})
    files.write_once(folder / SUBMITTED, {"job": "1"})
    files.write_once(folder / f"{host}-5{END}", {"error": "boom\nno GPU", "time": at})


def test_a_node_that_fails_every_job_is_left_out_and_named(run, fake_slurm, capsys):
    """A black hole would eat all jobs: twice is enough."""
    fake_slurm.says("sbatch", "Submitted batch job 77\n")
    an_unready_worker(run, "n4", "slurm-a")
    one = executor(run, exclude="n9")
    one.submit(1)
    assert "n4" not in capsys.readouterr().out
    an_unready_worker(run, "n4", "slurm-b")
    one.submit(1)
    assert "node n4 is left out for an hour: no GPU" in capsys.readouterr().out
    scripts = [path.read_text() for path in run.jobs.glob("*/77_submission.sh")]
    assert sorted("--exclude=n9,n4" in script for script in scripts) == [False, True]


def test_a_node_that_worked_since_or_failed_long_ago_is_not_left_out(run):
    """A node may be mended."""
    for name in "ab":
        an_unready_worker(run, "n1", f"slurm-{name}", at=time.time() - 4000)
        an_unready_worker(run, "n2", f"slurm-{name}{name}", at=time.time() - 60)
    assert notes.black_holes(run).keys() == {"n2"}
    files.write_once(run.jobs / "slurm-aa" / f"n2-7{READY}", {"time": time.time()})
    assert notes.black_holes(run) == {}


def test_a_node_on_which_python_never_begins_is_noticed_too(run, fake_slurm):
    """Slurm alone knows of it, and only for a while."""
    files.make_folder(run.jobs / "slurm-a")
    files.write_once(run.jobs / "slurm-a" / SUBMITTED, {"job": "7"})
    files.write_once(run.jobs / "slurm-a" / f"n1-7{READY}", {"time": time.time()})
    rows = [(f"7_{i}", "FAILED", 0, "slurm-a", node, "None") for i, node in enumerate(("n4",) * 2)]
    fake_slurm.queue(*rows, ("7_2", "FAILED", 0, "slurm-a", "n1", "None"))
    executor(run).slots()
    assert notes.black_holes(run) == {"n4": "FAILED before Python began"}


def test_where_all_nodes_are_left_out_they_are_tried_again(run, fake_slurm, monkeypatch):
    """Then the fault is the study's, and its own error is to be said."""
    for name in ("slurm-a", "slurm-b"):
        an_unready_worker(run, "n4", name)
    fake_slurm.says("sbatch", stderr="sbatch: error: Requested node configuration is not", rc=1)
    one, tried = executor(run), []
    submit = one._submit_array

    def note(jobs):
        tried.append(one._excluded)
        return submit(jobs)

    monkeypatch.setattr(one, "_submit_array", note)
    with pytest.raises(SubmitError):
        one.submit(1)
    assert tried == [("n4",), ()]


def test_jobs_of_an_sbatch_that_failed_but_submitted_get_their_orders(run, fake_slurm):
    """submitit would let them wait for a minute and die."""
    fake_slurm.says("sbatch", stderr="sbatch: error: Socket timed out on send/recv", rc=1)
    one = executor(run)
    one.submit(2)
    (name,) = submissions(run)
    fake_slurm.queue(*[(f"9_{i}", "RUNNING", 0, name, "n1", "None") for i in range(2)])
    assert one.slots().workers == 2
    held = files.names(run.jobs / name)
    assert {"9_0_submitted.pkl", "9_1_submitted.pkl", SUBMITTED} <= set(held)
