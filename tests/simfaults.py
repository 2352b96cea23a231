"""What can happen to the actors of a simulation: faults at random, and stops at a chosen place."""

import dataclasses
import errno
import threading

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


def taken():
    """A lock that somebody has."""
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
    slot: object = None  # a worker's place
    word: str = ""  # the signal that asked it to leave
    error: BaseException | None = None
    baton: object = dataclasses.field(default_factory=taken)


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
