"""A run's figures while it goes on: a process of their own draws them, the controller looks on."""

import contextlib
import os
import subprocess
import sys
import time
from typing import final

from jobs import slurm
from tuner.store import Store

_LEAST = 10  # results between two drawings; rarer as figures cost more
_SECONDS = 30.0  # from one drawing to the next, and to the first: it takes seconds of a core
_PATIENCE = 60.0  # seconds for the last drawing to end by itself


@final
class Figures:
    """Has the cheap part of a run's report drawn again as results come, one drawing at a time."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._drawn = 0
        self._began = time.monotonic()
        self._process: subprocess.Popen[bytes] | None = None

    def refresh(self, finished: int) -> None:
        """Begin to draw where enough trials are finished since; what fails is drawn later."""
        if time.monotonic() - self._began < _SECONDS:
            return
        idle = self._process is None or self._process.poll() is not None
        if not idle or finished < self._drawn + max(_LEAST, self._drawn // 4):
            return
        command = [sys.executable, "-m", "tuner.report", str(self.store.path), "--refresh"]
        self._drawn, self._began = finished, time.monotonic()
        with contextlib.suppress(OSError):
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL, env=slurm.environment(os.environ, local=True),
                start_new_session=True,  # Ctrl-C is the controller's
            )  # fmt: skip

    def end(self) -> None:
        """Let the last drawing end: it must not overwrite the report of a finished run."""
        if self._process is None:
            return
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
