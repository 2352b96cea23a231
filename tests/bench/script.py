"""The prototype's regression script, as it was: 30 evaluations of hyperopt in one process.

python -m tests.bench.script SEED [--evaluations 30]

Prints one line of JSON: the winner, its number, and its value, a sum over batches of batch means.
Its data are ours, made once, and seeds are set, so that its winner can be trained again.
"""

import argparse
import json
import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.data import load
from models.split import Dataset
from models.train import checked
from tests.bench.loops import Prototype
from tuner.filetrials import hp

STUDY = Path(__file__).parent.parent.parent / "jobs" / "prototype_regression.toml"


def study() -> dict[str, Any]:
    """The shipped study of the same search."""
    return tomllib.loads(STUDY.read_text())


def data() -> Dataset:
    """What the study trains on."""
    return load(study()["data"])


def space() -> dict[str, Any]:
    """The seven parameters with the study's ranges, in hyperopt's words."""
    return {name: _expression(name, table) for name, table in study()["space"].items()}


def _expression(name: str, table: Mapping[str, Any]) -> Any:
    low, high = table["low"], table["high"]
    if table["type"] == "int":
        return hp.quniform(name, low, high, table.get("step", 1))
    if table.get("log"):
        return hp.loguniform(name, math.log(low), math.log(high))
    return hp.uniform(name, low, high)


def whole(params: Mapping[str, Any]) -> dict[str, Any]:
    """The point with its whole numbers whole: hyperopt gives floats."""
    ints = {name for name, table in study()["space"].items() if table["type"] == "int"}
    return {name: int(value) if name in ints else float(value) for name, value in params.items()}


def trained(params: Mapping[str, Any], data: Dataset, seed: int) -> tuple[float, float]:
    """A trial: train all epochs, score the last; its value, and the mean over samples (scaled)."""
    complete = checked({"model": "cnn_lstm", **params}, "regression")
    loop = Prototype(complete, data, torch.device("cpu"), seed)
    for number in range(params["epochs"]):
        loop.epoch(number)
        scores = loop.validate()
    return scores


def main() -> None:
    """Search, and print what won."""
    from hyperopt import Trials, fmin, tpe  # noqa: PLC0415 - the script's own engine

    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("seed", type=int)
    parser.add_argument("--evaluations", type=int, default=30)
    arguments = parser.parse_args()
    given, trials, tried = data(), Trials(), []

    def objective(point: Mapping[str, Any]) -> float:
        tried.append(whole(point))
        return trained(tried[-1], given, arguments.seed * 1000 + len(tried) - 1)[0]

    fmin(
        objective, space(), tpe.suggest, arguments.evaluations, trials=trials,
        rstate=np.random.default_rng(arguments.seed), show_progressbar=False,
    )  # fmt: skip
    losses = [float(loss) for loss in trials.losses()]
    number = int(np.argmin(losses))
    print(json.dumps({"number": number, "params": tried[number], "value": losses[number]}))


if __name__ == "__main__":
    main()
