"""One model on one split: build it, train it for an epoch, score it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.bins import Bins, edges, placed
from models.cnn_lstm import CNNLSTM
from models.defaults import OPTIONS
from models.fusion import FusionCNN2DLSTM
from models.inputs import Inputs, tensor
from models.precision import mixed
from models.protocols import State
from models.split import Array, Dataset, Part, Split, mapping

_LONGEST = 1.0  # norm of a step's gradients
EVALUATION_BATCH = 512  # fixed: no hyperparameter may change how a model is scored


@final
class Fold:
    """A model with its optimiser and its split's data, all on one device.

    `params` are complete, as `models.train.checked` returns them.
    """

    def __init__(
        self, params: Mapping[str, Any], data: Dataset, split: Split, device: torch.device
    ) -> None:
        self.params, self.split, self.device = params, split, device
        self.classifies = data.task == "classification"
        self.edges = edges(split.train, params["bins"]) if params["bins"] else []
        self.inputs = inputs(split.train, self.edges, device)
        model = build(params, data.n_classes, self.inputs.shape)
        self.model = on_device(model, device, pictures=not split.train.window)
        self._mixed = mixed(params["precision"], device)
        self._trained = list(self.model.parameters())
        self.optimizer = optimizer(params, self._trained)
        self.rows, self.targets = self._on_device(split.train)

    def epoch(self, number: int) -> float:
        """Train once over the shuffled training part; returns the mean loss, in real units squared.

        The last batch is dropped when it is ragged: BatchNorm has no variance of one item.
        """
        self.model.train()
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.params, number)
        size = min(self.params["batch_size"], len(self.rows))
        batches = torch.split(torch.randperm(len(self.rows), device=self.device), size)
        whole = [batch for batch in batches if len(batch) == size]
        total = torch.zeros((), device=self.device)
        inputs = self.inputs.batches([self.rows[batch] for batch in whole])
        for batch, taken in zip(whole, inputs, strict=True):
            total += self.step(taken, self.targets[batch])
        return float(total) / len(whole) * self.split.std**2

    def step(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """One update of the weights; returns the batch's mean loss, still on the device."""
        loss = self.loss(self._forward(inputs), targets)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
        clip(self._trained, _LONGEST)
        self.optimizer.step()
        return loss.detach()

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean cross entropy, or mean squared error of the scaled target."""
        criterion = functional.cross_entropy if self.classifies else functional.mse_loss
        return criterion(outputs, targets)

    @torch.no_grad()
    def outputs(self, part: Part) -> Tensor:
        """What the model says to a whole part: (n,) scaled, or (n, class) scores."""
        self.model.eval()
        rows, _ = self._on_device(part)
        batches = self.inputs.batches(torch.split(rows, EVALUATION_BATCH))
        return torch.cat([self._forward(batch) for batch in batches])

    @torch.no_grad()
    def first_scores(self, part: Part) -> Tensor:
        """What the model says to the first batch of a part, as `outputs` takes them."""
        self.model.eval()
        return self._forward(self.inputs.take(self._on_device(part)[0][:EVALUATION_BATCH]))

    def score(self, part: Part) -> dict[str, float]:
        """Metrics over all items of a part, in real units."""
        outputs = self.outputs(part)
        if self.classifies:
            targets = torch.from_numpy(part.targets).to(self.device)
            right = (outputs.argmax(1) == targets).double().mean()
            return {"accuracy": float(right), "loss": float(self.loss(outputs, targets))}
        errors = self.predictions(outputs) - self.truth(part)
        mse = float(np.mean(errors**2))
        return {"mse": mse, "rmse": math.sqrt(mse), "mae": float(np.mean(np.abs(errors)))}

    def truth(self, part: Part) -> Array:
        """Targets (n,) in real units, or class ids."""
        return part.targets if self.classifies else self._real(part.targets)

    def predictions(self, outputs: Tensor) -> Array:
        """Outputs as (n,) forecasts in real units, or class ids."""
        if self.classifies:
            return outputs.argmax(1).cpu().numpy()
        return self._real(outputs.cpu().numpy())

    def weights(self) -> dict[str, Tensor]:
        """A copy of the model's weights as they are now."""
        return {name: tensor.clone() for name, tensor in self.model.state_dict().items()}

    def recipe(self) -> State:
        """What makes inputs of raw values and real units of outputs, as a checkpoint holds it."""
        split, edges = self.split, [torch.from_numpy(edge) for edge in self.edges]
        known = {
            key: torch.from_numpy(value) if isinstance(value, np.ndarray) else value
            for key, value in split.recipe.items()
        }
        return {**known, "edges": edges, "target": (split.mean, split.std)}

    def _forward(self, inputs: Tensor) -> Tensor:
        return forward(self.model, inputs, self._mixed)

    def _real(self, scaled: Array) -> Array:
        return scaled.astype(np.float64) * self.split.std + self.split.mean

    def _on_device(self, part: Part) -> tuple[Tensor, Tensor]:
        rows, targets = tensor(part.rows), tensor(part.targets)
        return rows.to(self.device), targets.to(self.device)


MODELS: Mapping[str, type[nn.Module]] = {"cnn_lstm": CNNLSTM, "fusion": FusionCNN2DLSTM}


def on_device(model: nn.Module, device: torch.device, *, pictures: bool) -> nn.Module:
    """The model where it computes, its weights laid out for what it gets."""
    # Pictures: 1.3 to 1.5 times the steps a second of a CPU (tests/bench/README.md, "train")
    layout = torch.channels_last if pictures else torch.preserve_format
    moved: nn.Module = model.to(device, memory_format=layout)  # type: ignore[call-overload]
    return moved


def forward(model: nn.Module, inputs: Tensor, in_bf16: bool) -> Tensor:
    """A model's outputs in float32, whatever it computes in."""
    with torch.autocast(inputs.device.type, dtype=torch.bfloat16, enabled=in_bf16):
        outputs: Tensor = model(inputs)
    return outputs.float()


def build(params: Mapping[str, Any], n_classes: int, shape: tuple[int, ...]) -> nn.Module:
    """The model that `params` describe, for inputs whose one step or item has this `shape`."""
    given = {name: params[name] for name in OPTIONS[params["model"]].keys() & params.keys()}
    if params["model"] == "fusion":
        channels, frequencies, _ = shape
        return FusionCNN2DLSTM(channels, frequencies, n_classes, **given)
    return CNNLSTM(shape[0], **given)


def inputs(train: Part, edges: Sequence[Array], device: torch.device) -> Inputs:
    """The inputs of a split, with their bins, which a map of a file gets batch by batch."""
    if edges and mapping(train.values):
        return Inputs(train, device, Bins(edges))
    return Inputs(replace(train, values=placed(train.values, edges)) if edges else train, device)


def optimizer(params: Mapping[str, Any], weights: list[nn.Parameter]) -> torch.optim.Optimizer:
    """Adam, or SGD with momentum 0.9; fused: one call for all weights."""
    decay = params["weight_decay"]
    if params["optimizer"] == "adam":
        return torch.optim.Adam(weights, weight_decay=decay, fused=True)
    return torch.optim.SGD(weights, momentum=0.9, weight_decay=decay, fused=True)


def clip(weights: list[nn.Parameter], longest: float) -> None:
    """Shorten all gradients together to a norm of `longest`, where they are longer.

    What `nn.utils.clip_grad_norm_` does, without the questions it asks: of a small model's step
    they are a tenth.
    """
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    torch._foreach_mul_(gradients, (longest / (norm + 1e-6)).clamp(max=1.0))


def learning_rate(params: Mapping[str, Any], epoch: int) -> float:
    """The rate of an epoch: constant, or a half cosine that ends near zero after the last."""
    rate: float = params["learning_rate"]
    if params["schedule"] == "constant":
        return rate
    return rate * (1 + math.cos(math.pi * epoch / params["epochs"])) / 2
