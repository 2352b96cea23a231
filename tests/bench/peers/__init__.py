"""Stock peers as arms, each used as its own documents say is best for one search of one table.

All see a grid as whole places from 0, so that a step is a step, and categories as they are. None
draws a first point of its own: each models from the eleventh point on, of which STARTUP trials
are finished then when eight run at a time.
"""

from collections.abc import Mapping, Sequence
from typing import Any, final

from tuner.space import Categorical, Space
from tuner.trial import Trial

STARTUP = 3


@final
class Ledger:
    """Which trials an arm was told of, by the handles that its library gave them."""

    def __init__(self) -> None:
        self.handles: dict[int, Any] = {}
        self.told: set[int] = set()

    def begun(self, trials: Sequence[Trial]) -> list[Trial]:
        """Trials without a handle yet."""
        return [trial for trial in trials if trial.number not in self.handles]

    def ended(self, trials: Sequence[Trial]) -> list[tuple[Any, float]]:
        """Handles and values of the trials that ended since the last call."""
        new = [t for t in trials if t.state.finished and t.number not in self.told]
        self.told |= {trial.number for trial in new}
        return [(self.handles[trial.number], float(trial.value or 0.0)) for trial in new]


def places(space: Space, params: Mapping[str, Any]) -> dict[str, Any]:
    """Params as the peers see them: a place for a grid, and a category as it is."""
    return {
        name: params[name] if isinstance(p, Categorical) else int(p.place(params[name]))
        for name, p in space.parameters.items()
    }


def params(space: Space, found: Mapping[str, Any]) -> dict[str, Any]:
    """What a peer proposes, as params; a choice of NumPy's becomes ours."""
    return {
        name: p.at(p.place(found[name]) if isinstance(p, Categorical) else int(found[name]))
        for name, p in space.parameters.items()
    }


def highest(space: Space) -> dict[str, int]:
    """The last place of every grid."""
    items = space.parameters.items()
    return {name: (p.size or 1) - 1 for name, p in items if not isinstance(p, Categorical)}


def choices(space: Space) -> dict[str, list[Any]]:
    """The choices of every category."""
    items = space.parameters.items()
    return {name: list(p.choices) for name, p in items if isinstance(p, Categorical)}
