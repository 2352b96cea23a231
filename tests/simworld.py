"""Actors that take turns at every step, one clock, and the faults that strike them.

An actor is a thread that runs the product's own code. Only the one that holds the baton runs; at
each step it may hand it on, so one seed is one interleaving. A killed actor does nothing any more:
its next step raises Killed, and so does every step of its `finally` blocks.
"""

import dataclasses
import errno
import heapq
import itertools
import random
import threading
import traceback
from collections import deque

PASSING = (errno.EIO, errno.ENOSPC, errno.ESTALE)  # what a disk says that will be back


class Killed(BaseException):
    """The end of an actor, at any instruction."""


class PromiseError(AssertionError):
    """A promise of the product's that did not hold."""


@dataclasses.dataclass(frozen=True, slots=True)
class Faults:
    """How often each fault strikes, as a chance at each step that it can strike at."""

    kill: float = 0.0  # before or after an operation
    stop: float = 0.0  # and continued up to an hour later
    error: float = 0.0  # the disk is full or away: nothing happened
    reply: float = 0.0  # it happened, and reports an error
    part: float = 0.0  # a write that stops half way
    stale: float = 0.0  # an old listing
    late: float = 0.0  # new content that reads as empty or zeros
    squeue: float = 0.0  # no answer, an empty one, or a part
    sbatch: float = 0.0  # fails before or after it submitted
    node: float = 0.0  # of a job's starts: killed, preempted, requeued with its first copy alive
    server: float = 0.0  # a crash of the file server: what was not synced is torn
    litter: float = 0.0  # files that were swept come back, and copies under odd names

    @classmethod
    def some(cls, rng):
        """Some of the faults, each rare or frequent."""
        most = {
            "kill": 0.01, "stop": 0.02, "error": 0.02, "reply": 0.1, "part": 0.2, "stale": 0.9,
            "late": 0.5, "squeue": 0.3, "sbatch": 0.3, "node": 0.5, "server": 0.003,
            "litter": 0.01,
        }  # fmt: skip
        chosen = [name for name in most if rng.random() < 0.4]
        return cls(**{name: most[name] * 10 ** rng.uniform(-1.5, 0) for name in chosen})


def _taken():
    lock = threading.Lock()
    lock.acquire()
    return lock


@dataclasses.dataclass(eq=False)
class Actor:
    """A process on a host."""

    name: str
    host: str
    body: object
    pid: int
    wake: float = 0.0
    skew: float = 0.0  # of its host's clock
    held: object = None  # a condition that it waits for
    dead: bool = False
    word: str = ""  # the signal that asked it to leave
    error: BaseException | None = None
    baton: object = dataclasses.field(default_factory=_taken)


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Hold:
    """An actor stopped before an operation, until something has happened elsewhere."""

    who: str  # the first actor whose name begins so
    kind: str
    end: str  # of the path
    until: object
    when: object = lambda: True
    then: object = lambda actor: None  # done once it is stopped

    def strikes(self, actor, kind, path):
        """Whether this is the operation."""
        said = actor.name.startswith(self.who) and kind == self.kind and path.endswith(self.end)
        return said and self.when()


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
        self.failure = None
        self.holds = []
        self.trace = deque(maxlen=400)
        self.at_kill = lambda actor: None
        self._most = most_steps
        self._events = []
        self._order = itertools.count()
        self._over = _taken()

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
        if self.trace.maxlen:
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
        try:
            self.ended(actor)
        except Exception as error:
            self.fail(f"the simulation itself: {error!r}")
        following = self._choose()
        self.running = following
        (following.baton if following else self._over).release()

    def ended(self, actor):
        """What follows from the end of a process."""

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
                _, _, action = heapq.heappop(self._events)
                action()
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
        if self.strikes("kill"):
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
