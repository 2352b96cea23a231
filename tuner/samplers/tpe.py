"""The tree-structured Parzen estimator, by hyperopt."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tuner import filetrials
from tuner.filetrials import hp
from tuner.losses import robust
from tuner.samplers import own, point_seed
from tuner.samplers.random import initial
from tuner.space import Categorical, Float, Int, Parameter, Space, identity
from tuner.trial import Trial

_TRIES = 10  # seeds for a point that is not there yet, where a grid makes repeats likely


def suggest(
    space: Space, trials: Sequence[Trial], n: int, seed: int, n_initial: int
) -> list[dict[str, Any]]:
    """The next `n` points: Sobol points first, then one `hyperopt.tpe.suggest` a point.

    Pending trials are in hyperopt's history as RUNNING, which keeps others away.
    """
    first = own(trials)
    losses = {trial.number: loss for trial, loss in robust(trials)}
    spread = min(n, max(0, n_initial - first)) if losses else n
    points = initial(space, trials, spread, seed)
    told = [(_places(space, trial.params), losses.get(trial.number)) for trial in trials]
    told += [(_places(space, point), None) for point in points]
    known = {identity(point) for point in (*(trial.params for trial in trials), *points)}
    for number in range(first + spread, first + n):
        point = _next(space, told, known, point_seed(seed, number))
        points.append(point)
        told.append((_places(space, point), None))
        known.add(identity(point))
    return points


def _next(space: Space, told: filetrials.Told, known: set[Any], seed: int) -> dict[str, Any]:
    expressions = {name: _expression(name, p) for name, p in space.parameters.items()}
    for try_ in range(_TRIES):
        places = filetrials.suggest(expressions, told, point_seed(seed, try_))
        params = {name: space.parameters[name].at(place) for name, place in places.items()}
        point = space.only_active(params)
        if identity(point) not in known:
            return point
    new = space.untried(known, seed)
    return new[seed % len(new)] if new else point


def _expression(name: str, parameter: Parameter) -> Any:
    """hyperopt's distribution of a parameter, or of its place on the grid.

    A grid reaches half a step beyond its ends: `quniform(low, high, step)` halves their chance.
    """
    match parameter:
        case Categorical(choices=choices):
            return hp.randint(name, len(choices))
        case Float(low=low, high=high, step=None, log=True):
            return hp.loguniform(name, math.log(low), math.log(high))
        case Float(low=low, high=high, step=None):
            return hp.uniform(name, low, high)
        case Int(low=low, high=high, log=True):
            return hp.qloguniform(name, math.log(low - 0.5), math.log(high + 0.5), 1)
    return hp.quniform(name, -0.5, (parameter.size or 1) - 0.5, 1)


def _places(space: Space, params: Mapping[str, Any]) -> dict[str, Any]:
    """Params as hyperopt sees them."""
    return {name: space.parameters[name].place(value) for name, value in params.items()}
