"""The reconcile loop, with workers inside this process: fast, and every tick at our word."""

import dataclasses
import time

import pytest

from jobs import files
from jobs.contract import ALIVE_WITHIN, SEARCH, Claim, State
from jobs.executor import Inline, Slots
from jobs.reasons import CANCELLED, NO_TRACE, WITH_STUDY
from tuner import controller as controllers
from tuner import samplers, store
from tuner.controller import Controller
from tuner.settings import Jobs
from tuner.space import BadInput, Space
from tuner.study import Study

SPACE = Space.from_table({"x": {"type": "float", "low": -2, "high": 3}})


def make(tmp_path, **more):
    """A run of a quadratic function, or of what `more` says."""
    values = {
        "name": "s", "direction": "minimize", "n_trials": 8, "space": SPACE, "sampler": "random",
        "train": "tests.functions:quadratic", "jobs": Jobs(grace=0.0, n_workers=2), **more,
    }  # fmt: skip
    return store.create(Study(**values), tmp_path / "run")


def drive(run, executor=None, ticks=100):
    """Tick until the run has nothing left to do."""
    controller = Controller(run, executor or Inline(run.folder))
    for _ in range(ticks):
        status = controller.tick()
        if status.finished or status.stopped:
            return status
    raise AssertionError(f"not finished after {ticks} ticks")


def test_a_study_runs_to_exactly_its_trials(tmp_path):
    """The asked number, all complete, and nothing left open."""
    run = make(tmp_path)
    drive(run)
    trials = run.trials()
    assert [t.number for t in trials] == list(range(8))
    assert {t.state for t in trials} == {State.COMPLETE}
    assert files.names(run.folder.open) == []


@pytest.mark.parametrize("sampler", ["gp", "tpe", "random"])
def test_every_proposal_can_be_replayed(tmp_path, sampler):
    """Promise 4: same study, same trials told and pending, same point."""
    run = make(tmp_path, sampler=sampler, n_initial=4, n_trials=9)
    drive(run)
    ask = samplers.get(sampler)
    trials = run.trials()
    for trial in trials:
        result = run.folder.result(trial.number)
        known = [
            dataclasses.replace(t, state=State.WAITING, value=None)
            if t.number in result.pending else t
            for t in trials[: trial.number]
        ]  # fmt: skip
        assert ask(SPACE, known, 1, 0, 4) == [trial.params]
        assert trial.told == trial.number - len(result.pending)


def test_a_restart_at_any_tick_changes_no_proposal(tmp_path):
    """A new controller each tick proposes what a long-lived one would."""
    whole, parts = make(tmp_path / "a", sampler="gp"), make(tmp_path / "b", sampler="gp")
    drive(whole)
    for _ in range(100):
        again = store.Store(parts.path)
        if Controller(again, Inline(again.folder)).tick().finished:
            break
    assert [t.params for t in whole.trials()] == [
        t.params for t in store.Store(parts.path).trials()
    ]


def test_enqueued_points_come_first(tmp_path):
    """In their order, and marked as the study's own."""
    run = make(tmp_path, enqueue=({"x": 1.0}, {"x": 2.0}), n_trials=4)
    drive(run)
    trials = run.trials()
    assert [t.params for t in trials[:2]] == [{"x": 1.0}, {"x": 2.0}]
    assert [t.origin for t in trials] == ["enqueue", "enqueue", "random", "random"]


def test_more_trials_go_on_where_the_run_ended(tmp_path):
    """A second `run` with a larger n_trials keeps every number."""
    first = [t.params for t in finished(make(tmp_path, n_trials=3))]
    assert [t.params for t in finished(make(tmp_path, n_trials=6))][:3] == first


def finished(run):
    """A run's trials at its end."""
    drive(run)
    return run.trials()


def test_a_trial_that_raises_is_fail_and_not_a_number(tmp_path):
    """NaN is no score; the error's own word is the reason."""
    run = make(tmp_path, train="tests.functions:diverging", n_trials=12)
    drive(run)
    trials = run.trials()
    assert {t.state for t in trials if t.params["x"] > 1} == {State.FAIL}
    assert {t.value for t in trials if t.state is State.FAIL} == {None}
    assert {t.reason for t in trials if t.state is State.FAIL} == {"the value is nan"}


def test_the_same_error_in_the_first_trials_stops_the_study(tmp_path):
    """A bug of the study's must not burn its whole budget."""
    run = make(tmp_path, train="tests.functions:broken", n_trials=50)
    status = drive(run)
    assert "the same bug every time" in status.stopped
    assert len(run.trials()) < 10
    assert run.folder.stopping() == status.stopped


@dataclasses.dataclass
class Silent:
    """An executor whose workers never come; `alive` is what its system says."""

    alive: frozenset = frozenset()
    shared: bool = False
    tick: float = 0.0
    capacity: int = 2
    submitted: int = 0
    word: str = "NODE_FAIL"

    def slots(self):
        """Two live workers, for ever."""
        return Slots(2, self.alive)

    def submit(self, workers):
        """Count."""
        self.submitted += workers

    def why(self, claim):
        """Slurm's word."""
        return self.word

    def tidy(self):
        """Nothing."""

    def failing(self, since):
        """Nothing."""
        return ""

    def leave(self):
        """Nothing."""


def test_a_dead_claim_waits_again_after_the_grace_and_not_before(tmp_path, monkeypatch):
    """Only a job that is not alive, for as long as its files may be late."""
    run = make(tmp_path)
    executor = Silent(alive=frozenset({("job", 0)}))
    controller = Controller(run, executor)
    controller.tick()
    run.folder.claim(Claim(0, 1, "job"))
    clock = [time.time() + 1000]
    monkeypatch.setattr(controllers.files, "server_now", lambda folder: clock[0])
    controller.tick()
    assert run.view().state(0) is State.RUNNING
    executor.alive = frozenset()
    controller.tick()
    clock[0] += 2.9
    controller.tick()
    assert run.view().state(0) is State.RUNNING
    clock[0] += 0.2
    controller.tick()
    assert run.view().state(0) is State.WAITING
    assert files.read(run.folder.of(0, "lost", 1))["reason"] == "NODE_FAIL"


def test_a_claim_that_cannot_be_read_is_buried_like_a_dead_one(tmp_path, monkeypatch):
    """Zero-length or full of NULs: it names no living job, and must not block the study."""
    run = make(tmp_path)
    monkeypatch.setattr(controllers, "_GRACE_LOCAL", -1.0)
    controller = Controller(run, Silent())
    controller.tick()
    run.folder.claim(Claim(0, 1, "job"))
    run.folder.of(0, "claim", 1).write_bytes(bytes(64))
    controller.tick()
    assert run.view().state(0) is State.WAITING


def test_a_listed_file_that_cannot_be_read_means_wait_and_then_says_so(tmp_path, monkeypatch):
    """A point asked for without that trial could not be replayed, and would be one too many."""
    run = make(tmp_path, n_trials=4)
    drive(run)
    run.folder.result_path(1).write_bytes(b"")
    monkeypatch.setattr(controllers, "_UNREAD_TICKS", 3)
    controller = Controller(store.Store(run.path), Silent())
    for _ in range(3):
        assert not controller.tick().finished
    assert run.view().size == 4
    with pytest.raises(BadInput, match="file of trial 1 that cannot be read"):
        controller.tick()


@pytest.mark.parametrize(
    ("word", "attempts"),
    [("TIMEOUT", 4), ("OUT_OF_MEMORY", 2), ("CANCELLED", 1), ("NODE_FAIL", 10)],
)
def test_a_trial_whose_attempts_all_die_fails_in_the_end(tmp_path, monkeypatch, word, attempts):
    """With the last reason, after as many attempts as that is worth; it never blocks the study."""
    run = make(tmp_path, n_trials=1)
    monkeypatch.setattr(controllers, "_GRACE_LOCAL", 0.0)
    controller = Controller(run, Silent(word=word))
    controller.tick()  # of what it finds dead at its first look, it would not know who meant what
    for _ in range(40):
        controller.tick()
        view = run.view()
        if 0 in view.finished:
            break
        if view.state(0) is State.WAITING:
            run.folder.claim(Claim(0, view.claims.get(0, 0) + 1, "job"))
    trial = run.trials()[0]
    assert (trial.state, trial.reason, trial.attempts) == (State.FAIL, word, attempts)
    assert trial.lost == (word,) * (attempts - 1)
    assert trial.value is None


def test_what_was_cancelled_while_no_controller_was_there_goes_on(tmp_path, monkeypatch):
    """`scancel` of all jobs at once, a worker before it could say a word; then looks by cron."""
    run = make(tmp_path, n_trials=1, jobs=Jobs(n_workers=1, lost_after=50))
    Controller(run, Silent()).tick()
    run.folder.claim(Claim(0, 1, "job"))
    Controller(run, Silent(word="CANCELLED")).tick()
    assert run.view().state(0) is State.RUNNING
    later = time.time() + 51
    monkeypatch.setattr(controllers.files, "server_now", lambda folder: later)
    Controller(run, Silent(word="CANCELLED")).tick()
    assert files.read(run.folder.of(0, "lost", 1))["reason"] == WITH_STUDY
    assert run.view().state(0) is State.WAITING


def test_a_successor_knows_who_died_under_its_predecessor(tmp_path, monkeypatch):
    """What was cancelled then is not wanted, though the grace ends in another's time."""
    run = make(tmp_path, n_trials=1, jobs=Jobs(n_workers=1, lost_after=50))
    executor = Silent(word="CANCELLED")
    before = Controller(run, executor)
    before.tick()
    run.folder.claim(Claim(0, 1, "job"))
    before.tick()
    later = time.time() + 51
    monkeypatch.setattr(controllers.files, "server_now", lambda folder: later)
    Controller(run, executor).tick()
    assert run.trials()[0].reason == CANCELLED


def test_a_controller_of_slow_looks_says_how_long_to_wait_for_it(tmp_path, monkeypatch):
    """Three of them, and never under a minute."""
    run = make(tmp_path)
    controller = Controller(run, Silent())
    clock = [0.0]
    monkeypatch.setattr(controllers.time, "monotonic", lambda: clock[0])
    controller.tick()
    assert run.last_sign()["within"] == ALIVE_WITHIN
    for clock[0] in (100.0, 101.0):
        controller.tick()
    assert run.last_sign()["within"] == 300.0


def test_the_first_word_of_a_death_is_kept(tmp_path, monkeypatch):
    """Slurm forgets a job in a moment (MinJobAge), before the grace is over."""
    run = make(tmp_path, jobs=Jobs(n_workers=2, lost_after=50))
    executor = Silent(word="PREEMPTED")
    Controller(run, executor).tick()
    run.folder.claim(Claim(0, 1, "job"))
    Controller(run, executor).tick()
    executor.word = NO_TRACE
    later = time.time() + 49
    monkeypatch.setattr(controllers.files, "server_now", lambda folder: later)
    Controller(run, executor).tick()
    assert run.view().state(0) is State.RUNNING
    monkeypatch.setattr(controllers.files, "server_now", lambda folder: later + 2)
    Controller(run, executor).tick()
    assert files.read(run.folder.of(0, "lost", 1))["reason"] == "PREEMPTED"


def test_what_a_sleeper_brings_back_is_ignored_and_swept(tmp_path):
    """A worker stopped for an hour finds its trial finished."""
    run = make(tmp_path, n_trials=2)
    drive(run)
    before = run.folder.result(0)
    run.folder.claim(Claim(0, 7, "sleeper"))
    files.append(run.folder.of(0, "metrics", 7), {"step": 1})
    assert drive(run).finished
    assert files.names(run.folder.open) == []
    assert run.folder.result(0) == before


def test_a_run_with_a_hole_is_waited_for_and_then_refused(tmp_path, monkeypatch):
    """A stale listing shows holes for a minute; a deleted file shows them for ever."""
    run = make(tmp_path, n_trials=3)
    drive(run)
    run.folder.result_path(1).unlink()
    monkeypatch.setattr(store, "_PAUSE", 0.0)
    with pytest.raises(BadInput, match="has no trial 1"):
        run.view()


def test_a_controller_stopped_in_the_middle_of_a_look_looks_again(tmp_path, monkeypatch):
    """An hour of sleep is no hour of waiting for a hole to close."""
    run = make(tmp_path, n_trials=3)
    drive(run)
    whole, clock = run.view(), iter(range(0, 100_000, 3600))
    views = iter([dataclasses.replace(whole, finished=frozenset({0, 2})), whole])
    monkeypatch.setattr(run.folder, "look", lambda: next(views))
    monkeypatch.setattr(store.time, "monotonic", lambda: next(clock))
    assert run.view() is whole


def test_only_the_best_weights_stay(tmp_path):
    """A few finished checkpoints, those of the best trials."""
    run = make(tmp_path, train="tests.functions:counting", n_trials=8)
    drive(run)
    ranked = sorted(run.trials(), key=lambda t: t.value)
    kept = {int(name.split(".")[0]) for name in files.names(run.folder.weights)}
    assert kept == {t.number for t in ranked[:3]}
    assert all(t.part == SEARCH for t in ranked)
