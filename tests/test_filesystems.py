"""File systems at their worst: full, read-only, slow, cached for half a minute, oddly named."""

import contextlib
import errno
import itertools
import math
import os
import random
import shutil
import subprocess
import threading
import time

import pytest

from jobs import executor as executors
from jobs import files
from jobs.attempt import Ending
from jobs.contract import Claim, Proposal, State
from jobs.executor import Inline, Local, Slots
from jobs.folder import RunFolder
from jobs.orders import Orders
from jobs.outcome import outcome
from jobs.slot import Slot
from jobs.worker import Worker
from tests import functions, test_worker
from tests.slurm_cluster import wait_for
from tests.test_controller import make
from tests.test_local import live_workers, results, start, study_file
from tests.test_security import ODD, refused
from tests.test_study import GOOD
from tests.test_worker import _signals, attempt_at  # noqa: F401
from tuner import controller as controllers
from tuner import drive, study
from tuner import run as run_command
from tuner.settings import Jobs


def mounted(command, folder):
    """Mount something for the time of a test."""
    folder.mkdir()
    answer = subprocess.run([*command, folder], check=False, capture_output=True, text=True)
    if answer.returncode != 0:
        pytest.skip(f"{command[0]} does not work here: {answer.stderr.strip()}")
    return folder


@pytest.fixture
def small_disk(tmp_path):
    """A disk of one megabyte and three hundred files."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    command = ["mount", "-t", "tmpfs", "-o", "size=1m,nr_inodes=300", "none"]
    disk = mounted(command, tmp_path / "disk")
    yield disk
    subprocess.run(["umount", disk], check=True)


def fill(disk):
    """Leave no room for a byte."""
    with (disk / "filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)


def take_all_inodes(disk):
    """Leave no room for a file."""
    (disk / "fillers").mkdir()
    with contextlib.suppress(OSError):
        for number in itertools.count():
            (disk / "fillers" / str(number)).touch()


def make_read_only(disk):
    """As a file server does that has a problem."""
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)


def make_room(disk):
    """As somebody does on Monday."""
    subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
    (disk / "filler").unlink(missing_ok=True)
    shutil.rmtree(disk / "fillers", ignore_errors=True)


FAULTS = {"full": fill, "no inodes": take_all_inodes, "read-only": make_read_only}
WRITES = [
    "proposal", "claim", "metrics", "checkpoint", "result", "lost", "ready", "end",
    "controller.json", "stop.json", "best.json",
]  # fmt: skip


class Trouble:
    """A fault right before the first write of a kind, and its end when that is waited for."""

    def __init__(self, disk, fault, kind, patch):
        self.disk, self.fault, self.kind = disk, fault, kind
        self.began = self.waits = 0
        for name in ("write_once", "replace", "append"):
            patch.setattr(files, name, self.before(getattr(files, name)))
        patch.setattr(files.time, "sleep", self.wait)

    def before(self, write):
        """The same write, which may be the first of the kind."""

        def writing(path, content):
            if self.kind in path.name.replace(".", " ") or self.kind == path.name:
                self.began += 1
                if self.began == 1:
                    self.fault(self.disk)
            return write(path, content)

        return writing

    def wait(self, seconds):
        """Somebody waits: the second time there is room again."""
        self.waits += self.began > 0
        if self.waits == 2:
            make_room(self.disk)


def a_run_with_a_dead_attempt(disk):
    """Three trials of six epochs; somebody began the first one, wrote a checkpoint, and died."""
    run = make(disk, n_trials=3, train="tests.functions:counting")
    x = 0.5
    run.folder.propose(Proposal(0, {"x": x}, seed=0, origin="random"))
    dead = attempt_at(run.folder)
    for step in range(3):
        dead.report(step, value=(step + 1) * x)
        dead.save(step, lambda step=step: {"done": step + 1, "value": (step + 1) * x}, last=True)
    return run


@pytest.mark.parametrize("kind", WRITES)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_study_goes_on_by_itself_when_there_is_room_again(small_disk, monkeypatch, fault, kind):
    """Whatever is written when the disk has no room: nothing fails, is lost or trained twice."""
    run = a_run_with_a_dead_attempt(small_disk)
    monkeypatch.setattr(controllers, "_GRACE_LOCAL", 0.0)
    monkeypatch.setattr(drive, "alone", lambda store: contextlib.nullcontext(True))  # holds a file
    with monkeypatch.context() as patch:
        trouble = Trouble(small_disk, FAULTS[fault], kind, patch)
        executor = Inline(run.folder)
        patch.setattr(executor, "submit", outlive(executor.submit))
        assert drive.drive(run, executor) == 0
    assert trouble.waits >= 2, "the fault did no harm: this proves nothing"
    found = results(run.path)
    assert [r["number"] for r in found] == [0, 1, 2]
    assert [(r["state"], r["attempts"]) for r in found] == [
        ("COMPLETE", 2), ("COMPLETE", 1), ("COMPLETE", 1),
    ]  # fmt: skip
    assert all(r["value"] == pytest.approx(6 * r["params"]["x"]) for r in found)
    assert all([m["step"] for m in r["curve"]] == list(range(6)) for r in found)
    assert files.names(run.folder.open) == []
    assert not [path for path in run.path.rglob("*") if path.name.startswith(files.DRAFT)]


def outlive(submit):
    """A worker inside the controller's tick has to wait for itself."""

    def submitting(workers):
        try:
            submit(workers)
        except OSError as error:
            raise AssertionError("the worker ended") from error

    return submitting


def full(*arguments, **options):
    """A disk without room."""
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_disk_that_stays_full_to_the_end_of_the_job_is_no_score(tmp_path, monkeypatch):
    """The trial is handed back: not the training function failed, the disk did."""
    folder = test_worker.make(tmp_path)
    proposal = folder.proposal(0)
    tried = attempt_at(folder, deadline=time.time() + 0.1)
    monkeypatch.setattr(files, "append", full)
    assert outcome(tried, proposal, {"x": 1.0}, functions.counting, None) is None
    assert tried.ending is Ending.RELEASED
    assert "No space left" in files.read(folder.of(0, "lost", 1))["reason"]
    assert folder.look().state(0) is State.WAITING


def test_who_waits_for_the_disk_does_not_hang(tmp_path, monkeypatch):
    """A weekend without room is no reason for the watchdog to end the worker."""
    tried = attempt_at(test_worker.make(tmp_path))
    tried.reported = -math.inf
    silent = []

    def wait(seconds):
        silent.append(time.monotonic() - tried.reported)
        monkeypatch.undo()

    monkeypatch.setattr(files, "append", full)
    monkeypatch.setattr(files.time, "sleep", wait)
    tried.report(0, value=1.0)
    assert silent[0] < 60
    assert len(tried.curve()) == 1


def test_a_local_worker_that_started_on_a_full_disk_is_not_forgotten(tmp_path, monkeypatch):
    """Its note is written when there is room: it counts as a slot, and no other takes its place."""
    folder = RunFolder(tmp_path / "run")
    folder.make()
    begun = []
    monkeypatch.setattr(executors, "_start", lambda *a: begun.append(a) or Me())
    write, wait = files.write_once, lambda seconds: monkeypatch.setattr(files, "write_once", write)
    monkeypatch.setattr(files, "write_once", full)
    monkeypatch.setattr(files.time, "sleep", wait)
    local = Local(folder, [], 1)
    local.submit(1)
    assert len(begun) == local.slots().workers == 1


class Me:
    """A process that lives as long as the test."""

    pid = os.getpid()


class Threads:
    """Workers as threads of this process, which share its slow files."""

    shared = False
    tick = 0.01
    capacity = 3

    def __init__(self, folder):
        self.folder = folder
        self.threads = []

    def slots(self):
        """Those that have not ended."""
        alive = [thread.name for thread in self.threads if thread.is_alive()]
        return Slots(len(alive), frozenset((name, 0) for name in alive))

    def submit(self, workers):
        """Start some."""
        for _ in range(workers):
            name = f"thread-{len(self.threads)}"
            slot = Slot(name, 0, "", "here", "", math.inf)
            worker = Worker(self.folder, Orders.read(self.folder), slot, lambda: "")
            self.threads.append(threading.Thread(target=worker.run, name=name))
            self.threads[-1].start()

    def why(self, claim):
        """Nobody should ask."""
        raise AssertionError(f"{claim} was given up")

    def tidy(self):
        """Nothing to do."""

    def failing(self, since):
        """Never."""
        return ""


def test_a_slow_disk_makes_a_study_late_and_not_wrong(tmp_path, monkeypatch):
    """Every operation takes a while, and a write is in two parts with room for a reader between."""
    run = make(
        tmp_path, n_trials=9, train="tests.functions:counting",
        jobs=Jobs(n_workers=3, grace=0.2, trials_per_job=3),
    )  # fmt: skip
    clock, begun = random.Random(1), []
    pause, write, counting = time.sleep, os.write, functions.counting

    def slowly(action, seconds=0.002):
        def slow(*arguments, **options):
            pause(clock.uniform(0, seconds))
            return action(*arguments, **options)

        return slow

    def half(handle, data):
        return write(handle, data[: len(data) // 2 + 1])

    monkeypatch.setattr(functions, "counting", lambda *a: begun.append(a) or counting(*a))
    with monkeypatch.context() as patch:
        for name in ("open", "fsync", "link", "replace", "unlink", "listdir"):
            patch.setattr(os, name, slowly(getattr(os, name)))
        patch.setattr(os, "write", slowly(half, 0.03))
        executor = Threads(run.folder)
        assert drive.drive(run, executor) == 0
        for thread in executor.threads:
            thread.join()
    found = results(run.path)
    assert [r["number"] for r in found] == list(range(9))
    assert {(r["state"], r["attempts"]) for r in found} == {("COMPLETE", 1)}
    assert len(begun) == 9, "a trial was trained twice"
    assert all(r["value"] == pytest.approx(6 * r["params"]["x"]) for r in found)


@pytest.fixture
def hosts(tmp_path):
    """One folder as three hosts see it whose caches are half a minute old."""
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("no /dev/fuse to mount with")
    if shutil.which("bindfs") is None:
        pytest.skip("bindfs is not installed")
    (tmp_path / "served").mkdir()
    ages = "attr_timeout=30,entry_timeout=30,negative_timeout=30"
    command = ["bindfs", "-o", ages, tmp_path / "served"]
    found = [mounted(command, tmp_path / name) for name in ("a", "b", "c")]
    yield found
    for host in found:
        wait_for(lambda host=host: not subprocess.call(["fusermount", "-u", host]))


def test_hosts_with_old_caches_lose_nothing(hosts, tmp_path, monkeypatch):
    """The controller on one host, workers on two others, one killed: each trial once, in time."""
    a, b, c = hosts
    once = tmp_path / "once"
    once.touch()
    run = make(
        a, n_trials=10, train="tests.functions:counting",
        fixed={"kill_at": 3, "once": str(once)}, jobs=Jobs(n_workers=2, grace=60.0),
    )  # fmt: skip
    for host in hosts:  # the way that NFS remembers what it was asked
        assert not (host / "run" / "stop.json").exists()
    begin, elsewhere = executors._start, itertools.cycle([b, c])
    monkeypatch.setattr(
        executors, "_start",
        lambda folder, name, gpu: begin(RunFolder(next(elsewhere) / "run"), name, gpu),
    )  # fmt: skip
    assert drive.drive(run, Local(run.folder, [], 1)) == 0
    ended = time.monotonic()
    wait_for(lambda: not live_workers(b / "run") + live_workers(c / "run"), 40)
    assert time.monotonic() - ended < 15, "the wish to stop reached the workers late"
    for host in hosts:
        found = results(host / "run")
        assert [r["number"] for r in found] == list(range(10))
        assert sorted(r["attempts"] for r in found) == [1] * 9 + [2]
        assert all(r["value"] == pytest.approx(6 * r["params"]["x"]) for r in found)
        assert all([m["step"] for m in r["curve"]] == list(range(6)) for r in found)


def test_two_hosts_never_take_the_same_attempt(hosts):
    """However old their caches: one link wins, and the loser knows it."""
    a, b, _ = hosts
    make(a)
    first, second = RunFolder(a / "run"), RunFolder(b / "run")
    first.propose(Proposal(0, {"x": 1.0}, seed=0, origin="random"))
    for attempt in range(1, 6):
        for folder in (first, second):  # both have asked for the name before it was there
            assert folder.claimed(0, attempt) is None
        won = [
            folder.claim(Claim(0, attempt, job)) for folder, job in ((second, "b"), (first, "a"))
        ]
        assert won == [True, False]
    assert second.look().state(0) is State.RUNNING


def test_an_odd_folder_is_as_good_as_any(tmp_path):
    """Spaces, quotes, a percent sign, a shell's words and other alphabets, workers included."""
    path = study_file(tmp_path, "quadratic", 2)
    folder = tmp_path / ODD
    controller = start(tmp_path, "tuner.run", path, "--folder", folder)
    output, _ = controller.communicate(timeout=120)
    assert controller.returncode == 0, output
    assert {r["state"] for r in results(folder)} == {"COMPLETE"}
    assert sorted(os.listdir(tmp_path)) == sorted([ODD, path.name])


@pytest.mark.parametrize("name", ["a%j", "a%%", "a%2t", "a\\b", "a\nb"])
def test_a_folder_that_slurm_would_misread_is_refused(
    tmp_path, monkeypatch, capsys, fake_slurm, name
):
    """Its logs would go elsewhere, or a line of it would be a command; here it does no harm."""
    (tmp_path / "study.toml").write_text(GOOD)
    argv = [tmp_path / "study.toml", "--folder", tmp_path / name, "--executor"]
    line = refused(run_command.main, monkeypatch, capsys, *argv, "slurm")
    assert "--folder" in line
    assert "choose another" in line
    assert not (tmp_path / name).exists()
    local = study.read(tmp_path / "study.toml")
    drive.check_executor(local, tmp_path / name)
