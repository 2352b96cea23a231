"""`look()`: the state of a trial is which files exist, and a result is the guard."""

import dataclasses

import pytest

from jobs import files
from jobs import folder as home
from jobs.contract import Claim, Lost, Proposal, Result, State
from jobs.folder import RunFolder

pytestmark = pytest.mark.fast


@pytest.fixture
def run(tmp_path):
    """An empty run's folder."""
    folder = RunFolder(tmp_path / "run")
    folder.make()
    return folder


def propose(run, *numbers):
    """Publish points with nothing in them."""
    for number in numbers:
        assert run.propose(Proposal(number, {"x": number}, seed=number, origin="random"))


def finish(run, number, value=1.0):
    """Publish an outcome."""
    return run.publish(Result(number, State.COMPLETE, {"x": number}, value=value))


def test_states_follow_from_names_alone(run):
    """Proposal, claim, lost, second claim, result: the whole life of a trial."""
    states = []
    propose(run, 0)
    states.append(run.look().state(0))
    run.claim(Claim(0, 1, "a"))
    states.append(run.look().state(0))
    run.lose(Lost(0, 1, "NODE_FAIL", by="controller"))
    states.append(run.look().state(0))
    run.claim(Claim(0, 2, "b"))
    states.append(run.look().state(0))
    finish(run, 0)
    states.append(run.look().state(0))
    waiting, running = State.WAITING, State.RUNNING
    assert states == [waiting, running, waiting, running, None]


def test_a_result_outlives_whatever_reappears(run):
    """A worker that slept for an hour can do no harm to a finished trial."""
    propose(run, 0)
    finish(run, 0)
    run.claim(Claim(0, 3, "sleeper"))
    run.propose(Proposal(0, {"x": 9}, seed=9, origin="sleeper"))
    view = run.look()
    assert view.finished == {0}
    assert not view.numbers(State.WAITING)
    assert not view.numbers(State.RUNNING)
    assert not view.holds(Claim(0, 3, "sleeper"))


def test_a_second_result_is_refused(run):
    """Promise 2: at most one accepted result."""
    assert finish(run, 0, value=1.0)
    assert not finish(run, 0, value=2.0)
    assert run.result(0).value == 1.0


def test_only_the_newest_living_claim_holds(run):
    """A claim that was given up, or overtaken, is fenced."""
    propose(run, 0)
    first, second = Claim(0, 1, "a"), Claim(0, 2, "b")
    run.claim(first)
    assert run.look().holds(first)
    run.lose(Lost(0, 1, "TIMEOUT", by="worker"))
    assert not run.look().holds(first)
    run.claim(second)
    view = run.look()
    assert not view.holds(first)
    assert view.holds(second)


def test_a_requeued_twin_does_not_take_its_first_copy_for_itself(run):
    """Same job id, same trial, same attempt: one claim, one winner."""
    propose(run, 0)
    claim = Claim(0, 1, "77_3", restart=0)
    assert run.claim(claim)
    assert not run.claim(dataclasses.replace(claim, restart=1))
    assert not run.claim(claim)


def test_a_gap_in_the_numbers_means_an_old_listing(run):
    """The controller then proposes nothing."""
    propose(run, 0, 2)
    assert not run.look().whole
    propose(run, 1)
    assert run.look().whole


def test_a_trial_that_moves_while_we_list_is_not_lost(run, monkeypatch):
    """`open/` is listed before `done/`: a trial in between is seen twice, never nowhere."""
    propose(run, 0)
    real = files.names

    def names(folder):
        listed = real(folder)
        if folder == run.open:  # the trial finishes and is swept right after this listing
            finish(run, 0)
            files.remove([run.of(0, "proposal")])
        return listed

    monkeypatch.setattr(home.files, "names", names)
    view = run.look()
    assert view.finished == {0}
    assert view.whole


def test_a_full_shard_is_listed_once(run, monkeypatch):
    """A look costs the live trials, not the finished ones."""
    monkeypatch.setattr(home, "SHARD", 3)
    for number in range(4):
        finish(run, number)
    assert run.look().finished == {0, 1, 2, 3}
    listed = []
    real = files.names
    monkeypatch.setattr(home.files, "names", lambda f: listed.append(f.name) or real(f))
    assert run.look().finished == {0, 1, 2, 3}
    assert listed == ["open", "done", "001"]


def test_records_of_a_newer_version_can_be_read(run):
    """Unknown keys are passed over, so that an old tool can look at a new run."""
    table = dataclasses.asdict(Claim(0, 1, "a"))
    files.write_once(run.of(0, "claim", 1), table | {"colour": "blue"})
    assert run.claimed(0, 1) == Claim(0, 1, "a")


def test_records_come_back_as_they_were_written(run):
    """Params keep their types, tuples their order."""
    result = Result(
        5, State.PRUNED, {"lr": 1e-3, "units": 64, "adam": True, "name": "x", "none": None},
        pending=(3, 4), curve=({"step": 0, "rmse": 2.5},), reason="pruned",
    )  # fmt: skip
    run.publish(result)
    assert run.result(5) == result
