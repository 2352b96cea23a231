"""One attempt at a trial: what a training function reports and saves, and when it must stop."""

import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from enum import Enum
from pathlib import Path
from typing import Any, final

from jobs import files
from jobs.contract import Claim
from jobs.folder import RunFolder
from jobs.rungs import Rungs
from models.protocols import Stop

_LOOK_EVERY = 30.0  # seconds between looks at the shared disk; an admin counts these
_CHECKPOINT_SHARE = 0.05  # of the training time may go into writing checkpoints
_HANG_EPOCHS = 10  # an epoch that takes this many times the longest one has hung …
_HANG_SECONDS = 900.0  # … but never before a quarter of an hour
_WATCH_EVERY = 5.0  # seconds
TIME_TO_SAVE = 30.0  # seconds kept for the last checkpoint of a job


class Ending(Enum):
    """Why an attempt was told to stop."""

    FENCED = "fenced"  # somebody else's result or attempt counts
    PRUNED = "pruned"
    RELEASED = "released"  # out of time, asked to leave, no disk: the trial goes on in another job


@final
class Attempt:
    """The `report` and the `checkpoint` of one attempt, handed to a training function.

    `leaving` says whether this process was asked to end; `deadline` is the end of the job in
    seconds since the epoch, infinite where there is none. At `rungs` it may be pruned.
    """

    def __init__(
        self,
        folder: RunFolder,
        claim: Claim,
        leaving: Callable[[], str],
        deadline: float = math.inf,
        start_from: Path | None = None,
        *,
        rungs: Rungs | None = None,
    ) -> None:
        self.folder = folder
        self.claim = claim
        self.ending: Ending | None = None
        self.why = ""
        self.reported = time.monotonic()
        self._leaving = leaving
        self._deadline = deadline
        self._start_from = start_from
        self._rungs = rungs
        self._metrics = folder.of(claim.number, "metrics", claim.attempt)
        self._checkpoint = folder.of(claim.number, "checkpoint", claim.attempt)
        self._looked = time.monotonic()
        self._saved = time.monotonic()
        self._save_cost = 0.0
        self.longest_epoch = 0.0
        self._epoch = 0.0
        self._curve: dict[int, dict[str, Any]] = {}  # step → what was reported
        self._saves = False  # whether this training function saves checkpoints at all

    def report(self, step: int, **metrics: float) -> None:
        """Record the metrics of an epoch; raises Stop when the attempt must end here."""
        finite = {key: float(v) if math.isfinite(v) else None for key, v in metrics.items()}
        record = {"step": step, **finite, "time": time.time()}
        self._record(record)
        now = time.monotonic()
        self._epoch, self.reported = now - self.reported, now
        self.longest_epoch = max(self.longest_epoch, self._epoch)
        self._fence(now)
        self._prune(step)
        self._watch_the_clock()
        if self.ending is Ending.RELEASED and self._saves:
            return  # the next save writes this epoch first, then stops
        self._stop()

    def save(self, step: int, state: Callable[[], dict[str, Any]], last: bool = False) -> None:
        """Write a checkpoint if it is due; raises Stop when the attempt must end here."""
        self._saves = True
        due = time.monotonic() - self._saved > self._save_cost / _CHECKPOINT_SHARE
        if due or last or self.ending is Ending.RELEASED:
            from models.train import to_bytes  # noqa: PLC0415 - torch, for those who save

            started = time.monotonic()
            data = to_bytes({"step": step, "state": state(), "curve": [*self._curve.values()]})
            self._patiently(lambda: files.replace(self._checkpoint, data))
            self._saved = time.monotonic()
            self._save_cost = self._saved - started
        if not last:
            self._stop()

    def load(self) -> dict[str, Any] | None:
        """The newest state of this trial, by whichever attempt; None at a first start.

        It brings the metrics up to it, so that the curve of a trial is whole.
        """
        for attempt in range(self.claim.attempt, 0, -1):
            found = self._read(self.folder.of(self.claim.number, "checkpoint", attempt))
            if found is not None:
                if attempt != self.claim.attempt:
                    for record in found.get("curve", ()):
                        self._record(record)
                return _state(found)
        found = self._read(self._start_from) if self._start_from else None
        return _state(found) if found else None

    def curve(self) -> tuple[Mapping[str, Any], ...]:
        """What was reported so far, one record an epoch."""
        return tuple(self._curve.values())

    def reached(self) -> float | None:
        """The best value so far of what rungs compare, as reported; None where that is none."""
        if self._rungs is None or (loss := self._rungs.loss(self.curve())) is None:
            return None
        return self._rungs.sign * loss if math.isfinite(loss) else None

    def keep_weights(self) -> None:
        """Name the finished checkpoint in weights/ too, where the controller keeps the best few."""
        target = self.folder.kept(self.claim.number)
        if self._saves:
            with suppress(FileNotFoundError):  # swept: the trial has ended elsewhere
                files.patiently(lambda: files.share(self._checkpoint, target))

    def fenced(self) -> bool:
        """Look again: whether somebody else's result or attempt counts by now."""
        return not self.folder.look().holds(self.claim)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """End this process if the training hangs: its job ends, and the trial goes on elsewhere."""
        over = threading.Event()
        threading.Thread(target=self._watch, args=(over,), daemon=True).start()
        try:
            yield
        finally:
            over.set()

    def _watch(self, over: threading.Event) -> None:
        while not over.wait(_WATCH_EVERY):
            silent = time.monotonic() - self.reported
            if silent > max(_HANG_EPOCHS * self.longest_epoch, _HANG_SECONDS):
                print(
                    f"no report for {silent:.0f} s: this worker hangs and ends itself", flush=True
                )
                os._exit(os.EX_SOFTWARE)

    def _fence(self, now: float) -> None:
        if now - self._looked < _LOOK_EVERY or self.ending is not None:
            return
        self._looked = now
        if self._patiently(self.fenced):
            self.ending = Ending.FENCED

    def _prune(self, step: int) -> None:
        """End at a rung where others were better; what cannot be read by now prunes nobody."""
        if self._rungs is None or self.ending is not None:
            return
        with suppress(OSError):
            self.why = self._rungs.pruned(self.folder.path, self.curve(), step)
        if self.why:
            self.ending = Ending.PRUNED

    def _watch_the_clock(self) -> None:
        if self.ending is not None:
            return
        left = self._deadline - time.time()
        self.why = self._leaving() or ("TIMEOUT" if left < 2 * self._epoch + TIME_TO_SAVE else "")
        if self.why:
            self.ending = Ending.RELEASED

    def _stop(self) -> None:
        if self.ending is not None:
            raise Stop(self.ending.value)

    def _read(self, path: Path) -> dict[str, Any] | None:
        if path.name not in self._patiently(lambda: files.names(path.parent)):
            return None
        data = self._patiently(lambda: files.read_bytes(path))
        if data is None:
            return None
        from models.train import from_bytes  # noqa: PLC0415 - torch, where there is something

        try:
            return from_bytes(data)
        except Exception:  # a torn file of a crashed server is like no file
            return None

    def _record(self, record: dict[str, Any]) -> None:
        self._curve[record["step"]] = record
        self._patiently(lambda: files.append(self._metrics, record))

    def _patiently(self, action: Callable[[], Any]) -> Any:
        """Wait for the disk; raises Stop where that is of no use: its fault is no score."""
        try:
            return files.patiently(action, give_up=self._out_of_time)
        except OSError as error:
            self.ending, self.why = Ending.RELEASED, f"the disk refuses: {error.strerror}"
            raise Stop(self.ending.value) from error

    def _out_of_time(self) -> bool:
        self.reported = time.monotonic()  # who waits for the disk does not hang
        return time.time() > self._deadline


def _state(found: Mapping[str, Any]) -> dict[str, Any]:
    state: dict[str, Any] = found["state"]
    return state
