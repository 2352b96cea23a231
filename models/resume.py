"""What a training needs to go on exactly where it was: its parts' states and the random streams."""

from typing import Any

import torch

from models.protocols import State

_RANDOM, _CUDA = "random", "cuda_random"


def streams() -> State:
    """The state of torch's random streams: the CPU's, and the GPU's in use if there is one."""
    # A training on the CPU of a node with GPUs takes none of their memory by asking.
    cuda = torch.cuda.get_rng_state() if _on_gpu() else None
    return {_RANDOM: torch.get_rng_state(), _CUDA: cuda}


def set_streams(state: State) -> None:
    """Go on with what `streams` noted; a GPU's stays as it is where none was noted."""
    torch.set_rng_state(state[_RANDOM])
    if _on_gpu() and state[_CUDA] is not None:
        torch.cuda.set_rng_state(state[_CUDA])


def snapshot(**parts: Any) -> State:
    """The states of models, optimisers, schedulers, all that have one; and the streams."""
    return {**{name: part.state_dict() for name, part in parts.items()}, **streams()}


def restore(state: State, **parts: Any) -> None:
    """Put the same parts, by the same names, back to where `snapshot` found them."""
    for name, part in parts.items():
        part.load_state_dict(state[name])
    set_streams(state)


def _on_gpu() -> bool:
    """Whether this process uses a GPU."""
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]
