"""Train, choose and test a model: one loop for both model families, resumable bit for bit."""

import io
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch

from models.defaults import checked
from models.fold import Fold
from models.protocols import Checkpoint, Report, State, Stop
from models.resume import set_streams, streams
from models.room import room
from models.split import Array, Dataset

__all__ = ["Checkpoint", "Evaluation", "Report", "Stop", "evaluate", "train"]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A test part's score: `value` and `metrics` in real units, (n,) truth, prediction, index."""

    value: float
    metrics: dict[str, float]
    truth: Array
    prediction: Array
    index: Array


def train(
    params: Mapping[str, Any], data: Dataset, report: Report, checkpoint: Checkpoint, seed: int
) -> float:
    """The best epoch's validation metric, in real units, as the mean over the search's folds.

    Folds are trained in lockstep, so that every epoch has a value. With a `patience` training ends
    after so many epochs without a better one. A diverged training ends at once and returns what it
    diverged to, nan or inf.
    """
    return Training(params, data, "search", seed).fit(report, checkpoint)


def evaluate(  # noqa: PLR0917 - as train, and a part
    params: Mapping[str, Any],
    data: Dataset,
    report: Report,
    checkpoint: Checkpoint,
    seed: int,
    part: str,
) -> Evaluation:
    """Train `part`, or go on where its checkpoint is, and score its test part once.

    The best epoch's weights are scored, or the last's where there is no validation part.
    """
    training = Training(params, data, part, seed)
    training.fit(report, checkpoint)
    return training.test()


def to_bytes(state: State) -> bytes:
    """A state as bytes that hold no code."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def from_bytes(content: bytes) -> State:
    """What `to_bytes` wrote, on the CPU; refuses anything but tensors and plain values."""
    state: State = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return state


def device() -> torch.device:
    """The first visible GPU, else the CPU; TUNER_DEVICE names another."""
    best = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(os.environ.get("TUNER_DEVICE", best))


@final
class Training:
    """The models of one part, one a fold, and all that an exact resume needs."""

    def __init__(self, params: Mapping[str, Any], data: Dataset, part: str, seed: int) -> None:
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
        torch.manual_seed(seed)
        self.params, self.device = checked(params, data.task), device()
        self.folds = [Fold(self.params, data, split, self.device) for split in data.splits(part)]
        self.epoch, self.best = 0, float("nan")
        self.stale = 0  # epochs since the best one
        self.best_weights = [fold.weights() for fold in self.folds]

    def fit(self, report: Report, checkpoint: Checkpoint) -> float:
        """Train for the epochs that are left; returns the best value."""
        if state := checkpoint.load():
            self.load_state(state)
        self.rehearse()
        while not self.over:
            with room(self.params, self.folds[0].model, self.device):
                loss = float(np.mean([fold.epoch(self.epoch) for fold in self.folds]))
                metrics = self.validate()
            value = metrics.get(self.params["metric"], loss)
            self.stale += 1
            if self.is_best(value) or not metrics:
                self.stale = 0
                self.best, self.best_weights = value, [fold.weights() for fold in self.folds]
            report(self.epoch, train=loss, **metrics)
            if not np.isfinite(loss + value):
                return loss + value
            self.epoch += 1
            checkpoint.save(self.epoch - 1, self.state, last=self.over)
        return self.best

    def rehearse(self) -> None:
        """Score one batch on a GPU: what would not fit is found now, and not after an epoch.

        A step that does not fit shows by itself at once; this draws no random number.
        """
        if self.device.type == "cuda":
            with room(self.params, self.folds[0].model, self.device):
                for fold in self.folds:
                    if fold.split.validation:
                        fold.first_scores(fold.split.validation)

    @property
    def over(self) -> bool:
        """Whether all epochs are trained, or so many without a better one as `patience` says."""
        all_, patience = int(self.params["epochs"]), int(self.params["patience"])
        return self.epoch >= all_ or 0 < patience <= self.stale

    def is_best(self, value: float) -> bool:
        """Whether no epoch before was as good."""
        sign = -1 if self.params["metric"] == "accuracy" else 1
        return bool(np.isnan(self.best)) or sign * value < sign * self.best

    def validate(self) -> dict[str, float]:
        """Validation metrics as means over the folds; none without a validation part."""
        parts = [(fold, fold.split.validation) for fold in self.folds]
        scores = [fold.score(part) for fold, part in parts if part]
        names = scores[0] if scores else ()
        return {name: float(np.mean([score[name] for score in scores])) for name in names}

    def test(self) -> Evaluation:
        """Score the test part with the best weights."""
        (fold,), (weights,) = self.folds, self.best_weights
        part = fold.split.test
        assert part, "only a search has no test part"
        fold.model.load_state_dict(weights)
        metrics, prediction = fold.score(part), fold.predictions(fold.outputs(part))
        value = metrics[self.params["metric"]]
        return Evaluation(value, metrics, fold.truth(part), prediction, part.index)

    def state(self) -> State:
        """All that the next epoch depends on."""
        return {
            "epoch": self.epoch,
            "best": self.best,
            "stale": self.stale,
            "best_weights": self.best_weights,
            "models": [fold.model.state_dict() for fold in self.folds],
            "recipes": [fold.recipe() for fold in self.folds],
            "optimizers": [fold.optimizer.state_dict() for fold in self.folds],
            **streams(),
        }

    def load_state(self, state: State) -> None:
        """Go on from what `state` returned."""
        self.epoch, self.best, self.best_weights = (
            state[key] for key in ("epoch", "best", "best_weights")
        )
        self.stale = state.get("stale", 0)  # a run of an older version knows no patience
        for fold, model, optimizer in zip(
            self.folds, state["models"], state["optimizers"], strict=True
        ):
            fold.model.load_state_dict(model)
            fold.optimizer.load_state_dict(optimizer)
        set_streams(state)
