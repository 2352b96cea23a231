"""Whether a step fits into memory: said in one line that names what to change."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, final

import torch
from torch import nn

_CPU = "DefaultCPUAllocator"  # how torch says that the host has no memory left


@final
class TooLargeError(MemoryError):
    """A batch, with its model, that the device has no memory for."""


@contextmanager
def room(params: Mapping[str, Any], model: nn.Module, device: torch.device) -> Iterator[None]:
    """Turn what torch raises without memory into TooLargeError, with sizes and a remedy."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        no_memory = isinstance(error, (torch.OutOfMemoryError, MemoryError)) or _CPU in str(error)
        if not no_memory or isinstance(error, TooLargeError):
            raise
        weights = sum(weight.numel() for weight in model.parameters())
        raise TooLargeError(
            f"a batch of {params['batch_size']} and a model of {weights:,} weights do not fit into"
            f" the memory of {_place(device)}; lower batch_size or the model's sizes in [space],"
            " workers_per_gpu, or ask for more memory"
        ) from error


def _place(device: torch.device) -> str:
    if device.type != "cuda":
        return "this job"
    free, whole = torch.cuda.mem_get_info(device)
    return f"the GPU ({free / 1e9:.1f} of {whole / 1e9:.1f} GB are free)"
