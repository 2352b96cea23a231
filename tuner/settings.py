"""A study's tables that are no part of the search: where trials are trained, what went before."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tuner import checks
from tuner.space import BadInput

_OPTION = re.compile(r"[a-z][a-z0-9_-]*")
_VALUE = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029'\"\\`$;#]*")
# What the executor sets and later looks for; a job gets no more of the environment than it needs.
_OURS_TO_SET = ("array", "comment", "error", "export", "job-name", "open-mode", "output", "wrap")


@dataclass(frozen=True, slots=True)
class Jobs:
    """Where and how a study's trials are trained; `slurm` holds sbatch's own options."""

    executor: Literal["local", "slurm"] = "local"
    n_workers: int = 4
    workers_per_gpu: int = 1
    # None: as many as there are and as fit; "auto": until start-up was under 5 % of the job
    trials_per_job: int | Literal["auto"] | None = None
    device: Literal["auto", "cpu"] = "auto"
    grace: float | None = None  # seconds without a waiting trial after which a worker leaves
    lost_after: float | None = None  # seconds from a worker's death to the next attempt
    container: str = ""  # an image that Slurm's jobs run in, through apptainer
    slurm: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        checks.whole("jobs.n_workers", self.n_workers, 1)
        checks.whole("jobs.workers_per_gpu", self.workers_per_gpu, 1)
        if self.trials_per_job not in (None, "auto"):
            checks.whole("jobs.trials_per_job", self.trials_per_job, 1)
        checks.amount("jobs.grace", self.grace, "seconds")
        checks.amount("jobs.lost_after", self.lost_after, "seconds")
        checks.one_of("jobs.executor", self.executor, ("local", "slurm"))
        checks.one_of("jobs.device", self.device, ("auto", "cpu"))
        if not isinstance(self.container, str) or not _VALUE.fullmatch(self.container):
            raise BadInput("jobs.container", f"{self.container!r} is no path", "name an image")
        object.__setattr__(self, "slurm", {k: _joined(v) for k, v in self.slurm.items()})
        _check_options(self.slurm)

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> "Jobs":
        """The record of a `[jobs]` table; raises BadInput."""
        checks.known_keys(cls, table, "jobs.")
        checks.table("jobs.slurm", table.get("slurm", {}))
        return cls(**table)


@dataclass(frozen=True, slots=True)
class Confirm:
    """How the winner is chosen: the best `top` are trained again with `seeds` fresh seeds each."""

    top: int = 5
    seeds: int = 5

    def __post_init__(self) -> None:
        checks.whole("confirm.top", self.top, 1)
        checks.whole("confirm.seeds", self.seeds, 1)

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> "Confirm | None":
        """The record of a `[confirm]` table, None for `top = 0`; raises BadInput."""
        checks.known_keys(cls, table, "confirm.")
        off = table.get("top") == 0 and table.get("top") is not False
        return None if off else cls(**table)


@dataclass(frozen=True, slots=True)
class WarmStart:
    """Earlier runs whose trials the sampler is told; see warm.py."""

    runs: tuple[str, ...] = ()
    fixed: Mapping[str, Any] = field(default_factory=dict)  # what they used and do not name
    scale: bool = False  # theirs are values of another function

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> "WarmStart":
        """The record of a `[warm_start]` table; raises BadInput."""
        checks.known_keys(cls, table, "warm_start.")
        checks.table("warm_start.fixed", table.get("fixed", {}))
        runs = table.get("runs", ())
        if isinstance(runs, str) or not all(isinstance(run, str) for run in runs):
            raise BadInput("warm_start.runs", f"{runs!r} will not do", 'write runs = ["runs/old"]')
        if not isinstance(table.get("scale", False), bool):
            raise BadInput("warm_start.scale", "is neither true nor false", "write scale = true")
        return cls(**{**table, "runs": tuple(runs)})


def _joined(value: Any) -> Any:
    """A list as sbatch writes it: `partition = ["a100", "v100"]` is whichever comes first."""
    if isinstance(value, (list, tuple)) and value and all(isinstance(v, str) for v in value):
        return ",".join(value)
    return value


def _check_options(options: Mapping[str, Any]) -> None:
    """Options become `#SBATCH` lines, which a line break would leave: it is refused.

    sbatch reads quotes and backslashes in its own way, so that they could begin another option.
    """
    for key, value in options.items():
        if not _OPTION.fullmatch(key):
            raise BadInput(f"jobs.slurm.{key}", "is no option of sbatch", "use its long name")
        if any(ours.startswith(key.replace("_", "-")) for ours in _OURS_TO_SET):
            raise BadInput(f"jobs.slurm.{key}", "is set by the tuner", "leave it out")
        if not isinstance(value, (str, int)) or not _VALUE.fullmatch(str(value)):
            remedy = "use one line of text without quotes, \\, `, $, ; and #"
            raise BadInput(f"jobs.slurm.{key}", f"{value!r} will not do", remedy)
        if value is False:
            raise BadInput(f"jobs.slurm.{key}", "false says nothing to sbatch", "leave it out")
