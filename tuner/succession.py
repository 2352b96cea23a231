"""A controller that outlives its time limit: as a Slurm job it hands over to a successor.

The run's controllers share the job name `ctl-<run id>`, and Slurm's `singleton` lets one of them
run at a time: a copy in the queue is a hot standby, and other studies have other names.
"""

import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import final

from jobs import slurm
from tuner.store import Store

_SCRIPT = Path("slurm") / "controller.sh"
_EARLY = 300.0  # seconds before the end at which a long job hands over; a short one at a quarter


@final
class Succession:
    """What a controller does about its own end; outside a Slurm job, nothing."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.name = f"ctl-{store.id}"
        self.job = os.environ.get("SLURM_JOB_ID", "") if "TUNER_CONTROLLER" in os.environ else ""
        self._told = False
        self._at = float("inf")
        if self.job:
            end = slurm.own_end()
            self._at = end - min(_EARLY, (end - time.time()) / 4)
            slurm.set_name(self.job, self.name)
            signal.signal(signal.SIGUSR1, self._note)

    def due(self) -> bool:
        """Whether this controller's time is up."""
        return bool(self.job) and (self._told or time.time() >= self._at)

    def hand_over(self) -> None:
        """Queue a successor, or go back into the queue; where neither works, say what does."""
        if self.standby():
            return
        complaint = slurm.requeue(self.job)  # this ends us where it works
        if complaint:
            line = f"sbatch {_SCRIPT} {self.store.path}"
            print(f"scontrol requeue: {complaint}\nto go on, type: {line}", file=sys.stderr)

    def standby(self) -> bool:
        """See to it that a copy waits in the queue; False where sbatch is refused."""
        rows = slurm.queue(self.name) or []
        if any(row.state == "PENDING" for row in rows):
            return True
        options = ["--dependency=singleton", f"--job-name={self.name}", *slurm.own_limits()]
        script = slurm.PROJECT / _SCRIPT
        complaint = slurm.submit(options, script, [str(self.store.path), "--standby"])
        if complaint:
            print(f"sbatch: {complaint}", file=sys.stderr)
        return not complaint

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self._told = self._at - time.time() < _EARLY  # Slurm warns short jobs at their very start
