"""A warm start: what an earlier run has found, for the sampler of a new one.

The trials are copied into the new run's folder before it begins, mapped onto its space: whatever
becomes of the earlier run then, each proposal can be replayed. They are no trials of the new run:
their numbers are negative, none of them can win, and no table shows them.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from jobs.contract import SEARCH, State
from jobs.reasons import SAYS_NOTHING
from tuner.space import BadInput, Space
from tuner.study import Study
from tuner.trial import Trial

ORIGIN = "warm_start"
_ENOUGH = 3  # values of spread points that have a middle and a span


@dataclass(frozen=True, slots=True)
class Earlier:
    """An earlier run: where it is, its study, its trials, and its data's content."""

    path: str
    study: Study
    trials: Sequence[Trial]
    data_hash: str


@dataclass(frozen=True, slots=True)
class Warm:
    """Earlier runs' trials on the new run's space, with their losses; less is better."""

    trials: Sequence[Trial] = ()
    scaled: bool = False  # values of another function: only their order and spread count
    runs: Mapping[str, tuple[int, int]] = field(default_factory=dict)  # path → (taken, left out)

    def initial(self, n: int) -> int:
        """How many points are still to be spread over the space, of `n` without a warm start."""
        return n if self.scaled else max(0, n - len(self.trials))

    @property
    def lines(self) -> list[str]:
        """What was taken from where, a line a run."""
        return [
            f"Warm start: {taken} trials of {path}" + (f", {left} do not fit" if left else "")
            for path, (taken, left) in self.runs.items()
        ]


def snapshot(study: Study, data_hash: str, earlier: Sequence[Earlier]) -> dict[str, Any]:
    """What a new run keeps of earlier ones, as JSON; raises BadInput where one says nothing to it.

    A trial is left out where a value is not of the new space, or is not known: a middle or a
    default would tell the sampler what nobody has measured.
    """
    scaled = study.warm_start.scale
    given = study.warm_start.fixed
    runs = []
    for run in earlier:
        _check(study, run, data_hash, given, scaled)
        ended = [t for t in run.trials if t.part == SEARCH and _says_something(t)]
        found = [(t, _mapped(study, {**given, **run.study.fixed, **t.params})) for t in ended]
        fits = [_record(run.study, t, params) for t, params in found if params is not None]
        if not any(record["loss"] is not None for record in fits):
            problem = f"no finished trial of {run.path} fits this space"
            remedy = "give what it did not name under [warm_start.fixed], or leave it out"
            raise BadInput("warm_start.runs", problem, remedy)
        runs.append({
            "run": run.path, "trials": fits, "left_out": len(ended) - len(fits),
            "scale": _scale(run.study, run.trials),
        })  # fmt: skip
    return {"scaled": scaled, "runs": runs}


def load(record: Mapping[str, Any]) -> Warm:
    """The earlier trials of a run's snapshot, numbered upwards to −1."""
    runs, scaled = record["runs"], bool(record["scaled"])
    flat = [
        (each["params"], _standard(each["loss"], run["scale"]) if scaled else each["loss"])
        for run in runs
        for each in run["trials"]
    ]
    trials = [
        Trial(
            number=i - len(flat),
            state=State.FAIL if loss is None else State.COMPLETE,
            params=params,
            value=loss,
            origin=ORIGIN,
        )
        for i, (params, loss) in enumerate(flat)
    ]
    counts = {run["run"]: (len(run["trials"]), run["left_out"]) for run in runs}
    return Warm(trials, scaled, counts)


def told(warm: Warm, own: Sequence[Trial], n_initial: int) -> list[Trial]:
    """What the sampler is told: the earlier trials first, then the search's own, with losses.

    Values of another function are brought to the own one's middle and span, as both runs' spread
    points have them. Before those are known the earlier trials say nothing.
    """
    if not warm.scaled:
        return [*warm.trials, *own]
    spread = [t.value for t in own[:n_initial] if t.state.finished and t.value is not None]
    if not warm.trials or len(spread) < min(_ENOUGH, n_initial) or len(own) < n_initial:
        return list(own)
    middle, span = _middle_and_span(spread)
    return [*(_moved(trial, middle, span) for trial in warm.trials), *own]


def _check(
    study: Study, run: Earlier, data_hash: str, given: Mapping[str, Any], scaled: bool
) -> None:
    """Raise BadInput where the earlier run's values cannot be told to this one's sampler."""
    key = "warm_start.runs"
    if run.study.direction != study.direction:
        problem = f"{run.path} says {run.study.direction}, this study {study.direction}"
        raise BadInput(key, problem, "leave it out")
    different = _different(study, run, data_hash, given)
    if different and not scaled:
        problem = f"{run.path} differs in {different}: its values are on another scale"
        raise BadInput(key, problem, "leave it out, or let `scale = true` bring them to this one's")


def _different(study: Study, run: Earlier, data_hash: str, given: Mapping[str, Any]) -> str:
    """The first thing, beside the space, that makes the two runs' values different ones."""
    if run.study.train != study.train:
        return "train"
    if (run.study.data, run.data_hash) != (study.data, data_hash):
        return "data"
    old = {**given, **run.study.fixed}
    named = study.fixed.keys() | study.space.parameters.keys()
    for name in sorted({*old, *study.fixed} - study.space.parameters.keys()):
        if name in run.study.space.parameters:
            continue  # each of its trials is looked at
        if name not in named or name not in old or old[name] != study.fixed[name]:
            return f"fixed.{name}"
    return ""


def _mapped(study: Study, params: Mapping[str, Any]) -> dict[str, Any] | None:
    """An earlier trial's point in the new space; None where it is not one of its points.

    Parameters that the new study does not have are passed over.
    """
    scaled = study.warm_start.scale
    if not scaled and any(params.get(name) != value for name, value in study.fixed.items()):
        return None
    return _active(study.space, params)


def _active(space: Space, params: Mapping[str, Any]) -> dict[str, Any] | None:
    known = {name: params[name] for name in space.parameters if name in params}
    active = space.active(known)
    point = {name: known[name] for name in active if name in known}
    try:
        space.check(point)
    except BadInput:
        return None
    return point


def _says_something(trial: Trial) -> bool:
    """Complete trials, and failed ones whose point was at fault; a pruned one's value is early."""
    if trial.state is State.FAIL:
        return trial.reason not in SAYS_NOTHING
    value = trial.value
    return trial.state is State.COMPLETE and value is not None and math.isfinite(value)


def _record(study: Study, trial: Trial, params: Mapping[str, Any]) -> dict[str, Any]:
    complete = trial.state is State.COMPLETE and trial.value is not None
    loss = study.sign * trial.value if complete and trial.value is not None else None
    return {"number": trial.number, "params": dict(params), "loss": loss}


def _losses(trials: Sequence[Trial], study: Study) -> list[float]:
    complete = (t.value for t in trials if t.state is State.COMPLETE and t.value is not None)
    return [study.sign * value for value in complete if math.isfinite(value)]


def _scale(study: Study, trials: Sequence[Trial]) -> tuple[float, float]:
    """Middle and span of a run's losses: of its first points, which were spread over the space.

    The later ones are those that a sampler liked. Where the first are few: of all.
    """
    search = [t for t in trials if t.part == SEARCH]
    spread = _losses(search[: study.n_initial], study)
    return _middle_and_span(spread if len(spread) >= _ENOUGH else _losses(search, study))


def _middle_and_span(values: Sequence[float]) -> tuple[float, float]:
    """The median, and the median distance from it: few outliers move neither."""
    middle = statistics.median(values)
    return middle, statistics.median(abs(value - middle) for value in values)


def _standard(loss: float | None, scale: Sequence[float]) -> float | None:
    middle, span = scale
    return None if loss is None else (loss - middle) / (span or 1.0)


def _moved(trial: Trial, middle: float, span: float) -> Trial:
    if trial.value is None:
        return trial
    return replace(trial, value=middle + span * trial.value)
