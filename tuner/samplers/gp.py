"""Bayesian optimisation with a Gaussian process: one fit of the kernel, however many points."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, final

import numpy as np
from threadpoolctl import threadpool_limits

from tuner import gaussian
from tuner.acquisition import most_promising
from tuner.encoding import Array, Encoding
from tuner.gaussian import Posterior
from tuner.losses import bounded, has_value, robust
from tuner.samplers import own, point_seed
from tuner.samplers.random import initial
from tuner.space import Space, identity
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
    if spread < n:
        with threadpool_limits(1):  # with more, sums round by how many, and by the host
            points += _modelled(space, trials, points, range(first + spread, first + n), seed)
    return points


def _modelled(
    space: Space,
    trials: Sequence[Trial],
    before: Sequence[dict[str, Any]],
    numbers: Iterable[int],
    seed: int,
) -> list[dict[str, Any]]:
    """The points of some numbers, after those that came `before` at the same asking."""
    search, points = Search(space, trials), []
    for pending in (*(t.params for t in trials if not t.state.finished), *before):
        search.believe(pending)
    for number in numbers:
        points.append(search.ask(point_seed(seed, number)))
        search.believe(points[-1])
    return points


@final
class Search:
    """A Gaussian process on the finished trials, one of which has a value; fitted once, here."""

    def __init__(self, space: Space, trials: Sequence[Trial]) -> None:
        self.space = space
        self.encoding = Encoding(space)
        told = bounded(robust(trials))
        self.known = {identity(trial.params) for trial in trials if trial.state.finished}
        places = np.array([self.encoding.places(trial.params) for trial, _ in told])
        losses = _standard(np.array([loss for _, loss in told]))
        points = self.encoding.columns(places)
        kernel = gaussian.fit(points, losses, self.encoding.of)
        self.posterior = Posterior.after(kernel, points, losses)
        # by the mean and not the luckiest observation: a score is noisy
        expected, _ = self.posterior.expect(points)
        self.best = float(expected.min())
        self.places = places[np.argsort(expected, kind="stable")]

    def believe(self, params: Mapping[str, Any]) -> None:
        """Take a pending point for a finished one, at the loss that the model expects of it."""
        point = self.encoding.columns(self.encoding.places(params)[None])
        self.best = min(self.best, float(self.posterior.expect(point)[0][0]))
        self.posterior = self.posterior.believe(point[0])
        self.known.add(identity(params))

    def ask(self, seed: int) -> dict[str, Any]:
        """The point of the highest expected improvement that is neither told nor believed."""
        rng = np.random.default_rng(seed)
        ranked = most_promising(self.posterior, self.encoding, self.best, self.places, rng)
        for places in ranked:
            params = self.encoding.params(places)
            if identity(params) not in self.known:
                return params
        new = self.space.untried(self.known, seed)
        return new[seed % len(new)] if new else params


def _standard(losses: Array) -> Array:
    spread = float(losses.std())
    standard: Array = (losses - losses.mean()) / (spread or 1.0)
    return standard
