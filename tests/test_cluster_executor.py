"""Workers as Slurm jobs, against a Slurm that answers late, wrongly, or not at all."""

import time

import pytest

from jobs import cluster as clusters
from jobs import files, slurm
from jobs.cluster import Cluster
from jobs.contract import END, NOTE, Claim, RunFolder
from jobs.executor import SubmitError


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


def test_workers_share_a_job_where_the_study_says_so(run, fake_slurm):
    """Three workers a GPU: eight workers are three jobs, and count as nine."""
    fake_slurm.says("sbatch", "Submitted batch job 77\n")
    packed = executor(run, per_job=3)
    packed.submit(8)
    (name,) = submissions(run)
    assert files.read(run.jobs / name / NOTE)["jobs"] == 3
    fake_slurm.queue(*[(f"77_{i}", "RUNNING", 0, name, "None") for i in range(3)])
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
        ("1_0", "PENDING", 0, "s", "Resources"),
        ("1_1", "RUNNING", 0, "s", "None"),
        ("1_2", "COMPLETING", 1, "s", "None"),
        ("1_3", "COMPLETED", 0, "s", "None"),
        ("1_4", "NODE_FAIL", 0, "s", "NodeDown"),
    )
    slots = executor(run).slots()
    assert slots.workers == 2
    # the restart count rises before the old process is gone
    assert slots.alive == {("1_0", 0), ("1_1", 0), ("1_2", 1), ("1_2", 0)}
    assert slots.waiting_for == "Resources"


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
    later = time.time() + clusters._VOID_AFTER + 1
    monkeypatch.setattr(clusters.time, "time", lambda: later)
    assert one.slots().workers == 0


def test_a_submission_of_unknown_fate_that_shows_up_is_counted_once(run, fake_slurm):
    """Its comment names it."""
    fake_slurm.says("sbatch", stderr="sbatch: error: Socket timed out on send/recv", rc=1)
    one = executor(run)
    one.submit(2)
    (name,) = submissions(run)
    fake_slurm.queue(*[(f"9_{i}", "PENDING", 0, name, "None") for i in range(2)])
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
        ("TIMEOUT\nCANCELLED\n", "TIMEOUT"),
        ("CANCELLED by 1000\n", "CANCELLED"),
        ("FAILED\nFAILED\nOUT_OF_MEMORY\n", "OUT_OF_MEMORY"),
        ("", "NODE_FAIL"),  # accounting is late: the queue still knows
    ],
)
def test_slurms_word_for_the_end_is_kept(run, fake_slurm, states, word):
    """From accounting, else from the queue."""
    fake_slurm.says("sacct", states)
    fake_slurm.queue(("7_1", "NODE_FAIL", 0, "s", "None"))
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
