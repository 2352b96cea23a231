"""Who wins, and how plainly it is said."""

import io

import numpy as np
import pytest

from jobs.folder import RunFolder
from tests import made
from tuner import verdict
from tuner.tallies import Interval, tally
from tuner.verdict import LeaveOneOut, Rival, Verdict

HOURS = np.arange(168 * 30)


def told(metric, own, rivals):
    """A verdict from scores and the ends of the interval of each difference."""
    compared = {
        name: Rival({metric: score}, Interval(own - score, low, high))
        for name, (score, low, high) in rivals.items()
    }
    return Verdict(9, metric, {metric: own}, Interval(own, own - 1, own + 1), 30, compared)


def test_boosting_wins_is_said_so():
    """Even against a model that beats persistence."""
    found = told(
        "rmse", 54.0, {"persistence": (61.7, -9, -5), "gradient boosting": (53.2, 0.1, 1.5)}
    )
    assert found.sentence.startswith("Gradient boosting wins: it beats the tuned model by 0.8 rmse")
    assert "excludes 0" in found.sentence


def test_a_win_within_the_interval_is_no_clear_one():
    """The difference may be chance."""
    found = told("rmse", 53.0, {"gradient boosting": (53.2, -1.5, 1.1)})
    assert found.sentence.startswith("The tuned model beats gradient boosting")
    assert "no clear win" in found.sentence


def test_more_accuracy_is_better():
    """For accuracy the order is turned."""
    found = told(
        "accuracy", 0.9, {"majority class": (0.2, 0.6, 0.8), "extra trees": (0.8, 0.02, 0.2)}
    )
    assert found.sentence.startswith("The tuned model beats extra trees")
    found = told("accuracy", 0.7, {"extra trees": (0.8, -0.2, -0.02)})
    assert found.sentence.startswith("Extra trees wins")


def test_equals_are_level():
    """As on data that everybody masters."""
    assert "level" in told("accuracy", 1.0, {"extra trees": (1.0, 0.0, 0.0)}).sentence


def test_the_table_lists_the_best_first():
    """The tuned model where it belongs."""
    found = told("rmse", 54.0, {"ridge": (54.5, -2, 1), "gradient boosting": (53.2, 0, 2)})
    names = [line[2:20].strip() for line in verdict.lines(found)[1:4]]
    assert names == ["gradient boosting", "tuned model", "ridge"]


def test_a_rough_interval_is_called_rough():
    """Three subjects are few to draw from."""
    found = told("accuracy", 0.9, {"extra trees": (0.8, 0.02, 0.2)})
    few = Verdict(found.number, "accuracy", found.metrics, found.interval, 3, found.rivals)
    assert "rough" not in " ".join(verdict.lines(found))
    assert "over 3 groups; so few make it a rough one" in " ".join(verdict.lines(few))


def run_with(tmp_path, **arrays):
    """A run's folder with the predictions of trial 5."""
    folder = RunFolder(tmp_path)
    folder.make()
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    folder.predictions(5).write_bytes(buffer.getvalue())
    return folder


def test_the_winners_predictions_are_compared_on_the_same_windows(tmp_path):
    """Its score, its own interval, and the paired one."""
    random = np.random.default_rng(0)
    truth = random.normal(size=len(HOURS))
    folder = run_with(tmp_path, truth=truth, prediction=truth + 0.5, index=HOURS)
    ridge = tally(truth, truth + 1.0, HOURS, "regression")
    found = verdict.judge(folder, made.study(), [made.trial(5)], "regression", {"ridge": ridge})
    assert found.metrics["rmse"] == pytest.approx(0.5)
    gap = found.rivals["ridge"].difference
    assert (gap.value, gap.low, gap.high) == pytest.approx((-0.5, -0.5, -0.5))


def test_several_seeds_count_by_the_mean_of_their_scores(tmp_path):
    """What one training is expected to reach; errors pooled before the root would be more."""
    random = np.random.default_rng(0)
    truth = random.normal(size=len(HOURS))
    folder = run_with(tmp_path, truth=truth, prediction=truth + 0.5, index=HOURS)
    kept = folder.predictions(5).read_bytes()
    run_with(tmp_path, truth=truth, prediction=truth + 0.9, index=HOURS)
    folder.predictions(6).write_bytes(folder.predictions(5).read_bytes())
    folder.predictions(5).write_bytes(kept)
    ridge = tally(truth, truth + 1.0, HOURS, "regression")
    tests = [made.trial(5), made.trial(6), made.trial(7)]  # the last one's file is gone
    found = verdict.judge(folder, made.study(), tests, "regression", {"ridge": ridge})
    assert found.numbers == (5, 6)
    assert found.metrics["rmse"] == pytest.approx(0.7)
    assert found.error == pytest.approx(0.2)
    assert found.interval.value == pytest.approx(0.7)
    gap = found.rivals["ridge"].difference
    assert (gap.value, gap.low, gap.high) == pytest.approx((-0.3, -0.3, -0.3))
    assert "means over 2 seeds: rmse ± 0.2" in "\n".join(verdict.lines(found))


def test_predictions_that_hold_objects_are_refused(tmp_path):
    """Nothing in a run's folder is unpickled."""
    evil = np.array([print], dtype=object)
    folder = run_with(tmp_path, truth=evil, prediction=evil, index=evil)
    with pytest.raises(ValueError, match="allow_pickle"):
        verdict.judge(folder, made.study(), [made.trial(5)], "regression", {})


def test_missing_predictions_give_no_verdict(tmp_path):
    """The trial's own metrics are still in its result."""
    folder = RunFolder(tmp_path)
    assert verdict.judge(folder, made.study(), [made.trial(5)], "regression", {}) is None


def test_leave_one_out_is_a_mean_with_its_error_and_a_paired_gap():
    """Groups that are hard for both widen the means, not the gap."""
    found = LeaveOneOut(
        {"1": 0.8, "2": 0.9, "3": 1.0},
        {"extra trees": {"1": 0.7, "2": 0.8, "3": 0.9, "4": 0.0}},
    )
    assert found.mean(found.winner) == pytest.approx((0.9, 0.1 / 3**0.5))
    assert found.mean(found.rivals["extra trees"]) == pytest.approx((0.8, 0.1 / 3**0.5))
    assert found.gap("extra trees") == pytest.approx((0.1, 0.0))
    text = "\n".join(verdict.group_lines(found, 10))
    assert "3 of 10 subjects" in text
    assert "0.900 ± 0.058" in text


def test_groups_not_trained_yet_are_left_out():
    """They come later; a part that is no group is none."""
    subject = tally(np.zeros(4), np.array([0, 0, 0, 1]), np.ones(4), "classification")
    rivals = {part: {"extra trees": subject} for part in ("test", "leave:1", "leave:2")}
    tested = {"test": [made.trial(7, 0.5, part="test")], "leave:2": [made.trial(8, 0.9)]}
    found = verdict.leave_one_out(tested, rivals)
    assert found == LeaveOneOut({"2": 0.9}, {"extra trees": {"2": 0.75}})
    assert verdict.leave_one_out({"test": tested["test"]}, rivals) is None
