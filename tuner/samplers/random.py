"""Random search, the baseline; and the Sobol points that the other samplers begin with."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import qmc

from tuner.samplers import own, point_seed
from tuner.space import Space, identity
from tuner.trial import Trial


def suggest(
    space: Space,
    trials: Sequence[Trial],
    n: int,
    seed: int,
    n_initial: int,  # noqa: ARG001 - every point is an initial one
) -> list[dict[str, Any]]:
    """The next `n` points, each drawn uniformly from the unit cube by its own seed."""
    numbers = range(own(trials), own(trials) + n)
    draws = (
        np.random.default_rng(point_seed(seed, k)).random(len(space.parameters)) for k in numbers
    )
    return [space.from_unit(draw.tolist()) for draw in draws]


def initial(space: Space, trials: Sequence[Trial], n: int, seed: int) -> list[dict[str, Any]]:
    """The next `n` points that are spread over the space: Sobol's, scrambled (scipy.stats.qmc).

    Point k depends on the space, the seed and k; only where it is there already (a small space,
    or an enqueued point) a new one is drawn in its stead.
    """
    known = {identity(trial.params) for trial in trials}
    points: list[dict[str, Any]] = []
    first = own(trials)
    for number, u in enumerate(_sobol(len(space.parameters), seed, first, n), first):
        point = space.from_unit(u)
        if identity(point) in known:
            rng = np.random.default_rng(point_seed(seed, number))
            new = space.untried(known, point_seed(seed, number))
            point = new[rng.integers(len(new))] if new else point
        known.add(identity(point))
        points.append(point)
    return points


def _sobol(dimensions: int, seed: int, first: int, n: int) -> list[list[float]]:
    """Points `first` to `first + n` of the sequence, (n, dimension) in [0, 1)."""
    engine = qmc.Sobol(dimensions, scramble=True, rng=np.random.default_rng(seed))
    draws = [engine.random(1)[0] for _ in range(first + n)]  # one at a time, whatever n is
    return [draw.tolist() for draw in draws[first:]]
