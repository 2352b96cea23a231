"""Early stopping: the rule with lists, the files between controller and workers, and the ends."""

import errno
import json
import math
import sys

import pytest

from jobs import files, rungs
from jobs.attempt import Attempt, Ending
from jobs.contract import BY_HAND, ENQUEUED, Claim, Proposal, State
from jobs.executor import Inline
from jobs.rungs import Rungs
from jobs.worker import work
from models.defaults import OURS
from models.split import Part, Split
from models.train import Stop
from tests import made
from tests.bench import pruning
from tuner import asha, confirm, report, results, store
from tuner import run as run_command
from tuner.controller import Controller
from tuner.pruner import Pruner
from tuner.settings import Jobs
from tuner.space import BadInput, Space
from tuner.study import Study

pytestmark = pytest.mark.fast

SPACE = Space.from_table({"x": {"type": "float", "low": -2, "high": 3}})
ON = {"name": "asha", "metric": "value", "reduction_factor": 3}


def study(**more):
    """A study of tests.functions:counting, whose value after six epochs is 6 x."""
    values = {
        "name": "s", "direction": "minimize", "n_trials": 9, "space": SPACE, "sampler": "random",
        "train": "tests.functions:counting", "fixed": {"epochs": 6}, "pruner": ON,
        "jobs": Jobs(grace=0.0, n_workers=1), **more,
    }  # fmt: skip
    return Study(**values)


def rungs_of(**more):
    """The rungs of a study."""
    made_ = study(**more)
    return Rungs.of(made_.to_table(), made_.pruner)


def curve(*values, metric="value"):
    """What a trial reported."""
    return [{"step": step, metric: value} for step, value in enumerate(values)]


@pytest.mark.parametrize(
    ("epochs", "schedule", "pruner", "expected"),
    [
        (30, "constant", {}, (3, 9, 27)),
        (31, "constant", {}, (4, 12)),
        (10, "cosine", {}, (2, 6)),
        (15, "cosine", {}, (3, 9)),
        (30, "constant", {"reduction_factor": rungs.FACTOR}, (3, 12)),
        (16, "constant", {"reduction_factor": 2}, (2, 4, 8)),
        (16, "constant", {"first_rung": 5}, (5, 15)),
        (16, "constant", {"first_rung": 0.25, "reduction_factor": 4}, (4,)),
    ],
)
def test_rungs_begin_at_a_share_of_the_epochs_and_multiply(epochs, schedule, pruner, expected):
    """A tenth, or a fifth under a schedule; the last epoch is none."""
    fixed = {"epochs": epochs, "schedule": schedule}
    assert rungs_of(fixed=fixed, pruner={**ON, **pruner}).epochs == expected


@pytest.mark.parametrize(
    ("reached", "factor", "goes_on", "ends"),
    [
        ([], 3, [9.0, math.inf], []),  # the first has no rival
        ([1.0], 3, [0.5, 1.0], [1.1]),  # too few for a third: the best alone
        ([3.0, 1.0, 2.0], 3, [0.5, 1.0], [1.1, 2.0]),
        ([3.0, 1.0, 2.0, 4.0, 5.0], 3, [2.0], [2.5]),  # of six the best two
        ([2.0, 2.0, 2.0], 3, [2.0], [2.1]),  # equals go on together
        ([math.inf, math.inf], 3, [7.0, math.inf], []),  # all others diverged
        ([1.0, math.inf, 2.0, 3.0], 2, [2.0], [3.0, math.inf]),
    ],
)
def test_who_is_among_the_best_that_came_so_far_goes_on(reached, factor, goes_on, ends):
    """The share counts the newcomer itself."""
    needed = asha.needed(reached, factor)
    assert all(loss <= needed for loss in goes_on)
    assert not any(loss <= needed for loss in ends)


def test_each_rung_asks_by_those_that_were_there():
    """None was not; a rung where nobody can fail asks for nothing."""
    trials = [(1.0, 0.5), (2.0, None), (3.0, None), (None, None)]
    assert asha.losses(trials, (2, 6), 3) == {2: 1.0, 6: 0.5}
    assert asha.losses([(1.0, None)], (2, 6), 3) == {2: 1.0}
    assert asha.losses([(math.inf, None)], (2, 6), 3) == {}


def test_a_trial_is_compared_by_the_best_that_it_reported():
    """nan came as None; a metric that was never reported compares nothing."""
    up = rungs_of(direction="maximize")
    assert up.loss(curve(0.5, 0.7, 0.6)) == -0.7
    assert rungs_of().loss(curve(0.5, None, 0.6)) == 0.5
    assert rungs_of().loss(curve(None, None)) == math.inf
    assert rungs_of().loss(curve(1.0, metric="other")) is None


def test_the_loss_at_a_rung_is_of_the_epochs_before_it():
    """Later ones do not count; who ended well before is there with its best."""
    three = rungs_of(fixed={"epochs": 20}, pruner={**ON, "first_rung": 2})
    assert three.epochs == (2, 6, 18)
    assert three.losses(curve(5, 4, 3, 2, 1, 9, 0)) == (4, 1, None)
    assert three.losses(curve(5, 4, 3)) == (4, None, None)
    assert three.losses(curve(5, 4, 3), ended=True) == (4, 3, 3)


def test_a_rung_is_crossed_once_whatever_steps_are_reported():
    """A function may report every other epoch only."""
    three = rungs_of(fixed={"epochs": 20}, pruner={**ON, "first_rung": 2})
    steps = [{"step": step, "value": 1.0} for step in (0, 3, 4, 5, 17)]
    crossed = [three.crossed(steps[: i + 1], epoch["step"]) for i, epoch in enumerate(steps)]
    assert crossed == [None, 2, None, 6, 18]


def test_what_rungs_ask_for_is_written_once_a_change(tmp_path):
    """The highest number counts, and of the old ones the last but one stays."""
    for losses in ({2: 1.0}, {2: 1.0}, {2: 0.5}, {2: 0.5, 6: 0.25}):
        rungs.publish(tmp_path, losses)
    assert sorted(files.names(tmp_path / "rungs")) == ["000002.json", "000003.json"]
    assert rungs.required(tmp_path) == {2: 0.5, 6: 0.25}


@pytest.mark.parametrize("content", [b"", b"\0\0\0", b'{"losses": {"2": 0', None])
def test_what_cannot_be_read_prunes_nobody(tmp_path, content):
    """A torn file of a crashed server, one that was swept, none at all."""
    rungs.publish(tmp_path, {2: 1.0})
    path = tmp_path / "rungs" / "000001.json"
    path.unlink() if content is None else path.write_bytes(content)
    assert rungs_of().pruned(tmp_path, curve(9.0, 9.0), 1) == ""


def run_of(tmp_path, points=(1.0,), **more):
    """A run with some waiting points and no controller."""
    run = store.create(study(**more), tmp_path / "run")
    for number, x in enumerate(points):
        run.folder.propose(Proposal(number, {"x": x}, seed=number, origin="random"))
    return run


def test_a_trial_that_is_not_among_the_best_ends_at_its_rung(tmp_path):
    """PRUNED, with the best it had, its curve so far, and why; its weights are not kept."""
    run = run_of(tmp_path, points=(1.0, 0.25))
    rungs.publish(run.path, {1: 0.5, 3: 0.5})
    work(str(run.path))
    ended, passed = (run.folder.result(number) for number in range(2))
    assert (ended.state, ended.value, len(ended.curve)) == (State.PRUNED, 1.0, 1)
    assert ended.reason == "value 1 after 1 epochs, where 0.5 was needed"
    assert (passed.state, passed.value) == (State.COMPLETE, 1.5)  # its best so far was 0.25
    assert files.names(run.folder.weights) == ["000001.pt"]


def test_a_pruned_value_is_in_the_direction_of_the_study(tmp_path):
    """Where more is better the best is the highest."""
    run = run_of(tmp_path, direction="maximize")
    rungs.publish(run.path, {3: -4.0})
    work(str(run.path))
    assert (run.folder.result(0).state, run.folder.result(0).value) == (State.PRUNED, 3.0)


@pytest.mark.parametrize(
    "given", [{"origin": ENQUEUED}, {"origin": BY_HAND}, {"part": "test", "of": 0}]
)
def test_what_somebody_asked_for_is_never_pruned(tmp_path, given):
    """The study's own points, and the winner's parts."""
    run = run_of(tmp_path, points=())
    rungs.publish(run.path, {1: -9.0})
    asked = Proposal(0, {"x": 1.0}, 0, **{"origin": "random", **given})
    claim = Claim(0, 1, "job")
    seen = Attempt(run.folder, claim, lambda: "", rungs=worker_of(run)._rungs(asked))
    seen.report(0, value=1.0)
    assert seen.ending is None
    other = Attempt(run.folder, claim, lambda: "", rungs=worker_of(run)._rungs(plain(asked)))
    with pytest.raises(Stop):
        other.report(0, value=1.0)
    assert other.ending is Ending.PRUNED


def plain(proposal):
    """The same point, from a sampler."""
    return Proposal(proposal.number, proposal.params, 0, "random")


def worker_of(run):
    """A worker of a run, in this process."""
    from jobs.worker import Orders, Worker  # noqa: PLC0415

    return Worker(run.folder, Orders.read(run.folder), None, lambda: "")


def test_a_resumed_attempt_is_pruned_like_a_whole_one(tmp_path):
    """Its curve is carried on, so that its best counts, and a rung behind it is not met again."""
    run = run_of(tmp_path)
    where = rungs_of()
    claim = Claim(0, 1, "job")
    first = Attempt(run.folder, claim, lambda: "", rungs=where)
    for step, value in enumerate((0.1, 5.0)):
        first.report(step, value=value)
        first.save(step, lambda: {"done": 2}, last=step == 1)
    rungs.publish(run.path, {1: 0.01, 3: 0.05})
    second = Attempt(run.folder, Claim(0, 2, "job"), lambda: "", rungs=where)
    assert second.load() == {"done": 2}
    with pytest.raises(Stop):
        second.report(2, value=7.0)
    assert (second.ending, second.reached()) == (Ending.PRUNED, 0.1)
    assert second.why == "value 0.1 after 3 epochs, where 0.05 was needed"


def test_a_disk_that_refuses_at_a_rung_prunes_nobody(tmp_path, monkeypatch):
    """And waits for nothing: the next rung comes."""
    run = run_of(tmp_path)
    rungs.publish(run.path, {1: 0.01})
    seen = Attempt(run.folder, Claim(0, 1, "job"), lambda: "", rungs=rungs_of())

    def away(path):
        raise OSError(errno.EIO, "away", str(path))

    monkeypatch.setattr(rungs, "required", away)
    seen.report(0, value=1.0)
    assert seen.ending is None


def test_the_controller_reads_running_and_finished_trials(tmp_path):
    """A running one counts at the rungs it has passed, and is read again only when it grew."""
    run = run_of(tmp_path, points=(1.0, 2.0, 3.0))
    pruner = Pruner(run.folder, run.study, None)
    first = Attempt(run.folder, claimed(run, 0), lambda: "", rungs=rungs_of())
    pruner.publish(run.trials(), run.view())
    assert rungs.required(run.path) == {}
    first.report(0, value=4.0)
    pruner.publish(run.trials(), run.view())
    assert rungs.required(run.path) == {1: 4.0}
    second = Attempt(run.folder, claimed(run, 1), lambda: "", rungs=rungs_of())
    second.report(0, value=3.0)
    pruner.publish(run.trials(), run.view())
    assert rungs.required(run.path) == {1: 3.0}
    work(str(run.path))  # trains the third, which has 3.0 too: equals go on
    pruner.publish(run.trials(), run.view())
    assert run.folder.result(2).value == 18.0
    assert rungs.required(run.path) == {1: 3.0, 3: 3.0}


def test_who_ended_well_before_a_rung_is_there_with_its_best(tmp_path):
    """By patience: the trial had nothing more to gain. A failed or pruned one is not there."""
    run = run_of(tmp_path, points=())
    pruner = Pruner(run.folder, run.study, None)
    ended = made.trial(0, 1.0, curve=curve(2.0, 1.0))
    pruned = made.trial(1, 0.5, State.PRUNED, curve=curve(0.5))
    pruner.publish([ended, pruned], run.view())
    assert rungs.required(run.path) == {1: 0.5, 3: 1.0}


def test_a_pruned_trial_takes_no_place_among_the_weights(tmp_path):
    """It has none itself."""
    run = run_of(tmp_path, points=())
    trials = [made.trial(n, float(n)) for n in range(4)]
    trials += [made.trial(4, -1.0, State.PRUNED)]
    for trial in trials:
        run.folder.kept(trial.number).write_bytes(b"")
    run.keep_best(trials)
    assert sorted(files.names(run.folder.weights)) == ["000000.pt", "000001.pt", "000002.pt"]


def claimed(run, number):
    """The claim of a trial, just won."""
    claim = Claim(number, 1, "job")
    assert run.folder.claim(claim)
    return claim


def test_only_what_grew_is_read_and_only_so_much_a_tick(tmp_path, monkeypatch):
    """In turn, so that each is read in time."""
    run = run_of(tmp_path, points=(1.0, 2.0, 3.0))
    attempts = [Attempt(run.folder, claimed(run, n), lambda: "") for n in range(3)]
    pruner, read = Pruner(run.folder, run.study, None), []
    whole = files.read_lines
    monkeypatch.setattr("tuner.pruner._READS", 2)
    monkeypatch.setattr(files, "read_lines", lambda path: read.append(path.name) or whole(path))
    for attempt in attempts:
        attempt.report(0, value=1.0)
    for expected in (2, 3, 3):
        pruner.publish(run.trials(), run.view())
        assert len(read) == expected
    assert sorted(read) == [f"00000{n}.1.metrics.jsonl" for n in range(3)]
    attempts[1].report(1, value=0.5)
    for _ in range(2):
        pruner.publish(run.trials(), run.view())
    assert read[3:] == ["000001.1.metrics.jsonl"]


def test_a_whole_study_prunes_and_its_best_is_a_complete_trial(tmp_path):
    """Every number has one result; the report says what was saved."""
    run = store.create(study(n_trials=12, enqueue=({"x": 2.5},)), tmp_path / "run")
    controller = Controller(run, Inline(run.folder))
    while not controller.tick().finished:
        pass
    trials = run.trials()
    pruned = [t for t in trials if t.state is State.PRUNED]
    assert [t.number for t in trials] == list(range(12))
    assert trials[0].state is State.COMPLETE
    assert pruned
    assert all(len(t.curve) in (1, 3) for t in pruned)
    assert confirm.best(run.study, trials).state is State.COMPLETE
    epochs = sum(len(t.curve) for t in trials)
    said = "\n".join(report.summary(run, trials, report.Tested()))
    words = f"{len(pruned)} of 12 trials were pruned; {epochs} epochs were trained in place of 72"
    assert f"Stopped early: {words}" in said


def test_a_failed_trial_saved_nothing():
    """Its epochs are what it took, and what it would have."""
    trials = [
        made.trial(0, 1.0, curve=curve(*range(10))),
        made.trial(1, 1.0, State.PRUNED, curve=curve(1, 2)),
        made.trial(2, None, State.FAIL, curve=curve(1, 2, 3)),
        made.trial(3, None, State.RUNNING),
    ]
    made_ = made.study(fixed={"metric": "rmse", "epochs": 10}, pruner={"name": "asha"})
    words = "1 of 3 trials were pruned; 15 epochs were trained in place of 23"
    assert results.stopped_early(made_, trials) == f"Stopped early: {words}"
    assert results.stopped_early(made.study(fixed={"epochs": 10}), trials) == ""


EPOCHS = {"epochs": {"type": "int", "low": 1, "high": 9}}
SCHEDULE = {"schedule": {"type": "categorical", "choices": ["constant", "cosine"]}}


@pytest.mark.parametrize(
    ("key", "more"),
    [
        ("pruner.name", {"pruner": {"name": "hyperband"}}),
        ("pruner.name", {"pruner": {"reduction_factor": 3}}),
        ("pruner.name", {"sampler": "external"}),
        ("pruner.eta", {"pruner": {**ON, "eta": 3}}),
        ("pruner.reduction_factor", {"pruner": {**ON, "reduction_factor": 1}}),
        ("pruner.reduction_factor", {"pruner": {**ON, "reduction_factor": 2.5}}),
        ("pruner.first_rung", {"pruner": {**ON, "first_rung": 0.05}}),
        ("pruner.first_rung", {"pruner": {**ON, "first_rung": 0}}),
        ("pruner.first_rung", {"pruner": {**ON, "first_rung": 1}, "fixed": {"epochs": 20}}),
        ("pruner.metric", {"pruner": {"name": "asha"}}),
        ("pruner.metric", {"train": OURS, "fixed": {"metric": "mse"}}),
        ("fixed.epochs", {"fixed": {}}),
        ("space.epochs", {"fixed": {}, "space": Space.from_table(EPOCHS)}),
        ("space.schedule", {"space": Space.from_table(SCHEDULE)}),
    ],
)
def test_a_pruner_that_makes_no_sense_is_refused(key, more):
    """With the key and what to do."""
    with pytest.raises(BadInput) as refused:
        study(**more)
    assert refused.value.key == key


def test_searched_epochs_are_refused_in_one_line(tmp_path, monkeypatch, capsys):
    """Exit 2 before anything is written."""
    path = tmp_path / "study.toml"
    path.write_text(
        'direction = "minimize"\nn_trials = 3\ntrain = "tests.functions:quadratic"\n'
        '[pruner]\nname = "asha"\n[space]\nepochs = { type = "int", low = 1, high = 9 }\n'
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["tuner.run", str(path)])
    with pytest.raises(SystemExit) as ended:
        run_command.main()
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "space.epochs" in line
    assert not (tmp_path / "runs").exists()


def test_a_pruner_can_be_taken_back(tmp_path):
    """By --set pruner.name=none, in a run that has begun too."""
    run = store.create(study(), tmp_path / "run")
    again = store.create(study(pruner={**ON, "name": "none"}), tmp_path / "run")
    assert again.id == run.id
    assert Pruner(again.folder, again.study, None).rungs is None


class Held:
    """A data set with so many validation items of so many subjects, over two folds."""

    def __init__(self, items, subjects, task="classification"):
        self.task, self.items, self.subjects = task, items, subjects

    def splits(self, part):
        """Two folds."""
        del part
        rows = range(self.items // 2)
        index = [row % self.subjects for row in rows]
        part_ = Part(None, 0, rows, None, index)
        return (Split(part_, part_, None), Split(part_, part_, None))


@pytest.mark.parametrize(
    ("fixed", "data", "reason"),
    [
        ({"epochs": 6}, Held(500, 2), ""),
        ({"epochs": 6}, Held(500, 1, "regression"), ""),
        ({"epochs": 6}, Held(498, 5), "498 items are too few to tell good trials from lucky ones"),
        ({"epochs": 6}, Held(500, 1), "one subject is too few to tell good trials from lucky ones"),
        ({"epochs": 5}, Held(500, 2), "5 epochs are too few"),
    ],
)
def test_a_pruner_stays_off_where_its_rungs_would_say_little(fixed, data, reason):
    """With the reason in words."""
    ours = study(train=OURS, fixed={**fixed, "metric": "mse"}, pruner={"name": "asha"})
    assert asha.off(ours.to_table(), ours.pruner, data) == reason


def test_a_pruner_that_stays_off_says_so(tmp_path, capsys):
    """In the report; and it publishes nothing."""
    run = store.create(study(fixed={"epochs": 5}), tmp_path / "run")
    controller = Controller(run, Inline(run.folder))
    while not controller.tick().finished:
        pass
    said = report.summary(run, run.trials(), report.Tested())
    assert "No trial was pruned: 5 epochs are too few." in said
    assert files.names(run.path / "rungs") == []


def test_a_replay_counts_every_epoch_and_follows_the_product():
    """`python -m tests.bench.pruning`: whole trainings, and pruned ones at its rungs."""
    whole, stopped, short = (
        pruning.Plan("household", arm, "last", "random", 16).play(0)
        for arm in (pruning.FULL, pruning.ASHA, pruning.ARMS[-1])
    )
    assert (whole.epochs, whole.pruned) == (160, 0)
    assert short.epochs == 64
    ended = 160 - stopped.epochs  # at rung 2 eight epochs are saved, at rung 6 four
    assert 4 * stopped.pruned <= ended <= 8 * stopped.pruned
    assert stopped.pruned > 16 / 3
    assert whole.seconds / 8 < whole.wall < whole.seconds


def test_a_run_of_an_older_version_has_no_pruner(tmp_path):
    """Its settings lack the table."""
    run = run_of(tmp_path, pruner={})
    settings = files.read(run.path / "settings.json")
    del settings["pruner"]
    files.replace(run.path / "settings.json", json.dumps(settings).encode())
    work(str(run.path))
    assert run.folder.result(0).state is State.COMPLETE
    assert store.Store(run.path).study.pruner == {}
