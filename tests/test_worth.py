"""Whether it is worth going on: the forecast, the noise beside it, and what is said."""

import dataclasses
import itertools
import statistics
import time

import numpy as np
import pytest

from jobs.contract import CONFIRM, State
from tests import made
from tuner import worth
from tuner.settings import Confirm
from tuner.space import Categorical

pytestmark = pytest.mark.fast
CHOICES = {"kind": Categorical(("a", "b", "c")), "flag": Categorical((True, False))}


def falling(n, last=0.0, sign=1.0):
    """Trials of a search that found less and less, with a jump in the last one."""
    random = np.random.default_rng(n)
    values = [60 + 5 / (1 + i) + float(random.random()) for i in range(n)]
    values[-1] -= last
    return [made.trial(i, sign * v, params=point(i)) for i, v in enumerate(values)]


def point(i):
    """A point of the small space."""
    return {
        "learning_rate": 1e-4 * (1 + i % 90),
        "lstm_units": 16 * (1 + i % 8),
        "optimizer": "adam",
    }


def again(trials, values, of=0):
    """The trials, and a candidate's fresh seeds."""
    first = len(trials)
    return [
        *trials,
        *(
            made.trial(first + k, v, part=f"{CONFIRM}{k}", of=of, params=trials[of].params)
            for k, v in enumerate(values)
        ),
    ]


@pytest.mark.parametrize(("n", "more"), [(6, 2), (7, 5), (5, 4)])
def test_the_mean_over_all_subsets_is_exact(n, more):
    """Beside all of them, counted."""
    values = np.random.default_rng(n).normal(size=n)
    lowest = [min(kept) for kept in itertools.combinations(values, n - more)]
    expected = statistics.fmean(lowest) - values.min()
    assert worth._of_draws(values, more) == pytest.approx(expected)


def test_the_gain_is_the_mean_of_draws_and_of_half_the_last_gain():
    """By hand: with two more of four, and the last two gained 3."""
    losses = np.array([9.0, 5.0, 4.0, 2.0])
    subsets = [min(kept) for kept in itertools.combinations(losses, 2)]
    expected = (statistics.fmean(subsets) - 2.0 + 3.0 / 2) / 2
    assert worth.gain(losses, losses, 2) == pytest.approx(expected)


def test_the_first_points_are_no_draws_of_the_sampler():
    """A bad start does not promise that it goes on falling."""
    values = np.array([100.0] * 10 + [1.0, 1.1] * 10)
    guided = values[10:]
    assert worth.gain(values, guided, 10) < 0.05
    trials = [made.trial(i, float(v), params=point(i)) for i, v in enumerate(values)]
    study = made.study(n_initial=10)
    assert worth.worth(study, trials).gain == worth.gain(values, guided, 10)
    every = dataclasses.replace(study, sampler="random")
    assert worth.worth(every, trials).gain == worth.gain(values, values, 10)


def test_too_few_say_nothing():
    """Failed and pruned ones do not count."""
    few = falling(14)
    lost = [made.trial(14 + i, None, State.FAIL, params=point(i)) for i in range(20)]
    assert worth.lines(made.study(), [*few, *lost]) == []
    assert worth.document(made.study(), few) is None
    assert len(worth.lines(made.study(), falling(15))) == 1
    assert worth.lines(made.study(), []) == []


def test_more_is_forecast_with_its_own_least():
    """Twenty more need twenty-five."""
    assert worth.worth(made.study(), falling(24), 20) is None
    assert worth.worth(made.study(), falling(25), 20).more == 20


def test_to_maximise_is_the_same_turned_around():
    """The gain is never negative."""
    down = worth.worth(made.study(), falling(30, last=2.0))
    up = worth.worth(made.study(direction="maximize"), falling(30, last=2.0, sign=-1.0))
    assert up.gain == pytest.approx(down.gain)
    assert up.noise == pytest.approx(down.noise)
    assert up.gain > 0.5


def test_trials_without_a_value_improve_nothing():
    """A pruned trial's value never counts, however low; failures make a record rarer."""
    plain = falling(30)
    pruned = [made.trial(30 + i, 1.0, State.PRUNED, params=point(i)) for i in range(5)]
    failed = [made.trial(35 + i, None, State.FAIL, params=point(i)) for i in range(5)]
    mixed = worth.worth(made.study(), [*plain, *pruned, *failed])
    assert 0 < mixed.gain < 2
    assert mixed.gain < worth.worth(made.study(), plain).gain


def test_one_diverged_trial_is_no_hope():
    """A huge value at the start does not become a forecast."""
    trials = falling(40)
    trials[3] = dataclasses.replace(trials[3], value=1e12)
    assert worth.worth(made.study(), trials).gain < 2


def test_equal_values_promise_nothing():
    """And nothing is divided by zero."""
    trials = [made.trial(i, 0.5, params=point(i)) for i in range(20)]
    (said,) = worth.lines(made.study(), trials)
    assert said == "Ten more trials are not expected to improve rmse: hardly worth it."


def test_a_space_of_choices_alone():
    """The surrogate tells the noise there too."""
    random = np.random.default_rng(0)
    trials = [
        made.trial(i, float(i % 3) + 0.1 * float(random.normal()), params=params)
        for i in range(40)
        for params in [{"kind": "abc"[i % 3], "flag": i % 2 == 0}]
    ]
    found = worth.worth(made.study(CHOICES), trials)
    assert found.noise == pytest.approx(0.1, rel=0.5)


def test_fresh_seeds_tell_the_noise_where_there_are_any():
    """Pooled over the candidates, and not the surrogate's."""
    study = made.study(confirm=Confirm(2, 3))
    trials = again(again(falling(20), [1.0, 2.0, 3.0], of=18), [5.0, 5.0, 5.0], of=19)
    found = worth.worth(study, trials)
    assert found.seeds
    assert found.noise == pytest.approx((1.0 / 2) ** 0.5)
    assert "as the surrogate sees it" not in worth.lines(study, trials)[0]
    assert "as the surrogate sees it" in worth.lines(study, falling(20))[0]


@pytest.mark.parametrize(
    ("gain", "level", "share"),
    [
        (0.001, "hardly worth it", "next to nothing beside one"),
        (0.05, "hardly worth it", "a fifth of one"),
        (0.12, "may be worth it", "half of one"),
        (0.25, "worth it", "about one"),
        (0.75, "worth it", "3 times one"),
    ],
)
def test_three_levels_beside_the_noise(gain, level, share):
    """In words."""
    found = worth.Worth(10, gain, 0.25, seeds=True)
    said = worth._sentence(made.study(), found)
    assert said.endswith(f": {level}.")
    assert f", {share} training's seed noise (0.25)" in said


def test_without_noise_any_gain_may_be_worth_it():
    """A function that is the same with every seed."""
    found = worth.Worth(10, 0.1, 0.0, seeds=True)
    assert "changes nothing: may be worth it." in worth._sentence(made.study(), found)


def test_a_long_search_is_not_kept_waiting():
    """A second at 1,000 trials, of the processor, in what a report asks for: thrice."""
    trials = made.trials(made.WIDE, 1000)
    study = made.study(made.WIDE)
    worth.lines(study, trials)  # imports
    began = time.process_time()
    for _ in range(3):
        assert worth.lines(study, trials)
    assert time.process_time() - began < 1.0
