"""Two training loops around one identical module: the prototype's, as it was, and ours."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from models.data import load
from models.fold import Fold, build
from models.split import Dataset, Part, Split
from models.train import checked

CLASSES, WINDOWS = 7, 256  # of the pictures that are made up: only their size counts
SIZES: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "cnn_lstm": {
        "small": {"cnn_filters": 16, "lstm_units": 32, "batch_size": 16},
        "default": {"cnn_filters": 32, "lstm_units": 64, "batch_size": 64},
        "large": {"cnn_filters": 64, "lstm_units": 128, "batch_size": 128},
    },
    "fusion": {
        "small": {
            "conv1_channels": 16, "conv2_channels": 32, "lstm_hidden": 64, "fc1_units": 128,
            "batch_size": 16,
        },
        "default": {"batch_size": 32},
        "large": {
            "conv1_channels": 64, "conv2_channels": 128, "lstm_hidden": 256, "lstm_layers": 3,
            "fc1_units": 512, "kernel_size": 5, "batch_size": 128,
        },
    },
}  # fmt: skip


class Pictures:
    """Random spectrograms (item, 5, 64, 64) of seven classes, three quarters of them to train."""

    task, n_classes, target_column = "classification", CLASSES, 0

    def splits(self, part: str) -> tuple[Split, ...]:
        """The one split."""
        del part
        random = np.random.default_rng(0)
        values = random.normal(0, 1, (WINDOWS, 5, 64, 64)).astype(np.float32)
        targets = random.integers(0, CLASSES, WINDOWS)
        values[np.arange(WINDOWS), 0, targets] += 0.5  # something to learn
        parts = [
            Part(values, 0, rows, targets[rows], rows)
            for rows in np.split(np.arange(WINDOWS), [WINDOWS * 3 // 4])
        ]
        return (Split(*parts, None),)


def data_of(family: str) -> Dataset:
    """What a family is timed on: the prototype's series, or pictures of the same shape as its."""
    if family == "fusion":
        return Pictures()
    return load({"source": "prototype", "target": "target", "window": 20})


def params_of(family: str, size: str, **more: Any) -> dict[str, Any]:
    """Complete parameters of a model of that size."""
    task = "classification" if family == "fusion" else "regression"
    metric = "accuracy" if family == "fusion" else "mse"
    given = {"model": family, "metric": metric, "learning_rate": 1e-3}
    return checked({**given, **SIZES[family][size], **more}, task)


class Prototype:
    """The prototype's loop: a DataLoader that collates item by item, `.item()` at every step.

    It is given its windows ready in memory, as the script had them. The module is `build`'s.
    `drop_last` leaves out a ragged last batch, as our loop does.
    """

    def __init__(
        self,
        params: Mapping[str, Any],
        data: Dataset,
        device: torch.device,
        seed: int,
        drop_last: bool = False,
    ) -> None:
        torch.manual_seed(seed)
        (split,) = data.splits("search")
        self.device = device
        self.criterion = nn.CrossEntropyLoss() if data.n_classes else nn.MSELoss()
        self.model = build(params, data.n_classes, split.train.values.shape[1:]).to(device)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=params["learning_rate"])
        size = params["batch_size"]
        self.train = DataLoader(_items(split.train), size, shuffle=True, drop_last=drop_last)
        assert split.validation is not None
        self.validation = DataLoader(_items(split.validation), size)

    def epoch(self, number: int) -> float:
        """Train once over the data; the mean of the batches' losses."""
        del number
        self.model.train()
        total = 0.0
        for x, y in self.train:
            self.optimizer.zero_grad()
            loss = self.criterion(self.model(x.to(self.device)), y.to(self.device))
            loss.backward()
            self.optimizer.step()
            total += loss.item()
        return total / len(self.train)

    def validate(self) -> tuple[float, float]:
        """The sum over batches of mean losses, which the prototype minimised; and over samples."""
        self.model.eval()
        total, over_samples, items = 0.0, 0.0, 0
        with torch.no_grad():
            for x, y in self.validation:
                outputs = self.model(x.to(self.device))
                loss = self.criterion(outputs, y.to(self.device)).item()
                total, over_samples = total + loss, over_samples + loss * len(y)
                items += len(y)
        return total, over_samples / items


class Ours:
    """Our loop, `models.fold.Fold`'s; `change` may replace its model, as a compiler does."""

    def __init__(
        self,
        params: Mapping[str, Any],
        data: Dataset,
        device: torch.device,
        seed: int,
        change: Callable[[nn.Module], nn.Module] = lambda model: model,
    ) -> None:
        torch.manual_seed(seed)
        self.fold = Fold(params, data, data.splits("search")[0], device)
        self.model = self.fold.model
        self.fold.model = change(self.fold.model)

    def epoch(self, number: int) -> float:
        """Train once over the data; the mean of the batches' losses, of the scaled target."""
        return self.fold.epoch(number) / self.fold.split.std**2

    def validate(self) -> float:
        """The mean loss over the items."""
        part = self.fold.split.validation
        assert part is not None
        scores = self.fold.score(part)
        return scores.get("loss", scores.get("mse", np.nan))


def _items(part: Part) -> TensorDataset:
    inputs: Tensor = torch.from_numpy(np.ascontiguousarray(part.inputs))
    return TensorDataset(inputs, torch.from_numpy(part.targets))
