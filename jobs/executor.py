"""Where workers run: processes on this machine, or this very process in tests; Slurm: cluster.py.

An executor remembers nothing: its slots are asked of the system, so a new controller finds the
workers that an old one started.
"""

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, final

import psutil

from jobs import files, slurm
from jobs.contract import NOTE, READY, SUBMITTED, Claim
from jobs.folder import RunFolder
from jobs.logs import last_words, tidy
from jobs.slot import local_job

_STRIKES = 3  # submissions without a ready worker after which nothing more is submitted


class SubmitError(Exception):
    """A submission that was refused for good; the message is for the user."""


@dataclass(frozen=True, slots=True)
class Slots:
    """The run's workers as the system knows them now."""

    workers: int  # that run or will run
    alive: frozenset[tuple[str, int]]  # (job, restart) whose processes may still write
    waiting_for: str = ""  # why jobs are queued, in Slurm's words
    queued: int = 0  # of the workers, those that do not run yet

    @property
    def words(self) -> str:
        """What the system says of the workers, in words."""
        why = f" ({self.waiting_for})" if self.waiting_for else ""
        queued = f", {self.queued} in the queue{why}" if self.queued else ""
        working = self.workers - self.queued
        return f"{working} worker{'' if working == 1 else 's'} at work{queued}"


class Executor(Protocol):
    """Starts workers and knows which of them live."""

    shared: bool  # whether workers see the run's folder through another host's cache
    tick: float  # seconds between two looks of the controller
    capacity: int  # workers that can be of use at once

    def slots(self) -> Slots | None:
        """The run's workers, or None if the system does not answer."""

    def submit(self, workers: int) -> None:
        """Start workers; raises SubmitError where that will never work."""

    def why(self, claim: Claim) -> str:
        """How the job of a dead claim ended, in the system's words; empty if nobody knows."""

    def tidy(self) -> None:
        """Remove what ended workers left, but for the newest logs of failed ones."""

    def failing(self, since: float) -> str:
        """Why no worker gets to work: the last three submissions `since` then ended unready."""

    def leave(self) -> None:
        """The user wants to go: ask workers that would outlive their use to end."""


@final
class Local:
    """Workers as processes of this machine, spread over its GPUs, or over its cores."""

    shared = False
    tick = 0.5

    def __init__(self, folder: RunFolder, gpus: Sequence[str], per_gpu: int) -> None:
        self.folder = folder
        self.gpus = gpus
        self.capacity = len(gpus) * per_gpu or _cores()

    def slots(self) -> Slots:
        """The live processes among those that were started for this run."""
        jobs = [job for path in self._notes() if (job := _live(path)) is not None]
        return Slots(len(jobs), frozenset((job, 0) for job in jobs))

    def submit(self, workers: int) -> None:
        """Start worker processes, each in a session of its own: Ctrl-C does not reach them."""
        for _ in range(workers):
            name = f"local-{secrets.token_hex(4)}"
            files.make_folder(self.folder.jobs / name)
            gpu = self._least_used_gpu()
            process = _start(self.folder, name, gpu)
            with contextlib.suppress(psutil.NoSuchProcess):  # ended already
                self._note(name, process.pid, gpu)

    def why(self, claim: Claim) -> str:
        """The last word of a dead worker's log."""
        return last_words(self.folder, claim.submission)

    def tidy(self) -> None:
        """Remove what ended workers left, but for some logs."""
        tidy(self.folder, self._live_names())

    def failing(self, since: float) -> str:
        """The error of the last three workers if all ended before they were ready."""
        return unready(self.folder, self._live_names(), since)

    def leave(self) -> None:
        """Ask every worker to write its checkpoint after this epoch and to end."""
        for path in self._notes():
            if _live(path) is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int((files.read(path) or {})["pid"]), signal.SIGTERM)

    def _note(self, name: str, pid: int, gpu: str) -> None:
        note = {"job": local_job(pid), "pid": pid, "gpu": gpu, "time": time.time()}
        # Without its note a worker on a full disk would be one that nobody knows.
        files.patiently(lambda: files.write_once(self.folder.jobs / name / NOTE, note))

    def _notes(self) -> list[Path]:
        folders = [self.folder.jobs / name for name in files.names(self.folder.jobs)]
        return [folder / NOTE for folder in folders if NOTE in files.names(folder)]

    def _live_names(self) -> set[str]:
        return {path.parent.name for path in self._notes() if _live(path)}

    def _least_used_gpu(self) -> str:
        if not self.gpus:
            return ""
        live = [path for path in self._notes() if _live(path) is not None]
        used = [str((files.read(path) or {}).get("gpu")) for path in live]
        return min(self.gpus, key=used.count)


@final
class Inline:
    """Workers inside this process, one after the other: for tests and for a debugger."""

    shared = False
    tick = 0.0
    capacity = 1

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder

    def slots(self) -> Slots:
        """None is left once `submit` has returned."""
        return Slots(0, frozenset())

    def submit(self, workers: int) -> None:  # noqa: ARG002 - one does the work of all
        """Train everything that waits, here and now."""
        from jobs.worker import work  # noqa: PLC0415 - a controller runs without torch

        work(str(self.folder.path))

    def why(self, claim: Claim) -> str:  # noqa: ARG002
        """A claim without a result: an earlier process ended in it."""
        return "killed without a word"

    def tidy(self) -> None:
        """Remove the notes of ended workers."""
        tidy(self.folder, set())

    def failing(self, since: float) -> str:  # noqa: ARG002 - its errors are raised right here
        """Never: `submit` raises what goes wrong."""
        return ""

    def leave(self) -> None:
        """Nobody is left to ask."""


def gpus_here() -> list[str]:
    """The GPUs of this machine as CUDA_VISIBLE_DEVICES names them, found without torch."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [gpu for gpu in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if gpu]
    try:
        said = subprocess.run(["nvidia-smi", "-L"], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return []
    return [str(i) for i, line in enumerate(said.stdout.splitlines()) if line.startswith("GPU")]


def unready(folder: RunFolder, alive: set[str], since: float) -> str:
    """The error of the last three submissions if none brought a worker that was ready to train."""
    ended = [folder.jobs / name for name in sorted(set(files.names(folder.jobs)) - alive)]
    notes = [(note["time"], path) for path in ended if (note := _taken(path))]
    last = sorted((time_, path) for time_, path in notes if time_ > since)[-_STRIKES:]
    if len(last) < _STRIKES or any(_was_ready(path) for _, path in last):
        return ""
    return last_words(folder, last[-1][1].name)


def _taken(path: Path) -> dict[str, Any] | None:
    """The note of a submission, None where the system never said that it took it."""
    note = files.read(path / NOTE)
    return note if note and ("job" in note or SUBMITTED in files.names(path)) else None


def _was_ready(path: Path) -> bool:
    return any(name.endswith(READY) for name in files.names(path))


def _start(folder: RunFolder, name: str, gpu: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-u", "-m", "jobs.worker", str(folder.path), "--submission", name]
    env = slurm.environment(os.environ, local=True) | {"OMP_NUM_THREADS": "1"}
    if gpu:
        env["CUDA_VISIBLE_DEVICES"] = gpu
    with files.open_log(folder.jobs / name / "log.txt") as log:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env,
            start_new_session=True,
        )  # fmt: skip


def _live(note: Path) -> str | None:
    """The job of a process note if that very process still runs."""
    found = files.read(note)
    if found is None:
        return None
    try:
        process = psutil.Process(found["pid"])
        running = process.status() != psutil.STATUS_ZOMBIE
        return found["job"] if running and local_job(found["pid"]) == found["job"] else None
    except psutil.NoSuchProcess:
        return None


def _cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
