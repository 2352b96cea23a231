"""scikit-optimize as it is: one fit of its own a point: 5 s at 200 trials, over 40 at 500."""

from collections.abc import Sequence
from typing import Any

from jobs.contract import State
from tuner import surrogate
from tuner.losses import has_value
from tuner.samplers import own, point_seed
from tuner.samplers.random import initial
from tuner.space import Space, identity
from tuner.trial import Trial


def suggest(
    space: Space, trials: Sequence[Trial], n: int, seed: int, n_initial: int
) -> list[dict[str, Any]]:
    """The next `n` points: Sobol points first, then one ask of `skopt.Optimizer` a point."""
    first = own(trials)
    spread = min(n, max(0, n_initial - first)) if any(map(has_value, trials)) else n
    points = initial(space, trials, spread, seed)
    told = [*trials, *(_waiting(first + i, point) for i, point in enumerate(points))]
    for number in range(first + spread, first + n):
        point = surrogate.ask(space, told, point_seed(seed, number))
        points.append(_new(space, told, point, point_seed(seed, number)))
        told.append(_waiting(number, points[-1]))
    return points


def _waiting(number: int, params: dict[str, Any]) -> Trial:
    return Trial(number, State.WAITING, params)


def _new(space: Space, told: Sequence[Trial], point: dict[str, Any], seed: int) -> dict[str, Any]:
    """The point, or one that was not told yet where there is one."""
    known = {identity(trial.params) for trial in told}
    if identity(point) not in known:
        return point
    new = space.untried(known, seed)
    return new[seed % len(new)] if new else point
