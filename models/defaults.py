"""What a study may set or search besides the model's own arguments; imports nothing heavy."""

from collections.abc import Mapping
from typing import Any

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
