"""The search space: what it accepts, what it refuses and how, and what its points look like."""

import json
import tomllib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tuner.space import BadInput, Categorical, Float, Int, Space, identity

pytestmark = pytest.mark.fast

SGD = {"optimizer": "sgd"}
TABLE = {
    "lr": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True},
    "dropout": {"type": "float", "low": 0.1, "high": 0.5, "step": 0.1},
    "batch_size": {"type": "int", "low": 16, "high": 128, "step": 16},
    "units": {"type": "int", "low": 1, "high": 1000, "log": True},
    "optimizer": {"type": "categorical", "choices": ["adam", "sgd"]},
    "momentum": {"type": "float", "low": 0.0, "high": 0.99, "when": SGD},
    "nesterov": {"type": "categorical", "choices": [True, False], "when": SGD},
    "delay": {"type": "int", "low": 1, "high": 3, "when": {"nesterov": True}},
}
GOOD = {"lr": 1e-3, "dropout": 0.3, "batch_size": 64, "units": 7, "optimizer": "adam"}


@pytest.fixture
def space():
    """A space with every kind of parameter, and conditions on conditions."""
    return Space.from_table(TABLE)


def points(space, n, seed=0):
    """`n` random points."""
    draws = np.random.default_rng(seed).random((n, len(space.parameters)))
    return [space.from_unit(draw) for draw in draws]


def test_a_table_comes_back_as_it_was(space):
    """Through JSON too, since run.json holds it."""
    assert Space.from_table(json.loads(json.dumps(space.to_table()))) == space


@pytest.mark.parametrize("path", sorted((Path(__file__).parent.parent / "jobs").glob("*.toml")))
def test_the_spaces_that_we_ship_are_fine(path):
    """All of their points are points of them."""
    space = Space.from_table(tomllib.loads(path.read_text())["space"])
    for point in points(space, 50):
        space.check(point)


def test_every_point_of_the_unit_cube_is_one_of_the_space(space):
    """Its corners too: complete, in range, on the grids, inactive parameters left out."""
    corners = [np.zeros(8), np.full(8, np.nextafter(1.0, 0.0)), np.ones(8)]
    for point in [*points(space, 300), *map(space.from_unit, corners)]:
        space.check(point)
        assert json.loads(json.dumps(point)) == point


def test_both_ends_are_reached(space):
    """Of every range, at 0 and just below 1."""
    first, last = space.from_unit(np.zeros(8)), space.from_unit(np.full(8, 1 - 1e-12))
    assert first["lr"] == pytest.approx(1e-4, rel=1e-9)
    assert [first[k] for k in ("dropout", "batch_size", "units")] == [0.1, 16, 1]
    assert last["lr"] == pytest.approx(1e-2, rel=1e-9)
    assert [last[k] for k in ("dropout", "batch_size", "units")] == [0.5, 128, 1000]


@pytest.mark.parametrize(
    ("parameter", "limit"),  # of chi-square: its 99 % quantile for one value fewer
    [
        (Int(16, 128, step=16), 18.48),
        (Int(2, 5), 11.34),
        (Float(0.1, 0.5, step=0.1), 13.28),
        (Categorical(("a", 2, True, "b")), 11.34),
    ],
)
def test_every_value_has_the_same_chance(parameter, limit):
    """The ends of a stepped range too, which a rounded uniform draw would halve."""
    draws = np.random.default_rng(7).random(4000)
    counts = Counter(parameter.from_unit(u) for u in draws)
    expected = 4000 / parameter.size
    assert len(counts) == parameter.size
    assert sum((n - expected) ** 2 / expected for n in counts.values()) < limit


def test_a_logarithmic_range_is_uniform_in_the_logarithm():
    """A tenth and ten times as much have the same chance, for whole numbers as well."""
    draws = np.random.default_rng(1).random(4000)
    rates = [Float(1e-4, 1e-2, log=True).from_unit(u) for u in draws]
    assert np.mean(np.array(rates) < 1e-3) == pytest.approx(0.5, abs=0.03)
    units = Counter(Int(1, 100, log=True).from_unit(u) for u in draws)
    assert units[1] / 4000 == pytest.approx(np.log(3) / np.log(201), abs=0.03)


def test_steps_of_a_float_are_clean_numbers():
    """0.1 + 2 × 0.1 is 0.3 and not 0.30000000000000004; small ones survive as well."""
    assert [Float(0.1, 0.5, step=0.1).at(i) for i in range(5)] == [0.1, 0.2, 0.3, 0.4, 0.5]
    assert [Float(0.0, 3e-14, step=1e-14).at(i) for i in range(4)] == [0.0, 1e-14, 2e-14, 3e-14]


@pytest.mark.parametrize("name", ["lr", "dropout", "batch_size", "units", "optimizer", "delay"])
def test_a_place_leads_back_to_its_value(space, name):
    """The engines see places, the trials values."""
    parameter = space.parameters[name]
    for value in map(parameter.from_unit, np.linspace(0, 0.999, 40)):
        assert parameter.at(parameter.place(value)) == value


def test_conditions_decide_what_is_active(space):
    """A parameter is only there if what it depends on is there and has the value."""
    always = ("lr", "dropout", "batch_size", "units", "optimizer")
    assert space.active({"optimizer": "adam", "nesterov": True}) == always
    assert space.active({"optimizer": "sgd", "nesterov": False})[5:] == ("momentum", "nesterov")
    assert space.active({"optimizer": "sgd", "nesterov": True})[5:] == (
        "momentum",
        "nesterov",
        "delay",
    )


def test_inactive_parameters_are_filled_with_the_middle(space):
    """A model needs a number everywhere, the same one each time."""
    filled = space.filled(GOOD)
    assert list(filled) == list(TABLE)
    assert filled["momentum"] == pytest.approx(0.495)
    assert space.only_active(filled) == GOOD


def test_the_points_of_a_small_space_are_all_found():
    """Until none is left, and conditional ones once."""
    table = {k: TABLE[k] for k in ("optimizer", "nesterov", "delay")}
    space = Space.from_table(table)
    found = space.untried((), seed=0)
    assert len(found) == 1 + 1 + 3
    for point in found:
        space.check(point)
    assert space.untried({identity(p) for p in found[1:]}, seed=0) == found[:1]
    assert space.untried({identity(p) for p in found}, seed=0) == []


def test_points_of_a_large_space_are_drawn(space):
    """By the seed alone, and none that is known."""
    some = space.untried((), seed=3)
    assert some == space.untried((), seed=3) != space.untried((), seed=4)
    left = space.untried({identity(some[0])}, seed=3)
    assert left == some[1:]


BAD = {
    "type": ({"type": "real"}, "type"),
    "no table": (3, "type"),
    "unknown key": ({"type": "float", "low": 0, "high": 1, "lgo": True}, "lgo"),
    "missing key": ({"type": "float", "low": 0}, "high"),
    "missing choices": ({"type": "categorical"}, "choices"),
    "words": ({"type": "float", "low": "small", "high": 1}, "low"),
    "infinite": ({"type": "float", "low": 0, "high": float("inf")}, "high"),
    "not whole": ({"type": "int", "low": 0.5, "high": 2}, "low"),
    "whole step": ({"type": "int", "low": 1, "high": 2, "step": 0.5}, "step"),
    "low > high": ({"type": "int", "low": 3, "high": 2}, "low"),
    "low = high": ({"type": "float", "low": 2, "high": 2}, "low"),
    "log of 0": ({"type": "float", "low": 0, "high": 2, "log": True}, "low"),
    "log of less": ({"type": "int", "low": -1, "high": 2, "log": True}, "low"),
    "log no bool": ({"type": "float", "low": 1, "high": 2, "log": "yes"}, "log"),
    "step": ({"type": "int", "low": 16, "high": 120, "step": 16}, "step"),
    "float step": ({"type": "float", "low": 0.1, "high": 0.55, "step": 0.1}, "step"),
    "large step": ({"type": "float", "low": 0, "high": 1, "step": 1e12}, "step"),
    "step 0": ({"type": "int", "low": 1, "high": 2, "step": 0}, "step"),
    "step with log": ({"type": "int", "low": 1, "high": 9, "step": 2, "log": True}, "step"),
    "float step, log": ({"type": "float", "low": 1, "high": 9, "step": 1, "log": True}, "step"),
    "no list": ({"type": "categorical", "choices": "adam"}, "choices"),
    "empty": ({"type": "categorical", "choices": []}, "choices"),
    "twice": ({"type": "categorical", "choices": ["a", "b", "a"]}, "choices"),
    "equal": ({"type": "categorical", "choices": [1, True]}, "choices"),
    "nested": ({"type": "categorical", "choices": [[1], [2]]}, "choices"),
    "when no table": ({"type": "int", "low": 1, "high": 2, "when": "sgd"}, "when"),
    "when unknown": ({"type": "int", "low": 1, "high": 2, "when": {"y": 1}}, "when"),
    "when itself": ({"type": "int", "low": 1, "high": 2, "when": {"x": 1}}, "when"),
    "when a value": ({"type": "int", "low": 1, "high": 2, "when": {"other": "c"}}, "when"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_entry_is_refused_with_its_key(name):
    """And with what is wrong and what to do, in one line."""
    entry, key = BAD[name]
    table = {"x": entry, "other": {"type": "categorical", "choices": ["a", "b"]}}
    with pytest.raises(BadInput) as caught:
        Space.from_table(table)
    error = caught.value
    assert error.key == f"space.x.{key}"
    assert error.problem
    assert error.remedy
    assert str(error) == f"{error.key}: {error.problem}; {error.remedy}"
    assert "\n" not in str(error)


def test_a_step_that_does_not_divide_says_what_would():
    """The nearest end below."""
    with pytest.raises(BadInput, match="set high = 112"):
        Space.from_table({"x": {"type": "int", "low": 16, "high": 120, "step": 16}})


def test_a_circle_of_conditions_is_refused():
    """No order would decide such a point."""
    choices = {"type": "categorical", "choices": ["a", "b"]}
    table = {name: {**choices, "when": {other: "a"}} for name, other in ("xy", "yz", "zx")}
    with pytest.raises(BadInput, match="depends on itself"):
        Space.from_table(table)


@pytest.mark.parametrize("table", [{}, []])
def test_a_space_without_parameters_is_refused(table):
    """There would be nothing to search."""
    with pytest.raises(BadInput, match="no parameters"):
        Space.from_table(table)


@pytest.mark.parametrize(
    ("change", "key", "problem"),
    [
        ({"learning_rate": 1e-3}, "learning_rate", "no parameter"),
        ({"lr": 1.0}, "lr", "outside"),
        ({"lr": "fast"}, "lr", "no number"),
        ({"lr": float("nan")}, "lr", "no number"),
        ({"batch_size": 65}, "batch_size", "not on the grid"),
        ({"batch_size": 64.0}, "batch_size", "no whole number"),
        ({"dropout": 0.25}, "dropout", "not on the grid"),
        ({"optimizer": "Adam"}, "optimizer", "none of"),
        ({"optimizer": "sgd", "nesterov": False}, "momentum", "missing"),
        ({"optimizer": "sgd", "momentum": 0.9, "nesterov": 0}, "nesterov", "none of"),
        ({"momentum": 0.9}, "momentum", "does not hold"),
    ],
)
def test_a_point_that_is_none_is_refused(space, change, key, problem):
    """An enqueued point must be one that the sampler could have asked for."""
    with pytest.raises(BadInput, match=problem) as caught:
        space.check({**GOOD, **change})
    assert caught.value.key == key


def test_a_good_point_passes(space):
    """With and without the parameters that depend on a choice."""
    space.check(GOOD)
    extra = {"optimizer": "sgd", "momentum": 0.9, "nesterov": True, "delay": 2}
    space.check({**GOOD, **extra})
