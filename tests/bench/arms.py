"""The arms of the benchmarks: our samplers, and the peers by the names they are asked for."""

import hashlib
import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol, final

import tuner
from tuner import samplers
from tuner.space import Space
from tuner.trial import Trial

N_INITIAL = 10  # points that every arm is given: our Sobol ones
# name → module of peers/, the class in it, and the distribution whose version is the label
PEERS: Mapping[str, tuple[str, str, str]] = {
    "stock-skopt": ("skopt_arm", "Gp", "scikit-optimize"),
    "hyperopt": ("hyperopt_arm", "Tpe", "hyperopt"),
    "optuna-tpe": ("optuna_arms", "Tpe", "optuna"),
    "optuna-gp": ("optuna_arms", "Gp", "optuna"),
    "cbo": ("deephyper_arm", "Cbo", "deephyper"),
    "smac": ("smac_arms", "Forest", "smac"),
    "smac-eager": ("smac_arms", "Eager", "smac"),
    "smac-gp": ("smac_arms", "BlackBox", "smac"),
    "ax": ("ax_arm", "Default", "ax-platform"),
}


class Arm(Protocol):
    """One search of a space with a seed; an instance lives as long as the search."""

    def ask(self, trials: Sequence[Trial]) -> Mapping[str, Any]:
        """The point to train next, given all trials in the order of their numbers.

        RUNNING ones are pending; the first N_INITIAL were not asked of the arm.
        """


@final
@dataclass(frozen=True, slots=True)
class Ours:
    """A sampler of this suite, called as the controller calls it."""

    name: str
    space: Space
    seed: int

    def ask(self, trials: Sequence[Trial]) -> Mapping[str, Any]:
        """One point; the sampler is rebuilt from the trials at every call."""
        return samplers.get(self.name)(self.space, trials, 1, self.seed, N_INITIAL)[0]


def make(name: str, space: Space, seed: int) -> Arm:
    """The arm of a name; raises ModuleNotFoundError for a peer that is not installed."""
    if name not in PEERS:
        samplers.check(name)
        return Ours(name, space, seed)
    module, kind, _ = PEERS[name]
    home = importlib.import_module(f"tests.bench.peers.{module}")
    found: Callable[[Space, int], Arm] = getattr(home, kind)
    return found(space, seed)


def label(name: str) -> str:
    """What tells two versions of an arm apart: a peer's version, or a hash of our sources."""
    if name in PEERS:
        return metadata.version(PEERS[name][2])
    sources = sorted(Path(tuner.__file__).parent.rglob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:8]
