"""A multivariate tree-structured Parzen estimator: kernels over whole points, in milliseconds."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np
from scipy.special import logsumexp, ndtr, ndtri

from tuner.losses import Told, bounded, robust
from tuner.samplers import point_seed
from tuner.samplers.random import initial
from tuner.space import Categorical, Float, Int, Parameter, Space, identity
from tuner.trial import Trial

_GOOD = 0.2  # of the told trials, which the next point should resemble
_CANDIDATES = 128
_WIDTH = 0.2  # the deviation of a kernel, for one point
_ROUNDS = 10  # of candidates, before a point is taken from anywhere

Params = Mapping[str, Any]


def suggest(
    space: Space, trials: Sequence[Trial], n: int, seed: int, n_initial: int
) -> list[dict[str, Any]]:
    """The next `n` points: Sobol points first, then those most like the good and least the bad.

    The best fifth, weighted by rank, is good; the others and the pending trials are bad, which
    keeps others away (Bergstra et al. 2011; multivariate: Falkner et al. 2018, Watanabe 2023).
    """
    first, told = len(trials), bounded(robust(trials))
    spread = min(n, max(0, n_initial - first)) if told else n
    points = initial(space, trials, spread, seed)
    good, bad = _split(told)
    bad += [trial.params for trial in trials if not trial.state.finished]
    known = {identity(point) for point in (*(trial.params for trial in trials), *points)}
    like = _Estimate(space, good, np.log(len(good) + 1) - np.log(np.arange(1, len(good) + 1)))
    for number in range(first + spread, first + n):
        unlike = _Estimate(space, [*bad, *points], np.ones(len(bad) + len(points)))
        points.append(_next(like, unlike, known, point_seed(seed, number)))
        known.add(identity(points[-1]))
    return points


@final
class _Estimate:
    """A density over the space: a kernel a point, and a wide one that holds all of it.

    Every parameter is a part of [0, 1]: a value of a grid is a cell of it.
    """

    def __init__(self, space: Space, points: Sequence[Params], weights: np.ndarray) -> None:
        self.space, n = space, len(points)
        cells = _cells(space, points)  # (point, parameter, 2)
        self.centres = np.vstack([cells.mean(axis=2), np.full(len(space.parameters), 0.5)])
        narrow = _WIDTH * max(n, 1) ** (-1 / (len(space.parameters) + 4))  # Scott's rule
        self.widths = np.append(np.full(n, narrow), 1.0)  # (kernel,)
        mean = weights.mean() if n else 1.0
        shares = np.append(weights / mean, 1.0)
        self.shares = shares / shares.sum()
        self.same = np.append(np.full(n, n / (n + 1)), 0.0)  # of a category: the chance to stay

    def draw(self, n: int, rng: np.random.Generator) -> list[dict[str, Any]]:
        """Points of the density."""
        kernels = rng.choice(len(self.shares), size=n, p=self.shares)
        columns = [
            self._column(parameter, self.centres[kernels, i], kernels, rng)
            for i, parameter in enumerate(self.space.parameters.values())
        ]
        return [self.space.from_unit(u) for u in np.stack(columns, axis=1).tolist()]

    def log_density(self, points: Sequence[Params]) -> np.ndarray:
        """The logarithm of the density at each point, or of the mass of its cell, (point,)."""
        cells = _cells(self.space, points)
        found = np.tile(np.log(self.shares), (len(points), 1))  # (point, kernel)
        for i, parameter in enumerate(self.space.parameters.values()):
            found += self._log_kernels(parameter, cells[:, i, :, None], self.centres[:, i])
        return np.asarray(logsumexp(found, axis=1))

    def _column(
        self, parameter: Parameter, centres: np.ndarray, kernels: np.ndarray, rng: Any
    ) -> np.ndarray:
        u = rng.random(len(kernels))
        if isinstance(parameter, Categorical):
            return np.asarray(np.where(rng.random(len(u)) < self.same[kernels], centres, u))
        widths = self.widths[kernels]
        low, high = ndtr(-centres / widths), ndtr((1 - centres) / widths)
        return np.asarray(np.clip(centres + widths * ndtri(low + u * (high - low)), 0.0, 1.0))

    def _log_kernels(
        self, parameter: Parameter, cells: np.ndarray, centres: np.ndarray
    ) -> np.ndarray:
        """One parameter's part of every kernel, (point, kernel)."""
        left, right = cells[:, 0], cells[:, 1]  # (point, 1)
        if isinstance(parameter, Categorical):
            stays = np.abs((left + right) / 2 - centres) < 0.25 / parameter.size
            return np.asarray(np.log(self.same * stays + (1 - self.same) / parameter.size))
        whole = _mass(0.0, 1.0, centres, self.widths)
        if parameter.size is None:
            density = -(((left - centres) / self.widths) ** 2) / 2
            return np.asarray(density - np.log(math.sqrt(2 * math.pi) * self.widths * whole))
        mass = _mass(left, right, centres, self.widths)
        return np.asarray(np.log(np.maximum(mass, 1e-300) / whole))


def _mass(left: Any, right: Any, centres: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """What normal kernels hold between two ends."""
    return np.asarray(ndtr((right - centres) / widths) - ndtr((left - centres) / widths))


def _split(told: Told) -> tuple[list[Params], list[Params]]:
    """The good points, best first, and the bad ones."""
    ranked = sorted(told, key=lambda pair: (pair[1], pair[0].number))
    params = [trial.params for trial, _ in ranked]
    count = math.ceil(_GOOD * len(params))
    return params[:count], params[count:]


def _next(like: _Estimate, unlike: _Estimate, known: set[Any], seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    for _ in range(_ROUNDS):
        candidates = like.draw(_CANDIDATES, rng)
        new = [point for point in candidates if identity(point) not in known]
        if new:
            return new[int(np.argmax(like.log_density(new) - unlike.log_density(new)))]
    untried = like.space.untried(known, seed)
    return untried[seed % len(untried)] if untried else candidates[0]


def _cells(space: Space, points: Sequence[Params]) -> np.ndarray:
    """Where points lie in the unit cube, (point, parameter, 2); inactive ones in the middle."""
    found = [
        [_cell(space.parameters[name], value) for name, value in space.filled(point).items()]
        for point in points
    ]
    return np.array(found).reshape(len(points), len(space.parameters), 2)


def _cell(parameter: Parameter, value: Any) -> tuple[float, float]:
    """The part of [0, 1] that `from_unit` takes to a value."""
    match parameter:
        case Int(log=True):
            low, high = math.log(parameter.low - 0.5), math.log(parameter.high + 0.5)
            ends = math.log(value - 0.5), math.log(value + 0.5)
            return (ends[0] - low) / (high - low), (ends[1] - low) / (high - low)
        case Float(step=None, log=True):
            u = math.log(value / parameter.low) / math.log(parameter.high / parameter.low)
            return u, u
        case Float(step=None):
            u = (value - parameter.low) / (parameter.high - parameter.low)
            return u, u
    place, size = parameter.place(value), parameter.size or 1
    return place / size, (place + 1) / size
