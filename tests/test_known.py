"""What the sampler knew when a point was asked for, and what was there when it was trained."""

import pytest

from jobs.contract import State
from tests.made import study
from tests.test_controller import drive, make
from tuner import report
from tuner.known import Known, known, there_at_start
from tuner.status import status
from tuner.trial import Trial

pytestmark = pytest.mark.fast


def trial(number, started, ended, told, origin="gp"):
    """A trial of the search that was trained from one moment to another."""
    return Trial(
        number, State.COMPLETE, {}, value=1.0, pending=number - told, origin=origin,
        started=started, seconds=ended - started,
    )  # fmt: skip


SEARCH = [
    trial(0, 0.0, 10.0, 0),
    trial(1, 0.0, 30.0, 0),
    trial(2, 10.0, 20.0, 0),
    trial(3, 20.0, 50.0, 1),
    trial(4, 30.0, 40.0, 2),
]


def test_results_count_from_their_end_to_a_later_start():
    """Those of higher numbers do not: no sampler could have known them."""
    assert there_at_start(SEARCH) == {0: 0, 1: 0, 2: 1, 3: 2, 4: 3}
    early = [trial(0, 100.0, 110.0, 0), trial(1, 0.0, 10.0, 0)]
    assert there_at_start(early) == {0: 0, 1: 0}


def test_the_shares_are_means_over_the_points_that_were_learned_for():
    """Points of the start, the user's own and those that wait say nothing of the sampler."""
    own = trial(5, 60.0, 70.0, 0, origin="enqueue")
    waits = Trial(6, State.WAITING, {}, pending=5, origin="gp")
    found = known(study(n_initial=3), [*SEARCH, own, waits])
    assert found == Known((1 / 3 + 2 / 4) / 2, (2 / 3 + 3 / 4) / 2)
    assert known(study(n_initial=10), SEARCH) is None
    assert known(study(), []) is None


def test_what_was_told_was_there_whatever_the_clocks_say():
    """Another host's clock is late: its result was known all the same."""
    assert there_at_start([trial(0, 0.0, 99.0, 0), trial(1, 50.0, 60.0, 1)])[1] == 1


def test_status_and_report_say_it(tmp_path):
    """In one line, and for programs."""
    run = make(tmp_path, n_initial=4)
    drive(run)
    shares = status(run)["known"]
    assert 0 < shares["when_asked"] <= shares["when_trained"] <= 1
    (line,) = [
        text
        for text in report.summary(run, run.trials(), report.Tested())
        if "The sampler knew" in text
    ]
    assert f"{shares['when_asked']:.0%} of the earlier results" in line
    assert f"{shares['when_trained']:.0%} were there" in line
