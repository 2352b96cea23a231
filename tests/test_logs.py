"""What workers leave: nothing if they ended well, else the end of their logs."""

import os
import time

import pytest

from jobs import cluster as clusters
from jobs import executor as executors
from jobs import files, logs
from jobs.cluster import Cluster
from jobs.contract import END, NOTE, READY, Claim, Proposal, State
from jobs.executor import Local
from jobs.folder import RunFolder
from tests.test_controller import make

HOUR = 3600.0


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """Hundreds of notes need not reach the disk."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.fixture
def run(tmp_path):
    """An empty run's folder."""
    folder = RunFolder(tmp_path / "run")
    folder.make()
    return folder


def submission(run, name, made=1.0, jobs=1, per_job=1):
    """The folder of a submission."""
    path = run.jobs / name
    files.make_folder(path)
    files.write_once(path / NOTE, {"jobs": jobs, "per_job": per_job, "time": made})
    files.write_once(path / "submitted.json", {"job": "7"})
    (path / "7_submission.sh").write_text("#!/bin/sh")
    return path


def worker(path, task=0, worker=0, log="Traceback", **end):
    """What a worker leaves: its job's files, and its notes unless it was killed."""
    for name in ("submitted.pkl", "log.out"):
        (path / f"7_{task}_0_{name}").touch()
    (path / f"7_{task}_0_log.err").write_text(log)
    files.write_once(path / f"n-{task}{worker}{READY}", {})
    if end:
        files.write_once(path / f"n-{task}{worker}{END}", {"job": f"7_{task}", **end})


def left(run):
    """Every file under jobs/, by its name there."""
    return {str(p.relative_to(run.jobs)) for p in run.jobs.rglob("*") if p.is_file()}


def test_nothing_stays_of_workers_that_ended_well(run):
    """A whole array of them."""
    path = submission(run, "slurm-a", jobs=3)
    for task in range(3):
        worker(path, task, trials=5)
    logs.tidy(run, set())
    assert files.names(run.jobs) == []


def test_of_an_array_the_logs_of_failed_workers_stay(run):
    """Killed ones, and such as say an error; of a host's notes two tell enough."""
    path = submission(run, "slurm-a", jobs=7)
    for task in (0, 3):
        worker(path, task, trials=5)
    worker(path, 1)
    for task in (2, 4, 5, 6):
        worker(path, task, error="boom")
    logs.tidy(run, set())
    names = {name.removeprefix("slurm-a/") for name in left(run)}
    assert {n for n in names if "log" in n} == {f"7_{task}_0_log.err" for task in (1, 2, 4, 5, 6)}
    ends = {n.removesuffix(END) for n in names if n.endswith(END)}
    starts = {n.removesuffix(READY) for n in names if n.endswith(READY)}
    assert len(ends) == 2
    assert ends <= starts  # else they would look like workers that never were ready
    assert len(starts) <= 3
    assert names >= {NOTE, "submitted.json"}
    before = left(run)
    logs.tidy(run, set())
    assert left(run) == before


def test_a_job_is_good_when_all_its_workers_are(run):
    """Several may share one, and its log."""
    path = submission(run, "slurm-a", jobs=2, per_job=2)
    for task, number in ((0, 0), (0, 1), (1, 0)):
        worker(path, task, number, trials=5)
    logs.tidy(run, set())
    assert {n for n in left(run) if n.endswith(".err")} == {"slurm-a/7_1_0_log.err"}


def test_live_submissions_are_left_alone(run):
    """Whatever is there of them so far."""
    path = submission(run, "slurm-a", jobs=2)
    worker(path, 0, trials=5)
    before = left(run)
    logs.tidy(run, {"slurm-a"})
    assert left(run) == before


def test_the_newest_hundred_logs_stay(run):
    """By the time of their submission; older ones of failed workers go."""
    order = list(range(130))
    for number in order[::2] + order[1::2]:
        path = submission(run, f"slurm-{999 - number:04x}", made=1e9 + number)
        worker(path, log=f"failed {number}")
    for _ in range(2):
        logs.tidy(run, set())
        found = [p.read_text() for p in run.jobs.rglob("*.err")]
        assert sorted(found) == sorted(f"failed {n}" for n in range(30, 130))
    assert len(left(run)) < 120
    assert len(files.names(run.jobs)) == 4


def test_an_array_of_many_failures_leaves_a_hundred_logs(run):
    """One submission alone may be too many."""
    path = submission(run, "slurm-a", jobs=130)
    for task in range(130):
        worker(path, task, error="boom")
    logs.tidy(run, set())
    assert len(left(run)) < 110


def test_the_log_of_a_claim_is_found_wherever_it_is(run):
    """In its submission's folder, and later among the failed ones; its own job's alone."""
    path = submission(run, "slurm-a", jobs=2)
    worker(path, 1, log="not mine")
    worker(path, 11, log="x" * 20_000 + "the end")
    (path / "7_11_0_log.out").write_text("printed")
    claim = Claim(0, 1, "7_11", submission="slurm-a")
    texts = [logs.tail(run, claim)]
    for number in range(3):
        worker(submission(run, f"slurm-b{number}", made=2.0 + number))
    logs.tidy(run, set())
    assert not path.exists()
    texts.append(logs.tail(run, claim))
    assert texts[0] == texts[1]
    assert texts[0].endswith("xthe end")
    assert len(texts[0]) == logs.LOG_TAIL
    assert "not mine" not in texts[0]
    assert f"(all of it in {run.jobs}/failed/" in logs.last_words(run, "slurm-a")


def test_a_claim_without_a_log_has_an_empty_one(run):
    """Inline workers, and such as never wrote a word."""
    assert logs.tail(run, Claim(0, 1, "7_1", submission="slurm-a")) == ""
    assert logs.tail(run, Claim(0, 1, "7_1")) == ""


def test_a_controllers_fail_has_the_log_of_the_lost_attempt(tmp_path):
    """Why it died is in the result."""
    store = make(tmp_path)
    store.folder.propose(Proposal(0, {"x": 1.0}, seed=0, origin="random"))
    path = submission(store.folder, "slurm-a")
    worker(path, log="Bus error")
    store.fail(Claim(0, 1, "7_0", submission="slurm-a"), "NODE_FAIL")
    result = store.folder.result(0)
    assert (result.state, result.reason, result.log) == (State.FAIL, "NODE_FAIL", "Bus error")


def test_a_failed_trial_has_its_workers_log(tmp_path):
    """What the user printed before the traceback, by a real worker."""
    run = make(tmp_path, train="tests.functions:talking").folder
    run.propose(Proposal(0, {"x": 1.0}, seed=0, origin="random"))
    files.make_folder(run.jobs / "local-a")
    assert executors._start(run, "local-a", "").wait(timeout=120) == 0
    result = run.result(0)
    assert result.reason == "ValueError: at last"
    assert "a word before the end" in result.log
    assert result.log.count("in talking") == 1


def test_killed_jobs_are_tidied_when_slurm_has_lacked_them_for_long(run, fake_slurm, monkeypatch):
    """Not at the first answer: their last words may be late, and queued jobs need their files."""
    path = submission(run, "slurm-a", made=time.time(), jobs=2)
    worker(path, 0, trials=3)
    executor = Cluster(run, "ab12", {}, 1)
    monkeypatch.setattr(clusters, "_ASK_OFTEN", 0.0)
    monkeypatch.setattr(clusters, "_ASK_RARELY", 0.0)
    counts, clock = [], time.time()
    for minutes in (0, 9, 11):
        monkeypatch.setattr(clusters.time, "time", lambda now=clock + 60 * minutes: now)
        executor.slots()
        executor.tidy()
        counts.append((path / "7_submission.sh").exists())
    assert counts == [True, True, False]


def test_queued_jobs_keep_their_files_while_slurm_is_silent(run, fake_slurm, monkeypatch):
    """Only an answer can say that they are gone, and it must be newer than they are."""
    path = submission(run, "slurm-a", made=time.time(), jobs=1)
    executor = Cluster(run, "ab12", {}, 1)
    executor.slots()
    executor.tidy()
    fake_slurm.says("squeue", stderr="Unable to contact slurm controller", rc=1)
    monkeypatch.setattr(clusters.time, "monotonic", lambda: 1e9)
    later = time.time() + HOUR
    monkeypatch.setattr(clusters.time, "time", lambda: later)
    executor.slots()
    executor.tidy()
    assert (path / "7_submission.sh").exists()


def test_a_local_worker_without_its_note_is_left_alone(run):
    """It is just being started, by another controller perhaps."""
    path = run.jobs / "local-a"
    files.make_folder(path)
    (path / "log.txt").touch()
    Local(run, [], 1).tidy()
    assert (path / "log.txt").exists()
