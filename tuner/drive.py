"""From a run's folder to its end: the executor, the loop around the ticks, Ctrl-C, the report."""

import contextlib
import dataclasses
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from filelock import FileLock, Timeout

from jobs import container, doors, files, scratch, slurm, trust
from jobs.contract import ALIVE_WITHIN, LEFT, SEARCH, SIGN, State
from jobs.executor import Executor, Local, gpus_here
from tuner.controller import Controller, Status
from tuner.figures import Figures
from tuner.progress import Progress
from tuner.space import BadInput
from tuner.store import Store, resume_line
from tuner.study import Study
from tuner.succession import Succession

_FAREWELL = 30.0  # seconds that local workers get to write a checkpoint after Ctrl-C
_SCREEN = 16  # lines of an error that a user reads
FINISHED = "finished"  # the wish to stop of a run that has come to its end
PAUSED = "paused"  # the wish to stop of somebody who means to go on
INTERRUPTED = 130  # the exit code that a shell gives to Ctrl-C


class StudyFailed(Exception):  # noqa: N818 - in Python's words it is one
    """A study that came to nothing; the message says why, and how to go on."""


def check_executor(study: Study, path: Path) -> None:
    """Raise BadInput where the study's executor cannot work on this host, or in this folder."""
    if study.jobs.executor == "local":
        if study.jobs.container:
            remedy = "type the command inside it, with --set jobs.container=, or --executor slurm"
            raise BadInput("jobs.container", "is for Slurm's jobs", remedy)
        return
    if missing := slurm.missing():
        problem = f"no {missing[0]} on PATH"
        raise BadInput("jobs.executor", problem, "log in to the cluster, or use --executor local")
    if odd := slurm.not_for_logs(path):
        problem = f"Slurm takes {odd!r} in the folder {str(path)!r} for a sign of its own"
        raise BadInput("--folder", problem, "choose another")
    if why := container.unfit(study.jobs.container, path):
        raise BadInput("jobs.container", why, "give the path of an image, or docker://…")


def executor_for(store: Store) -> Executor:
    """The executor that the study names; raises BadInput where it cannot work."""
    check_executor(store.study, store.path)
    jobs = store.study.jobs
    if jobs.executor == "local":
        return Local(store.folder, gpus_here(), jobs.workers_per_gpu)
    from jobs.cluster import Cluster  # noqa: PLC0415 - a laptop has no Slurm

    return Cluster(
        store.folder,
        store.id,
        jobs.slurm,
        jobs.workers_per_gpu,
        jobs.lost_after,
        image=jobs.container,
    )


def drive(store: Store, executor: Executor, once: bool = False) -> int:
    """Go on with a run to its end; returns the exit code."""
    return exit_code(lambda: go_on(store, executor, once))


def exit_code(work: Callable[[], object]) -> int:
    """0: finished, or another controller is at work; 1: the study failed; 130: Ctrl-C."""
    try:
        work()
    except StudyFailed as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def go_on(store: Store, executor: Executor, once: bool = False) -> None:
    """Tick until the run is finished, then write its report; `once`: one tick.

    Raises StudyFailed, and KeyboardInterrupt when the run was left so that it can go on.
    """
    with alone(store) as only:
        if not only:
            sign = store.last_sign()
            print(f"another controller is at work on {sign['host']} (process {sign['pid']})")
            if "TUNER_CONTROLLER" in os.environ and Succession(store).standby():
                print("a copy waits in the queue, in case it ends")
            return
        with _listening(store) as interrupted:
            try:
                _loop(store, executor, Succession(store), once, interrupted)
            except KeyboardInterrupt:
                _farewell(store, executor)
                raise KeyboardInterrupt(f"to go on: {resume_line(store)}") from None
            finally:
                with contextlib.suppress(OSError):  # a full disk must not hold us
                    store.leave()


def _verdict(store: Store, status: Status) -> str:
    """One screen: why the study stopped, the error where trials failed with it, how to go on."""
    lines = [f"stopped: {status.stopped}"]
    failed = [t.number for t in status.trials if t.reason and t.reason in status.stopped]
    if failed and (result := store.folder.result(failed[0])):
        tail = result.log.rstrip().splitlines()[-_SCREEN:]
        where = f"all of it: {store.folder.result_path(result.number)}"
        lines += [*(f"  {line}" for line in tail), where]
    lines.append("with a changed study file go on with: python -m tuner.run STUDY")
    return "\n".join([*lines, f"mend that, then go on: {resume_line(store)}"])


def _loop(
    store: Store,
    executor: Executor,
    succession: Succession,
    once: bool,
    interrupted: Callable[[], bool],
) -> None:
    controller = Controller(store, executor)
    if controller.pruner.off:
        print(f"no trial will be pruned: {controller.pruner.off}", file=sys.stderr)
    figures = Figures(store)
    with Progress(store.study, sys.stderr) as progress:
        while True:
            os.umask(doors.umask(store.path))  # somebody may have named a group
            status = files.patiently(controller.tick)  # a full disk is waited for
            progress.study = store.study  # somebody may have raised n_trials
            progress.show(status)
            if interrupted():
                raise KeyboardInterrupt
            if status.finished or status.stopped or once:
                break
            if succession.due():
                print("time is up: the successor goes on", file=sys.stderr)
                succession.hand_over()
                return
            controller.get_ready(status)
            figures.refresh(sum(trial.state.finished for trial in status.trials))
            time.sleep(controller.pause())
    if status.stopped == FINISHED:
        print("another controller has ended this run", file=sys.stderr)
    elif status.stopped == PAUSED:
        print(f"paused; to go on: {resume_line(store)}", file=sys.stderr)
    elif status.stopped:
        raise StudyFailed(_verdict(store, status))
    if status.finished:
        # Workers that still wait for a trial give their GPUs back now.
        files.patiently(lambda: store.stop(FINISHED))
        figures.end()
        from tuner import report  # noqa: PLC0415 - pandas and matplotlib: workers come first

        files.patiently(lambda: report.write(store))
        files.patiently(lambda: store.sign_of_life({**store.last_sign(), "end": time.time()}))
        _wait(lambda: not (slots := executor.slots()) or not slots.workers, _FAREWELL)
        executor.tidy()
        files.remove_folder(store.path / scratch.FOLDER)
        _refuse_nothing(store, status)


def _refuse_nothing(store: Store, status: Status) -> None:
    """Raise StudyFailed where a search has ended, and every trial of it has failed."""
    search = [trial for trial in status.trials if trial.part == SEARCH]
    if search and all(trial.state is State.FAIL for trial in search):
        why = f"all {len(search)} trials failed: {search[0].reason}"
        raise StudyFailed(_verdict(store, dataclasses.replace(status, stopped=why)))


def _farewell(store: Store, executor: Executor) -> None:
    """Let workers end: jobs with their trial, local ones with their epoch, which is waited for."""
    store.stop("Ctrl-C")
    executor.leave()
    what = "jobs end with the trial they train" if executor.shared else "workers save this epoch"
    print(f"\nCtrl-C: {what}; nothing is lost", file=sys.stderr)
    if not executor.shared:
        with contextlib.suppress(KeyboardInterrupt):
            _wait(lambda: not (slots := executor.slots()) or not slots.workers, _FAREWELL)
    print(f"to go on: {resume_line(store)}", file=sys.stderr)


@contextlib.contextmanager
def _listening(store: Store) -> Iterator[Callable[[], bool]]:
    """On SIGTERM leave without a trace: workers go on, and so does the next controller.

    Gives whether Ctrl-C was pressed: Python drops an exception that comes up in a destructor. Only
    the main thread can listen, and only it is sent Ctrl-C.
    """
    pressed: list[int] = []

    def leave(number: int, _frame: FrameType | None) -> None:
        print(f"{signal.Signals(number).name}; to go on: {resume_line(store)}", file=sys.stderr)
        raise SystemExit(128 + number)

    def interrupt(number: int, _frame: FrameType | None) -> None:
        pressed.append(number)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = {
        signal.SIGTERM: signal.signal(signal.SIGTERM, leave),
        signal.SIGINT: signal.signal(signal.SIGINT, interrupt),
    }
    try:
        yield lambda: bool(pressed)
    finally:
        for number, handler in before.items():
            if handler is not None:  # one that Python did not set cannot be set by it
                signal.signal(number, handler)


@contextlib.contextmanager
def alone(store: Store) -> Iterator[bool]:
    """Whether no other controller is at work; a courtesy, since two do no harm.

    The lock tells at once on one host. Whoever holds it may be stopped, or has only just begun, and
    it may not reach other hosts: so only a controller that gives a sign of life while we watch
    sends us away.
    """
    lock = FileLock(store.path / "controller.lock")
    held, refused = False, False
    try:
        lock.acquire(timeout=0)
        held = True
    except Timeout:
        refused = True
    except (OSError, NotImplementedError):  # a disk that knows no locks
        pass
    try:
        ours = not refused and _sign_is_ours(store, held)
        yield ours or not _gives_signs(store, refused)
    finally:
        lock.release()


def _sign_is_ours(store: Store, held: bool) -> bool:
    """Whether the last sign of life cannot be another living controller's."""
    sign = store.last_sign()
    if not sign or LEFT in sign or (held and sign.get("host") == socket.gethostname()):
        return True
    return bool(sign.get("job")) and slurm.has_ended(sign["job"])


def _gives_signs(store: Store, refused: bool) -> bool:
    """Whether a controller lives: one that holds the lock may not have given its first sign."""
    path = store.path / SIGN
    age = files.server_now(store.path) - (files.modified(path) or 0.0)
    sign = store.last_sign()
    first, within = sign.get("time"), sign.get("within", ALIVE_WITHIN)
    left = within if refused else within - age
    if left > 0:
        print(f"is the controller of {store.path} still alive? (at most {left:.0f} s)", flush=True)
    return _wait(lambda: store.last_sign().get("time") != first, left)


def _wait(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait until a condition holds; False if it does not in time."""
    end = time.monotonic() + seconds
    while not (held := condition()) and time.monotonic() < end:
        time.sleep(0.2)
    return held


def unfinished(runs: Path) -> list[Path]:
    """This user's runs in a folder that are not finished, oldest first."""
    own = [runs / name for name in files.names(runs) if trust.is_own(runs / name)]
    found = [path for path in own if "run.json" in files.names(path)]
    for path in found:
        trust.check_run(path)
    open_ = [path for path in found if not (files.read(path / SIGN) or {}).get("end")]
    return sorted(open_, key=lambda path: files.modified(path / "run.json") or 0.0)
