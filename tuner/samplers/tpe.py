"""The tree-structured Parzen estimator, by hyperopt."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tuner import filetrials
from tuner.filetrials import hp
from tuner.samplers import point_seed
from tuner.samplers.random import sobol
from tuner.space import Categorical, Float, Int, Parameter, Space
from tuner.surrogate import robust
from tuner.trial import Trial

Told = tuple[Mapping[str, Any], float | None]  # a point with its loss, None while in work
_TRIES = 10  # seeds for a point that is not there yet, where a grid makes repeats likely


def suggest(
    space: Space, trials: Sequence[Trial], n: int, seed: int, n_initial: int
) -> list[dict[str, Any]]:
    """The next `n` points: Sobol points first, then one `hyperopt.tpe.suggest` a point.

    Pending trials are in hyperopt's history as RUNNING.
    """
    first = len(trials)
    told = {trial.number: loss for trial, loss in robust(trials)}
    initial = n if not told else max(0, min(n, n_initial - first))
    points = sobol(space, seed, first, initial) if initial else []
    history: list[Told] = [
        (_places(space, trial.params), told.get(trial.number)) for trial in trials
    ]
    history += [(_places(space, point), None) for point in points]
    for number in range(first + initial, first + n):
        points.append(_next(space, history, point_seed(seed, number)))
        history.append((_places(space, points[-1]), None))
    return points


def _next(space: Space, history: Sequence[Told], seed: int) -> dict[str, Any]:
    expressions = {name: _expression(name, p) for name, p in space.parameters.items()}
    known = [places for places, _ in history]
    for try_ in range(_TRIES):
        places = filetrials.suggest(expressions, history, point_seed(seed, try_))
        params = {name: _value(space.parameters[name], place) for name, place in places.items()}
        params = {name: params[name] for name in space.active(params)}
        if _places(space, params) not in known:
            break
    return params


def _expression(name: str, parameter: Parameter) -> Any:
    """hyperopt's distribution of a parameter, or of the place on its grid.

    A grid reaches half a step beyond its ends: `quniform(low, high, step)` halves their chance.
    """
    match parameter:
        case Categorical(choices=choices):
            return hp.randint(name, len(choices))
        case Float(low=low, high=high, step=None, log=log):
            if log:
                return hp.loguniform(name, math.log(low), math.log(high))
            return hp.uniform(name, low, high)
        case Int(low=low, high=high, log=True):
            return hp.qloguniform(name, math.log(low - 0.5), math.log(high + 0.5), 1)
    return hp.quniform(name, -0.5, (parameter.size or 1) - 0.5, 1)


def _places(space: Space, params: Mapping[str, Any]) -> dict[str, Any]:
    """Params as hyperopt sees them: a choice's index, the place on a grid."""
    return {name: _place(space.parameters[name], value) for name, value in params.items()}


def _place(parameter: Parameter, value: Any) -> Any:
    match parameter:
        case Categorical():
            return parameter.index(value)
        case Float(step=None) | Int(log=True):
            return value
    return round((value - parameter.low) / (parameter.step or 1))


def _value(parameter: Parameter, place: Any) -> Any:
    match parameter:
        case Categorical(choices=choices):
            return choices[int(place)]
        case Float(low=low, high=high, step=None):
            return min(max(float(place), low), high)
        case Int(low=low, high=high, log=True):
            return min(max(round(place), low), high)
    return parameter.from_unit((place + 0.5) / (parameter.size or 1))
