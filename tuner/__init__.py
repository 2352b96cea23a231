"""What decides: studies, samplers, the controller, and what is shown of a run."""

import sys
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuner.best import load_best
    from tuner.drive import StudyFailed
    from tuner.frames import load, load_curves
    from tuner.inputs import BadInput
    from tuner.parameters import Categorical, Float, Int
    from tuner.settings import Confirm, Jobs, WarmStart
    from tuner.space import Space
    from tuner.study import Study

__all__ = [
    "BadInput",
    "Categorical",
    "Confirm",
    "Float",
    "Int",
    "Jobs",
    "Space",
    "Study",
    "StudyFailed",
    "WarmStart",
    "load",
    "load_best",
    "load_curves",
]

if sys.argv[:1] == ["-m"] and find_spec("psutil") is None:  # so Python starts a command's module
    print(f"error: {sys.executable} lacks our packages; source slurm/env.sh", file=sys.stderr)
    raise SystemExit(2)

# Imported when they are asked for: workers and commands import this room for one module of it.
_LAZY = {
    "BadInput": "tuner.inputs",
    "Categorical": "tuner.parameters",
    "Confirm": "tuner.settings",
    "Float": "tuner.parameters",
    "Int": "tuner.parameters",
    "Jobs": "tuner.settings",
    "Space": "tuner.space",
    "Study": "tuner.study",
    "StudyFailed": "tuner.drive",
    "WarmStart": "tuner.settings",
    "load": "tuner.frames",
    "load_best": "tuner.best",
    "load_curves": "tuner.frames",
}


if not TYPE_CHECKING:  # a checker would take any name for one of ours

    def __getattr__(name: str) -> Any:
        if name not in _LAZY:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
