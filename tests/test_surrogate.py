"""scikit-optimize's part: the model of a search, and the result that others open."""

import pickle
import pickletools
import subprocess
import sys

import numpy as np
import pytest

from jobs.contract import State
from tests import made
from tuner import surrogate
from tuner.losses import MOST, bounded, robust
from tuner.samplers import gp
from tuner.samplers.gp import Search
from tuner.space import Categorical, Float, Int, Space
from tuner.trial import Trial

pytestmark = pytest.mark.fast

SPACES = {
    "mixed": Space(made.SMALL),
    "one": Space({"x": Float(0, 1)}),
    "categories": Space({"a": Categorical(("x", "y", "z")), "b": Categorical((True, False))}),
    "single choice": Space({"a": Categorical(("only",)), "n": Int(1, 500, log=True)}),
}


def value(params):
    """A loss that is least in the middle of a plane."""
    return (params["x"] - 0.5) ** 2 + (params["y"] - 0.5) ** 2


def history(space, n, loss, seed=0):
    """Complete trials at random points."""
    draws = np.random.default_rng(seed).random((n, len(space.parameters)))
    points = map(space.from_unit, draws)
    return [Trial(i, State.COMPLETE, p, value=loss(p)) for i, p in enumerate(points)]


@pytest.fixture
def plane():
    """Two real parameters."""
    return Space({"x": Float(0, 1), "y": Float(0, 1)})


def expect(space, trials):
    """What a model of the trials expects on a grid."""
    grid = [[x, y] for x in np.linspace(0, 1, 5) for y in np.linspace(0, 1, 5)]
    return Search(space, trials).posterior.expect(np.array(grid))[0]


def test_how_far_a_trial_diverged_changes_nothing(plane):
    """A loss of a million says no more than one of a hundred thousand, nor than one just bad."""
    trials = history(plane, 12, value)
    models = [
        expect(plane, [*trials, Trial(12, State.COMPLETE, {"x": 0.0, "y": 0.0}, value=diverged)])
        for diverged in (1e5, 1e6)
    ]
    assert models[0] == pytest.approx(models[1])


def test_a_diverged_trial_leaves_the_model_elsewhere_as_it_was(plane):
    """The minimum is still seen, and differences around it are not flattened."""
    trials = history(plane, 25, value)
    with_it = [*trials, Trial(25, State.COMPLETE, {"x": 0.0, "y": 0.0}, value=1e6)]
    before, after = expect(plane, trials), expect(plane, with_it)
    assert np.argmin(before) == np.argmin(after) == 12  # the middle of the grid
    assert np.corrcoef(before[1:], after[1:])[0, 1] > 0.95


def test_failed_trials_count_as_a_high_quantile():
    """Worse than most and no worse than the worst; waiting ones are not told at all."""
    trials = [Trial(i, State.COMPLETE, {}, value=float(i)) for i in range(11)]
    trials += [Trial(11, State.FAIL, {}), Trial(12, State.RUNNING, {})]
    assert [loss for _, loss in robust(trials)] == [*map(float, range(11)), 9.0]


def test_what_has_no_finite_value_counts_as_failed():
    """A pruned trial without a value, and NaN, never reach an engine as they are."""
    trials = [Trial(i, State.COMPLETE, {}, value=float(i)) for i in range(10)]
    trials += [Trial(10, State.PRUNED, {}), Trial(11, State.COMPLETE, {}, value=float("nan"))]
    trials += [Trial(12, State.PRUNED, {}, value=10.0)]
    assert [loss for _, loss in robust(trials)][10:] == [9.0, 9.0, 10.0]


@pytest.mark.parametrize("trials", [[], [Trial(0, State.FAIL, {}), Trial(1, State.PRUNED, {})]])
def test_nothing_is_told_before_there_is_a_value(trials):
    """Failures alone have no scale."""
    assert robust(trials) == []


@pytest.mark.parametrize(("reason", "told"), [("CANCELLED", 3), ("NODE_FAIL", 3), ("boom", 4)])
def test_a_trial_that_is_excused_is_not_told(reason, told):
    """Its user cancelled it, or no node survived it: that says nothing about the point."""
    trials = [Trial(i, State.COMPLETE, {}, value=float(i)) for i in range(3)]
    trials.append(Trial(3, State.FAIL, {}, reason=reason))
    assert len(robust(trials)) == told


def test_the_model_stays_bounded_and_keeps_the_best():
    """The cost of an ask stops growing; the best are never forgotten, nor the newest."""
    values = np.random.default_rng(0).permutation(2 * MOST).tolist()
    told = robust([Trial(i, State.COMPLETE, {}, value=float(v)) for i, v in enumerate(values)])
    kept = [trial for trial, _ in bounded(told)]
    assert len(kept) == MOST
    assert {trial.value for trial in kept} >= set(range(MOST // 3))
    assert [trial.number for trial in kept] == sorted(trial.number for trial in kept)
    assert told[-1][0] in kept


def test_a_believed_point_attracts_no_second_one(plane):
    """The next proposal keeps a distance from the one in work."""
    model = Search(plane, history(plane, 12, value))
    first = model.ask(1)
    model.believe(first)
    second = model.ask(1)
    assert np.hypot(first["x"] - second["x"], first["y"] - second["y"]) > 0.01


def test_what_is_told_or_believed_is_not_asked_for_again(plane, monkeypatch):
    """However promising it looks: the next in the ranking is taken."""
    trials = history(plane, 12, value)
    model = Search(plane, trials)
    told, pending, new = trials[3].params, {"x": 0.25, "y": 0.75}, {"x": 0.5, "y": 0.25}
    model.believe(pending)
    ranked = np.array([model.encoding.places(point) for point in (told, pending, new)])
    monkeypatch.setattr(gp, "most_promising", lambda *_: ranked)
    assert model.ask(1) == new


def test_a_lucky_value_is_not_what_has_to_be_improved_on(plane):
    """Among many values of one place the mean counts."""
    rng = np.random.default_rng(0)
    trials = [
        Trial(i, State.COMPLETE, {"x": rng.uniform(0.45, 0.55), "y": 0.5}, value=rng.normal())
        for i in range(40)
    ]
    luckiest = min(loss for _, loss in robust(trials))
    spread = np.std([loss for _, loss in robust(trials)])
    assert Search(plane, trials).best > 0.5 * luckiest / spread


class Recorder:
    """Stands for scikit-optimize's Optimizer, and keeps what it was told."""

    told: list

    def __init__(self, dimensions, **options):
        """Nothing is needed of these."""

    def tell(self, points, losses):
        """Keep them."""
        Recorder.told = list(zip(map(tuple, points), losses, strict=True))

    def ask(self):
        """Some point."""
        return [0.5, 0.5]


def test_the_library_is_told_what_is_pending_as_the_lowest_loss_so_far(plane, monkeypatch):
    """Its `cl_min`: it knows no pending points of its own."""
    monkeypatch.setattr(surrogate, "Optimizer", Recorder)
    trials = history(plane, 4, value)
    waiting = Trial(4, State.WAITING, {"x": 0.125, "y": 0.875})
    surrogate.ask(plane, [*trials, waiting], 0)
    lowest = min(trial.value for trial in trials)
    assert len(Recorder.told) == 5
    assert Recorder.told[-1] == ((0.125, 0.875), lowest)


@pytest.mark.parametrize("n", [1, 2, 12])
@pytest.mark.parametrize("name", SPACES)
def test_a_result_is_as_the_library_makes_it(name, n):
    """In real units, with a model, however few trials there are; failed ones left out."""
    space = SPACES[name]
    trials = history(space, n, lambda params: -float(len(str(params))))
    failed = Trial(n, State.FAIL, trials[0].params)
    result = surrogate.to_result(space, [*trials, failed], 0)
    assert isinstance(result.func_vals, np.ndarray)
    assert result.func_vals.tolist() == [trial.value for trial in trials]
    assert result.fun == min(trial.value for trial in trials)
    assert result.x == result.x_iters[int(np.argmin(result.func_vals))]
    assert [dimension.name for dimension in result.space] == list(space.parameters)
    assert all(point in result.space for point in result.x_iters)
    for trial, point in zip(trials, result.x_iters, strict=True):
        assert trial.params.items() <= dict(zip(space.parameters, point, strict=True)).items()
    assert np.isfinite(result.models[-1].predict(result.space.transform(result.x_iters))).all()


def test_a_result_without_a_finished_trial_is_an_error(plane):
    """There is nothing to show."""
    with pytest.raises(ValueError, match="no trial is finished"):
        surrogate.to_result(plane, [Trial(0, State.FAIL, {"x": 0.5, "y": 0.5})], 0)


def test_the_pickle_needs_nothing_of_ours():
    """It opens wherever scikit-optimize is installed."""
    space = SPACES["mixed"]
    result = surrogate.to_result(space, history(space, 8, lambda p: p["learning_rate"]), 0)
    named = [a for op, a, _ in pickletools.genops(pickle.dumps(result, 2)) if op.name == "GLOBAL"]
    homes = {name.split(".")[0].split()[0] for name in named}
    assert homes <= {"skopt", "sklearn", "numpy", "scipy", "collections", "__builtin__", "_codecs"}
    assert "skopt" in homes


PLAIN = """
import pickle, sys
import matplotlib
matplotlib.use("Agg")
from skopt.plots import plot_convergence, plot_evaluations, plot_objective
with open(sys.argv[1], "rb") as file:
    result = pickle.load(file)
plot_convergence(result)
plot_objective(result, n_points=40)
plot_evaluations(result, bins=20)
print(*(name for name in sys.modules if name.split(".")[0] in ("tuner", "jobs", "models")))
"""


@pytest.mark.slow
def test_the_plots_of_the_library_work_in_a_plain_script(tmp_path):
    """On categories, true and false, conditions and a single choice, away from this repository."""
    space = Space(
        {
            "rate": Float(1e-4, 1e-2, log=True),
            "optimizer": Categorical(("adam", "sgd")),
            "nesterov": Categorical((True, False), when={"optimizer": "sgd"}),
            "kernel": Categorical((3, 5, 7)),
            "only": Categorical(("one",)),
        }
    )
    trials = history(space, 10, lambda p: p["kernel"] + 100 * p["rate"])
    (tmp_path / "result.pkl").write_bytes(pickle.dumps(surrogate.to_result(space, trials, 0)))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PLAIN, "result.pkl"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


def test_what_matters_has_the_largest_share(plane):
    """And what does not has about none."""
    result = surrogate.to_result(plane, history(plane, 30, lambda p: 3 * p["x"]), 0)
    shares = surrogate.importance(result)
    assert list(shares) == ["x", "y"]
    assert shares["x"][0] > 0.8
    assert shares["y"][0] < 0.1
