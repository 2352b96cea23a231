"""Training: it learns, chooses by validation, and a kill in the middle changes nothing."""

import inspect
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models import fold as folds
from models.data import load
from models.defaults import OPTIONS, checked
from models.split import Part, Split
from models.train import Stop, Training, device, evaluate, from_bytes, to_bytes, train

STUDIES = sorted((Path(__file__).parent.parent / "jobs").glob("*.toml"))
FAST = {"epochs": 4, "cnn_filters": 8, "lstm_units": 8, "batch_size": 32, "learning_rate": 5e-3}
FUSION = {
    "model": "fusion",
    "metric": "accuracy",
    "epochs": 3,
    "conv1_channels": 4,
    "conv2_channels": 8,
    "lstm_hidden": 8,
    "fc1_units": 16,
    "batch_size": 8,
    "schedule": "cosine",
}


class Memory:
    """A checkpoint in memory that keeps every epoch's, and ends the trial after one of them."""

    def __init__(self, state=None, stop_after=None):
        self.states, self.content, self.stop_after = {}, state, stop_after
        self.last = None

    def load(self):
        """What the file held."""
        return from_bytes(self.content) if self.content else None

    def save(self, step, state, last=False):
        """Keep it as bytes, as a file would."""
        self.states[step] = self.content = to_bytes(state())
        self.last = step if last else self.last
        if step == self.stop_after:
            raise Stop


class Made:
    """A data set of one's own making."""

    target_column = 0

    def __init__(self, *splits, task="regression", n_classes=0):
        self._splits, self.task, self.n_classes = splits, task, n_classes

    def splits(self, part):
        """The same for every part."""
        del part
        return self._splits


def waves(n=400, window=8):
    """Windows of noise whose target is the sum of their two newest steps; the last 100 to test."""
    values = np.random.default_rng(0).normal(0, 1, (n + window, 2)).astype(np.float32)
    targets = (values[window - 1 : -1, 0] + values[window - 2 : -2, 1]) / 2
    rows = np.arange(n)
    cuts = [Part(values, window, r, targets[r], r) for r in np.split(rows, [n - 200, n - 100])]
    return Made(Split(*cuts, mean=10.0, std=3.0))


def pictures(n=33, folds=2):
    """Noise of three classes, each with a channel that is louder."""
    random = np.random.default_rng(0)
    targets = np.arange(n) % 3
    values = random.normal(0, 1, (n, 3, 16, 16)).astype(np.float32)
    values[np.arange(n), targets] += 1
    made = []
    for fold in range(folds):
        held = np.arange(n) % folds == fold
        parts = [Part(values, 0, np.flatnonzero(r), targets[r], targets[r]) for r in (~held, held)]
        made.append(Split(parts[0], parts[1], parts[1]))
    return Made(*made, task="classification", n_classes=3)


def run(params, data, checkpoint=None, seed=0):
    """A trial's value and its curve."""
    curve = []
    value = train(
        params,
        data,
        lambda step, **m: curve.append({"step": step, **m}),
        checkpoint or Memory(),
        seed,
    )
    return value, curve


def same(one, other):
    """Whether two states are equal bit for bit, however deep."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


@pytest.fixture(autouse=True)
def on_cpu(monkeypatch):
    """Bit for bit is promised there."""
    monkeypatch.setenv("TUNER_DEVICE", "cpu")


def test_it_learns_a_known_function():
    """From near the variance of the target, 4.5, to a tenth of it."""
    value, curve = run({**FAST, "epochs": 20, "dropout": 0.0, "pool": 1}, waves())
    assert curve[0]["mse"] > 3
    assert value < 0.45


def test_it_beats_persistence_on_real_data():
    """PM2.5 six hours ahead, validation error in two epochs on the last training year."""
    study = tomllib.loads((STUDIES[0].parent / "pm25.toml").read_text())
    data = load({**study["data"], "borders": ["2011-06-01", "2012-01-01"]})
    (split,) = data.splits("search")
    part = split.validation
    errors = (part.inputs[:, -1, data.target_column] - part.targets) * split.std
    value, _ = run({**study["fixed"], **study["enqueue"][0], "epochs": 2, "lstm_units": 32}, data)
    assert value < 0.95 * np.sqrt(np.mean(errors**2))


@pytest.mark.parametrize("killed", [0, 1, 2])
@pytest.mark.parametrize(
    ("params", "data"),
    [
        (FAST, waves()),
        ({**FAST, "optimizer": "sgd", "schedule": "cosine", "lstm_layers": 2, "bins": 4}, waves()),
        ({**FUSION, "epochs": 4, "lstm_layers": 2}, pictures()),
        ({**FAST, "epochs": 30, "learning_rate": 0.05, "patience": 3}, waves()),
    ],
)
def test_resumed_equals_whole_bit_for_bit(killed, params, data):
    """Value, curve and every number in the final state, after a kill behind any epoch."""
    whole = Memory()
    value, curve = run(params, data, whole)
    first = Memory(stop_after=killed)
    with pytest.raises(Stop):
        run(params, data, first)
    torch.manual_seed(123)  # another process starts anywhere
    resumed = Memory(first.content)
    again, rest = run(params, data, resumed)
    assert (again, rest) == (value, curve[killed + 1 :])
    assert same(from_bytes(whole.content), from_bytes(resumed.content))
    assert resumed.last == whole.last == len(curve) - 1


def test_patience_ends_a_training_that_gets_no_better():
    """After so many epochs without a better one; the best before counts, and 0 waits for ever."""
    params = {**FAST, "epochs": 30, "learning_rate": 0.05}
    value, curve = run({**params, "patience": 3}, waves())
    whole, all_ = run(params, waves())
    values = [entry["mse"] for entry in curve]
    best = values.index(min(values))
    assert value == values[best]
    assert len(values) == best + 4 < len(all_) == 30
    assert [entry["mse"] for entry in all_][: len(values)] == values
    assert whole <= value


def test_a_resumed_training_has_not_lost_its_patience():
    """It knows how many epochs were no better, wherever it was killed."""
    params = {**FAST, "epochs": 30, "learning_rate": 0.05, "patience": 3}
    value, curve = run(params, waves())
    for killed in range(len(curve) - 4, len(curve) - 1):
        first = Memory(stop_after=killed)
        with pytest.raises(Stop):
            run(params, waves(), first)
        assert run(params, waves(), Memory(first.content)) == (value, curve[killed + 1 :])


def test_a_training_that_patience_ended_is_not_gone_on_with():
    """Its finished checkpoint serves the test part as it is."""
    params = {**FAST, "epochs": 30, "learning_rate": 0.05, "patience": 3}
    memory = Memory()
    run(params, waves(), memory)
    _, more = run(params, waves(), Memory(memory.content))
    assert more == []


def test_without_validation_nothing_ends_early():
    """There is no better or worse epoch then."""
    (split,) = waves().splits("test")
    curve, params = [], {**FAST, "patience": 1}
    data = Made(replace(split, validation=None))
    evaluate(params, data, lambda step, **m: curve.append(step), Memory(), 0, "test")
    assert curve == [0, 1, 2, 3]


def test_a_seed_decides_everything():
    """Equal seeds give equal trials, others do not."""
    assert run(FAST, waves(), seed=1) == run(FAST, waves(), seed=1)
    assert run(FAST, waves(), seed=1) != run(FAST, waves(), seed=2)


def test_the_batch_size_does_not_change_how_a_model_is_scored(monkeypatch):
    """Validation loss is the mean over samples: batches that do not divide them change nothing."""
    torch.manual_seed(0)
    data = waves()
    (split,) = data.splits("search")
    made = [
        folds.Fold(checked({**FAST, "batch_size": size}, "regression"), data, split, device())
        for size in (7, 100)
    ]
    made[1].model.load_state_dict(made[0].weights())
    scores = [fold.score(split.validation) for fold in made]
    assert scores[0] == scores[1]
    monkeypatch.setattr(folds, "EVALUATION_BATCH", 7)
    assert made[0].score(split.validation) == pytest.approx(scores[0], rel=1e-5)


def test_metrics_are_in_real_units():
    """A target's deviation of 3 shows in each."""
    _, curve = run(FAST, waves())
    assert curve[0]["rmse"] ** 2 == pytest.approx(curve[0]["mse"])
    assert 1 < curve[0]["mae"] < curve[0]["rmse"] < 4
    assert 1 < curve[0]["train"] < 20


def test_the_best_epoch_is_the_value_and_is_what_is_tested():
    """Not the last: with too high a rate the epochs jump about."""
    params, memory = {**FAST, "learning_rate": 0.05, "epochs": 8, "metric": "mae"}, Memory()
    data = waves()
    value, curve = run(params, data, memory)
    values = [entry["mae"] for entry in curve]
    assert value == min(values) < values[-1]
    (split,) = data.splits("test")
    data = Made(replace(split, test=split.validation))

    def report(step, **metrics):
        pytest.fail("trained again")

    result = evaluate(params, data, report, memory, 0, "test")
    assert result.value == pytest.approx(value)
    assert np.mean(np.abs(result.truth - result.prediction)) == pytest.approx(value)
    np.testing.assert_array_equal(result.index, split.validation.index)


def test_without_validation_the_last_epoch_counts():
    """There is nothing to choose by."""
    (split,) = waves().splits("test")
    curve, memory = [], Memory()
    data = Made(replace(split, validation=None))
    evaluate(FAST, data, lambda step, **m: curve.append({"step": step, **m}), memory, 0, "test")
    assert [set(entry) for entry in curve] == [{"step", "train"}] * 4
    state = from_bytes(memory.content)
    assert same(state["best_weights"], state["models"])


def test_folds_train_in_lockstep():
    """Every epoch reports the mean over the folds, and the highest accuracy is the value."""
    value, curve = run(FUSION, pictures())
    assert [entry["step"] for entry in curve] == [0, 1, 2]
    assert value == max(entry["accuracy"] for entry in curve)
    training = Training(FUSION, pictures(), "search", 0)
    scores = [fold.score(fold.split.validation)["accuracy"] for fold in training.folds]
    assert scores[0] != scores[1]
    assert training.validate()["accuracy"] == np.mean(scores)


def test_a_last_batch_of_one_is_left_out_of_training():
    """BatchNorm has no variance of one item; 33 items, all in training, in batches of 32."""
    (split, *_) = pictures(34, 34).splits("search")
    assert len(split.train.rows) == 33
    data = Made(split, task="classification", n_classes=3)
    value, curve = run({**FUSION, "batch_size": 32}, data)
    assert np.isfinite(value)
    assert np.isfinite(curve[-1]["train"])


def test_a_batch_larger_than_the_data_is_the_data():
    """Else an epoch would train nothing."""
    value, _ = run({**FAST, "batch_size": 10_000, "epochs": 8, "learning_rate": 0.05}, waves())
    assert value < 9


def test_a_diverged_training_ends_at_once_and_says_so():
    """No clipped value, no best epoch of before."""
    (split,) = waves().splits("search")
    broken = replace(split.train, targets=split.train.targets * np.float32("inf"))
    value, curve = run(FAST, Made(replace(split, train=broken)))
    assert not np.isfinite(value)
    assert len(curve) == 1


def test_a_batch_that_does_not_fit_is_said_with_its_remedy():
    """In a process with little memory, in the first step, in one line; other errors stay theirs."""
    code = """
import resource
from tests.test_train import Memory, pictures, FUSION
from models.train import train
data = pictures(n=4000, folds=1)
used = int(open('/proc/self/statm').read().split()[0]) * 4096
resource.setrlimit(resource.RLIMIT_AS, (used + 300_000_000, -1))
wide = {**FUSION, 'conv1_channels': 256, 'conv2_channels': 256, 'batch_size': 3000}
train(wide, data, lambda *a, **k: None, Memory(), 0)
"""
    answer = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True
    )
    last = answer.stderr.strip().splitlines()[-1]
    assert last.startswith("models.room.TooLargeError: a batch of 3000 and a model of ")
    assert "lower batch_size" in last


def test_another_fault_of_a_step_is_not_taken_for_a_lack_of_memory(monkeypatch):
    """A bug keeps its name."""

    def broken(self, number):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(folds.Fold, "epoch", broken)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        run(FAST, waves())


def test_the_first_batch_that_is_scored_is_what_scoring_says(monkeypatch):
    """As it is tried on a GPU before an epoch; it draws no random number."""
    training = Training(checked(FAST, "regression"), waves(), "search", 0)
    (fold,), before = training.folds, torch.get_rng_state()
    part = fold.split.validation
    assert torch.equal(fold.first_scores(part), fold.outputs(part)[: folds.EVALUATION_BATCH])
    assert torch.equal(torch.get_rng_state(), before)


def test_a_stopped_report_ends_the_trial():
    """Pruned, fenced or out of time: training does not catch it."""

    def report(step, **metrics):
        raise Stop

    with pytest.raises(Stop):
        train(FAST, waves(), report, Memory(), 0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"lerning_rate": 0.1},
        {"metric": "accuracy"},
        {"model": "transformer"},
        {"optimizer": "lion"},
        {"schedule": "linear"},
        {"fc1_units": 3},
        {"patience": -1},
        {"epochs": 2.5},
        {"epochs": True},
        {"batch_size": "64"},
        {"batch_size": 0},
        {"learning_rate": float("nan")},
        {"residual": 2},
        {"dropout": 1.0},
        {"learning_rate": float("inf")},
        {"precision": "fp16"},
        {"model": "fusion"},
    ],
)
def test_a_parameter_that_makes_no_sense_or_that_nobody_reads_is_refused(wrong):
    """A typing error would otherwise be tuned for days."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        checked(wrong, "regression")


def test_what_older_studies_wrote_is_taken():
    """hyperopt's habit: 0 and 1 for no and yes."""
    assert checked({"residual": 1, "dropout": 0}, "regression")["residual"] == 1


def test_the_known_options_are_the_models_own():
    """Written down where torch is not needed to read them."""
    for name, model in folds.MODELS.items():
        arguments = inspect.signature(model).parameters.values()
        given = {a.name: a.default for a in arguments if a.default is not a.empty}
        assert dict(OPTIONS[name]) == given


def test_a_rate_on_a_cosine_ends_near_zero():
    """And starts at the one asked for."""
    params = checked({"schedule": "cosine", "epochs": 10, "learning_rate": 1.0}, "regression")
    rates = [folds.learning_rate(params, epoch) for epoch in range(10)]
    assert rates[0] == 1
    assert rates == sorted(rates, reverse=True)
    assert 0 < rates[-1] < 0.03


def test_quantile_bins_are_the_training_parts():
    """A step function of a feature, and later values change no bin."""
    (split,) = waves().splits("search")
    codes = folds.placed(split.train.values, folds.edges(split.train, 4))
    assert codes.shape == (408, 10)
    np.testing.assert_array_equal(codes[:, :2], split.train.values)
    known = codes[: split.train.rows[-1] + 8, 2:6]
    np.testing.assert_allclose((known > 0).mean(0), [1, 0.75, 0.5, 0.25], atol=0.02)
    changed = split.train.values.copy()
    changed[300:] *= 100
    again = folds.placed(changed, folds.edges(replace(split.train, values=changed), 4))
    np.testing.assert_array_equal(codes[:300], again[:300])


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_a_shipped_study_file_is_understood(path):
    """Its data, its metric, and every parameter that it fixes or searches."""
    study = tomllib.loads(path.read_text())
    data = load(study["data"])
    for point in study["enqueue"]:
        assert point.keys() == study["space"].keys()
        checked({**study["fixed"], **point}, data.task)
