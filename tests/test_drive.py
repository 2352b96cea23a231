"""Around the ticks: one controller at a time, patience with the disk, what is unfinished."""

import contextlib
import errno
import os
import signal
import sys
import threading
import time

import pytest
from filelock import FileLock

from jobs.contract import SIGN
from jobs.executor import Inline
from tests.test_controller import Silent, make
from tuner import drive
from tuner import figures as figures_module
from tuner.controller import Controller
from tuner.figures import Figures
from tuner.progress import Progress, describe
from tuner.status import status


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """Signs of life come every moment here."""
    monkeypatch.setattr(drive, "ALIVE_WITHIN", 1.0)


@pytest.fixture
def other(tmp_path):
    """A run that another controller on this host holds the lock of."""
    run = make(tmp_path, n_trials=3)
    lock = FileLock(run.path / "controller.lock")
    with lock:
        yield run


def sign(run, host=None):
    """A sign of life, as a controller on some host gives it."""
    run.sign_of_life({"host": host or os.uname().nodename, "pid": 1, "time": time.time()})


def test_a_living_controller_sends_the_newcomer_away(other, capsys):
    """It gives signs of life while we watch."""
    over = threading.Event()

    def live():
        while not over.wait(0.05):
            sign(other)

    sign(other)
    thread = threading.Thread(target=live)
    thread.start()
    try:
        assert drive.drive(other, Inline(other.folder)) == 0
    finally:
        over.set()
        thread.join()
    assert "another controller is at work" in capsys.readouterr().out
    assert other.trials() == []


def test_one_that_has_just_begun_sends_the_newcomer_away(other, capsys):
    """Two sbatch of one study: it holds the lock, and its first sign is still to come."""
    first = threading.Timer(0.3, sign, [other])
    first.start()
    try:
        assert drive.drive(other, Inline(other.folder)) == 0
    finally:
        first.join()
    assert "another controller is at work" in capsys.readouterr().out
    assert other.trials() == []


def test_a_stopped_controller_does_not_forbid_recovery(other):
    """It holds the lock, and gives no sign: the newcomer goes on without it."""
    sign(other)
    assert drive.drive(other, Inline(other.folder)) == 0
    assert len(other.trials()) == 3


def test_another_hosts_fresh_sign_is_watched_and_not_believed(tmp_path, capsys):
    """A lock may not reach other hosts; a sign that does not change is a dead one's."""
    run = make(tmp_path, n_trials=2)
    sign(run, host="n7")
    assert drive.drive(run, Inline(run.folder)) == 0
    assert "still alive?" in capsys.readouterr().out
    assert len(run.trials()) == 2


def test_a_full_disk_is_waited_for(tmp_path, monkeypatch):
    """The controller neither dies nor gives the study up."""
    run = make(tmp_path, n_trials=2)
    monkeypatch.setattr(drive.files.time, "sleep", lambda seconds: None)
    tick, full = Controller.tick, iter([True, True, False])

    def failing(controller):
        if next(full, False):
            raise OSError(errno.ENOSPC, "no space left on device")
        return tick(controller)

    monkeypatch.setattr(Controller, "tick", failing)
    assert drive.drive(run, Inline(run.folder)) == 0
    assert len(run.trials()) == 2


def test_the_unfinished_runs_are_listed_oldest_first(tmp_path):
    """A finished one is not among them, until it is given more to do."""
    runs = {name: make(tmp_path / "runs" / name, n_trials=2) for name in ("b", "a", "done")}
    paths = {name: store.path for name, store in runs.items()}
    for age, name in enumerate(("a", "b")):
        os.utime(paths[name] / "run.json", (age, age))
    drive.drive(runs["done"], Inline(runs["done"].folder))
    found = [p for name in ("a", "b", "done") for p in drive.unfinished(tmp_path / "runs" / name)]
    assert found == [paths["a"], paths["b"]]


def test_ctrl_c_in_a_destructor_is_not_lost(tmp_path, monkeypatch, capsys):
    """Python drops an exception that comes up there; the next look at the run ends it."""
    run = make(tmp_path, n_trials=6)
    tick = Controller.tick

    def collecting(controller):
        with contextlib.suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        return tick(controller)

    monkeypatch.setattr(Controller, "tick", collecting)
    assert drive.drive(run, Inline(run.folder)) == drive.INTERRUPTED
    assert "to go on: python -m tuner.resume" in capsys.readouterr().err


def test_a_controller_that_ends_says_so(tmp_path, monkeypatch):
    """In its last sign, so that nobody waits for another; the next controller takes it back."""
    run = make(tmp_path, n_trials=2)
    tick = Controller.tick

    def told(controller):
        found = tick(controller)
        os.kill(os.getpid(), signal.SIGTERM)
        return found

    monkeypatch.setattr(Controller, "tick", told)
    with pytest.raises(SystemExit) as ended:
        drive.drive(run, Silent())
    assert ended.value.code == 128 + signal.SIGTERM
    assert status(run)["state"].startswith("no controller for 0")
    assert not run.folder.attended()
    monkeypatch.setattr(Controller, "tick", tick)
    Controller(run, Silent()).tick()
    assert run.folder.attended()
    assert drive.drive(run, Silent(), once=True) == 0
    assert not run.folder.attended()
    assert drive.drive(run, Inline(run.folder)) == 0
    assert status(run)["state"] == "finished"


def test_nobody_waits_for_a_controller_that_has_said_that_it_ended(tmp_path, capsys):
    """On another host, whose lock tells nothing here."""
    run = make(tmp_path)
    run.sign_of_life({"host": "elsewhere", "pid": 1, "time": time.time(), "left": time.time()})
    with drive.alone(run) as only:
        assert only
    assert "still alive?" not in capsys.readouterr().out


def test_a_sleeper_that_ends_leaves_the_sign_of_its_successor(tmp_path):
    """Whose jobs are cared for."""
    run = make(tmp_path)
    Controller(run, Inline(run.folder)).tick()
    sign = run.last_sign()
    run.sign_of_life({**sign, "pid": sign["pid"] + 1})
    run.leave()
    assert run.folder.attended()


def test_slow_looks_are_no_absence(tmp_path):
    """A sampler may think for minutes: three of its looks may pass."""
    run = make(tmp_path)
    Controller(run, Inline(run.folder)).tick()
    run.sign_of_life({**run.last_sign(), "within": 300.0})
    before = time.time() - 200
    os.utime(run.path / SIGN, (before, before))
    assert run.folder.attended()
    assert status(run)["state"] == "running"


def test_a_run_that_another_controller_ended_is_no_failure(tmp_path, capsys):
    """One that slept meanwhile sees the wish to stop, and nothing is to be mended."""
    run = make(tmp_path, n_trials=2)
    run.stop(drive.FINISHED)
    assert drive.drive(run, Inline(run.folder)) == 0
    assert "another controller has ended this run" in capsys.readouterr().err


def test_one_tick_is_enough_for_cron(tmp_path):
    """--once looks, acts and ends; the next call goes on."""
    run = make(tmp_path, n_trials=4)
    calls = 0
    while not run.last_sign().get("end"):
        assert drive.drive(run, Inline(run.folder), once=True) == 0
        calls += 1
        assert calls < 20
    assert calls > 1
    assert len(run.trials()) == 4


def test_a_log_gets_a_line_when_something_changed(tmp_path, capsys):
    """Best so far, running, waiting, failed."""
    run = make(tmp_path, n_trials=2, train="tests.functions:diverging")
    controller = Controller(run, Inline(run.folder))

    with Progress(run.study, sys.stderr) as progress:
        for _ in range(4):
            progress.show(status := controller.tick())
            progress.show(status)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len({line.split("  ", 1)[1] for line in lines})
    assert " 2/2  best" in lines[-1]
    assert "0 running  0 waiting" in describe(run.study, status)


def test_a_short_run_is_not_drawn_on_its_way(tmp_path, monkeypatch):
    """A drawing takes seconds of a core that a worker could use: none in half a minute."""
    run, clock = make(tmp_path, n_trials=10), [0.0]
    drive_all(run)
    monkeypatch.setattr(figures_module.time, "monotonic", lambda: clock[0])
    figures = Figures(run)
    for now, drawn in ((29.0, False), (31.0, True)):
        clock[0] = now
        figures.refresh(10)
        figures.end()
        assert (run.folder.report / "optimization_process.png").exists() is drawn


def test_figures_are_drawn_by_a_process_of_their_own(tmp_path, monkeypatch):
    """The controller goes on looking; at the end it waits for the last drawing."""
    monkeypatch.setattr(figures_module, "_SECONDS", 0.0)
    run = make(tmp_path, n_trials=10)
    drive_all(run)
    drawn = run.folder.report / "optimization_process.png"
    figures = Figures(run)
    figures.refresh(9)
    figures.end()
    assert not drawn.exists()
    figures.refresh(10)
    assert not drawn.exists(), "the controller drew by itself"
    figures.end()
    assert drawn.stat().st_size > 10_000
    drawn.unlink()
    figures.refresh(19)
    figures.end()
    assert not drawn.exists(), "nothing much was new"


def drive_all(run):
    """Tick until the run is finished."""
    controller = Controller(run, Inline(run.folder))
    while not controller.tick().finished:
        pass


@pytest.mark.slow
def test_a_search_of_two_that_both_fail_has_failed(tmp_path, capsys):
    """Too few to stop it on the way; exit code 1, the error, and its report all the same."""
    run = make(tmp_path, n_trials=2, train="tests.functions:broken")
    assert drive.drive(run, Inline(run.folder)) == 1
    assert "all 2 trials failed: ValueError: the same bug every time" in capsys.readouterr().err
    assert (run.folder.report / "index.html").exists()
