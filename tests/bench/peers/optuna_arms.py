"""Optuna's samplers with their defaults; pending trials are RUNNING in the study."""

from collections.abc import Mapping, Sequence
from typing import Any

import optuna

from tests.bench import peers
from tuner.space import Space
from tuner.trial import Trial

optuna.logging.set_verbosity(optuna.logging.WARNING)


class _Optuna:
    def __init__(self, space: Space, sampler: optuna.samplers.BaseSampler) -> None:
        self.space, self.ledger = space, peers.Ledger()
        self.study = optuna.create_study(sampler=sampler)

    def ask(self, trials: Sequence[Trial]) -> Mapping[str, Any]:
        for trial in self.ledger.begun(trials):
            self.study.enqueue_trial(peers.places(self.space, trial.params))
            self._begin(trial.number)
        for handle, value in self.ledger.ended(trials):
            self.study.tell(handle, value)
        return peers.params(self.space, self._begin(len(trials)))

    def _begin(self, number: int) -> dict[str, Any]:
        trial = self.ledger.handles[number] = self.study.ask()
        for name, last in peers.highest(self.space).items():
            trial.suggest_int(name, 0, last)
        for name, choices in peers.choices(self.space).items():
            trial.suggest_categorical(name, choices)
        return trial.params


class Tpe(_Optuna):
    """Multivariate and with a constant liar, as Optuna 5 is by default."""

    def __init__(self, space: Space, seed: int) -> None:
        sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=peers.STARTUP)
        super().__init__(space, sampler)


class Gp(_Optuna):
    """LogEI; with pending trials qLogEI."""

    def __init__(self, space: Space, seed: int) -> None:
        sampler = optuna.samplers.GPSampler(seed=seed, n_startup_trials=peers.STARTUP)
        super().__init__(space, sampler)
