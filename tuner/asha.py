"""Early stopping by asynchronous successive halving: the `[pruner]` table, and the rule, pure."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jobs.rungs import FACTOR, earliest, first_rung, fixed
from models.defaults import OURS
from tuner.space import BadInput

if TYPE_CHECKING:  # it brings numpy, which most commands do without
    from models.split import Dataset

_KEYS = ("name", "reduction_factor", "first_rung", "metric")
_NAMES = ("asha", "none")
_MANY_EPOCHS = 5  # so few are as cheap as the first rungs of others
_MANY_ITEMS, _MANY_GROUPS = 500, 2  # in a validation part that tells good from lucky


def check(study: Mapping[str, Any], pruner: Mapping[str, Any]) -> None:
    """Raise BadInput for a `[pruner]` that makes no sense, by itself or in its study's table."""
    for key in pruner:
        if key not in _KEYS:
            raise BadInput(f"pruner.{key}", "unknown key", f"known here: {', '.join(_KEYS)}")
    if pruner and pruner.get("name") not in _NAMES:
        problem = f"{pruner.get('name')!r} is unknown"
        raise BadInput("pruner.name", problem, f"known: {', '.join(_NAMES)}")
    if pruner.get("name", "none") == "none":
        return
    factor = pruner.get("reduction_factor", FACTOR)
    if not _whole(factor, 2):
        raise BadInput("pruner.reduction_factor", f"{factor!r} will not do", "give 2, 3 or 4")
    _check_study(study, pruner)
    _check_first(fixed(study), pruner)


def _check_study(study: Mapping[str, Any], pruner: Mapping[str, Any]) -> None:
    for key in ("epochs", "schedule"):
        if key in study["space"]:
            remedy = f"move it to [fixed], or set pruner.name to none: {_REASON}"
            raise BadInput(f"space.{key}", "cannot be searched with a pruner", remedy)
    known = fixed(study)
    if not _whole(known.get("epochs"), 1):
        remedy = "give the most that a trial may take"
        raise BadInput("fixed.epochs", "is no number, and a pruner needs one", remedy)
    if "metric" in pruner and study["train"] == OURS:
        raise BadInput("pruner.metric", "is for functions of your own", "leave it out")
    if not isinstance(pruner.get("metric", known.get("metric")), str):
        remedy = "name what your function reports"
        raise BadInput("pruner.metric", "is missing", remedy)
    if study["sampler"] == "external":
        raise BadInput("pruner.name", "hyperopt knows no pruned trials", "set it to none")


_REASON = "trials of different lengths cannot be compared on their way"


def _check_first(known: Mapping[str, Any], pruner: Mapping[str, Any]) -> None:
    asked, least = pruner.get("first_rung"), earliest(known)
    if asked is None:
        return
    share = isinstance(asked, float) and least <= asked < 1
    if not share and not (_whole(asked, 1) and asked >= least * known["epochs"]):
        remedy = f"give at least {least:.0%} of the epochs, as an epoch or as a share such as 0.25"
        raise BadInput("pruner.first_rung", f"{asked!r} will not do", remedy)


def off(study: Mapping[str, Any], pruner: Mapping[str, Any], data: "Dataset | None") -> str:
    """Why a study's pruner stays off; empty where it is on, or where none is asked for."""
    if pruner.get("name", "none") == "none":
        return ""
    known = fixed(study)
    if known["epochs"] <= _MANY_EPOCHS:
        return f"{known['epochs']} epochs are too few"
    if first_rung(known, pruner) >= known["epochs"]:
        return "its first rung is the end"
    if data is not None and study["train"] == OURS:
        return _too_small(data)
    return ""


def _too_small(data: "Dataset") -> str:
    parts = [split.validation for split in data.splits("search") if split.validation]
    items = sum(len(part.rows) for part in parts)
    if items < _MANY_ITEMS:
        return f"{items} items are too few to tell good trials from lucky ones"
    if data.task != "classification":
        return ""
    groups = {str(group) for part in parts for group in part.index}
    if len(groups) < _MANY_GROUPS:
        return "one subject is too few to tell good trials from lucky ones"
    return ""


def needed(reached: Sequence[float], factor: int) -> float:
    """The loss with which the next to reach a rung is among the best 1/`factor` that did.

    `reached` are the losses of those before it. While there are too few to tell, only the best
    goes on, as in Optuna's pruner; the first always does, and equals go on together.
    """
    best = max(1, (len(reached) + 1) // factor)
    return sorted(reached)[best - 1] if best <= len(reached) else math.inf


def losses(
    trials: Sequence[Sequence[float | None]], rungs: Sequence[int], factor: int
) -> dict[int, float]:
    """What each rung asks for, by the losses that trials had at the rungs; none where all pass."""
    found = {}
    for place, rung in enumerate(rungs):
        there = [loss for trial in trials if (loss := trial[place]) is not None]
        if math.isfinite(loss := needed(there, factor)):
            found[rung] = loss
    return found


def _whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
