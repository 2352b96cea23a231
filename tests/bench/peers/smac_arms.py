"""SMAC3's facades by ask and tell; a configuration is evaluated once, so all are deterministic."""

import logging
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

from ConfigSpace import Categorical, Configuration, ConfigurationSpace, Integer
from smac import BlackBoxFacade, HyperparameterOptimizationFacade, Scenario
from smac.runhistory import TrialValue

from tests.bench import peers
from tuner.space import Space
from tuner.trial import Trial


class _Smac:
    def __init__(self, space: Space, seed: int, facade: Any, **selector: int) -> None:
        self.space, self.seed, self.facade, self.selector = space, seed, facade, selector
        self.ledger, self.folder = peers.Ledger(), tempfile.TemporaryDirectory()
        self.optimizer: Any = None

    def ask(self, trials: Sequence[Trial]) -> Mapping[str, Any]:
        if self.optimizer is None:
            self._begin([peers.places(self.space, trial.params) for trial in trials])
        for trial in self.ledger.begun(trials):
            assert self._ask(trial.number) == peers.places(self.space, trial.params)
        for info, value in self.ledger.ended(trials):
            self.optimizer.tell(info, TrialValue(cost=value), save=False)
        return peers.params(self.space, self._ask(len(trials)))

    def _ask(self, number: int) -> dict[str, Any]:
        info = self.ledger.handles[number] = self.optimizer.ask()
        return dict(info.config)

    def _begin(self, first: list[dict[str, Any]]) -> None:
        configspace = ConfigurationSpace(seed=self.seed % 2**31)
        grids = peers.highest(self.space).items()
        configspace.add([Integer(name, (0, last)) for name, last in grids])
        choices = peers.choices(self.space).items()
        configspace.add([Categorical(name, options) for name, options in choices])
        scenario = Scenario(
            configspace,
            deterministic=True,
            n_trials=1000,
            seed=self.seed % 2**31,
            output_directory=self.folder.name,
        )
        design = self.facade.get_initial_design(
            scenario,
            n_configs=0,
            additional_configs=[Configuration(configspace, point) for point in first],
        )
        self.optimizer = self.facade(
            scenario,
            lambda config, seed=0: 0.0,
            initial_design=design,
            config_selector=self.facade.get_config_selector(scenario, **self.selector),
            overwrite=True,
            logging_level=logging.ERROR,
        )


class Forest(_Smac):
    """The facade that SMAC's documents name for hyperparameters: a random forest."""

    def __init__(self, space: Space, seed: int) -> None:
        super().__init__(space, seed, HyperparameterOptimizationFacade)


class Eager(_Smac):
    """The same forest, fitted after every result and not after eight, as it is by default."""

    def __init__(self, space: Space, seed: int) -> None:
        super().__init__(space, seed, HyperparameterOptimizationFacade, retrain_after=1)


class BlackBox(_Smac):
    """The facade for few continuous parameters: a Gaussian process."""

    def __init__(self, space: Space, seed: int) -> None:
        super().__init__(space, seed, BlackBoxFacade)
