"""What a worker needs to know of its study."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jobs import files
from jobs.folder import RunFolder
from jobs.rungs import Rungs

GRACE = {"local": 2.0, "slurm": 65.0}  # seconds; NFS may show an empty queue for a minute


@dataclass(frozen=True, slots=True)
class Orders:
    """A study's words to its workers."""

    train: str
    fixed: Mapping[str, Any]
    data: Mapping[str, Any]
    n_workers: int
    trials_per_job: int | str | None  # "auto": until start-up was a small share of the job
    grace: float  # seconds without a waiting trial after which a worker leaves
    device: str
    rungs: Rungs | None

    @classmethod
    def read(cls, folder: RunFolder) -> "Orders":
        """The orders of a run; raises FileNotFoundError where there is no run."""
        run, settings = (files.read(folder.path / name) for name in ("run.json", "settings.json"))
        if run is None or settings is None:
            raise FileNotFoundError(f"{folder.path} is not a run")
        study, jobs = run["study"], settings["jobs"]
        return cls(
            train=study["train"],
            fixed=study["fixed"],
            data=study["data"],
            n_workers=jobs["n_workers"],
            trials_per_job=jobs["trials_per_job"],
            grace=GRACE[jobs["executor"]] if jobs["grace"] is None else jobs["grace"],
            device=jobs["device"],
            rungs=Rungs.of(study, settings.get("pruner", {})),  # an older version's run has none
        )
