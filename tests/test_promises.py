"""Promises 1 to 5 of the design: at random, trap by trap, and with a checker that has teeth."""

import contextlib
import inspect
import sys
import textwrap
from dataclasses import dataclass
from unittest import mock

import pytest

from jobs import attempt, files, outcome, worker
from jobs.folder import RunFolder
from tests.simfaults import Faults, PromiseError
from tests.simulation import Simulation, at_random
from tuner import controller, store

pytestmark = pytest.mark.fast

RUNS, SEED = 100, 1


@pytest.mark.slow
def test_no_promise_breaks_under_random_faults():
    """Kills, stops, lost replies, stale listings, wrong answers: `python -m tests.simulation`."""
    print(f"python -m tests.simulation --runs {RUNS} --seed {SEED}")
    for seed in range(SEED, SEED + RUNS):
        with explained(f"python -m tests.simulation --runs 1 --seed {seed}"):
            at_random(seed).run()


@pytest.mark.slow
def test_a_crash_at_any_operation_loses_nothing():
    """Each moment before and after an operation of a small run is once its actor's last."""
    moment = 1
    while moment <= crashed_at(moment).world.moments:
        moment += 1


def crashed_at(moment):
    """A run of one trial whose controller or worker was killed at a moment."""
    simulation = quick(n_trials=1, n_workers=1)
    simulation.world.crash_at = moment
    simulation.run()
    return simulation


@contextlib.contextmanager
def explained(command):
    """A broken promise says how to see it again."""
    try:
        yield
    except PromiseError as promise:
        pytest.fail(f"{promise}\nto see it again: {command}")


def quick(**given):
    """A simulation without faults whose jobs start at once."""
    simulation = Simulation(**given)
    simulation.slurm.delay = 0.0
    return simulation


def play(simulation):
    """Play a trap to its end; its actor was indeed caught in it."""
    simulation.run()
    assert not simulation.world.holds
    return simulation


def trained(simulation, number):
    """The attempts at a trial that were trained, in order."""
    return [attempt_ for n, attempt_, _ in simulation.promises.trainings if n == number]


def a_worker_is_stopped_before_its_claim():
    """Until its trial has ended elsewhere and was swept."""
    trap = quick(n_trials=3)
    over = lambda: trap.promises.has_result(0) and not trap.promises.is_open("000000.proposal.json")  # noqa: E731
    trap.hold("worker", "link", "/000000.1.claim.json", over)
    return trap


def test_a_worker_stopped_between_listing_and_claiming_trains_nothing_twice():
    """It wins a name that was swept, looks again, and leaves the trial alone."""
    assert trained(play(a_worker_is_stopped_before_its_claim()), 0) == [1]


@pytest.mark.parametrize(
    ("kind", "end"), [("link", "/000000.result.json"), ("open", "/000000.1.metrics.jsonl")]
)
def test_a_sleeper_that_publishes_or_appends_after_attempt_2_has_won_changes_nothing(kind, end):
    """Its node was cut off, the trial trained elsewhere; what it brings is swept."""
    trap = quick(n_trials=3)
    trap.slow = {1: 2000.0}  # so that a controller is still there
    cut_off = lambda actor: trap.slurm.vanish(trap.slurm.of(actor))  # noqa: E731
    trap.hold("worker", kind, end, lambda: trap.promises.has_result(0), then=cut_off)
    play(trap)
    assert trained(trap, 0) == [1, 2]
    assert trap.promises.published[0].attempts == 2
    assert not [name for name in trap.disk.folders["/run/open"] if name.startswith("000000.")]


def test_a_controller_stopped_between_planning_and_linking_proposes_nothing_anew():
    """Its proposal comes when the trial has ended under another one's, and is swept."""
    trap = quick(n_trials=4, controllers=2)
    over = lambda: trap.promises.has_result(1) and not trap.promises.is_open("000001.proposal.json")  # noqa: E731
    trap.hold("controller-1", "link", "/000001.proposal.json", over)
    assert trained(play(trap), 1) == [1]


def test_a_twin_does_not_take_a_claim_with_its_own_job_id_for_its_own():
    """Requeued while its first copy lives: both want attempt 1, and one of them trains it."""
    trap = quick(n_trials=1)
    taken = lambda: trap.promises.is_open("000000.1.claim.json")  # noqa: E731
    requeue = lambda actor: trap.slurm.requeue(trap.slurm.of(actor))  # noqa: E731
    trap.hold("worker", "link", "/000000.1.claim.json", taken, then=requeue)
    play(trap)
    assert [name for *_, name in trap.promises.trainings] == ["worker-0_0-1"]


def test_surplus_workers_leave_and_are_not_replaced():
    """One long trial keeps one worker, whatever number the study may have."""
    trap = quick(n_trials=6, n_workers=4)
    trap.slow = {0: 4000.0}
    trap.run()
    assert trap.slurm.submitted <= 6


@pytest.fixture
def _no_grace(monkeypatch):
    """Dead at first sight, so that the order of the looks alone protects."""
    monkeypatch.setattr(controller, "_GRACE_SHARED", -1.0)


@pytest.mark.usefixtures("_no_grace")
def test_a_trial_that_ends_between_a_listing_and_a_squeue_is_not_lost():
    """Its claim was listed, its job is gone: the second look finds its result."""
    trap = quick(n_trials=1)
    trap.epoch = 600.0
    trap.hold(
        "controller-1", "squeue", "", lambda: not trap.slurm.jobs,
        when=lambda: trap.promises.is_open("000000.1.claim.json"),
    )  # fmt: skip
    assert lost(trap) == []


@pytest.mark.usefixtures("_no_grace")
def test_a_claim_that_comes_between_a_squeue_and_a_listing_is_not_lost():
    """Another controller submitted its job after this one had asked."""
    trap = quick(n_trials=1, controllers=2)
    trap.hold(
        "controller-1", "list", "/open", lambda: trap.promises.is_open("000000.1.claim.json"),
        when=lambda: asked(trap, "controller-1"),
    )  # fmt: skip
    assert lost(trap) == []


def lost(trap):
    """The attempts that were given up for dead in a trap."""
    play(trap)
    return [what for *_, what in trap.world.trace if what.endswith(".lost.json")]


def asked(trap, name):
    """Whether the last thing that an actor did was to ask Slurm."""
    did = [what for _, who, what in trap.world.trace if who == name]
    return bool(did) and did[-1].startswith("list /run/jobs")


NONE = Faults()


@dataclass(frozen=True, slots=True)
class Mutation:
    """A change of the product's code that breaks a promise."""

    what: str
    promise: str  # that breaks, in the checker's words
    owner: object
    function: str
    old: str
    new: str
    faults: Faults = NONE

    @contextlib.contextmanager
    def applied(self):
        """The product with this change."""
        function = getattr(self.owner, self.function)
        source = textwrap.dedent(inspect.getsource(function))
        assert source.count(self.old) == 1
        place = {}
        code = f"from __future__ import annotations\n{source.replace(self.old, self.new)}"
        exec(code, vars(sys.modules[function.__module__]), place)
        with mock.patch.object(self.owner, self.function, place[self.function]):
            yield


OPEN = "listed = [match for name in files.names(self.open) if (match := _OPEN.fullmatch(name))]"
FASTER = "# another controller was faster: look again"
MUTATIONS = (
    Mutation(
        "done/ is listed before open/", "a look does not see", RunFolder, "look",
        f"{OPEN}\n    finished = self._finished()", f"finished = self._finished()\n    {OPEN}",
        Faults(stop=0.05),
    ),
    Mutation(
        "no look after the claim", "has had its result for a minute", worker.Worker, "_take",
        "return claim if files.patiently(self.folder.look).holds(claim) else None", "return claim",
        Faults(stop=0.03),
    ),
    Mutation(
        "a claim is ours if it is there", "beside", files, "_link",
        '(read(path) or {}).get("nonce") == nonce', "read(path) is not None",
        Faults(stop=0.02),
    ),
    Mutation(
        "a lost reply of link is a lost race", "claimed .* and does not train it", files, "_link",
        "ours = patiently(", "ours = False and (",
        Faults(reply=0.1),
    ),
    Mutation(
        "a lost reply of rename is an error", "ended by FileNotFoundError", files, "_rename",
        "if modified(draft) is not None:", "if True:",
        Faults(reply=0.1),
    ),
    Mutation(
        "an interrupted claim is tried anew", "does not train it", files, "write_once",
        "patiently(lambda: _sync_folder(path.parent))", "_sync_folder(path.parent)",
        Faults(reply=0.1),
    ),
    Mutation(
        "nothing is synced", "cannot be read|no result|is not a run", files, "_write",
        "os.fsync(handle)", "pass",
        Faults(server=0.01),
    ),
    Mutation(
        "the curve is not in the checkpoint", "curve|wrong value", attempt.Attempt, "load",
        'found.get("curve", ())', "()",
        Faults(kill=0.005),
    ),
    Mutation(
        "a result can be replaced", "taken away or replaced", RunFolder, "publish",
        "files.write_once(path, _table(result))",
        "files.replace(path, __import__('json').dumps(_table(result)).encode()) is None",
        Faults(stop=0.01, node=0.9, squeue=0.9),
    ),
    Mutation(
        "what is unfinished is swept too", "is swept before", store.Store, "sweep",
        " if number in view.finished", "",
    ),
    Mutation(
        "surplus workers are replaced", "jobs; .* allowed", controller, "plan",
        "min(workers, len(open_) + left + len(due))", "workers",
    ),
    Mutation(
        "fresh seeds come before the search is over", "beside the search", controller, "plan",
        "if over else ()", "if asked else ()",
    ),
    Mutation(
        "an unreadable file counts as none", "beside the search|no replay",
        controller.Controller, "tick",
        "if self._unreadable(trials, view):", "if False:",
        Faults(late=0.3),
    ),
    Mutation(
        "pending points are not recorded", "no replay", controller.Controller, "_propose",
        f"return  {FASTER}\n        pending.append(number)", f"return  {FASTER}",
    ),
    Mutation(
        "a disk's error is a training's", "failed: OSError", attempt.Attempt, "_read",
        "self._patiently(lambda: files.names(path.parent))", "files.names(path.parent)",
        Faults(kill=0.005, error=0.1),
    ),
    Mutation(
        "a pruned trial says what it had last", "wrong value", outcome, "_stopped",
        "attempt.reached()", "attempt.curve()[-1]['value']",
    ),
    Mutation(
        "the dead are not buried", "stuck", controller.Controller, "_bury",
        "if now - max(since, self.store.newest_file(claim)) >= self._grace:", "if False:",
        Faults(kill=0.01),
    ),
)  # fmt: skip


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.what)
def test_the_checker_finds_a_broken_promise(mutation):
    """It has teeth: the product with one line changed breaks within some runs."""
    with mutation.applied(), pytest.raises(PromiseError, match=mutation.promise):
        play_some(mutation.faults)


def play_some(faults):
    """Some interleavings, the same ones every time."""
    for seed in range(300):
        at_random(seed, faults).run()
