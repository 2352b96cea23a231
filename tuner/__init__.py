"""What decides: studies, samplers, the controller, and what is shown of a run."""

from importlib import import_module
from typing import Any

# What a program may take from here, and the module that has it: imported when it is asked for,
# since a controller needs neither pandas nor torch.
_LAZY = {
    "load": "tuner.frames",
    "load_best": "tuner.best",
    "load_curves": "tuner.frames",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
