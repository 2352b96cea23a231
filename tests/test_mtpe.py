"""The multivariate TPE: its densities are densities, and following them pays."""

import itertools

import numpy as np
import pytest
from scipy.stats import chisquare

from jobs.contract import State
from tests.bench import search, tables
from tuner.losses import MOST
from tuner.parameters import values
from tuner.samplers import mtpe
from tuner.space import Categorical, Float, Int, Space, identity
from tuner.trial import Trial

pytestmark = pytest.mark.fast
SMALL = Space(
    {
        "grid": Float(0.1, 0.5, step=0.1),
        "whole": Int(3, 9, step=3),
        "log": Int(1, 4, log=True),
        "word": Categorical(("a", "b", "c")),
    }
)
POINTS = [
    {"grid": 0.1, "whole": 9, "log": 2, "word": "c"},
    {"grid": 0.4, "whole": 3, "log": 1, "word": "a"},
]


def everything(space):
    """All points of a small space."""
    products = itertools.product(*map(values, space.parameters.values()))
    return [dict(zip(space.parameters, point, strict=True)) for point in products]


@pytest.mark.parametrize("parameter", SMALL.parameters.values(), ids=SMALL.parameters)
def test_a_cell_is_all_that_becomes_its_value(parameter):
    """And the cells lie side by side from 0 to 1."""
    edges = [0.0]
    for value in values(parameter):
        left, right = mtpe._cell(parameter, value)
        assert left == pytest.approx(edges[-1])
        assert parameter.from_unit(left + 1e-9) == parameter.from_unit(right - 1e-9) == value
        edges.append(right)
    assert edges[-1] == pytest.approx(1.0)


@pytest.mark.parametrize("parameter", [Float(2.0, 5.0), Float(1e-4, 1e-1, log=True)])
def test_a_value_of_a_continuum_is_a_place(parameter):
    """The one that becomes it."""
    for u in (0.0, 0.3, 0.9):
        assert mtpe._cell(parameter, parameter.from_unit(u)) == pytest.approx((u, u))


def test_the_masses_of_all_points_are_one_and_the_heaviest_points_are_drawn_most():
    """What is drawn has the density that is said."""
    estimate = mtpe._Estimate(SMALL, POINTS, np.array([2.0, 1.0]))
    points = everything(SMALL)
    masses = np.exp(estimate.log_density(points))
    assert masses.sum() == pytest.approx(1.0)
    place = {identity(point): i for i, point in enumerate(points)}
    drawn = estimate.draw(20_000, np.random.default_rng(0))
    counts = np.bincount([place[identity(point)] for point in drawn], minlength=len(points))
    assert chisquare(counts, masses * len(drawn)).pvalue > 0.01


def test_a_density_over_a_continuum_integrates_to_one():
    """Kernels near an end are not cut off."""
    space = Space({"x": Float(0.0, 2.0)})
    estimate = mtpe._Estimate(space, [{"x": 0.05}, {"x": 1.2}], np.array([1.0, 3.0]))
    middle = [{"x": (i + 0.5) / 1000} for i in range(2000)]
    density = np.exp(estimate.log_density(middle))
    assert density.mean() == pytest.approx(1.0, abs=1e-3)
    assert density.argmax() == pytest.approx(1200, abs=30)


def test_a_category_stays_the_more_the_more_points_there_are():
    """With n points the chance is n of n + 1; the rest goes to all choices alike."""
    space = Space({"word": Categorical(("a", "b", "c"))})
    estimate = mtpe._Estimate(space, [{"word": "b"}] * 4, np.ones(4))
    masses = np.exp(estimate.log_density([{"word": "a"}, {"word": "b"}]))
    kernel = np.array([1 / 5 / 3, 4 / 5 + 1 / 5 / 3])
    assert masses == pytest.approx(4 / 5 * kernel + 1 / 5 / 3)


def test_a_weighty_point_attracts_more():
    """The best of the good ones."""
    estimate = mtpe._Estimate(SMALL, POINTS, np.array([5.0, 1.0]))
    best, worse = estimate.log_density(POINTS)
    assert best > worse + 1


def test_the_model_is_of_a_bounded_number_of_trials(monkeypatch):
    """A fifth of them good, and the cost of an ask does not grow with the search."""
    sizes, real = [], mtpe._Estimate
    monkeypatch.setattr(mtpe, "_Estimate", lambda s, p, w: sizes.append(len(p)) or real(s, p, w))
    random = np.random.default_rng(0)
    space = Space({"x": Float(0.0, 1.0)})
    trials = [
        Trial(i, State.COMPLETE, {"x": float(x)}, value=float(x))
        for i, x in enumerate(random.random(MOST + 50))
    ]
    mtpe.suggest(space, trials, 1, 0, 10)
    assert sizes == [MOST // 5, MOST - MOST // 5]


@pytest.mark.slow
def test_it_finds_more_than_random_search():
    """On a table with noise, eight at a time: less than half of its regret."""
    found = {
        name: np.mean(
            [
                search.run(name, tables.formula(), "parallel", seed, 40).regrets[-1]
                for seed in range(8)
            ]
        )
        for name in ("random", "mtpe")
    }
    assert found["mtpe"] < found["random"] / 2
