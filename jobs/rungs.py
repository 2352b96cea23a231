"""Rungs: the epochs after which a trial goes on only if it is among the best that came so far.

Asynchronous successive halving (Li et al. 2020, arXiv 1810.05934), as Optuna's pruner does it: a
trial that is not among the best ends, and none waits for others. The controller publishes what it
takes as `rungs/000007.json`, where the highest number counts; a worker looks there at a rung only.
Whoever sees an old file, or none, trains on: late, and never wrong.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs import files
from models.defaults import DEFAULTS, OURS

FACTOR = 4  # one in so many goes on: Optuna's default, and half the epochs (README)
_SHARE, _SHARE_SCHEDULED = 0.1, 0.2  # of the epochs, before the first rung

Curve = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Rungs:
    """Where trials are compared, `epochs` counting from 1, and by which reported metric."""

    epochs: tuple[int, ...]
    metric: str
    sign: float  # what a metric is multiplied with to become a loss

    @classmethod
    def of(cls, study: Mapping[str, Any], pruner: Mapping[str, Any]) -> "Rungs | None":
        """The rungs of a study's table and its checked `[pruner]`; None where nothing is pruned."""
        if pruner.get("name", "none") == "none":
            return None
        known = fixed(study)
        most, first = known["epochs"], first_rung(known, pruner)
        factor, epochs = pruner.get("reduction_factor", FACTOR), []
        while first < most:
            epochs.append(first)
            first *= factor
        sign = 1.0 if study["direction"] == "minimize" else -1.0
        return cls(tuple(epochs), str(pruner.get("metric", known.get("metric"))), sign)

    def loss(self, curve: Curve) -> float | None:
        """The best that a curve has reached, inf where that is no number; None: never reported."""
        found = [epoch[self.metric] for epoch in curve if self.metric in epoch]
        known = [self.sign * value for value in found if value is not None]
        return min(known, default=math.inf) if found else None

    def losses(self, curve: Curve, ended: bool = False) -> tuple[float | None, ...]:
        """The loss at each rung; None where a trial was not, unless it `ended` well before."""
        return tuple(self._at(curve, rung, ended) for rung in self.epochs)

    def crossed(self, curve: Curve, step: int) -> int | None:
        """The rung that a step was the first to reach."""
        before = max((epoch["step"] + 1 for epoch in curve if epoch["step"] < step), default=0)
        return max((rung for rung in self.epochs if before < rung <= step + 1), default=None)

    def pruned(self, run: Path, curve: Curve, step: int) -> str:
        """Why a trial ends at this step; empty where it goes on, or nothing is known yet."""
        rung, loss = self.crossed(curve, step), self.loss(curve)
        if rung is None or loss is None:
            return ""
        needed = required(run).get(rung)
        if needed is None or loss <= needed:
            return ""
        so_far, wanted = self.sign * loss, self.sign * needed
        return f"{self.metric} {so_far:.6g} after {rung} epochs, where {wanted:.6g} was needed"

    def _at(self, curve: Curve, rung: int, ended: bool) -> float | None:
        there = [epoch for epoch in curve if epoch["step"] < rung]
        reached = ended or any(epoch["step"] + 1 >= rung for epoch in curve)
        return self.loss(there) if reached else None


def fixed(study: Mapping[str, Any]) -> Mapping[str, Any]:
    """What every trial of a study gets, our own training's defaults included."""
    return {**DEFAULTS, **study["fixed"]} if study["train"] == OURS else study["fixed"]


def first_rung(known: Mapping[str, Any], pruner: Mapping[str, Any]) -> int:
    """The first rung in epochs: as asked for, a share or a number, or the earliest that may be."""
    asked: float | None = pruner.get("first_rung")
    if isinstance(asked, int):
        return asked
    share = earliest(known) if asked is None else asked
    return math.ceil(share * int(known["epochs"]) - 1e-9)  # 0.1 of 30 is a little more than 3


def earliest(known: Mapping[str, Any]) -> float:
    """The share of the epochs before which a trial says little: more while its rate falls."""
    return _SHARE if known.get("schedule", "constant") == "constant" else _SHARE_SCHEDULED


def required(run: Path) -> dict[int, float]:
    """The loss that each rung asks for by the newest file; nothing where none can be read."""
    number = newest(run)
    record = files.read(_path(run, number)) if number else None
    return {int(rung): float(loss) for rung, loss in (record or {}).get("losses", {}).items()}


def newest(run: Path) -> int:
    """The number of the newest file, 0 where there is none."""
    return max(_numbers(run), default=0)


def publish(run: Path, losses: Mapping[int, float]) -> None:
    """Publish what the rungs ask for as the next file, if that is new, and sweep the old ones.

    The last but one stays for a reader that listed it; of two writers the first wins, and the
    other finds its own losses new at its next tick, or not.
    """
    if losses == required(run):
        return
    number = newest(run) + 1
    files.make_folder(_path(run, number).parent)
    files.write_once(_path(run, number), {"losses": {str(k): v for k, v in losses.items()}})
    files.remove(_path(run, old) for old in _numbers(run) if old < number - 1)
    files.sweep_drafts(_path(run, number).parent)


def _numbers(run: Path) -> list[int]:
    names = (name.removesuffix(".json") for name in files.names(run / "rungs"))
    return [int(name) for name in names if name.isdigit()]


def _path(run: Path, number: int) -> Path:
    return run / "rungs" / f"{number:06d}.json"
