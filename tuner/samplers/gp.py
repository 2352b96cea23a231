"""Bayesian optimisation with a Gaussian process, by scikit-optimize's ask and tell."""

from collections.abc import Sequence
from typing import Any

from tuner.losses import has_value
from tuner.samplers import own, point_seed
from tuner.samplers.random import initial
from tuner.space import Space
from tuner.surrogate import Surrogate
from tuner.trial import Trial

_ENOUGH = 3  # trials with a value, below which there is nothing to model


def suggest(
    space: Space, trials: Sequence[Trial], n: int, seed: int, n_initial: int
) -> list[dict[str, Any]]:
    """The next `n` points: Sobol points first, then those of the highest expected improvement.

    Pending trials are told as what the model expects of them; the kernel is fitted on finished
    trials alone, so `n` points at once are those that one after the other would give.
    """
    first = own(trials)
    modelled = sum(map(has_value, trials)) >= _ENOUGH
    spread = min(n, max(0, n_initial - first)) if modelled else n
    points = initial(space, trials, spread, seed)
    if spread == n:
        return points
    surrogate = Surrogate(space, trials)
    surrogate.believe([*(t.params for t in trials if not t.state.finished), *points])
    for number in range(first + spread, first + n):
        points.append(surrogate.ask(point_seed(seed, number)))
        surrogate.believe(points[-1:])
    return points
