"""Bayesian optimisation with a Gaussian process, by scikit-optimize's ask and tell."""

from collections.abc import Sequence
from typing import Any

from tuner.samplers import point_seed
from tuner.samplers.random import sobol
from tuner.space import Space
from tuner.surrogate import Surrogate
from tuner.trial import Trial

_ENOUGH = 3  # finished trials with a value, below which there is nothing to model


def suggest(
    space: Space, trials: Sequence[Trial], n: int, seed: int, n_initial: int
) -> list[dict[str, Any]]:
    """The next `n` points: Sobol points first, then those of the highest expected improvement.

    Pending trials are told as what the model expects of them; the kernel is fitted on finished
    trials alone, so `n` points at once are those that one after the other would give.
    """
    first = len(trials)
    finished = sum(trial.value is not None for trial in trials)
    initial = n if finished < _ENOUGH else max(0, min(n, n_initial - first))
    points = sobol(space, seed, first, initial) if initial else []
    if initial == n:
        return points
    surrogate = Surrogate(space, trials, seed)
    pending = [trial.params for trial in trials if not trial.state.finished]
    surrogate.believe([*pending, *points])
    for number in range(first + initial, first + n):
        points.append(surrogate.ask(point_seed(seed, number)))
        surrogate.believe(points[-1:])
    return points
