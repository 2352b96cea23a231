"""What a study may set or search, and whether it makes sense; imports nothing heavy."""

import math
from collections.abc import Mapping
from typing import Any, final

OURS = "models.train:train"  # the training function of a study that names none
DEFAULTS: Mapping[str, Any] = {
    "model": "cnn_lstm",  # or "fusion"
    "metric": "mse",  # what an epoch is chosen by: mse, rmse, mae; accuracy
    "epochs": 20,  # the most; the best one counts
    "patience": 0,  # epochs without a better one after which training ends; 0: never
    "learning_rate": 1e-3,
    "batch_size": 64,
    "optimizer": "adam",  # or "sgd", with momentum 0.9
    "weight_decay": 0.0,
    "precision": "float32",  # or "bf16", mixed; "auto": bf16 where the device has units for it
    "bins": 0,  # series: quantile bins of each feature, as further features; 0 for none
    "schedule": "constant",  # or "cosine": to zero over `epochs`
}
# The arguments of each model that have a default, as models.fold.MODELS takes them.
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "cnn_lstm": {
        "cnn_filters": 32,
        "kernel_size": 3,
        "pool": 2,
        "lstm_units": 64,
        "lstm_layers": 1,
        "dropout": 0.2,
        "residual": False,
    },
    "fusion": {
        "conv1_channels": 32,
        "conv2_channels": 64,
        "kernel_size": 3,
        "use_leaky_relu": False,
        "dropout_rate": 0.4,
        "lstm_hidden": 128,
        "lstm_layers": 1,
        "fc1_units": 256,
    },
}
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "optimizer": ("adam", "sgd"),
    "schedule": ("constant", "cosine"),
    "precision": ("float32", "bf16", "auto"),
}
_OF_TASK: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "regression": {"model": ("cnn_lstm",), "metric": ("mse", "rmse", "mae")},
    "classification": {"model": ("fusion",), "metric": ("accuracy",)},
}
_SHARES = ("dropout", "dropout_rate")
_MAY_BE_ZERO = ("patience", "bins", "weight_decay", *_SHARES)


@final
class ParamError(ValueError):
    """A parameter that our training cannot take; `key` is its name."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"{key}: {problem}")
        self.key, self.problem = key, problem


def checked(params: Mapping[str, Any], task: str) -> dict[str, Any]:
    """The parameters with the defaults filled in; raises ParamError on one that makes no sense."""
    full = {**DEFAULTS, **params}
    for key, choices in {**_OF_TASK[task], **_CHOICES}.items():
        if full[key] not in choices:
            raise ParamError(key, f"{full[key]!r} is none of {', '.join(choices)}")
    known = {**DEFAULTS, **OPTIONS[full["model"]]}
    for key, value in params.items():
        if key not in known:
            raise ParamError(key, f"is no parameter of {full['model']}")
        if problem := _problem(key, value, known[key]):
            raise ParamError(key, f"{value!r} {problem}")
    return full


def _problem(key: str, value: Any, default: Any) -> str:
    """Why a value cannot take the place of its default, or an empty string."""
    if isinstance(default, bool):
        return "" if value in (0, 1) else "is neither true nor false"
    if not isinstance(default, (int, float)):
        return ""
    kind, noun = (int, "whole number") if isinstance(default, int) else ((int, float), "number")
    least = "at least 0" if key in _MAY_BE_ZERO else "above 0"
    if key in _SHARES:
        least = "from 0 to below 1"
    right = isinstance(value, kind) and not isinstance(value, bool)
    if right and (value > 0 or (value == 0 and key in _MAY_BE_ZERO)):
        return "" if value < (1 if key in _SHARES else math.inf) else f"is no {noun} {least}"
    return f"is no {noun} {least}"
