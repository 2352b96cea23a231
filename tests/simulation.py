"""The product's own controllers and workers under random faults, and the promises that must hold.

`python -m tests.simulation --runs 1000 --seed 7` tries seeds 7, 8, … and prints what came of them;
a broken promise is printed with its seed and its last steps, and the same seed breaks it again.
"""

import argparse
import contextlib
import dataclasses
import io
import os
import random
import time
from types import SimpleNamespace
from unittest import mock

from jobs import (
    accounting,
    attempt,
    cluster,
    doors,
    files,
    outcome,
    slot,
    slurm,
    submissions,
    worker,
)
from jobs.folder import RunFolder
from jobs.slot import Slot
from tests.simdisk import Disk
from tests.simfaults import PASSING, Faults, Hold, PromiseError
from tests.simpromises import EPOCHS, RUN, RUNG, SPACE, Promises, expect, suggest
from tests.simslurm import LIMIT, Slurm
from tests.simworld import Clock, World
from tuner import budget, controller, looks, store
from tuner.settings import Confirm, Jobs
from tuner.study import Study

VERSIONS = store._versions()
PRUNER = {"name": "asha", "metric": "value", "first_rung": RUNG}


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to."""

    jobs: int  # submitted
    troubles: int  # faults that may have cost one
    attempts: int  # trainings begun
    pruned: int
    steps: int


class Simulation:
    """One run of one study; `faults` None for none."""

    def __init__(self, seed=0, faults=None, *, n_trials=4, n_workers=2, controllers=1, pruner=None,
                 confirm=None):  # fmt: skip
        self.world = World(seed, faults or Faults())
        self.disk = Disk(self.world)
        self.slurm = Slurm(self.world, self._start_worker)
        self.controllers = controllers
        self.study = Study(
            "s", "minimize", n_trials, SPACE, sampler="random", train="tests.simulation:none",
            fixed={"epochs": 2 * EPOCHS}, pruner=pruner or {}, confirm=confirm,
            jobs=Jobs(executor="slurm", n_workers=n_workers),
        )  # fmt: skip
        self.epoch = 60.0  # seconds at most
        self.slow = {}  # number → seconds at most
        self.finished = False
        self.promises = Promises(self.world, self.disk, self.study)
        self.world.ended = self._ended

    def run(self):
        """Play the run to its end; raises PromiseError where a promise does not hold."""
        world = self.world
        with self._patched():
            folder = store.create(self.study, RUN).folder
            world.now += 600  # longer than its files may be late
            for i in range(self.controllers):
                self._start_controller(f"controller-{i + 1}", delay=100 * i * world.random.random())
            world.at(world.random.uniform(500, 4000), world.calm)
            self._strike_at_random()
            world.run()
            expect(self.finished, "the study did not finish")
            pruned = self.promises.check_end(folder, self.slurm.submitted)
        attempts = len(self.promises.trainings)
        return Outcome(self.slurm.submitted, world.troubles, attempts, pruned, world.steps)

    def hold(self, who, kind, end, until, **more):
        """Stop the first actor of a name before an operation, until a condition holds."""
        self.world.hold(Hold(who, kind, end, until, **more))

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
        self.promises.trains(checkpoint.claim)
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
            self.promises.settled(actor)
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
        if self.promises.swept and self.world.random.random() < 0.7:
            name, inode = self.world.random.choice(self.promises.swept)
        elif listed:
            name, inode = self.world.random.choice(sorted(listed.items()))
            name = self.world.random.choice((f"{name}~", f".nfs{name}", f"copy of {name}"))
        if inode is not None and listed.setdefault(name, inode) is inode:
            inode.links += 1
            self.world.note(f"litter: {name}")

    @contextlib.contextmanager
    def _patched(self):
        """The product on this disk, with this clock and this Slurm."""
        clock = Clock(self.world)
        drawn = random.Random(self.world.random.random())
        tokens = SimpleNamespace(token_hex=lambda n: drawn.randbytes(n).hex())
        process = SimpleNamespace(
            getpid=lambda: self.world.running.pid, environ={}, umask=lambda mask: None
        )
        here = SimpleNamespace(here=lambda *_: self.world.running.slot)
        parts = {
            files: {"os": self.disk, "shutil": self.disk, "secrets": tokens, "time": clock},
            doors: {"os": self.disk},
            attempt: {"time": clock},
            attempt.Attempt: {"watched": lambda self: contextlib.nullcontext()},
            cluster: {
                "time": clock, "secrets": tokens, "_clean_environment": contextlib.nullcontext,
            },
            cluster.Cluster: {"_executor": lambda _, *where: self.slurm.executor(*where)},
            RunFolder: {
                "claim": _method(self.promises.claim),
                "publish": _method(self.promises.publish),
                "look": _method(self.promises.look),
            },
            controller: {"time": clock, "os": process},
            outcome: {"time": clock},
            slot: {"time": clock, "os": process},
            slurm: {"queue": self.slurm.squeue, "ended_as": self.slurm.sacct},
            submissions: {"time": clock},
            accounting: {"time": clock},
            budget: {"time": clock},
            looks: {"time": clock, "os": process},
            store: {"time": clock, "secrets": tokens, "_versions": lambda: VERSIONS},
            worker: {
                "time": clock, "random": self.world.random, "os": process, "Slot": here,
                "Leaving": lambda: lambda actor=self.world.running: actor.word,
                "resolve": lambda name: self.train,
            },
        }  # fmt: skip
        with contextlib.ExitStack() as stack:
            for owner, names in parts.items():
                for name, value in names.items():
                    stack.enter_context(mock.patch.object(owner, name, value))
            stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
            stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
            yield


def _method(function):
    """Something to be called as a method of another class, whose object comes first."""

    def method(owner, *given):
        return function(owner, *given)

    return method


def _passing(error):
    """Whether an error is the disk's own; or a worker's note on its end came after the tidying."""
    late = isinstance(error, FileNotFoundError) and f"{RUN}/jobs/" in str(error.filename)
    return late or (isinstance(error, OSError) and error.errno in PASSING)


def at_random(seed, faults=None):
    """A simulation that the seed decides, and the faults if they are given."""
    rng = random.Random(seed)
    simulation = Simulation(
        seed,
        faults or Faults.some(rng),
        n_trials=rng.randint(2, 6),
        n_workers=rng.randint(1, 4),
        controllers=rng.randint(1, 3),
        pruner=PRUNER if seed % 2 else None,
        confirm=Confirm(top=2, seeds=2) if seed % 5 == 0 else None,
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
