"""What a worker finds where a study is to run: a training function that trains nothing.

`tuner.doctor` makes a throw-away run of it. So the canary goes the way of every trial (submitted,
started, claimed, published), and what is wrong on that way shows before a GPU-hour is spent.
"""

import os
import platform
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jobs import files
from jobs.attempt import Attempt
from jobs.outcome import Train
from jobs.worker import resolve
from models.data import Dataset
from models.defaults import OURS
from models.protocols import Report, Stop

EXAMINE = "jobs.canary:examine"
HELLO, ANSWER, FOUND = "hello.json", "answer.json", "found.json"  # in the run's folder
_PATIENCE = 120.0  # seconds: twice what NFS may take to show a new file
_LOOK = 0.2
_LONG = 60.0  # seconds until a first report, of which the start-up is no large part


def examine(
    params: Mapping[str, Any],
    data: Dataset | None,
    report: Report,
    checkpoint: Attempt,
    seed: int,
) -> float:
    """Write what is found here to found.json; raises what a trial would raise.

    `params` are the study's fixed ones, with the name of its function as `train` and the `points`
    to be tried under `canary`. Returns the seconds that it all took.
    """
    del report
    began, folder = time.time(), checkpoint.folder.path
    orders = params["canary"]
    fixed = {name: value for name, value in params.items() if name != "canary"}
    found: dict[str, Any] = {"python": platform.python_version(), **_disk(folder), **_device()}
    train = resolve(orders["train"])
    for name, point in orders["points"].items():
        full = {**fixed, **point}
        found[name] = (
            _rehearsed(full, data, seed) if orders["train"] == OURS
            else _epoch(train, full, data, seed)
        )  # fmt: skip
    files.write_once(folder / FOUND, found)
    return time.time() - began


def _disk(folder: Path) -> dict[str, Any]:
    """How the shared disk behaves here: links, clock, and how late the other side's files show."""
    linked = files.write_once(folder / HELLO, {"time": time.time()})
    again = files.write_once(folder / HELLO, {"time": time.time()})
    skew = time.time() - files.server_now(folder)
    end = time.monotonic() + _PATIENCE
    while ANSWER not in files.names(folder) and time.monotonic() < end:
        time.sleep(_LOOK)
    seen = time.time() - skew
    written = files.modified(folder / ANSWER) if ANSWER in files.names(folder) else None
    late = None if written is None else max(0.0, seen - written)
    return {"links": linked and not again, "skew": skew, "late": late}


def _device() -> dict[str, Any]:
    """The GPU that this job was given, as torch sees it."""
    import torch  # noqa: PLC0415 - a worker starts without it

    memory = os.environ.get("SLURM_MEM_PER_NODE")
    found: dict[str, Any] = {
        "torch": torch.__version__,
        "gpu": "",
        "gpu_bytes": 0,
        "host_limit": int(memory) << 20 if memory else 0,
    }
    if torch.cuda.is_available() and os.environ.get("TUNER_DEVICE") != "cpu":
        about = torch.cuda.get_device_properties(0)
        found |= {"gpu": about.name, "gpu_bytes": about.total_memory}
    return found


def _rehearsed(params: Mapping[str, Any], data: Dataset | None, seed: int) -> dict[str, Any]:
    from models.rehearse import rehearse  # noqa: PLC0415 - torch

    assert data is not None  # our own training has data
    return asdict(rehearse(params, data, seed))


def _epoch(
    train: Train, params: Mapping[str, Any], data: Dataset | None, seed: int
) -> dict[str, Any]:
    """How long a user's own function takes from its first report to its second.

    Before the first it imports and builds; where that alone takes minutes, it counts as an epoch.
    """
    reports: list[float] = []
    began = time.perf_counter()

    def report(step: int, **metrics: float) -> None:
        reports.append(time.perf_counter())
        if len(reports) == 2 or reports[0] - began > _LONG:
            raise Stop(f"epoch {step} was reported: {sorted(metrics)}")

    with suppress(Stop):
        train(params, data, report, _Nothing(), seed)
    first, last = reports if len(reports) == 2 else (began, time.perf_counter())
    return {"epoch_seconds": last - first}


class _Nothing:
    """A checkpoint that is kept nowhere."""

    def load(self) -> None:
        """None was ever saved."""

    def save(self, step: int, state: Callable[[], dict[str, Any]], last: bool = False) -> None:
        """Make the state, as a real one would."""
        del step, last
        state()
