"""What a model sees of a point: there and back, rounded as it will be trained."""

from collections import Counter

import numpy as np
import pytest

from tests.test_samplers import SPACES
from tuner.encoding import Encoding
from tuner.space import Categorical, Float, Int, Space

pytestmark = pytest.mark.fast


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_a_point_comes_back_as_it_was(space):
    """Every kind of parameter, with conditions; drawn ones are valid and on their grids."""
    encoding = Encoding(space)
    for row in encoding.draw(50, np.random.default_rng(0)):
        params = encoding.params(row)
        space.check(params)
        assert encoding.places(params) == pytest.approx(row)
        again = encoding.params(encoding.places(params))
        assert {k: v for k, v in again.items() if not isinstance(v, float)} == {
            k: v for k, v in params.items() if not isinstance(v, float)
        }


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_what_is_rounded_stays_as_it_is(space):
    """And what is anywhere becomes a point of the space."""
    encoding = Encoding(space)
    anywhere = np.random.default_rng(1).uniform(-0.5, 1.5, (50, len(space.parameters)))
    rounded = encoding.rounded(anywhere)
    assert encoding.rounded(rounded) == pytest.approx(rounded)
    for row in rounded:
        space.check(encoding.params(row))


def test_two_choices_are_one_apart_whatever_their_order():
    """And a grid from end to end, as a continuum is."""
    space = Space({"c": Categorical(("a", "b", "c")), "n": Int(2, 10, step=4), "x": Float(0, 1)})
    encoding = Encoding(space)
    points = [
        {"c": "a", "n": 2, "x": 0.0},
        {"c": "b", "n": 2, "x": 0.0},
        {"c": "c", "n": 2, "x": 0.0},
        {"c": "a", "n": 10, "x": 0.0},
    ]
    columns = encoding.columns(np.array([encoding.places(point) for point in points]))
    distances = np.linalg.norm(columns[:, None] - columns, axis=-1)
    assert distances[0] == pytest.approx([0, 1, 1, 1])
    assert distances[1, 2] == pytest.approx(1)


def test_a_parameter_that_does_not_count_makes_no_difference():
    """It stands in the middle, whatever was drawn for it."""
    space = Space({"o": Categorical(("adam", "sgd")), "momentum": Float(0, 1, when={"o": "sgd"})})
    rounded = Encoding(space).rounded(np.array([[0, 0.1], [0, 0.9], [1, 0.1], [1, 0.9]]))
    assert rounded[:, 1].tolist() == [0.5, 0.5, 0.1, 0.9]


def test_every_value_is_drawn_alike():
    """The ends of a grid, too."""
    encoding = Encoding(Space({"n": Int(1, 5), "c": Categorical(("a", "b"))}))
    rows = [encoding.params(row) for row in encoding.draw(5000, np.random.default_rng(0))]
    assert min(Counter(row["n"] for row in rows).values()) > 900
    assert min(Counter(row["c"] for row in rows).values()) > 2400


@pytest.mark.parametrize("parameter", [Int(1, 9), Int(1, 60, log=True), Categorical(("a", "b"))])
def test_all_values_of_a_discrete_parameter_are_listed(parameter):
    """Each once, as it will be trained."""
    encoding = Encoding(Space({"p": parameter}))
    listed = [encoding.params([place])["p"] for place in encoding.values(0)]
    assert len(set(listed)) == len(listed) == parameter.size
    assert not encoding.continuous
