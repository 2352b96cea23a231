"""Baselines and bootstrap intervals on made-up and on real windows."""

import numpy as np
import pytest

from models import data as datasets
from tuner import baselines
from tuner.tallies import interval, standard_error, tally

PM25 = {
    "source": "beijing_pm25",
    "target": "pm2.5",
    "window": 20,
    "horizon": 6,
    "borders": ["2013-01-01", "2014-01-01"],
}
HOURS = np.arange(24 * 7 * 50)


def weekly(random, size):
    """Errors that share a part through each week, (hour,)."""
    return np.repeat(random.normal(0, size, 50), 168) + random.normal(0, size, len(HOURS))


def forecasts(seed, better=0.3):
    """A hard series and two forecasts with errors in common; the first is `better` by MSE."""
    random = np.random.default_rng(seed)
    shared = weekly(random, 3.0)
    model = shared + random.normal(0, 1, len(HOURS))
    rival = shared + random.normal(0, np.sqrt(1 + better), len(HOURS))
    zeros = np.zeros(len(HOURS))
    return [tally(zeros, guess, HOURS, "regression") for guess in (model, rival)]


def test_scores_are_those_of_all_windows():
    """Sums over blocks give RMSE, MSE and MAE to the last digit."""
    random = np.random.default_rng(0)
    truth, guess = random.normal(size=(2, len(HOURS)))
    metrics = tally(truth, guess, HOURS, "regression").metrics
    assert metrics["mse"] == pytest.approx(((truth - guess) ** 2).mean(), rel=1e-12)
    assert metrics["rmse"] == pytest.approx(metrics["mse"] ** 0.5, rel=1e-12)
    assert metrics["mae"] == pytest.approx(abs(truth - guess).mean(), rel=1e-12)


def test_the_interval_holds_a_known_difference():
    """The true difference of MSE is −0.3; 95 % intervals hold it in most of 40 worlds."""
    held = 0
    for seed in range(40):
        found = interval(*swap(forecasts(seed)), seed=seed)
        held += found.low <= -0.3 <= found.high
    assert held >= 33  # of 40; binomial 0.95 gives fewer once in 1,000


def swap(pair):
    """The arguments of `interval` for two tallies."""
    model, rival = pair
    return model, "mse", rival


def test_pairing_makes_the_interval_narrower():
    """What is hard for both cancels: that is why the same blocks are drawn."""
    model, rival = forecasts(1)
    paired = interval(model, "mse", rival)
    alone = [interval(one, "mse") for one in (model, rival)]
    width = np.hypot(*(one.high - one.low for one in alone))
    assert paired.high - paired.low < width / 3


def test_blocks_make_the_interval_wider_than_single_hours_would():
    """Errors of a week go together: hours drawn one by one would promise too much."""
    random = np.random.default_rng(2)
    errors = weekly(random, 2.0)
    by_week = interval(tally(0 * errors, errors, HOURS, "regression"), "mse")
    weeks = by_week.high - by_week.low
    hours = np.std(errors**2) / len(errors) ** 0.5 * 2 * 1.96
    assert weeks > 3 * hours


def test_the_same_seed_gives_the_same_interval():
    """A report can be made again."""
    assert interval(*swap(forecasts(3))) == interval(*swap(forecasts(3)))


def test_other_windows_cannot_be_compared():
    """A missing hour is an error, not a difference."""
    model, _ = forecasts(0)
    rest = HOURS[:-1]
    rival = tally(0.0 * rest, 0.0 * rest, rest, "regression")
    with pytest.raises(ValueError, match="different windows"):
        interval(model, "mse", rival)


def test_a_short_test_part_still_has_blocks():
    """Two weeks are cut into twenty blocks."""
    hours = HOURS[:336]
    assert len(tally(0.0 * hours, 0.0 * hours, hours, "regression").blocks) == 20


def test_subjects_are_the_blocks_of_classes():
    """Windows of one person are no independent evidence."""
    subjects = np.repeat([8, 9, 10], 4)
    truth = np.zeros(12, int)
    guess = np.array([0] * 4 + [0, 0, 1, 1] + [1] * 4)
    found = tally(truth, guess, subjects, "classification")
    assert found.blocks == (8, 9, 10)
    assert found.metrics == {"accuracy": 0.5}


def test_standard_error_of_a_mean():
    """By hand: deviation 1 of three values."""
    assert standard_error(np.array([1.0, 2.0, 3.0])) == pytest.approx(3**-0.5)
    assert np.isnan(standard_error(np.array([1.0])))


@pytest.fixture(scope="module")
def pm25():
    """All baselines of PM2.5 six hours ahead."""
    return baselines.fit(datasets.load(PM25))["test"]


@pytest.mark.parametrize(
    ("name", "rmse", "within"),
    [("persistence", 61.67, 0.005), ("ridge", 54.53, 0.1), ("gradient boosting", 53.2, 0.3)],
)
def test_baselines_of_pm25_are_the_measured_ones(pm25, name, rmse, within):
    """Test RMSE in µg/m³, 2014, with gaps filled forward."""
    assert pm25[name].metrics["rmse"] == pytest.approx(rmse, abs=within)


def test_the_difference_of_boosting_and_ridge_is_the_measured_one(pm25):
    """−1.31 by weekly blocks, and not beyond doubt."""
    found = interval(pm25["gradient boosting"], "rmse", pm25["ridge"])
    assert found.value == pytest.approx(-1.31, abs=0.3)
    assert found.low < -2
    assert found.high < 2


def test_big_data_goes_through_in_pieces(monkeypatch):
    """Training thins it out, but every test window is still there, in order."""
    data = datasets.load({"source": "prototype", "target": "target", "window": 20})
    monkeypatch.setattr(baselines, "_VALUES", 30_000)
    found = baselines.fit(data)["test"]
    test = data.splits("test")[0].test
    miss = test.inputs[:, -1, 0] - test.targets
    std = data.splits("test")[0].std
    assert sum(found["persistence"].counts) == len(test.targets)
    assert found["persistence"].metrics["rmse"] == pytest.approx((miss**2).mean() ** 0.5 * std)


def test_many_groups_do_not_fill_the_memory():
    """The bootstrap of 30,000 recordings draws fewer times, not gigabytes."""
    groups = np.arange(30_000)
    found = interval(tally(groups % 2, 0 * groups, groups, "classification"), "accuracy")
    assert 0.49 < found.low < 0.5 < found.high < 0.51


def test_extra_trees_know_the_basic_motions():
    """Every good model reaches 1.00 there; the majority class has a quarter."""
    spec = {"source": "basic_motions", "window": 100, "step": 100, "segment": 32, "hop": 1}
    found = baselines.fit(datasets.load(spec))["test"]
    assert found["extra trees"].metrics["accuracy"] == 1.0
    assert found["majority class"].metrics["accuracy"] == 0.25


def test_baselines_are_fitted_once(tmp_path, monkeypatch):
    """Until the data or a method changes."""
    fits = []
    model, rival = forecasts(0)
    parts = {"test": {"ridge": model, "persistence": rival}}
    monkeypatch.setattr(baselines, "fit", lambda _: fits.append(1) or parts)
    path = tmp_path / "baselines.json"
    first = baselines.cached(path, {"window": 20}, None)
    again = baselines.cached(path, {"window": 20}, None)
    assert first == again == parts
    assert len(fits) == 1
    baselines.cached(path, {"window": 21}, None)
    monkeypatch.setattr(baselines, "VERSION", 99)
    baselines.cached(path, {"window": 21}, None)
    assert len(fits) == 3
