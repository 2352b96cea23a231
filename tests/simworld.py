"""Actors that take turns at every step, one clock, and the faults that strike them.

An actor is a thread that runs the product's own code. Only the one that holds the baton runs; at
each step it may hand it on, so one seed is one interleaving. A killed actor does nothing any more:
its next step raises Killed, and so does every step of its `finally` blocks.
"""

import errno
import heapq
import itertools
import random
import threading
import traceback
from collections import deque

from tests.simfaults import PASSING, Actor, Killed, PromiseError, taken


class World:
    """The clock, the turns and the faults."""

    def __init__(self, seed, faults, most_steps=60_000):
        self.random = random.Random(seed)
        self.faults = faults
        self.now = 1e9
        self.running = None
        self.actors = []
        self.steps = 0
        self.troubles = 0  # faults that may cost a job
        self.quiet = False  # faults have ceased
        self.moments = 0  # before and after each operation
        self.crash_at = None  # the moment at which its actor is killed
        self.failure = None
        self.holds = []
        self.trace = deque(maxlen=400)
        self.at_kill = lambda actor: None
        self._most = most_steps
        self._events = []
        self._order = itertools.count()
        self._over = taken()

    @property
    def host(self):
        """Where the running actor is; the test itself has a host of its own."""
        return self.running.host if self.running else "test"

    def spawn(self, name, host, body, delay=0.0):
        """A new process."""
        actor = Actor(name, host, body, 1000 + next(self._order), self.now + delay)
        self.actors.append(actor)
        threading.Thread(target=self._live, args=(actor,), daemon=True).start()
        return actor

    def at(self, delay, action):
        """Do something later, outside of all actors."""
        heapq.heappush(self._events, (self.now + delay, next(self._order), action))

    def run(self):
        """Let the actors take turns until all have ended; raises PromiseError."""
        first = self._choose()
        if first is not None:
            self.running = first
            first.baton.release()
            self._over.acquire()
        self.running = None
        if self.failure is not None:
            raise PromiseError(self.failure)

    def step(self, kind, path=""):
        """The moment before an operation: others may go first, or this one dies or fails."""
        actor = self.running
        if actor is None:
            return
        self._alive(actor)
        self.steps += 1
        if self.steps > self._most:
            self.fail(f"stuck: no end after {self.steps} steps, at {self.now - 1e9:.0f} s")
            raise Killed
        self.now += 0.02 * self.random.random()
        self._hold(actor, kind, path)
        if self.strikes("stop"):
            actor.wake = self.now + 10 ** self.random.uniform(0, 3.5)
            self.note(f"stopped for {actor.wake - self.now:.0f} s")
        self._turn(actor)
        self.note(f"{kind} {path}")
        self._perhaps_kill(actor)
        if self.strikes("error"):
            raise OSError(self.random.choice(PASSING), "the disk is away", path)

    def after(self, kind, lost=None, path=""):
        """The moment after an operation: its doer may die, or never hear that it happened."""
        actor = self.running
        if actor is None:
            return
        self._perhaps_kill(actor)
        if lost is not None and self.strikes("reply"):
            code = self.random.choice((lost, errno.EIO))
            self.note(f"lost reply of {kind}")
            raise OSError(code, "the reply was lost", path)

    def strikes(self, fault):
        """Whether a fault happens now."""
        if self.running is None or self.quiet:
            return False
        rate = getattr(self.faults, fault)
        return rate > 0 and self.random.random() < rate

    def sleep(self, seconds):
        """Let others go on for a time."""
        actor = self.running
        if actor is None:
            self.now += seconds
            return
        self._alive(actor)
        actor.wake = self.now + seconds
        self._turn(actor)

    def kill(self, actor):
        """kill -9."""
        if actor.dead:
            return
        actor.dead = True
        actor.held = None
        actor.wake = self.now
        self.at_kill(actor)

    def hold(self, hold):
        """Stop an actor once."""
        self.holds.append(hold)

    def fail(self, why):
        """End the world: a promise is broken."""
        self.failure = self.failure or why
        self._events.clear()
        for actor in self.actors:
            actor.dead, actor.held, actor.wake = True, None, self.now

    def note(self, what):
        """A line of the trace."""
        name = self.running.name if self.running else "-"
        self.trace.append((self.now - 1e9, name, what))

    def calm(self):
        """No further faults; who was stopped goes on."""
        self.quiet = True
        for actor in self.actors:
            actor.wake = min(actor.wake, self.now + 1)

    def _live(self, actor):
        actor.baton.acquire()
        try:
            self._alive(actor)
            actor.body()
        except Killed:
            pass
        except BaseException as error:
            actor.error = error
            self.note("".join(traceback.format_exception(error)))
        self.actors.remove(actor)
        self.note("ended" if actor.error is None else f"ended by {actor.error!r}")
        self._do(lambda: self.ended(actor))
        following = self._choose()
        self.running = following
        (following.baton if following else self._over).release()

    def ended(self, actor):
        """What follows from the end of a process."""

    def _do(self, action):
        """Something of nobody's; an error in it must not leave everybody waiting."""
        try:
            action()
        except Exception as error:
            self.fail(f"the simulation itself: {error!r}")

    def _turn(self, actor):
        """Hand the baton on, or keep it."""
        if self.random.random() < 0.7 and self._ready(actor) and not self._due():
            return
        following = self._choose()
        if following is not actor:
            self.running = following
            following.baton.release()
            actor.baton.acquire()
        self._alive(actor)

    def _choose(self):
        """Who goes on; when everybody waits, time passes."""
        while True:
            while self._due():
                self._do(heapq.heappop(self._events)[2])
            ready = [actor for actor in self.actors if self._ready(actor)]
            if ready:
                return self.random.choice(ready)
            times = [actor.wake for actor in self.actors if actor.held is None]
            times += [self._events[0][0]] if self._events else []
            if not times:
                if not self.actors:
                    return None
                self.fail("stuck: everybody is held")
                continue
            self.now = max(self.now, min(times))

    def _due(self):
        return bool(self._events) and self._events[0][0] <= self.now

    def _ready(self, actor):
        if actor.held is not None and actor.held():
            actor.held = None
        return actor.held is None and actor.wake <= self.now

    def _alive(self, actor):
        if actor.dead:
            raise Killed

    def _hold(self, actor, kind, path):
        for hold in self.holds:
            if hold.strikes(actor, kind, path):
                self.holds.remove(hold)
                actor.held = hold.until
                hold.then(actor)
                self.note(f"held before {kind} {path}")
                return

    def _perhaps_kill(self, actor):
        self.moments += 1
        if self.moments == self.crash_at or self.strikes("kill"):
            self.note("killed")
            self.troubles += 1
            self.kill(actor)
        self._alive(actor)


class Clock:
    """`time` as the running actor reads it on its host."""

    def __init__(self, world):
        self.world = world

    def time(self):
        """The host's wall clock, which may go wrong by minutes."""
        return self.world.now + (self.world.running.skew if self.world.running else 0.0)

    def monotonic(self):
        """A clock that never jumps."""
        return self.world.now

    def sleep(self, seconds):
        """On a loaded host it may take longer."""
        self.world.sleep(seconds * self.world.random.choice((1, 1, 5, 15)))
