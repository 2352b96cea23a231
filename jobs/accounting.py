"""What a run's jobs were charged, as Slurm's accounting has it and the site's admin will count it.

A job holds its GPUs from its start to its end, whatever its workers do in between.
"""

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from jobs import slurm

_ASK_RARELY = 60.0  # seconds between two questions: slurmdbd serves the whole site
_EARLIER = 3600.0  # seconds: the file server's clock may differ from Slurm's
_GRES = re.compile(r"gpu(?:[:/][\w.-]+)*?(?:[:=](\d+))?(?:\(.*\))?")


@dataclass(frozen=True, slots=True)
class Charge:
    """Hours of GPUs; of jobs where none of them had a GPU."""

    hours: float
    gpus: bool


@final
class Account:
    """The bill of all jobs of a name, those that were requeued with each of their runs.

    `gpus` is what a job asked for: some sites' accounting does not count GPUs.
    """

    def __init__(self, name: str, gpus: int) -> None:
        self.name = name
        self.gpus = gpus
        self._ask_at = 0.0
        self._heard = 0.0
        self._rows: Sequence[slurm.Used] | None = None

    def charge(self, since: float) -> Charge | None:
        """The bill until now, of jobs `since` a time; None where nobody keeps accounts.

        Between two answers the running jobs are taken to go on.
        """
        if time.monotonic() >= self._ask_at:
            rows = slurm.accounted(self.name, since - _EARLIER)
            self._ask_at = time.monotonic() + _ASK_RARELY
            if rows:  # of a colleague's jobs, and of purged ones, sacct says nothing
                self._rows, self._heard = rows, time.monotonic()
        return None if self._rows is None else self._bill(self._rows)

    def _bill(self, rows: Sequence[slurm.Used]) -> Charge:
        counted = [(gpus_in(row.tres), row) for row in rows]
        passed = time.monotonic() - self._heard
        spans = [row.seconds + passed * (row.state == "RUNNING") for row in rows]
        held = [gpus or self.gpus or 1 for gpus, _ in counted]
        hours = sum(n * span for n, span in zip(held, spans, strict=True)) / 3600
        return Charge(hours, bool(self.gpus) or any(gpus for gpus, _ in counted))


def gpus_in(tres: str) -> int:
    """The GPUs of an AllocTRES such as `cpu=2,gres/gpu:a100=2,gres/gpu=2,node=1`.

    Sites count the kinds, their sum, or both.
    """
    pairs = dict(entry.rsplit("=", 1) for entry in tres.split(",") if "=" in entry)
    if "gres/gpu" in pairs:
        return int(pairs["gres/gpu"])
    return sum(int(n) for name, n in pairs.items() if name.startswith("gres/gpu:"))


def gpus_asked(options: Mapping[str, Any]) -> int:
    """The GPUs of one job by its options of sbatch; 0 where none of them names any."""
    given = {key: str(value) for key, value in options.items()}
    asked = given.get("gres", "").split(",")
    for key in ("gpus", "gpus-per-node", "gpus-per-task"):
        asked += [f"gpu:{entry}" for entry in given.get(key, "").split(",") if entry]
    found = (_GRES.fullmatch(entry.removeprefix("gres/").removeprefix("gres:")) for entry in asked)
    return sum(int(match[1] or 1) for match in found if match)
