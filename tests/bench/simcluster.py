"""A cluster in memory: the product's plan(), pace and samplers, and discrete events for the rest.

Jobs wait in a queue, take their time to start, are preempted or die with their node; workers claim
what waits, train a made-up objective for a made-up time, fail or publish. No file, no process and
no second of real time but those of the sampler and of plan() itself: thousands of workers in
seconds. (tests/simulation.py, which plays the real workers on a simulated disk, is for faults.)
"""

import dataclasses
import heapq
import itertools
import random
import statistics
import time
from collections import deque
from collections.abc import Callable

from jobs.contract import State
from jobs.executor import Slots
from tuner import pace, samplers
from tuner.known import there_at_start
from tuner.plan import plan
from tuner.trial import Trial

PERIODS = 9  # newest ones, as the controller has it


@dataclasses.dataclass(frozen=True)
class Site:
    """How a cluster behaves; times in seconds, rates an hour."""

    queue_wait: float = 0.0  # mean, exponential
    start_up: float = 0.0  # from a job's start to its worker's first look
    look: float = 0.1  # between two looks of a worker that found nothing
    grace: float = 65.0  # without a waiting trial, after which a worker leaves
    tick: float = 2.0  # the controller's longest pause
    preempted: float = 0.0  # per job; its worker hands the trial back with a checkpoint
    node_lost: float = 0.0  # per job; its trial waits again after `lost_after`, from an epoch back
    lost_after: float = 120.0
    failing: float = 0.0  # share of trials that end in FAIL
    ask: Callable[[int, int], float] | None = None  # (told, n) → seconds; None: as it really takes


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of a simulated study."""

    trials: tuple[Trial, ...]
    wall: float  # from the first claim to the last result
    trained: float  # seconds of training, repeated ones too
    workers: int
    ticks: tuple[float, ...]  # real seconds of each plan
    asked: tuple[float, ...]  # seconds of each asking

    @property
    def utilisation(self):
        """Share of the slots' time that was spent training."""
        return self.trained / (self.workers * self.wall)

    @property
    def shares(self):
        """Of earlier trials, the mean share known when asked, and there when trained."""
        there = there_at_start(self.trials)
        known = [t for t in self.trials if t.number > 0 and t.number in there]
        asked = statistics.fmean(t.told / t.number for t in known)
        return asked, statistics.fmean(there[t.number] / t.number for t in known)


class Simulation:
    """One study on one site."""

    def __init__(self, study, site, objective, duration, seed=0):
        self.study = study
        self.site = site
        self.objective = objective
        self.duration = duration  # (number, random) → seconds
        self.random = random.Random(seed)
        self.suggest = samplers.load(study.sampler)
        self.now = 0.0
        self.events = []
        self.order = itertools.count()
        self.trials = []  # by number
        self.finished = 0
        self.moved = True  # whether anything happened since the last look
        self.waiting = []  # numbers, a heap
        self.todo = {}  # number → seconds of training that are left
        self.jobs = {}  # job → the number that it trains, or None
        self.queued = set()
        self.idle = {}  # job → since when
        self.periods = deque(maxlen=PERIODS)
        self.topped_up = None
        self.trained = 0.0
        self.first = None
        self.ticks = []
        self.asked = []

    def run(self):
        """Play until the study is finished."""
        self._at(0.0, self._tick)
        while self.events:
            self.now, _, action, arguments = heapq.heappop(self.events)
            if action(*arguments):
                break
        trials = self.trials
        last = max(t.started + t.seconds for t in trials if t.state.finished)
        return Outcome(
            tuple(trials), last - self.first, self.trained, self.study.jobs.n_workers,
            tuple(self.ticks), tuple(self.asked),
        )  # fmt: skip

    def _at(self, when, action, *arguments):
        heapq.heappush(self.events, (when, next(self.order), action, arguments))

    def _set(self, number, **changes):
        self.trials[number] = dataclasses.replace(self.trials[number], **changes)
        self.moved = True

    def _tick(self):
        """One look of the controller; True once nothing is left to do."""
        trials, workers = self.trials, self.study.jobs.n_workers
        began = time.perf_counter()
        measured = pace.measured(self.periods, trials, workers)
        if not self.moved:  # the same again
            self._at(self.now + pace.pause(self.site.tick, workers, measured), self._tick)
            return False
        self.moved = False
        slots = Slots(len(self.jobs), frozenset(), queued=len(self.queued))
        todo = plan(self.study, trials, slots, (), workers, pace=measured)
        self.ticks.append(time.perf_counter() - began)
        if todo.finished:
            return True
        took = self._propose(todo.propose, trials)
        if self.topped_up is not None:
            self.periods.append(self.now + took - self.topped_up)
        self.topped_up = self.now + took
        for _ in range(todo.submit):
            self._submit()
        self._at(self.now + took + pace.pause(self.site.tick, workers, measured), self._tick)
        return False

    def _propose(self, n, trials):
        """Ask for points, which wait once the asking is over; returns how long that took."""
        if not n:
            return 0.0
        assert self.study.direction == "minimize", "losses are told"
        told = list(trials)
        began = time.perf_counter()
        points = self.suggest(self.study.space, told, n, self.study.seed, self.study.n_initial)
        took = time.perf_counter() - began
        if self.site.ask is not None:
            took = self.site.ask(self.finished, n)
        self.asked.append(took)
        known = self.finished
        for i, params in enumerate(points):
            number = len(trials) + i
            trial = Trial(number, State.WAITING, params, origin=self.study.sampler,
                          pending=number - known)  # fmt: skip
            self._at(self.now + took * (i + 1) / n, self._publish, trial)
        return took

    def _publish(self, trial):
        assert trial.number == len(self.trials), "out of order"
        self.trials.append(trial)
        self.moved = True
        self.todo[trial.number] = self.duration(trial.number, self.random)
        self._wait(trial.number)

    def _wait(self, number):
        """A worker that waits finds what is there at its next look."""
        heapq.heappush(self.waiting, number)
        if self.idle:
            job = next(iter(self.idle))  # the one that has waited longest
            del self.idle[job]
            self._at(self.now + self.random.uniform(0, self.site.look), self._take, job)

    def _submit(self):
        job = next(self.order)
        self.jobs[job] = None
        self.queued.add(job)
        wait = self.site.queue_wait
        wait = self.random.expovariate(1 / wait) if wait else 0.0
        self._at(self.now + wait, self._start, job)

    def _start(self, job):
        self.queued.discard(job)
        self.moved = True
        site = self.site
        for rate, end in ((site.preempted, self._preempt), (site.node_lost, self._lose)):
            if rate:
                self._at(self.now + self.random.expovariate(rate / 3600), end, job)
        self._at(self.now + site.start_up, self._take, job)

    def _take(self, job):
        """Claim the lowest waiting trial, or wait for one."""
        if job not in self.jobs:
            return
        if not self.waiting:
            self.idle[job] = self.now
            self._at(self.now + self.site.grace, self._leave, job, self.now)
            return
        number = heapq.heappop(self.waiting)
        self.first = self.now if self.first is None else self.first
        attempt = self.trials[number].attempts + 1
        self._set(number, state=State.RUNNING, started=self.now, attempts=attempt)
        self.jobs[job] = number
        self._at(self.now + self.todo[number], self._end, job, number, attempt)

    def _leave(self, job, since):
        if self.idle.get(job) == since:
            self.moved = True
            del self.idle[job], self.jobs[job]

    def _end(self, job, number, attempt):
        if self.jobs.get(job) != number or self.trials[number].attempts != attempt:
            return  # it was preempted, or its node is gone
        took = self.todo.pop(number)
        self.trained += took
        fails = self.random.random() < self.site.failing
        value = None if fails else self.objective(self.trials[number].params)
        state, reason = (State.FAIL, "made up") if fails else (State.COMPLETE, "")
        self._set(number, state=state, value=value, seconds=took, reason=reason)
        self.finished += 1
        self.jobs[job] = None
        self._take(job)

    def _preempt(self, job):
        """The job goes; what it trained waits again at once, from where it was."""
        if (number := self._gone(job)) is not None:
            done = self.now - self.trials[number].started
            self.trained += done
            self.todo[number] -= done
            self._again(number)

    def _lose(self, job):
        """The node goes; its trial waits again when that is known, from half-way at best."""
        if (number := self._gone(job)) is not None:
            done = self.now - self.trials[number].started
            self.trained += done
            self.todo[number] -= done / 2
            self._at(self.now + self.site.lost_after, self._again, number)

    def _gone(self, job):
        self.moved = True
        self.queued.discard(job)
        self.idle.pop(job, None)
        return self.jobs.pop(job, None)

    def _again(self, number):
        self._set(number, state=State.WAITING)
        self._wait(number)
