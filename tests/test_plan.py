"""plan(): what to do next, tested with lists."""

import pytest

from jobs.contract import State
from jobs.executor import Slots
from tuner.confirm import best
from tuner.pace import Pace
from tuner.plan import MAX_ATTEMPTS, MAX_BARREN, plan, used_up
from tuner.settings import Jobs
from tuner.space import Space
from tuner.study import Study
from tuner.trial import Trial

pytestmark = pytest.mark.fast

SPACE = Space.from_table({"x": {"type": "float", "low": 0, "high": 1}})
NONE = Slots(0, frozenset())


def study(n_trials=20, n_workers=4, direction="minimize"):
    """A small study."""
    return Study("s", direction, n_trials, SPACE, jobs=Jobs(n_workers=n_workers))


def trials(complete=0, running=0, waiting=0, *, part="search", of=None, first=0):
    """Trials in some states; values fall with the number."""
    states = [State.COMPLETE] * complete + [State.RUNNING] * running + [State.WAITING] * waiting
    return [
        Trial(n, state, {"x": 0.5}, part=part, of=of, value=10.0 - n if state.finished else None)
        for n, state in enumerate(states, start=first)
    ]


def decide(study, trials, slots=NONE, parts=(), capacity=100, **more):
    """plan() with what most tests do not vary."""
    return plan(study, trials, slots, parts, capacity, **more)


def parts_of(todo):
    """The names of what follows the search."""
    return tuple(due.part for due in todo.due)


def test_an_empty_run_fills_its_slots_and_a_shallow_stock():
    """As many points as workers and a few more; one job a worker."""
    todo = decide(study(), [])
    assert (todo.propose, todo.submit) == (5, 4)


def test_a_queued_job_gets_its_point_when_it_starts():
    """A point asked for hours ago knows nothing of the results since; only the first wait."""
    queued = Slots(4, frozenset(), queued=3)
    over = trials(complete=10, running=1)  # n_initial is 10
    assert decide(study(), over, queued).propose == 1
    assert decide(study(), trials(complete=10, running=4), Slots(4, frozenset())).propose == 1
    assert decide(study(), trials(complete=10), Slots(4, frozenset())).propose == 5
    assert decide(study(), trials(complete=4), queued).propose == 5
    assert decide(study(), trials(complete=8), queued).propose == 2


def test_the_jobs_of_points_to_come_are_submitted():
    """They queue while their points are not asked for yet."""
    assert decide(study(), trials(complete=10)).submit == 4
    assert decide(study(n_trials=12), trials(complete=10)).submit == 2


def test_more_points_wait_where_they_are_taken_faster():
    """The stock is that of the pace."""
    busy, slots = trials(complete=10, running=4), Slots(4, frozenset())
    assert decide(study(), busy, slots, pace=Pace(2.0, 600.0)).propose == 1
    assert decide(study(), busy, slots, pace=Pace(2.0, 4.0)).propose == 4


def test_the_stock_is_topped_up_as_trials_end():
    """Never more than workers and stock are unfinished."""
    todo = decide(study(), trials(complete=3, running=4), Slots(4, frozenset()))
    assert (todo.propose, todo.submit) == (1, 0)


def test_fewer_workers_that_were_asked_for_get_the_points():
    """With twice as many at work nothing is proposed until the surplus has left."""
    many = Slots(8, frozenset())
    assert decide(study(), trials(complete=2, running=8), many).propose == 0
    assert decide(study(), trials(complete=5, running=5), many).propose == 0
    assert decide(study(), trials(complete=10), many).propose == 4
    assert decide(study(), trials(complete=6, running=4), Slots(4, frozenset())).propose == 1


def test_queued_jobs_count_as_slots():
    """Jobs in the queue are adopted, not submitted again."""
    todo = decide(study(), trials(waiting=5), Slots(3, frozenset()))
    assert todo.submit == 1


def test_no_worker_is_submitted_that_would_find_nothing():
    """At the end of a study the slots empty."""
    todo = decide(study(n_trials=10), trials(complete=8, running=2), Slots(2, frozenset()))
    assert (todo.propose, todo.submit, todo.finished) == (0, 0, False)
    assert decide(study(n_trials=10), trials(complete=9, waiting=1)).submit == 1


def test_nothing_is_submitted_while_slurm_does_not_answer():
    """A job too many costs a GPU; points may wait."""
    todo = decide(study(), [], slots=None)
    assert (todo.propose > 0, todo.submit) == (True, 0)


def test_a_small_machine_caps_the_workers():
    """Two cores get two workers, whatever the study asks."""
    assert decide(study(n_workers=8), [], capacity=2).submit == 2


def test_the_winner_is_tested_when_the_search_is_over_and_not_before():
    """Its parts are proposed once each."""
    running = trials(complete=9, running=1)
    assert parts_of(decide(study(n_trials=10), running, parts=("test", "leave:1"))) == ()
    over = trials(complete=10)
    todo = decide(study(n_trials=10), over, parts=("test", "leave:1"))
    assert (parts_of(todo), todo.submit, todo.finished) == (("test", "leave:1"), 2, False)
    half = over + trials(waiting=1, part="test", of=9, first=10)
    assert parts_of(decide(study(n_trials=10), half, parts=("test", "leave:1"))) == ("leave:1",)


def test_the_run_is_finished_when_the_parts_are():
    """And stays so."""
    done = trials(complete=10) + trials(complete=1, part="test", of=9, first=10)
    assert decide(study(n_trials=10), done, parts=("test",)).finished


def test_more_trials_go_on_with_a_finished_run():
    """Raising n_trials searches on; a new winner is tested anew, an old one is not."""
    done = trials(complete=10) + trials(complete=1, part="test", of=9, first=10)
    two = Slots(2, frozenset())
    assert decide(study(n_trials=12), done, two, parts=("test",)).propose == 2
    same = [*done, *(Trial(n, State.COMPLETE, {"x": 0.1}, value=99.0) for n in (11, 12))]
    assert decide(study(n_trials=12), same, parts=("test",)).finished
    better = [*done, *(Trial(n, State.COMPLETE, {"x": 0.1}, value=-1.0) for n in (11, 12))]
    assert parts_of(decide(study(n_trials=12), better, parts=("test",))) == ("test",)


def test_a_failed_search_ends_without_a_winner():
    """Nothing to test, nothing to wait for."""
    failed = [Trial(n, State.FAIL, {"x": 0.5}, reason="bug") for n in range(3)]
    assert decide(study(n_trials=3), failed, parts=("test",)).finished


@pytest.mark.parametrize(("direction", "number"), [("minimize", 2), ("maximize", 0)])
def test_the_winner_is_the_best_of_the_search_alone(direction, number):
    """A test score is never a search's value, and of equal trials the first wins."""
    found = trials(complete=3)
    found.append(Trial(3, State.COMPLETE, {}, part="test", of=0, value=-1e9))
    found.append(Trial(4, State.COMPLETE, {}, value=found[number].value))
    assert best(study(direction=direction), found).number == number


def test_of_equally_accurate_trials_the_surer_one_wins():
    """Accuracies of forty windows are often equal; the loss that was reported tells them apart."""
    curves = [({"loss": 0.4}, {"loss": 0.3}), ({"loss": 0.5}, {"loss": 0.1}), ({"loss": None},)]
    found = [Trial(n, State.COMPLETE, {}, value=1.0, curve=c) for n, c in enumerate(curves)]
    assert best(study(direction="maximize"), found).number == 1


@pytest.mark.parametrize(
    ("attempts", "over"),
    [
        ([("TIMEOUT", False)] * MAX_BARREN, False),
        ([("TIMEOUT", False)] * (MAX_BARREN + 1), True),
        ([("TIMEOUT", True)] * (MAX_ATTEMPTS - 1), False),
        ([("TIMEOUT", True)] * MAX_ATTEMPTS, True),
        ([("NODE_FAIL", False)] * (MAX_ATTEMPTS - 1), False),  # not the point's fault
        ([("NODE_FAIL", False)] * MAX_ATTEMPTS, True),
        ([("NODE_FAIL", False), ("OUT_OF_MEMORY", False)], False),
        ([("OUT_OF_MEMORY", False)] * 2, True),  # it wants the same again
        ([("OUT_OF_MEMORY", True)] * 2, False),
        ([("CANCELLED", True)], True),
    ],
)
def test_attempts_are_bounded_by_how_they_ended(attempts, over):
    """Three barren retries, one that wants more memory, none against the user, ten in all."""
    assert used_up(attempts) is over
