"""Samplers: what every one promises, and that looking where it is good pays."""

import math
import time
import warnings
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import chisquare

from jobs.contract import State
from tuner import filetrials, gaussian, samplers
from tuner.samplers import NAMES, point_seed, tpe
from tuner.samplers.random import initial
from tuner.space import BadInput, Categorical, Float, Int, Space, identity
from tuner.trial import Trial

pytestmark = pytest.mark.fast

SPACES = {
    "mixed": Space(
        {
            "rate": Float(1e-4, 1e-2, log=True),
            "dropout": Float(0.1, 0.5, step=0.1),
            "units": Int(16, 128, step=16),
            "hidden": Int(1, 500, log=True),
            "leaky": Categorical((True, False)),
        }
    ),
    "conditions": Space(
        {
            "momentum": Float(0.0, 0.99, when={"nesterov": True}),
            "nesterov": Categorical((True, False), when={"optimizer": "sgd"}),
            "optimizer": Categorical(("adam", "sgd")),
            "beta": Int(1, 100, log=True, when={"optimizer": "adam"}),
        }
    ),
    "categories": Space({"a": Categorical(("x", "y", "z")), "b": Categorical((True, False, 7))}),
    "one": Space({"x": Float(0, 1)}),
    "single choice": Space({"a": Categorical(("only",)), "n": Int(1, 500)}),
    "mixed choices": Space({"a": Categorical((1, "one", 0.5)), "n": Int(1, 500)}),
}
SEARCHING = ("random", "tpe", "mtpe", "gp")
ENGINES = ("tpe", "mtpe", "gp")
KINDS = [State.COMPLETE, State.PRUNED, State.COMPLETE, State.FAIL, State.RUNNING, State.PRUNED]


def history(space, n, seed=0):
    """Trials of every kind, some of the pruned ones without a value."""
    random = np.random.default_rng(seed)
    trials = []
    for number in range(n):
        state, value = KINDS[number % len(KINDS)], float(random.random())
        known = value if state is State.COMPLETE or number % 6 == 1 else None
        params = space.from_unit(random.random(len(space.parameters)))
        trials.append(Trial(number, state, params, value=known))
    return trials


def one_by_one(name, space, trials, n):
    """`n` points, each asked for with the earlier ones waiting."""
    points = []
    for _ in range(n):
        waiting = [Trial(900 + i, State.WAITING, p) for i, p in enumerate(points)]
        points += samplers.get(name)(space, [*trials, *waiting], 1, 3, 8)
    return points


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
@pytest.mark.parametrize("name", SEARCHING)
def test_many_points_are_those_that_one_after_the_other_would_be(name, space):
    """Asked at once or with the earlier ones waiting, again or in a new process; all are valid."""
    for n_told in (6, 14):  # in the middle of the initial points, and after them
        trials = history(space, n_told)
        points = samplers.get(name)(space, trials, 4, 3, 8)
        assert points == one_by_one(name, space, trials, 4)
        for point in points:
            space.check(point)
            assert {type(v) for v in point.values()} <= {int, float, str, bool}


@pytest.mark.slow
@pytest.mark.parametrize("space", ["mixed", "conditions"])
def test_the_library_as_it_is_keeps_the_same_promises(space):
    """One point or several, valid, none twice, and away from what is in work."""
    trials = history(SPACES[space], 14)
    points = samplers.get("skopt")(SPACES[space], trials, 2, 3, 8)
    assert points == one_by_one("skopt", SPACES[space], trials, 2)
    known = {identity(trial.params) for trial in trials}
    assert len(known | {identity(point) for point in points}) == len(known) + 2
    for point in points:
        SPACES[space].check(point)


@pytest.mark.parametrize("name", SEARCHING)
def test_another_seed_gives_other_points(name):
    """And the same seed the same ones, which is the promise of a replay."""
    space = SPACES["mixed"]
    ask, trials = samplers.get(name), history(space, 14)
    assert ask(space, trials, 3, 3, 8) == ask(space, trials, 3, 3, 8)
    assert ask(space, trials, 3, 3, 8) != ask(space, trials, 3, 4, 8)


@pytest.mark.parametrize("name", SEARCHING)
def test_trial_numbers_may_have_gaps(name):
    """The trials that test a winner take numbers of the run, too."""
    space = SPACES["mixed"]
    trials = history(space, 14)
    gaps = [replace(trial, number=3 * trial.number + 5) for trial in trials]
    assert samplers.get(name)(space, gaps, 2, 3, 8) == samplers.get(name)(space, trials, 2, 3, 8)


@pytest.mark.parametrize("name", ENGINES)
def test_what_is_in_work_is_part_of_what_is_known(name):
    """The same results with another point pending give another proposal."""
    space = SPACES["mixed"]
    ask, done = samplers.get(name), [t for t in history(space, 20) if t.state.finished]
    (first,) = ask(space, done, 1, 3, 8)
    (second,) = ask(space, [*done, Trial(99, State.RUNNING, first)], 1, 3, 8)
    assert first != second


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("state", [State.FAIL, State.PRUNED, State.RUNNING])
def test_without_any_value_the_points_stay_spread(name, state):
    """Nothing can be learned from failures alone; the search goes on all the same."""
    space = SPACES["mixed"]
    trials = [replace(trial, state=state, value=None) for trial in history(space, 12)]
    points = samplers.get(name)(space, trials, 3, 3, 8)
    assert points == initial(space, trials, 3, 3)


@pytest.mark.parametrize("name", ENGINES)
def test_how_far_a_trial_diverged_does_not_change_the_proposals(name):
    """A loss of a million is as bad as one of a hundred thousand."""
    space = SPACES["mixed"]
    trials = history(space, 18)
    diverged = [[replace(trials[0], value=value), *trials[1:]] for value in (1e5, 1e6)]
    small, large = (samplers.get(name)(space, told, 2, 3, 8) for told in diverged)
    assert small == large


@pytest.mark.parametrize("name", ENGINES)
def test_not_a_number_reaches_no_engine(name):
    """A NaN or an infinity counts as a failure."""
    space = SPACES["mixed"]
    trials = history(space, 18)
    failed = replace(trials[0], state=State.FAIL, value=None)
    told = [[replace(trials[0], value=value), *trials[1:]] for value in (math.nan, math.inf)]
    points = samplers.get(name)(space, [failed, *trials[1:]], 2, 3, 8)
    assert all(samplers.get(name)(space, trials_, 2, 3, 8) == points for trials_ in told)


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("value", [7.0, 1e300], ids=["equal", "huge"])
def test_values_that_are_hard_to_model_raise_no_warning(name, value):
    """Without any difference, or with one whose square is no number."""
    space = SPACES["mixed"]
    trials = [Trial(t.number, State.COMPLETE, t.params, value=value) for t in history(space, 9)]
    trials[4] = replace(trials[4], value=7.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        points = samplers.get(name)(space, trials, 2, 3, 8)
    for point in points:
        space.check(point)


@pytest.mark.parametrize("name", ENGINES)
def test_first_points_do_not_depend_on_what_is_known(name):
    """Point k is Sobol's, whatever became of the others and however many are asked for."""
    space, ask = SPACES["mixed"], samplers.get(name)
    whole = ask(space, [], 6, 1, 6)
    some = [Trial(i, State.COMPLETE, p, value=float(i)) for i, p in enumerate(whole[:4])]
    waiting = [replace(trial, state=State.WAITING, value=None) for trial in some]
    assert whole[4:] == ask(space, some, 2, 1, 6) == ask(space, waiting, 2, 1, 6)
    assert whole == initial(space, [], 6, 1)


def test_first_points_are_spread():
    """Each quarter of a range gets its share, which independent draws do not give."""
    values = [point["x"] for point in initial(SPACES["one"], [], 16, 0)]
    assert np.histogram(values, 4, (0, 1))[0].tolist() == [4, 4, 4, 4]


def test_the_kernel_is_fitted_once_an_ask(monkeypatch):
    """On what is finished: a pending trial is a lie, and a lie needs no fit."""
    fitted, fit = [], gaussian.fit
    monkeypatch.setattr(gaussian, "fit", lambda *a: fitted.append(len(a[1])) or fit(*a))
    trials = history(SPACES["mixed"], 12)
    samplers.get("gp")(SPACES["mixed"], trials, 3, 3, 8)
    assert fitted == [sum(trial.state.finished for trial in trials)] == [10]


def test_a_point_of_tpe_is_cheap():
    """A tenth of a second of processor time at a hundred trials."""
    trials, seconds = history(SPACES["mixed"], 100), []
    for seed in range(3):
        began = time.process_time()
        samplers.get("tpe")(SPACES["mixed"], trials, 1, seed, 8)
        seconds.append(time.process_time() - began)
    assert min(seconds) < 0.1


@pytest.mark.parametrize("name", ENGINES)
def test_a_small_space_is_tried_out_before_anything_is_repeated(name):
    """Then a point is repeated, and the search does not end with an error."""
    space = Space({"n": Int(1, 3), "b": Categorical((True, False), when={"n": 2})})
    trials = []
    for number in range(6):
        (point,) = samplers.get(name)(space, trials, 1, 3, 3)
        space.check(point)
        trials.append(Trial(number, State.COMPLETE, point, value=float(point["n"])))
    assert len({identity(trial.params) for trial in trials[:4]}) == 4


def told_nothing(space, n):
    """Places that TPE's prior draws, as params."""
    expressions = {name: tpe._expression(name, p) for name, p in space.parameters.items()}
    history_ = [(dict.fromkeys(expressions), 0.0)]  # all inactive: only the prior is left
    for seed in range(n):
        places = filetrials.suggest(expressions, history_, seed)
        yield {name: space.parameters[name].at(place) for name, place in places.items()}


STEPPED = Space({"units": Int(16, 128, step=16), "dropout": Float(0.1, 0.5, step=0.1)})
DRAWN = {
    "random": lambda n: samplers.get("random")(STEPPED, [], n, 1, 0),
    "the initial ones": lambda n: [p for s in range(n // 8) for p in initial(STEPPED, [], 8, s)],
    "TPE's prior": lambda n: told_nothing(STEPPED, n),
}


@pytest.mark.parametrize(("draw", "n"), [("random", 4000), ("the initial ones", 800)])
def test_every_value_of_a_step_has_the_same_chance(draw, n):
    """Rounding must not halve the ends (chi-square, a fixed seed)."""
    points = list(DRAWN[draw](n))
    for name, parameter in STEPPED.parameters.items():
        counts = Counter(point[name] for point in points)
        assert len(counts) == parameter.size
        assert chisquare(list(counts.values())).pvalue > 0.01


@pytest.mark.slow
def test_every_value_of_a_step_has_the_same_chance_in_the_prior_of_tpe():
    """`quniform(16, 128, 16)` would draw its ends half as often as the others."""
    points = list(DRAWN["TPE's prior"](400))
    for name, parameter in STEPPED.parameters.items():
        counts = Counter(point[name] for point in points)
        assert len(counts) == parameter.size
        ends = counts[parameter.low] + counts[parameter.high]
        assert chisquare([ends, 400 - ends], [w := 800 / parameter.size, 400 - w]).pvalue > 0.01
        assert chisquare(list(counts.values())).pvalue > 0.01


def branin(params):
    """Branin's function (Surjanovic and Bingham, sfu.ca/~ssurjano): its minimum is 0.397887."""
    x, y = params["x"], params["y"]
    curve = y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6
    return curve**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10


def regret(name, seed, n):
    """How far the best of `n` evaluations of Branin's function is from its minimum."""
    space = Space({"x": Float(-5, 10), "y": Float(0, 15)})
    trials = []
    for number in range(n):
        (point,) = samplers.get(name)(space, trials, 1, seed, 6)
        trials.append(Trial(number, State.COMPLETE, point, value=branin(point)))
    return min(trial.value for trial in trials) - 0.397887


@pytest.mark.slow
def test_a_model_beats_chance_on_a_known_function():
    """25 evaluations of Branin's function, the mean over four seeds."""
    chance, found = (
        np.mean([regret(name, seed, 25) for seed in range(4)]) for name in ("random", "gp")
    )
    assert found < chance / 3


@pytest.mark.slow
def test_tpe_beats_chance_on_a_known_function():
    """40 evaluations of Branin's function, the mean over ten seeds."""
    chance, found = (
        np.mean([regret(name, seed, 40) for seed in range(10)]) for name in ("random", "tpe")
    )
    assert found < chance / 1.5


def test_an_outer_program_is_not_interfered_with():
    """Who searches from outside gets no points of ours."""
    assert samplers.get("external")(SPACES["one"], [], 5, 0, 3) == []


def test_an_unknown_sampler_is_refused_with_those_that_there_are():
    """One line: the key, what is wrong, the names that will do."""
    with pytest.raises(BadInput) as caught:
        samplers.get("grid")
    assert str(caught.value) == f"sampler: 'grid' is unknown; known: {', '.join(NAMES)}"


def test_the_seeds_of_neighbouring_points_share_nothing():
    """32 bits, half of which differ between neighbours."""
    seeds = [point_seed(seed, number) for seed in range(20) for number in range(20)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**32 for seed in seeds)
    flipped = [(a ^ b).bit_count() for a, b in pairwise(seeds)]
    assert np.mean(flipped) == pytest.approx(16, abs=1)


@pytest.mark.parametrize("name", ["gp", "mtpe", "tpe", "skopt", "random"])
def test_the_first_points_are_those_of_the_engine(name):
    """They come without it, so that workers start sooner: until a result is known."""
    space, ask = SPACES["mixed"], samplers.get(name)
    waiting = [Trial(n, State.WAITING, params) for n, params in enumerate(ask(space, [], 3, 5, 4))]
    assert ask(space, waiting, 3, 5, 4) == samplers.load(name)(space, waiting, 3, 5, 4)
