"""Ax's client with its default generation strategy: BoTorch's modular model."""

import logging
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from ax.api.client import Client
from ax.api.configs import ChoiceParameterConfig, RangeParameterConfig
from ax.utils.common.logger import set_ax_logger_levels

from tests.bench import peers
from tuner.space import Space
from tuner.trial import Trial

set_ax_logger_levels(logging.ERROR)


class Default:
    """The first points are attached; pending trials are RUNNING in the experiment."""

    def __init__(self, space: Space, seed: int) -> None:
        self.space, self.ledger = space, peers.Ledger()
        self.client = Client(random_seed=seed)
        grids = peers.highest(space).items()
        choices = peers.choices(space).items()
        self.client.configure_experiment(
            [
                *(RangeParameterConfig(k, (0, last), "int") for k, last in grids),
                *(ChoiceParameterConfig(k, v, "str", is_ordered=False) for k, v in choices),
            ]
        )
        self.client.configure_optimization("-loss")
        self.client.configure_generation_strategy(
            initialization_budget=peers.STARTUP,
            min_observed_initialization_trials=peers.STARTUP,
            initialize_with_center=False,
        )

    def ask(self, trials: Sequence[Trial]) -> Mapping[str, Any]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for trial in self.ledger.begun(trials):
                point = peers.places(self.space, trial.params)
                self.ledger.handles[trial.number] = self.client.attach_trial(point)
            for index, value in self.ledger.ended(trials):
                self.client.complete_trial(index, {"loss": value})
            ((index, point),) = self.client.get_next_trials(1).items()
        self.ledger.handles[len(trials)] = index
        return peers.params(self.space, point)
