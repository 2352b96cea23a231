"""Both training loops around one module, what makes ours fast, and the bench that says how fast."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from models import fold as folds
from models import precision
from models.train import Training, checked
from tests.bench import loops, prototype, script, train
from tests.test_train import FAST, FUSION, Made, Memory, pictures, run, same, waves

CPU = torch.device("cpu")
TINY = {"cnn_lstm": FAST, "fusion": FUSION}


@pytest.fixture(autouse=True)
def on_cpu(monkeypatch):
    """One thread, no GPU."""
    monkeypatch.setenv("TUNER_DEVICE", "cpu")
    torch.set_num_threads(1)


def one_fold():
    """The first fold of the pictures."""
    return Made(pictures().splits("search")[0], task="classification", n_classes=3)


def pair(family):
    """The prototype's loop and ours, seeded alike, without dropout."""
    data = waves() if family == "cnn_lstm" else one_fold()
    still = {"cnn_lstm": {"dropout": 0.0}, "fusion": {"dropout_rate": 0.0}}[family]
    params = checked({**TINY[family], **still, "schedule": "constant"}, data.task)
    return loops.Prototype(params, data, CPU, 0), loops.Ours(params, data, CPU, 0)


@pytest.mark.parametrize("family", ["cnn_lstm", "fusion"])
def test_both_loops_train_the_identical_module(family):
    """The same class, and the same weights from the same seed."""
    theirs, ours = pair(family)
    assert type(theirs.model) is type(ours.model)
    assert same(dict(theirs.model.state_dict()), dict(ours.model.state_dict()))


@pytest.mark.parametrize("family", ["cnn_lstm", "fusion"])
def test_fed_the_same_batches_both_loops_give_the_same_losses(family, monkeypatch):
    """Within float noise, whatever the memory format; clipping, which is ours alone, is off."""
    theirs, ours = pair(family)
    monkeypatch.setattr(folds, "_LONGEST", 1e9)
    theirs.model.train()
    ours.model.train()
    group = ours.fold.optimizer.param_groups[0]
    group["lr"] = theirs.optimizer.param_groups[0]["lr"]
    losses = []
    for batch in torch.split(torch.arange(16), 4):
        inputs, targets = ours.fold.inputs.take(ours.fold.rows[batch]), ours.fold.targets[batch]
        theirs.optimizer.zero_grad()
        loss = theirs.criterion(theirs.model(inputs.contiguous()), targets)
        loss.backward()
        theirs.optimizer.step()
        losses.append((loss.item(), ours.fold.step(inputs, targets).item()))
    for one, other in losses:
        assert other == pytest.approx(one, rel=1e-4)
    assert len(losses) == 4


def test_both_loops_have_the_same_curve_within_a_seeds_noise():
    """Each shuffles by itself, so seeds are compared: means within three standard errors."""
    data, params = waves(), checked({**FAST, "dropout": 0.0}, "regression")
    made = [
        [kind(params, data, CPU, seed) for seed in range(6)]
        for kind in (loops.Prototype, loops.Ours)
    ]
    for number in range(12):
        one, other = (torch.tensor([loop.epoch(number) for loop in side]) for side in made)
        error = torch.sqrt((one.var() + other.var()) / 6)
        assert abs(one.mean() - other.mean()) < 3 * error + 1e-3


def test_pictures_are_trained_channels_last_and_a_series_as_it_is():
    """A property of the training: the module knows nothing of it."""
    _, ours = pair("fusion")
    weight = ours.model.cnn[0].weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    plain = folds.build(ours.fold.params, 3, ours.fold.inputs.shape)
    assert plain.cnn[0].weight.is_contiguous()


@pytest.mark.parametrize("longest", [0.01, 100.0])
def test_clipping_is_torchs(longest):
    """With gradients longer than the limit, and shorter."""
    torch.manual_seed(0)
    one = nn.Linear(3, 4)
    nn.functional.mse_loss(one(torch.ones(2, 3)), torch.ones(2, 4)).backward()
    other = copy.deepcopy(one)
    for mine, its in zip(one.parameters(), other.parameters(), strict=True):
        its.grad = mine.grad.clone()
    folds.clip([*one.parameters()], longest)
    nn.utils.clip_grad_norm_(other.parameters(), longest)
    for mine, its in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, its.grad)


@pytest.mark.parametrize("units", [True, False])
def test_auto_is_bf16_only_where_the_cpu_has_units_for_it(units, monkeypatch):
    """It is asked, never assumed; what was asked for by name is obeyed."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": units})
    assert precision.mixed("auto", CPU) is units
    assert precision.mixed("bf16", CPU)
    assert not precision.mixed("float32", CPU)


def test_a_cpu_that_says_nothing_of_units_has_none(monkeypatch):
    """Other processors know no such word."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    assert not precision.mixed("auto", CPU)


def test_bf16_keeps_float32_weights_and_changes_a_score_little():
    """It computes in bf16; what is learned and scored is float32, and the curve is repeatable."""
    params = {**FAST, "epochs": 8, "dropout": 0.0}
    plain, _ = run(params, waves())
    value, curve = run({**params, "precision": "bf16"}, waves())
    assert value != plain
    assert value == pytest.approx(plain, rel=0.1)
    assert (value, curve) == run({**params, "precision": "bf16"}, waves())
    training = Training({**params, "precision": "bf16"}, waves(), "search", 0)
    assert {weight.dtype for weight in training.folds[0].model.parameters()} == {torch.float32}


def test_a_checkpoint_of_an_optimiser_that_was_not_fused_is_gone_on_with():
    """What older versions wrote."""
    first = Training(FAST, waves(), "search", 0)
    fold = first.folds[0]
    fold.optimizer = torch.optim.Adam(fold.model.parameters(), weight_decay=0.0)
    memory = Memory()
    first.params["epochs"] = 1
    first.fit(lambda step, **metrics: None, memory)
    value, curve = run(FAST, waves(), Memory(memory.content))
    assert [entry["step"] for entry in curve] == [1, 2, 3]
    assert value == pytest.approx(run(FAST, waves())[0], rel=1e-3)


@pytest.mark.parametrize("size", ["small", "large"])
def test_operations_are_those_of_the_formula(size):
    """Two a weight and use forwards, and twice that backwards, but none to the inputs."""
    params = train.params_of("cnn_lstm", size)
    filters, units = params["cnn_filters"], params["lstm_units"]
    convolution = 2 * 20 * 10 * 3 * filters
    lstm = 2 * 10 * 4 * units * (filters + units)
    expected = 2 * convolution + 3 * (lstm + 2 * units)
    assert train.operations("cnn_lstm", size) == pytest.approx(expected, rel=0.1)


def test_only_what_was_trained_is_counted():
    """Whole batches: 1,380 windows in batches of 128 are 1,280."""
    assert train.trained(1380, 128) == 1280
    data, params = waves(), checked({**FAST, "batch_size": 64}, "regression")
    loop = loops.Prototype(params, data, CPU, 0, drop_last=True)
    assert sum(len(y) for _, y in loop.train) == train.trained(200, 64)


def test_the_prototypes_score_grows_with_the_number_of_batches_and_the_mean_does_not():
    """Its fault: large batches win for nothing."""
    data = waves()
    made = {
        size: loops.Prototype(checked({**FAST, "batch_size": size}, "regression"), data, CPU, 0)
        for size in (10, 100)
    }
    (many, same_), (one, mean) = (made[size].validate() for size in (10, 100))
    assert many == pytest.approx(10 * one, rel=1e-4)
    assert same_ == pytest.approx(mean, rel=1e-4)


def test_the_script_searches_the_studys_space():
    """The same names and ranges, whole numbers whole."""
    from hyperopt.pyll import stochastic  # noqa: PLC0415 - slow to import

    tables = script.study()["space"]
    point = script.whole(stochastic.sample(script.space(), np.random.default_rng(0)))
    assert point.keys() == tables.keys()
    for name, value in point.items():
        assert tables[name]["low"] <= value <= tables[name]["high"]
        assert isinstance(value, int) == (tables[name]["type"] == "int")


def test_a_table_of_the_study_says_how_many_times_faster():
    """Their seconds by ours, and the means of the columns."""
    theirs, ours = prototype.Side(100.0, 180.0, 0.07, 0.08), prototype.Side(20.0, 30.0, 0.06, 0.09)
    assert prototype.row(1, (theirs, ours)).endswith("| 5.00 | 6.00 |")
    assert prototype.mean([theirs, ours]) == prototype.Side(
        60.0, 105.0, pytest.approx(0.065), pytest.approx(0.085)
    )
