"""The product's own controllers and workers under random faults, and the promises that must hold.

`python -m tests.simulation --runs 1000 --seed 7` tries seeds 7, 8, … and prints what came of them;
a broken promise is printed with its seed and its last steps, and the same seed breaks it again.
"""

import argparse
import contextlib
import dataclasses
import hashlib
import io
import os
import random
import time
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

from jobs import attempt, cluster, contract, files, outcome, slot, slurm, worker
from jobs.contract import RunFolder, State
from jobs.slot import Slot
from tests.simdisk import STALE, Disk
from tests.simslurm import LIMIT, Slurm
from tests.simworld import PASSING, Clock, Faults, Hold, PromiseError, World
from tuner import controller, store
from tuner.plan import MAX_BARREN
from tuner.space import Space
from tuner.study import Jobs, Study

RUN = Path("/run")
EPOCHS = 3
SPACE = Space.from_table({"x": {"type": "float", "low": 0, "high": 1}})
VERSIONS = store._versions()


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to."""

    jobs: int  # submitted
    troubles: int  # faults that may have cost one
    attempts: int  # trainings begun
    steps: int


class Simulation:
    """One run of one study; `faults` None for none."""

    def __init__(self, seed=0, faults=None, n_trials=4, n_workers=2, controllers=1):
        self.world = World(seed, faults or Faults())
        self.disk = Disk(self.world)
        self.slurm = Slurm(self.world, self._start_worker)
        self.controllers = controllers
        self.study = Study(
            "s", "minimize", n_trials, SPACE, sampler="random", train="tests.simulation:none",
            jobs=Jobs(executor="slurm", n_workers=n_workers),
        )  # fmt: skip
        self.epoch = 60.0  # seconds at most
        self.slow = {}  # number → seconds at most
        self.trainings = []  # (number, attempt, actor's name)
        self.published = {}  # number → what its writer was told is the accepted result
        self.result_since = {}  # number → when
        self.finished = False
        self._claimed_at = {}
        self._proposed = set()
        self._owed = {}  # worker's name → the attempt that it claimed and has not begun
        self._swept = []
        self.disk.guard = self._guard
        self.disk.linked = self._linked
        self.world.ended = self._ended
        self.folder = None
        self._claim_, self._publish_ = RunFolder.claim, RunFolder.publish  # mutated ones too
        self._look_ = RunFolder.look

    def run(self):
        """Play the run to its end; raises PromiseError where a promise does not hold."""
        world = self.world
        with self._patched():
            self.folder = store.create(self.study, RUN).folder
            world.now += 600  # longer than its files may be late
            for i in range(self.controllers):
                self._start_controller(f"controller-{i + 1}", delay=100 * i * world.random.random())
            world.at(world.random.uniform(500, 4000), world.calm)
            self._strike_at_random()
            world.run()
            self._check_end()
        return Outcome(self.slurm.submitted, world.troubles, len(self.trainings), world.steps)

    def hold(self, who, kind, end, until, **more):
        """Stop the first actor of a name before an operation, until a condition holds."""
        self.world.hold(Hold(who, kind, end, until, **more))

    def has_result(self, number):
        """Whether a trial is finished."""
        return number in self.result_since

    def is_open(self, name):
        """Whether a file is in open/."""
        return self.disk.content(RUN / "open" / name) is not None

    # The actors.

    def _start_controller(self, name, delay=0.0):
        host = f"c{len(self.world.actors) % 2}"
        actor = self.world.spawn(name, host, self._control, delay)
        actor.skew = self.world.random.choice((0.0, 0.0, -120.0, 120.0))

    def _control(self):
        """What drive.drive() does, without signals, lock and report."""
        run = store.Store(RUN)
        run.go_on()
        executor = cluster.Cluster(run.folder, run.id, {}, 1)
        loop = controller.Controller(run, executor)
        loop.ask = suggest
        while True:
            status = files.patiently(loop.tick)
            if status.finished:
                run.stop("finished")
                self.finished = True
            if status.finished or status.stopped:  # who reads the reason starts another one
                return
            self.world.sleep(executor.tick * self.world.random.choice((1, 10, 60)))

    def _start_worker(self, job, host):
        name = f"worker-{job.id}-{job.restart}"
        deadline = self.world.now + LIMIT
        actor = self.world.spawn(name, host, lambda: worker.work(str(RUN), job.comment))
        actor.slot = Slot(job.id, job.restart, job.comment, host, "", deadline)
        return actor

    def train(self, params, data, report, checkpoint, seed):
        """Some epochs of a training whose value anybody can compute."""
        self._trains(checkpoint.claim)
        state = checkpoint.load() or {"done": 0, "value": 0.0}
        for step in range(state["done"], EPOCHS):
            epoch = self.slow.get(checkpoint.claim.number, self.epoch)
            self.world.sleep(epoch * self.world.random.random())
            state = {"done": step + 1, "value": state["value"] + params["x"]}
            report(step, value=state["value"])
            checkpoint.save(step, lambda state=state: state)
        return state["value"]

    def _ended(self, actor):
        self.slurm.ended(actor)
        if actor.error is None and not actor.dead:
            self._settled(actor)
        if actor.error is not None and not _passing(actor.error):
            self.world.fail(f"{actor.name} ended by {actor.error!r}")
        if actor.name.startswith("controller") and not self.finished and not self.world.failure:
            self._start_controller(actor.name, delay=600 * self.world.random.random())

    def _strike_at_random(self):
        """Faults of nobody's operation: the server crashes, swept files come back."""
        world = self.world
        if world.quiet:
            return
        if world.random.random() < world.faults.server * 30:
            world.note("the server crashes")
            self.disk.crash()
        if world.random.random() < world.faults.litter * 30:
            self._litter()
        world.at(30, self._strike_at_random)

    def _litter(self):
        inode, name = None, ""
        listed = self.disk.folders[str(RUN / "open")]
        if self._swept and self.world.random.random() < 0.7:
            name, inode = self.world.random.choice(self._swept)
        elif listed:
            name, inode = self.world.random.choice(sorted(listed.items()))
            name = self.world.random.choice((f"{name}~", f".nfs{name}", f"copy of {name}"))
        if inode is not None and listed.setdefault(name, inode) is inode:
            inode.links += 1
            self.world.note(f"litter: {name}")

    # The promises.

    def _trains(self, claim):
        """One process an attempt, and none for a trial whose result everybody can see."""
        key, who = (claim.number, claim.attempt), self.world.running.name
        since = self.result_since.get(claim.number, float("inf"))
        visible = since + STALE < self._claimed_at[who]
        others = [name for *attempt_, name in self.trainings if tuple(attempt_) == key]
        if visible:
            self.world.fail(f"{who} trains {key}, which has had its result for a minute")
        if others and since > self._claimed_at[who]:
            self.world.fail(f"{who} trains {key} beside {others}")
        self._owed.pop(who, None)
        self.trainings.append((*key, who))

    def _guard(self, path, inode):
        """A result never goes away, and neither does anything of an unfinished trial."""
        name = path.rpartition("/")[2]
        if name.startswith(files.DRAFT):
            return
        if "/done/" in path:
            self.world.fail(f"a result is taken away or replaced: {path}")
        if path.startswith(f"{RUN}/open/0"):
            kind = name.split(".")[-2]
            if kind in ("proposal", "claim", "lost") and not self.has_result(int(name[:6])):
                self.world.fail(f"{name} is swept before its trial has a result")
            self._swept.append((name, inode))

    def _claim(self, folder, claim):
        won = self._claim_(folder, claim)
        self._claimed_at[self.world.running.name] = self.world.now
        return won

    def _publish(self, folder, result):
        won = self._publish_(folder, result)
        self.result_since.setdefault(result.number, self.world.now)
        if won and self.published.setdefault(result.number, result) is not result:
            self.world.fail(f"two results of trial {result.number} were accepted")
        return won

    def _look(self, folder):
        """A trial that moves is seen twice, never nowhere: but for listings of another time."""
        known = set(self._proposed)
        view = self._look_(folder)
        unseen = known - view.finished - view.proposed
        if unseen and not self.world.faults.stale:
            self.world.fail(f"a look does not see the trials {sorted(unseen)}")
        return view

    def _linked(self, name):
        """Note who made which file first."""
        if name.endswith(".result.json"):
            self.result_since.setdefault(int(name[:6]), self.world.now)
        elif name.endswith(".proposal.json"):
            self._proposed.add(int(name[:6]))
        elif name.endswith(".claim.json"):
            number, attempt_, *_ = name.split(".")
            self._settled(self.world.running)
            self._owed[self.world.running.name] = (int(number), int(attempt_))

    def _settled(self, actor):
        """Who claims an attempt trains it, unless the trial goes on or ended elsewhere."""
        number, attempt_ = self._owed.pop(actor.name, (None, None))
        if number is None or self.has_result(number):
            return
        if not self.is_open(f"{number:06d}.{attempt_}.lost.json"):
            self.world.fail(f"{actor.name} claimed {(number, attempt_)} and does not train it")

    def _check_end(self):
        expect(self.finished, "the study did not finish")
        results = [self.folder.result(n) for n in range(self.study.n_trials)]
        expect(None not in results, "a trial has no result")
        expect(
            len(self.folder.look().finished) == len(results), "there are trials nobody asked for"
        )
        for number, result in self.published.items():
            expect(results[number] == result, f"the accepted result of {number} is another now")
        for result in results:
            self._check_result(result)
        self._check_replay(results)
        allowed = self.study.jobs.n_workers + 8 + 4 * self.world.troubles
        expect(self.slurm.submitted <= allowed, f"{self.slurm.submitted} jobs; {allowed} allowed")

    def _check_result(self, result):
        """What was trained, from the first epoch to the last; FAIL only for used-up attempts."""
        if result.state is State.FAIL:
            expect(result.attempts > MAX_BARREN, f"trial {result.number} failed: {result.reason}")
            return
        values = [0.0]
        for _ in range(EPOCHS):
            values.append(values[-1] + result.params["x"])
        expect(result.value == values[-1], f"trial {result.number} has a wrong value")
        curve = [(m["step"], m["value"]) for m in sorted(result.curve, key=lambda m: m["step"])]
        whole = curve == list(enumerate(values[1:]))
        expect(whole or self.world.faults.server, f"trial {result.number}'s curve: {curve}")

    def _check_replay(self, results):
        """Promise 4: same trials told and pending, same point."""
        trials = store.Store(RUN).trials()
        for trial, result in zip(trials, results, strict=True):
            known = [
                dataclasses.replace(t, state=State.WAITING, value=None)
                if t.number in result.pending else t
                for t in trials[: trial.number]
            ]  # fmt: skip
            asked = suggest(SPACE, known, 1, 0, 0)
            expect(asked == [trial.params], f"the proposal of trial {trial.number} is no replay")

    @contextlib.contextmanager
    def _patched(self):
        """The product on this disk, with this clock and this Slurm."""
        clock = Clock(self.world)
        drawn = random.Random(self.world.random.random())
        tokens = SimpleNamespace(token_hex=lambda n: drawn.randbytes(n).hex())
        process = SimpleNamespace(
            getpid=lambda: self.world.running.pid, environ={}, umask=lambda mask: None
        )
        here = SimpleNamespace(here=lambda submission: self.world.running.slot)
        parts = {
            files: {"os": self.disk, "shutil": self.disk, "secrets": tokens, "time": clock},
            attempt: {"time": clock},
            attempt.Attempt: {"watched": lambda self: contextlib.nullcontext()},
            cluster: {
                "time": clock, "secrets": tokens, "_clean_environment": contextlib.nullcontext,
            },
            cluster.Cluster: {"_executor": lambda _, *where: self.slurm.executor(*where)},
            contract.RunFolder: {
                "claim": _method(self._claim),
                "publish": _method(self._publish),
                "look": _method(self._look),
            },
            controller: {"time": clock, "os": process},
            outcome: {"time": clock},
            slot: {"time": clock, "os": process},
            slurm: {"queue": self.slurm.squeue, "ended_as": self.slurm.sacct},
            store: {"time": clock, "secrets": tokens, "_versions": lambda: VERSIONS},
            worker: {
                "time": clock, "random": self.world.random, "os": process, "Slot": here,
                "Leaving": lambda: lambda actor=self.world.running: actor.word,
                "_resolve": lambda name: self.train,
            },
        }  # fmt: skip
        with contextlib.ExitStack() as stack:
            for owner, names in parts.items():
                for name, value in names.items():
                    stack.enter_context(mock.patch.object(owner, name, value))
            stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
            stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
            yield


def suggest(space, trials, n, seed, n_initial):
    """A sampler whose point depends on all that it was told, and on what is pending."""
    known = [(t.number, t.state.finished, t.value, t.params["x"]) for t in trials]
    points = []
    for _ in range(n):
        digest = hashlib.sha256(repr(known).encode()).digest()
        x = int.from_bytes(digest[:4], "big") / 2**32
        known.append((len(known), False, None, x))
        points.append({"x": x})
    return points


def _method(function):
    """Something to be called as a method of another class, whose object comes first."""

    def method(owner, *given):
        return function(owner, *given)

    return method


def _passing(error):
    """Whether an error is the disk's own; or a worker's note on its end came after the tidying."""
    late = isinstance(error, FileNotFoundError) and f"{RUN}/jobs/" in str(error.filename)
    return late or (isinstance(error, OSError) and error.errno in PASSING)


def expect(holds, promise):
    """Raise PromiseError where a promise does not hold."""
    if not holds:
        raise PromiseError(promise)


def at_random(seed, faults=None):
    """A simulation that the seed decides, and the faults if they are given."""
    rng = random.Random(seed)
    simulation = Simulation(
        seed,
        faults or Faults.some(rng),
        n_trials=rng.randint(2, 6),
        n_workers=rng.randint(1, 4),
        controllers=rng.randint(1, 3),
    )
    simulation.epoch = rng.choice((20.0, 60.0, 200.0))
    simulation.slow = {0: rng.choice((60.0, 2000.0))}
    return simulation


def main():
    """Try many seeds; the exit code is the number of those that broke a promise."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    arguments = parser.parse_args()
    print(f"seeds from {arguments.seed}")
    began, outcomes, broken = time.time(), [], 0
    for seed in range(arguments.seed, arguments.seed + arguments.runs):
        simulation = at_random(seed)
        try:
            outcomes.append(simulation.run())
        except PromiseError as promise:
            broken += 1
            faults = dataclasses.asdict(simulation.world.faults)
            print(f"seed {seed}: {promise}", {k: round(v, 4) for k, v in faults.items() if v})
            if arguments.runs == 1:
                print(*simulation.world.trace, sep="\n")
    total = {f.name: sum(getattr(o, f.name) for o in outcomes) for f in dataclasses.fields(Outcome)}
    print(f"{arguments.runs} runs, {broken} broken, {total}, {time.time() - began:.0f} s")
    return min(broken, 100)


if __name__ == "__main__":
    raise SystemExit(main())
