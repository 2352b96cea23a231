"""Every figure, from no trial to a thousand; what they show is looked at by people."""

import io

import matplotlib as mpl
import matplotlib.image
import numpy as np
import pytest

from jobs.contract import State
from tests import made
from tuner import matrix, plots, results, surrogate
from tuner.dependence import dependence
from tuner.matrix import Scale, scales, text
from tuner.settings import Confirm
from tuner.space import Categorical, Float, Int, Space
from tuner.style import PNG, SHADES, SVG, pictures

FIGURES = [plots.process, plots.convergence, matrix.evaluations]


def pixels(content):
    """A PNG as an array (height, width, colour)."""
    return matplotlib.image.imread(io.BytesIO(content))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("draw", FIGURES)
@pytest.mark.parametrize(
    ("space", "n"),
    [(made.SMALL, 0), (made.SMALL, 1), (made.SMALL, 3), (made.WIDE, 10)],
)
def test_every_figure_can_be_drawn(draw, space, n):
    """With few or many trials and parameters, and without a warning."""
    content = pictures(draw, made.study(space), made.trials(space, n))[PNG]
    assert min(pixels(content).shape[:2]) > 150


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("draw", FIGURES)
def test_a_thousand_trials_fit_into_a_figure(draw):
    """No figure grows with the trials."""
    few, many = (pictures(draw, made.study(), made.trials(made.SMALL, n))[PNG] for n in (30, 1000))
    assert pixels(many).shape[1] < 1.2 * pixels(few).shape[1]


@pytest.mark.parametrize("draw", FIGURES)
def test_a_figure_is_a_small_svg_too(draw):
    """Its text is text, and drawn again it has the same bytes; many marks are pixels in it."""
    given = made.study(made.WIDE), made.trials(made.WIDE, 400)
    once, again = (pictures(draw, *given, kinds=(PNG, SVG))[SVG] for _ in range(2))
    assert once == again
    assert b"<dc:date>" not in once
    assert b"<text" in once
    assert len(once) < 2e6


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_every_mark_has_a_colour_of_the_scale(n):
    """Three or four values are no colour by themselves, as a row of them would be."""
    space = {name: Float(0.0, 1.0) for name in ("one", "other")}
    trials = [made.trial(i, float(i), params={"one": i / 8, "other": 1 - i / 8}) for i in range(n)]
    figure = matrix.evaluations(made.study(space), trials)
    figure.draw_without_rendering()
    colours = [tuple(colour) for colour in figure.axes[0].collections[1].get_facecolors()]
    assert len(colours) == n
    scale = [(*colour, 1.0) for colour in mpl.colormaps[SHADES].colors]
    assert set(colours) <= {*scale}
    assert colours[-1] == scale[0]  # the best is drawn last, and darkest


def test_only_failures_leave_a_message():
    """Nothing to draw is no error."""
    failed = [made.trial(0, None, State.FAIL)]
    figure = plots.process(made.study(), failed)
    assert figure.axes[0].texts[0].get_text() == plots.NOTHING


def test_candidates_are_drawn_with_each_of_their_seeds():
    """In rank order, a dot a seed; before they are confirmed a word."""
    study = made.study(confirm=Confirm(2, 2))
    searched = [made.trial(0, 1.0), made.trial(1, 2.0)]
    values = {0: (3.0, 3.5), 1: (2.0, None)}
    runs = [
        made.trial(
            2 + 2 * n + k, value, State.FAIL if value is None else State.COMPLETE,
            part=f"confirm:{k}", of=n,
        )
        for n, of_one in values.items() for k, value in enumerate(of_one)
    ]  # fmt: skip
    (ax,) = plots.confirming(study, [*searched, *runs]).axes
    dots = [tuple(map(tuple, c.get_offsets())) for c in ax.collections if len(c.get_offsets())]
    assert ((3.0, 0.0), (3.5, 0.0)) in dots
    assert ((2.0, 1.0),) in dots
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels == ["trial 0", "trial 1 (failed)"]
    below, above = ax.get_ylim()
    assert below > above  # the first is the uppermost
    assert "confirmed yet" in plots.confirming(study, searched).axes[0].texts[0].get_text()
    star = plots.process(study, [*searched, *runs]).legends[0].get_texts()[-1].get_text()
    assert star == "winner: 1 in trial 0"


def test_the_best_so_far_falls_when_minimising_and_rises_when_maximising():
    """NaN before the first complete trial; a pruned one does not count."""
    trials = [
        made.trial(0, None, State.FAIL),
        made.trial(1, 3.0),
        made.trial(2, 0.1, State.PRUNED),
        made.trial(3, 2.0),
        made.trial(4, 5.0),
    ]
    falling = results.best_so_far(made.study(), trials)
    rising = results.best_so_far(made.study(direction="maximize"), trials)
    np.testing.assert_array_equal(falling, [np.nan, 3, 3, 2, 2])
    np.testing.assert_array_equal(rising, [np.nan, 3, 3, 3, 5])


def test_one_diverged_trial_does_not_flatten_the_others():
    """It is marked at the edge as off the scale."""
    trials = [made.trial(i, 50.0 + i % 5) for i in range(20)] + [made.trial(20, 1e6)]
    ax = plots.process(made.study(), trials).axes[0]
    assert ax.get_ylim()[1] < 100
    assert "off the scale" in [mark.get_label() for mark in ax.collections]


def test_the_best_trial_is_shown_even_when_it_lies_far_off():
    """Whatever the fences say."""
    trials = [made.trial(i, 50.0 + i % 5) for i in range(20)] + [made.trial(20, 1.0)]
    ax = plots.process(made.study(), trials).axes[0]
    assert ax.get_ylim()[0] < 1
    assert "off the scale" not in [mark.get_label() for mark in ax.collections]


def test_finished_trials_are_counted_in_the_order_in_which_they_ended():
    """A later number may end first."""
    trials = [made.trial(0, 5.0, seconds=900.0), made.trial(1, 7.0, seconds=1.0)]
    line = plots.convergence(made.study(), trials).axes[0].lines[0]
    np.testing.assert_array_equal(line.get_ydata(), [7, 5])


def test_a_trial_that_never_started_does_not_stretch_the_time():
    """One that the controller gave up has no times."""
    lost = made.trial(1, None, State.FAIL, started=None, seconds=None)
    axes = plots.convergence(made.study(), [made.trial(0, 5.0), lost]).axes
    assert axes[1].get_xlabel() == "seconds since the first trial began"
    assert axes[1].get_xlim()[1] < 100


def test_a_best_value_of_zero_is_a_value():
    """And not the mark of nothing yet."""
    figure = plots.convergence(made.study(), [made.trial(0, 0.0)])
    assert "0 after 1 of 1 trials" in figure.axes[0].get_title()


def test_a_pruned_trial_without_a_value_stands_at_the_best_of_its_epochs():
    """Its result has a curve and no value."""
    curve = tuple({"step": i, "rmse": rmse} for i, rmse in enumerate([9.0, 7.0, 8.0]))
    trials = [
        made.trial(0, 5.0),
        made.trial(1, None, State.PRUNED, curve=curve),
        made.trial(2, 9.0),
    ]
    ax = plots.process(made.study(), trials).axes[0]
    (pruned,) = [mark for mark in ax.collections if mark.get_label() == "pruned"]
    np.testing.assert_array_equal(pruned.get_offsets(), [[1, 7]])


def test_pruned_trials_stand_where_they_ended_even_if_one_alone_is_complete():
    """The scale is that of all of them."""
    trials = [made.trial(0, 5.0), *(made.trial(n, 5.0 + n, State.PRUNED) for n in (1, 2, 3))]
    ax = plots.process(made.study(), trials).axes[0]
    (pruned,) = [mark for mark in ax.collections if mark.get_label() == "pruned"]
    np.testing.assert_array_equal(pruned.get_offsets(), [[1, 6], [2, 7], [3, 8]])


def test_bars_of_importance_are_sorted_and_have_errors():
    """The most important one is on top, and the axis names the method."""
    shares = {"a": (0.1, 0.01), "b": (0.7, 0.1), "c": (0.2, 0.05)}
    ax = plots.importance(made.study(), shares, "how it was measured").axes[0]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "c", "b"]
    assert ax.get_xlabel() == "how it was measured"
    (errors,) = [c for c in ax.collections if len(c.get_paths()) == 3]
    widths = [path.vertices[1, 0] - path.vertices[0, 0] for path in errors.get_paths()]
    np.testing.assert_allclose(widths, [0.02, 0.1, 0.2])


def test_places_follow_the_parameters_scale():
    """The middle of a log range is its geometric mean; a parameter that is absent has no place."""
    log, line = Scale("lr", 1e-4, 1e-2, log=True), Scale("x", 0.0, 4.0)
    np.testing.assert_allclose(log.place([1e-4, 1e-3, 1e-2, None]), [0.05, 0.5, 0.95, np.nan])
    np.testing.assert_allclose(line.place([0, 1, 4]), [0.05, 0.275, 0.95])


def test_steps_and_categories_have_a_bin_each():
    """True is not 1 there, and a step of a float is met in spite of rounding."""
    space = Space(
        {
            "flag": Categorical((True, False)),
            "size": Categorical((16, 32, 64)),
            "rate": Float(0.1, 0.5, step=0.1),
            "layers": Int(1, 3),
            "wide": Int(1, 1000),
        }
    )
    levels = {scale.name: scale.levels for scale in scales(space, space.parameters)}
    assert {name: len(found) for name, found in levels.items()} == {
        "flag": 2, "size": 3, "rate": 5, "layers": 3, "wide": 0,
    }  # fmt: skip
    (rate,) = scales(space, ["rate"])
    np.testing.assert_allclose(rate.place([0.3000000001]), 0.5)


@pytest.mark.parametrize(
    ("value", "label"),
    [(1e-4, "1e-4"), (5e-4, "5e-4"), (2.5e-5, "2.5e-5"), (0.001, "0.001"), (0.45, "0.45"),
     (1e5, "1e5"), (100_000, "100000"), (0.0, "0"), (True, "true"), ("adam", "adam"),
     ("a$b", "a$b"), ("averaged_stochastic", "averaged_st…")],
)  # fmt: skip
def test_labels_are_short_and_in_real_units(value, label):
    """Values as a study file would write them."""
    assert text(value) == label


def known(n, sign=1.0):
    """`n` trials of a function of the learning rate and, a quarter as much, of the units."""
    trials = made.trials(made.SMALL, n)
    return [made.trial(t.number, sign * _value(t.params), params=t.params) for t in trials]


def _value(params):
    rate = np.log10(params["learning_rate"]) + 3  # −1 … 1
    return 10 + 4 * rate**2 + ((params["lstm_units"] - 16) / 112) ** 2


def test_known_importances_are_recovered():
    """The learning rate matters most, then the units; what does nothing has no share."""
    result = surrogate.to_result(made.study().space, known(50), 0)
    shares = surrogate.importance(result)
    assert sorted(shares, key=lambda name: -shares[name][0])[:2] == ["learning_rate", "lstm_units"]
    assert shares["learning_rate"][0] > 0.8
    assert shares["weight_decay"][0] < 0.02


@pytest.mark.filterwarnings("error")
def test_dependence_is_in_the_studys_direction_and_units():
    """A curve of a maximised value has its top where the function has it."""
    study = made.study(direction="maximize")
    told = results.minimised(study, known(50, sign=-1.0))
    result = surrogate.to_result(study.space, told, 0)
    figure = dependence(study, result, ["learning_rate", "lstm_units"])
    curve = figure.axes[0].lines[0]
    top = curve.get_xdata()[np.argmax(curve.get_ydata())]
    assert top == pytest.approx(0.5, abs=0.1)
    shown = [label.get_text() for label in figure.axes[0].texts]
    assert {"1e-4", "0.001", "0.01", "16", "128"} <= set(shown)
    low, high = map(float, shown[-2:])  # of the scale that the diagonal cells share
    assert low < high < -10


def test_without_names_there_is_no_dependence_yet():
    """So it says so."""
    assert "Too few" in dependence(made.study(), None, []).axes[0].texts[0].get_text()
