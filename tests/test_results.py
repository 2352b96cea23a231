"""Tables and winners from made-up trials."""

import csv
import io
import math

import pytest

from jobs.contract import State
from tests import made
from tuner import results
from tuner.confirm import best
from tuner.space import Categorical, Int

pytestmark = pytest.mark.fast


def test_the_best_trial_is_the_lowest_when_minimising():
    """Only complete trials of the search can win: a pruned or testing one cannot."""
    trials = [
        made.trial(0, 3.0),
        made.trial(1, 2.0),
        made.trial(2, 1.0, State.PRUNED),
        made.trial(3, None, State.FAIL),
        made.trial(4, 0.5, part="test"),
    ]
    assert best(made.study(), trials) == trials[1]


def test_the_best_trial_is_the_highest_when_maximising():
    """The direction turns the order round."""
    trials = [made.trial(0, 0.7), made.trial(1, 0.9), made.trial(2, 0.8)]
    assert best(made.study(direction="maximize"), trials) == trials[1]


def test_of_equal_trials_the_earliest_wins():
    """The order of the list does not matter."""
    trials = [made.trial(5, 1.0), made.trial(2, 1.0)]
    assert best(made.study(), trials) == trials[1]


def test_nothing_is_best_before_a_trial_is_complete():
    """A value that is not finite is no score either."""
    trials = [made.trial(0, None, State.RUNNING), made.trial(1, math.inf)]
    assert best(made.study(), trials) is None


def test_the_table_has_iteration_and_loss_then_the_parameters_in_file_order():
    """As the issue says; an open trial is a row without a loss."""
    trials = [
        made.trial(1, None, State.WAITING),
        made.trial(0, 2.0),
        made.trial(2, 9.0, part="test"),
    ]
    frame = results.table(made.study(), trials)
    assert list(frame)[:6] == [
        "iteration",
        "loss",
        "learning_rate",
        "lstm_units",
        "optimizer",
        "weight_decay",
    ]
    assert frame["iteration"].tolist() == [0, 1]
    assert frame["loss"][0] == 2.0
    assert math.isnan(frame["loss"][1])


def test_a_loss_is_minimised_and_a_value_is_not_turned():
    """Maximising accuracy 0.9 is minimising −0.9."""
    frame = results.table(made.study(direction="maximize"), [made.trial(0, 0.9)])
    assert (frame["loss"][0], frame["value"][0]) == (-0.9, 0.9)


def test_the_lowest_loss_of_the_table_is_the_best_trial():
    """So a pruned trial has a value, but no loss."""
    trials = made.trials(made.SMALL, 32)
    frame = results.table(made.study(), trials)
    winner = best(made.study(), trials)
    assert frame["iteration"][frame["loss"].idxmin()] == winner.number
    pruned = frame[frame["state"] == "PRUNED"]
    assert len(pruned) == 3
    assert pruned["loss"].isna().all()
    assert pruned["value"].notna().all()


def test_whole_numbers_stay_whole_beside_gaps():
    """A conditional integer that did not apply is empty, and 64 is not 64.0."""
    space = {"layers": Int(1, 64, when={"deep": True}), "deep": Categorical((True, False))}
    trials = [
        made.trial(0, 1.0, params={"deep": True, "layers": 64}),
        made.trial(1, 2.0, params={"deep": False}),
    ]
    text = results.csv(results.table(made.study(space), trials)).decode()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["layers"] for row in rows] == ["64", ""]


def test_a_parameter_with_a_name_of_ours_keeps_it():
    """Ours gives way, and no column is there twice."""
    space = {"state": Categorical(("a", "b")), "loss": Int(1, 3)}
    trials = [made.trial(0, 1.5, params={"state": "b", "loss": 2})]
    frame = results.table(made.study(space), trials)
    assert frame["state"].tolist() == ["b"]
    assert frame["loss"].tolist() == [2]
    assert frame["trial_state"].tolist() == ["COMPLETE"]
    assert frame["trial_loss"].tolist() == [1.5]


@pytest.mark.parametrize("evil", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=x", "\r=x"])
def test_no_text_of_the_csv_is_a_formula(evil):
    """A spreadsheet shows what a study file or an error message says, and runs nothing."""
    space = {evil: Categorical((evil, "b"))}
    trials = [made.trial(0, None, State.FAIL, params={evil: evil}, reason=evil)]
    text = results.csv(results.table(made.study(space), trials)).decode()
    head, row = csv.reader(io.StringIO(text, newline=""))
    safe = "'" + evil.replace("\t", " ").replace("\r", " ")
    assert head[2] == row[2] == row[head.index("reason")] == safe


def test_a_text_of_many_lines_is_one_row_of_the_csv():
    """A formula cannot begin after a line break either."""
    trials = [made.trial(0, None, State.FAIL, reason="died\r=1+1\n@x")]
    text = results.csv(results.table(made.study(), trials)).decode()
    assert len(text.splitlines()) == 2


def test_a_negative_number_of_the_csv_stays_a_number():
    """Only text is touched."""
    text = results.csv(results.table(made.study(direction="maximize"), [made.trial(0, 0.5)]))
    assert text.decode().splitlines()[1].startswith("0,-0.5,")


def test_the_chosen_epoch_is_the_one_with_the_best_metric():
    """Its number is in the table, beside how many were trained."""
    curve = tuple({"step": i, "rmse": rmse} for i, rmse in enumerate([3.0, 1.0, math.nan, 2.0]))
    trials = [made.trial(0, 1.0, curve=curve), made.trial(1, None, State.WAITING)]
    frame = results.table(made.study(), trials)
    assert frame["best_epoch"][0] == 1
    assert frame["epochs_trained"].tolist() == [4, 0]


def test_an_empty_run_has_an_empty_table():
    """With its columns."""
    frame = results.table(made.study(), [])
    assert len(frame) == 0
    assert list(frame)[:2] == ["iteration", "loss"]


def test_a_point_that_an_outer_program_asked_for_beyond_the_space_is_not_the_surrogates():
    """It stays in the table, and would end the report with an error."""
    study = made.study(sampler="external")
    inside = made.trial(0, 1.0, origin="external")
    outside = made.trial(1, 2.0, origin="external", params={**inside.params, "learning_rate": 9.0})
    assert [t.number for t in results.minimised(study, [inside, outside])] == [0]
    assert len(results.table(study, [inside, outside])) == 2
