"""Random search, the baseline; and the Sobol points that the other samplers begin with."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import qmc

from tuner.samplers import point_seed
from tuner.space import Space
from tuner.trial import Trial


def suggest(
    space: Space,
    trials: Sequence[Trial],
    n: int,
    seed: int,
    n_initial: int,  # noqa: ARG001 - every point is an initial one
) -> list[dict[str, Any]]:
    """The next `n` points, each drawn uniformly from the unit cube by its own seed."""
    numbers = range(len(trials), len(trials) + n)
    draws = (
        np.random.default_rng(point_seed(seed, k)).random(len(space.parameters)) for k in numbers
    )
    return [space.from_unit(draw.tolist()) for draw in draws]


def sobol(space: Space, seed: int, first: int, n: int) -> list[dict[str, Any]]:
    """Points `first` to `first + n` of a scrambled Sobol sequence: spread, and never on a grid.

    Owen's scrambling (scipy.stats.qmc); point k depends on the seed and k alone.
    """
    engine = qmc.Sobol(len(space.parameters), scramble=True, rng=np.random.default_rng(seed))
    if first:  # scipy cannot go forward by nothing
        engine.fast_forward(first)
    return [space.from_unit(u.tolist()) for u in engine.random(n)]
