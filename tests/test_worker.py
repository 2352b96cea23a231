"""A worker and its attempts: claims, fences, checkpoints, failures, and where it must not go."""

import dataclasses
import errno
import itertools
import json
import math
import os
import signal
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from jobs import attempt as attempts
from jobs import files, outcome, worker
from jobs.attempt import Attempt, Ending
from jobs.contract import ALIVE_WITHIN, FULL, NOTE, SIGN, Claim, Lost, Proposal, Result, State
from jobs.folder import RunFolder
from jobs.orders import Orders
from jobs.reasons import WITH_STUDY
from jobs.slot import Slot, local_job
from jobs.worker import Leaving, Worker, work
from models.train import Stop
from tuner import store
from tuner.plan import used_up
from tuner.settings import Jobs
from tuner.space import Space
from tuner.study import Study

SPACE = Space.from_table({"x": {"type": "float", "low": -2, "high": 3}})


@pytest.fixture(autouse=True)
def _signals():
    """A worker replaces the handlers of its process; give them back."""
    numbers = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def make(tmp_path, train="tests.functions:counting", points=(1.0,), **fixed):
    """A run with some waiting points and no controller."""
    study = Study(
        "s", "minimize", 8, SPACE, train=train, fixed=fixed, jobs=Jobs(grace=0.0)
    )  # fmt: skip
    run = store.create(study, tmp_path / "run").folder
    for number, x in enumerate(points):
        run.propose(Proposal(number, {"x": x}, seed=number, origin="random"))
    return run


def attempt_at(run, number=0, attempt=1, leaving=lambda: "", deadline=math.inf):
    """A claimed attempt."""
    claim = Claim(number, attempt, "job")
    run.claim(claim)
    return Attempt(run, claim, leaving, deadline)


def test_a_worker_trains_what_waits_and_leaves(tmp_path):
    """Every waiting point gets its result, with its curve and its place."""
    run = make(tmp_path, points=(1.0, 2.0, 3.0))
    work(str(run.path))
    results = [run.result(number) for number in range(3)]
    assert [r.value for r in results] == [6.0, 12.0, 18.0]
    assert [[m["step"] for m in r.curve] for r in results] == [list(range(6))] * 3
    assert {r.attempts for r in results} == {1}


def test_nobody_claims_while_the_study_stops(tmp_path):
    """stop.json is a wish to stop."""
    run = make(tmp_path)
    files.replace(run.path / "stop.json", b'{"reason": "enough"}')
    work(str(run.path))
    assert run.look().state(0) is State.WAITING


def test_an_exception_is_fail_with_its_traceback(tmp_path):
    """The reason in one line, the rest in the log."""
    run = make(tmp_path, train="tests.functions:broken")
    work(str(run.path))
    result = run.result(0)
    assert (result.state, result.value) == (State.FAIL, None)
    assert result.reason == "ValueError: the same bug every time"
    assert "in broken" in result.log


@pytest.mark.parametrize("value", [None, "0.5", True])
def test_a_value_that_is_no_number_is_no_score(value):
    """A forgotten `return`, and a word that looks like a number."""
    with pytest.raises(TypeError, match=f"returned {value!r}"):
        outcome._number(value)
    assert outcome._number(np.float32(0.5)) == 0.5


def test_a_slot_that_does_not_work_touches_no_trial(tmp_path, monkeypatch):
    """A node without its GPU is the node's fault."""
    run = make(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RuntimeError, match="sees none"):
        work(str(run.path), "local-1")
    assert run.look().state(0) is State.WAITING
    notes = files.names(run.jobs / "local-1")
    assert [name.split(".", 1)[1] for name in notes] == ["end.json"]


def test_a_local_worker_in_an_interactive_job_is_a_process_all_the_same(tmp_path, monkeypatch):
    """Its claim names the process, which the local executor knows; the job's end still counts."""
    monkeypatch.setenv("SLURM_JOB_ID", "5")
    monkeypatch.setenv("SLURM_JOB_END_TIME", "4e9")
    local, job = Slot.here("local-1"), Slot.here("slurm-1")
    assert (local.job, local.deadline) == (local_job(os.getpid()), 4e9)
    assert (job.job, job.deadline) == ("5", 4e9)


def test_a_full_job_takes_no_further_trial(tmp_path):
    """trials_per_job."""
    study = Study(
        "s", "minimize", 8, SPACE, train="tests.functions:quadratic",
        jobs=Jobs(grace=0.0, trials_per_job=2),
    )  # fmt: skip
    run = store.create(study, tmp_path / "run").folder
    for number in range(3):
        run.propose(Proposal(number, {"x": 1.0}, seed=0, origin="random"))
    work(str(run.path))
    assert run.look().finished == {0, 1}


def test_an_automatic_job_ends_once_its_start_up_is_paid(tmp_path, monkeypatch):
    """10 s of start-up and trials of 30 s: after 7 of them it was less than 5 % of the job."""
    now = [1010.0]
    clock = SimpleNamespace(time=lambda: now[0], monotonic=time.monotonic, sleep=time.sleep)
    monkeypatch.setattr(worker, "time", clock)
    jobs = Jobs(grace=0.0, trials_per_job="auto")
    study = Study("s", "minimize", 8, SPACE, train="tests.functions:quadratic", jobs=jobs)
    run = store.create(study, tmp_path / "run").folder
    for number in range(9):
        run.propose(Proposal(number, {"x": 1.0}, seed=0, origin="random"))
    place = Slot("1", 0, "", "n1", "", math.inf, began=1000.0)
    one = Worker(run, Orders.read(run), place, lambda: "")

    def train(*given):
        now[0] += 30.0
        return 1.0

    one._function = train
    assert one.run() == FULL
    assert run.look().finished == set(range(7))


def test_a_job_began_when_slurm_says(tmp_path, monkeypatch):
    """What came before Python counts too; a Slurm before 23 leaves the process's own start."""
    monkeypatch.setenv("SLURM_JOB_ID", "5")
    monkeypatch.setenv("SLURM_JOB_END_TIME", "4e9")
    own = Slot.here("slurm-1").began
    assert 0.0 < own < time.time()
    monkeypatch.setenv("SLURM_JOB_START_TIME", "12345")
    assert (Slot.here("slurm-1").began, Slot.here("local-1").began) == (12345.0, own)


def test_a_slot_says_when_its_job_was_submitted_and_began(tmp_path, monkeypatch):
    """Its claims and results keep it, since the folder of a job that ends well goes."""
    run = make(tmp_path, points=(1.0,))
    note = run.jobs / "slurm-1" / NOTE
    note.parent.mkdir()
    note.write_text(json.dumps({"jobs": 1, "time": 1000.0}))
    monkeypatch.setenv("SLURM_JOB_ID", "5")
    monkeypatch.setenv("SLURM_JOB_END_TIME", "4e9")
    monkeypatch.setenv("SLURM_JOB_START_TIME", "2000")
    work(str(run.path), "slurm-1")
    result = run.result(0)
    assert (result.submitted, result.began) == (1000.0, 2000.0)
    monkeypatch.setenv(
        "SLURM_RESTART_COUNT", "1"
    )  # it has waited since its last end, not since then
    assert Slot.here("slurm-1", 1000.0).submitted == 0.0
    assert Slot.here("local-1", 1000.0).submitted == 0.0


def test_a_result_says_where_the_lost_attempts_were(tmp_path):
    """Their claims are swept with the rest."""
    run = make(tmp_path, points=(1.0,))
    run.claim(Claim(0, 1, "7_1", host="n1", device="0", time=50.0, submitted=10.0, began=40.0))
    run.lose(Lost(0, 1, "NODE_FAIL", by="controller", seconds=5.0))
    work(str(run.path))
    (lost,) = run.result(0).tries
    assert lost == {
        "job": "7_1", "host": "n1", "device": "0", "submitted": 10.0, "began": 40.0,
        "time": 50.0, "reason": "NODE_FAIL", "seconds": 5.0,
    }  # fmt: skip
    assert (run.result(0).lost, run.result(0).lost_seconds) == (("NODE_FAIL",), 5.0)


def test_a_worker_looks_soon_and_then_rarely_for_a_point(tmp_path, monkeypatch):
    """Soon, since a trial may be short; rarely, since an admin counts."""
    slept, now = [], [0.0]

    def sleep(seconds):
        slept.append(seconds)
        now[0] += seconds

    clock = SimpleNamespace(time=lambda: now[0], monotonic=lambda: now[0], sleep=sleep)
    run = make(tmp_path, points=())
    one = Worker(run, dataclasses.replace(Orders.read(run), grace=65.0), Slot.here(""), lambda: "")
    monkeypatch.setattr(worker, "time", clock)
    assert one.run() == "nothing waits"
    assert slept[:6] == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0]
    assert set(slept[5:]) == {2.0}
    assert 65.0 < sum(slept) < 68.0


def test_the_next_attempt_goes_on_from_the_checkpoint(tmp_path):
    """Same value, and a whole curve, as if never interrupted."""
    run = make(tmp_path)
    first = attempt_at(run)
    for step in range(3):
        first.report(step, value=step + 1.0)
        first.save(step, lambda step=step: {"done": step + 1, "value": step + 1.0}, last=True)
    first.report(3, value=4.0)  # killed before its checkpoint
    run.lose(Lost(0, 1, "NODE_FAIL", by="controller"))
    work(str(run.path))
    result = run.result(0)
    assert (result.value, result.attempts) == (6.0, 2)
    assert [m["step"] for m in result.curve] == list(range(6))


def test_a_checkpoint_brings_its_own_curve(tmp_path):
    """The dead attempt's metrics may be torn, or show late on this host."""
    run = make(tmp_path)
    first = attempt_at(run)
    first.report(0, value=1.0)
    first.save(0, lambda: {"done": 1, "value": 1.0}, last=True)
    run.lose(Lost(0, 1, "NODE_FAIL", by="controller"))
    run.of(0, "metrics", 1).write_bytes(b"")
    work(str(run.path))
    assert [m["step"] for m in run.result(0).curve] == list(range(6))


def test_a_torn_checkpoint_is_like_none(tmp_path):
    """The attempt before it counts."""
    run = make(tmp_path)
    first = attempt_at(run)
    first.save(0, lambda: {"done": 1}, last=True)
    run.lose(Lost(0, 1, "x", by="controller"))
    second = attempt_at(run, attempt=2)
    run.of(0, "checkpoint", 2).write_bytes(b"PK\x03\x04 torn")
    assert second.load() == {"done": 1}


def test_a_fenced_attempt_stops_at_its_next_report(tmp_path, monkeypatch):
    """Somebody else's attempt counts by now; the disk is asked every thirty seconds at most."""
    run = make(tmp_path)
    sleeper = attempt_at(run)
    sleeper.report(0, value=1.0)
    run.lose(Lost(0, 1, "gone", by="controller"))
    sleeper.report(1, value=1.0)  # not asked yet
    monkeypatch.setattr(attempts, "_LOOK_EVERY", 0.0)
    with pytest.raises(Stop):
        sleeper.report(2, value=1.0)
    assert sleeper.ending is Ending.FENCED


def test_a_worker_that_is_told_to_leave_saves_this_epoch_first(tmp_path):
    """SIGTERM, USR2 and the job's end: checkpoint, hand the trial back, lose nothing."""
    run = make(tmp_path)
    word = []
    leaver = attempt_at(run, leaving=lambda: word[0] if word else "")
    leaver.report(0, value=1.0)
    leaver.save(0, lambda: {"done": 1, "value": 1.0})
    word.append("SIGTERM")
    leaver.report(1, value=2.0)
    with pytest.raises(Stop):
        leaver.save(1, lambda: {"done": 2, "value": 2.0})
    assert (leaver.ending, leaver.why) == (Ending.RELEASED, "SIGTERM")
    assert leaver.load() == {"done": 2, "value": 2.0}


def test_a_training_without_checkpoints_leaves_at_its_next_report(tmp_path):
    """There is nothing to save."""
    with pytest.raises(Stop):
        attempt_at(make(tmp_path), leaving=lambda: "SIGTERM").report(0, value=1.0)


def test_the_end_of_the_job_is_seen_coming(tmp_path):
    """TIMEOUT is said before Slurm says it."""
    hurried = attempt_at(make(tmp_path), deadline=time.time() + 5)
    with pytest.raises(Stop):
        hurried.report(0, value=1.0)
    assert hurried.why == "TIMEOUT"


@pytest.mark.parametrize(("limit", "trained"), [(1000.0, 3), (110.0, 1)])
def test_after_its_first_trial_a_worker_starts_none_that_will_not_fit(
    tmp_path, monkeypatch, limit, trained
):
    """Trials of a hundred seconds: in the rest of the job another one would be cut off."""
    run = make(tmp_path, points=(1.0, 2.0, 3.0))
    monkeypatch.setenv("SLURM_JOB_ID", "5")
    monkeypatch.setenv("SLURM_JOB_END_TIME", str(time.time() + limit + 30))
    hundreds = itertools.count(step=100)  # looked at before and after each trial
    clock = SimpleNamespace(time=time.time, sleep=time.sleep, monotonic=lambda: next(hundreds))
    monkeypatch.setattr(worker, "time", clock)
    work(str(run.path))
    assert len(run.look().finished) == trained


def scancelled(run, fake_slurm, monkeypatch, word):
    """A Slurm worker that is told to leave in its first epoch, and what accounting says of it."""
    for key, value in {"ID": "5", "END_TIME": "4e9"}.items():
        monkeypatch.setenv(f"SLURM_JOB_{key}", value)
    fake_slurm.says("sacct", f"5|{word}\n" if word else "", rc=0 if word else 1)
    monkeypatch.setattr(worker.Leaving, "__call__", once_the_first_epoch_is_there(run))
    work(str(run.path), "slurm-1")


def test_what_the_user_cancelled_is_not_tried_again(tmp_path, fake_slurm, monkeypatch):
    """FAIL with Slurm's word, and the epochs that it had."""
    monkeypatch.setattr(outcome, "_MOMENT", 0.0)
    run = make(tmp_path)
    files.replace(run.path / SIGN, b'{"pid": 7}')
    scancelled(run, fake_slurm, monkeypatch, "CANCELLED by 1000")
    assert (run.result(0).state, run.result(0).reason) == (State.FAIL, "CANCELLED")
    assert len(run.result(0).curve) == 1


@pytest.mark.parametrize("sign", [None, b'{"left": 1.7e9}', b'{"pid": 7}'])
def test_who_cancels_what_no_controller_cares_for_ends_no_trial(
    tmp_path, fake_slurm, monkeypatch, sign
):
    """None has begun, it was told to leave, or it has given no sign for a minute."""
    run = make(tmp_path)
    if sign is not None:
        files.replace(run.path / SIGN, sign)
        if b"pid" in sign:
            long_ago = time.time() - ALIVE_WITHIN - 1
            os.utime(run.path / SIGN, (long_ago, long_ago))
    scancelled(run, fake_slurm, monkeypatch, "CANCELLED by 1000")
    assert files.read(run.of(0, "lost", 1))["reason"] == WITH_STUDY
    assert not used_up([(WITH_STUDY, False)] * 9)


def test_what_ends_with_the_study_is_not_cancelled_by_the_user(tmp_path, fake_slurm, monkeypatch):
    """Once a study is to stop, its jobs may be cancelled: their trials wait for `resume`."""
    run = make(tmp_path)
    files.replace(run.path / SIGN, b'{"pid": 7}')
    report = Attempt.report

    def stopped(attempt, *arguments, **more):
        files.replace(run.path / "stop.json", b'{"reason": "enough"}')
        report(attempt, *arguments, **more)

    monkeypatch.setattr(Attempt, "report", stopped)
    scancelled(run, fake_slurm, monkeypatch, "CANCELLED by 1000")
    assert run.look().state(0) is State.WAITING
    assert files.read(run.of(0, "lost", 1))["reason"] == WITH_STUDY


def test_a_controller_that_is_cancelled_a_moment_later_is_waited_for(
    tmp_path, fake_slurm, monkeypatch
):
    """`scancel -u` reaches the worker first; a quota that is full then is waited for too."""
    run = make(tmp_path)
    files.replace(run.path / SIGN, b'{"pid": 7}')
    now, asked = files.server_now, []

    def late(folder):
        asked.append(1)
        if len(asked) == 1:
            raise OSError(errno.EDQUOT, "quota")
        if len(asked) == 3:
            files.replace(run.path / SIGN, b'{"pid": 7, "left": 1.7e9}')
        return now(folder)

    monkeypatch.setattr(files, "server_now", late)
    scancelled(run, fake_slurm, monkeypatch, "CANCELLED by 1000")
    assert files.read(run.of(0, "lost", 1))["reason"] == WITH_STUDY


@pytest.mark.parametrize("word", ["PREEMPTED", "REQUEUED"])
def test_other_ends_are_handed_back_under_slurms_word(tmp_path, fake_slurm, monkeypatch, word):
    """The next attempt goes on at once."""
    run = make(tmp_path)
    scancelled(run, fake_slurm, monkeypatch, word)
    assert files.read(run.of(0, "lost", 1))["reason"] == word


def test_without_accounting_the_claim_is_left_to_the_controller(tmp_path, fake_slurm, monkeypatch):
    """It learns from the queue whether the user cancelled the job."""
    run = make(tmp_path)
    scancelled(run, fake_slurm, monkeypatch, "")
    assert run.look().state(0) is State.RUNNING


def test_a_worker_proves_its_slot_again_after_a_failure(tmp_path, monkeypatch):
    """Some CUDA errors spoil all that comes after in a process: one trial fails, not all."""
    run = make(tmp_path, train="tests.functions:broken", points=(1.0, 2.0))
    proofs = iter([None, RuntimeError("CUDA error: device-side assert triggered")])

    def prove(device):
        if error := next(proofs):
            raise error

    monkeypatch.setattr(worker, "_prove_device", prove)
    with pytest.raises(RuntimeError, match="device-side"):
        work(str(run.path))
    assert run.look().finished == {0}


def test_a_signal_only_leaves_a_word():
    """The handler of USR2 is ours and not submitit's, which would requeue the job."""
    leaving = Leaving()
    assert leaving() == ""
    os.kill(os.getpid(), signal.SIGTERM)
    assert leaving() == "SIGTERM"


@pytest.mark.parametrize(("left", "word"), [(100, ""), (1000, "SIGUSR2")])
def test_the_warning_of_a_short_job_is_left_to_the_clock(left, word):
    """Slurm warns it at its very start; long before the end USR2 means preemption."""
    leaving = Leaving()
    leaving.deadline = time.time() + left
    os.kill(os.getpid(), signal.SIGUSR2)
    assert leaving() == word


def test_a_given_back_trial_waits_with_its_reason(tmp_path, monkeypatch):
    """The worker itself says that its attempt is over: nobody needs to wait for a grace."""
    run = make(tmp_path)
    monkeypatch.setattr(worker.Leaving, "__call__", once_the_first_epoch_is_there(run))
    work(str(run.path))
    assert run.look().state(0) is State.WAITING
    assert files.read(run.of(0, "lost", 1))["reason"] == "SIGTERM"
    monkeypatch.undo()
    work(str(run.path))
    assert (run.result(0).value, run.result(0).attempts) == (6.0, 2)


def once_the_first_epoch_is_there(run):
    """A signal in the first epoch."""
    return lambda self: "SIGTERM" if files.read_lines(run.of(0, "metrics", 1)) else ""


def test_a_trial_that_ended_elsewhere_is_not_trained(tmp_path, monkeypatch):
    """A worker stopped between listing and claiming looks again after its claim."""
    run = make(tmp_path)
    claim = RunFolder.claim

    def late(folder, claimed):
        run.publish(Result(0, State.COMPLETE, {"x": 1.0}, value=42.0))
        return claim(folder, claimed)

    monkeypatch.setattr(RunFolder, "claim", late)
    work(str(run.path))
    assert run.result(0).value == 42.0
    assert files.read_lines(run.of(0, "metrics", 1)) == []


def test_a_point_that_cannot_be_read_yet_is_not_claimed(tmp_path):
    """Its claim would hold the trial for as long as this worker lives."""
    run = make(tmp_path)
    run.of(0, "proposal").write_bytes(b"")
    work(str(run.path))
    assert run.look().state(0) is State.WAITING


@pytest.mark.parametrize("step", ["load", "report", "save"])
def test_a_disk_that_refuses_hands_the_trial_back(tmp_path, monkeypatch, step):
    """An OSError on the run's folder is no fault of the training's: Stop, and no FAIL."""
    tried = attempt_at(make(tmp_path))
    does = {
        "load": tried.load,
        "report": lambda: tried.report(0, value=1.0),
        "save": lambda: tried.save(0, lambda: {"done": 1}, last=True),
    }

    def refuse(*arguments):
        raise PermissionError(errno.EACCES, "Permission denied")

    for call in ("open", "listdir"):
        monkeypatch.setattr(os, call, refuse)
    with pytest.raises(Stop):
        does[step]()
    assert (tried.ending, tried.why) == (Ending.RELEASED, "the disk refuses: Permission denied")


def test_a_disk_that_is_away_for_a_moment_fails_no_trial(tmp_path, monkeypatch):
    """The search for a checkpoint waits too."""
    tried = attempt_at(make(tmp_path))
    monkeypatch.setattr(files.time, "sleep", lambda seconds: None)
    listdir, errors = os.listdir, iter([OSError(errno.EIO, "away")])

    def once_away(path):
        for error in errors:
            raise error
        return listdir(path)

    monkeypatch.setattr(os, "listdir", once_away)
    assert tried.load() is None


def test_weights_that_were_swept_are_not_missed(tmp_path):
    """The trial ended elsewhere between the last look and the naming of its weights."""
    tried = attempt_at(make(tmp_path))
    tried.save(0, lambda: {"done": 1}, last=True)
    files.remove([tried.folder.of(0, "checkpoint", 1)])
    tried.keep_weights()
    assert files.names(tried.folder.weights) == []


def test_numbers_that_are_none_are_recorded_as_null(tmp_path):
    """JSON has no NaN, and other tools read these files."""
    tried = attempt_at(make(tmp_path))
    tried.report(0, loss=math.nan, value=1.0)
    assert tried.curve()[0]["loss"] is None
