"""A few steps of a training, to know what all of it will take."""

import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from models.fold import EVALUATION_BATCH, Fold
from models.room import room
from models.split import Dataset
from models.train import Training

_STEPS = 5  # whose median counts, after one that is not like the others


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What one point takes, as measured: seconds, and bytes at the peak."""

    weights: int  # trainable numbers
    epoch_seconds: float  # expected, from single steps
    device_bytes: int  # on the GPU; 0 without one
    host_bytes: int  # of this process until now


def rehearse(params: Mapping[str, Any], data: Dataset, seed: int) -> Rehearsal:
    """Train one point for a few batches and score one; an epoch of all folds follows from that.

    Raises what a training would raise: ValueError, TooLargeError.
    """
    training = Training(params, data, "search", seed)
    cuda = training.device.type == "cuda"
    fold = training.folds[0]
    with room(training.params, fold.model, training.device):
        step, score = _seconds(lambda: _step(fold)), _seconds(lambda: _score(fold))
    batches = sum(len(f.rows) // min(f.params["batch_size"], len(f.rows)) for f in training.folds)
    held = (f.split.validation for f in training.folds)
    scored = sum(-(-len(part.rows) // EVALUATION_BATCH) for part in held if part)
    return Rehearsal(
        weights=sum(weight.numel() for weight in fold.model.parameters()),
        epoch_seconds=batches * step + scored * score,
        device_bytes=torch.cuda.max_memory_allocated() if cuda else 0,
        host_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    )


def _step(fold: Fold) -> None:
    """One update on the first batch; waits for the device."""
    batch = torch.arange(min(fold.params["batch_size"], len(fold.rows)), device=fold.device)
    fold.model.train()
    float(fold.step(fold.inputs.take(fold.rows[batch]), fold.targets[batch]))


def _score(fold: Fold) -> None:
    """One batch of the validation part; waits for the device."""
    assert fold.split.validation  # a search has one
    fold.first_scores(fold.split.validation).sum().item()


def _seconds(action: Callable[[], None]) -> float:
    action()
    return sorted(_timed(action) for _ in range(_STEPS))[_STEPS // 2]


def _timed(action: Callable[[], None]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began
