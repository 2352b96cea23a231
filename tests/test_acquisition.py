"""Expected improvement: right where it is tiny, and its best point is found."""

import itertools

import mpmath
import numpy as np
import pytest

from tests import made
from tuner import gaussian
from tuner.acquisition import log_improvement, most_promising
from tuner.encoding import Encoding
from tuner.gaussian import Posterior
from tuner.space import Categorical, Float, Int, Space

pytestmark = pytest.mark.fast

GRID = Space({"n": Int(0, 30), "m": Int(0, 30), "c": Categorical(("a", "b", "c"))})
MIXED = Space({"x": Float(0, 1), "y": Float(1e-4, 1, log=True), "c": Categorical(("a", "b"))})


def exact(z, deviation=1.0):
    """The logarithm of the expected improvement, to fifty digits."""
    with mpmath.workdps(50):
        return float(mpmath.log(deviation * (mpmath.npdf(z) + z * mpmath.ncdf(z))))


@pytest.mark.parametrize("z", [-300.0, -30.0, -5.0, -1.01, -0.99, 0.0, 2.0, 40.0])
def test_the_improvement_is_exact_far_from_the_best_too(z):
    """Where the improvement itself is no double any more."""
    found = log_improvement(np.array([-2.0 * z]), np.array([2.0]), 0.0)
    assert found[0] == pytest.approx(exact(z, 2.0), rel=1e-9)


def test_an_improvement_that_is_out_of_reach_is_still_ordered():
    """No two distances look the same to a climber."""
    found = log_improvement(np.array([1e5, 1e7, 1e9]), np.ones(3), 0.0)
    assert np.isfinite(found).all()
    assert (np.diff(found) < 0).all()


def searched(space, n=25):
    """A posterior of a bowl on a space, its encoding, the known places and the best mean."""
    encoding, rng = Encoding(space), np.random.default_rng(3)
    places = encoding.draw(n, rng)
    points = encoding.columns(places)
    raw = ((points - 0.37) ** 2).sum(1)
    losses = (raw - raw.mean()) / raw.std()
    posterior = Posterior.after(gaussian.fit(points, losses, encoding.of), points, losses)
    mean, _ = posterior.expect(points)
    return posterior, encoding, places[np.argsort(mean)], float(mean.min())


def score(posterior, encoding, best, places):
    """The log improvement at some places."""
    return log_improvement(*posterior.expect(encoding.columns(places)), best)


def test_the_best_point_of_a_grid_is_found():
    """As good as all 2,883 points looked at one by one."""
    posterior, encoding, told, best = searched(GRID)
    every = np.array(list(itertools.product(*map(encoding.values, range(3)))))
    (first, *_) = most_promising(posterior, encoding, best, told, np.random.default_rng(0))
    top = score(posterior, encoding, best, every).max()
    assert score(posterior, encoding, best, first[None])[0] == pytest.approx(top)


def test_the_best_point_of_a_continuum_is_climbed_to():
    """As good as the best of a hundred thousand random ones."""
    posterior, encoding, told, best = searched(MIXED)
    many = encoding.draw(100_000, np.random.default_rng(9))
    (first, *_) = most_promising(posterior, encoding, best, told, np.random.default_rng(0))
    top = score(posterior, encoding, best, many).max()
    assert score(posterior, encoding, best, first[None])[0] >= top


def test_at_the_best_point_of_a_continuum_the_slope_is_zero():
    """No small step along a continuous parameter is better: it was climbed, not only drawn."""
    posterior, encoding, told, best = searched(MIXED, 100)
    (first, *_) = most_promising(posterior, encoding, best, told, np.random.default_rng(0))
    steps = np.array([[dx, dy, 0.0] for dx in (-1e-3, 0, 1e-3) for dy in (-1e-3, 0, 1e-3)])
    around = score(posterior, encoding, best, encoding.rounded(first + steps))
    assert around.max() <= score(posterior, encoding, best, first[None])[0] + 1e-6


def test_the_ranking_is_by_improvement_and_every_place_is_a_point():
    """The highest first; all of them can be trained."""
    posterior, encoding, told, best = searched(Space(made.SMALL))
    ranked = most_promising(posterior, encoding, best, told, np.random.default_rng(0))
    scores = score(posterior, encoding, best, ranked)
    assert (np.diff(scores) <= 1e-9).all()
    for places in ranked[:50]:
        encoding.space.check(encoding.params(places))
