"""scikit-optimize's Optimizer with its defaults: a Gaussian process and gp_hedge.

It has no notion of pending trials and its `ask(8, "cl_min")` is for batches; asynchronously each
point is asked of a copy that was told the pending ones at the lowest value, the same lie.
"""

import copy
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from skopt import Optimizer
from skopt import space as dims

from tests.bench import peers
from tuner.space import Space
from tuner.trial import Trial


class Gp:
    """Told every result at once, which fits it."""

    def __init__(self, space: Space, seed: int) -> None:
        self.space, self.ledger = space, peers.Ledger()
        grids, choices = peers.highest(space), peers.choices(space)
        self.optimizer = Optimizer(
            [
                dims.Integer(0, grids[k]) if k in grids else dims.Categorical(choices[k])
                for k in space.parameters
            ],
            n_initial_points=peers.STARTUP,
            random_state=seed,
            model_queue_size=1,
        )

    def ask(self, trials: Sequence[Trial]) -> Mapping[str, Any]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of a point that was evaluated before
            point = self._ask(trials)
        return peers.params(self.space, dict(zip(self.space.parameters, point, strict=True)))

    def _ask(self, trials: Sequence[Trial]) -> list[Any]:
        for trial in self.ledger.begun(trials):
            self.ledger.handles[trial.number] = self._point(trial)
        if ended := self.ledger.ended(trials):
            self.optimizer.tell([point for point, _ in ended], [value for _, value in ended])
        pending = [self._point(trial) for trial in trials if not trial.state.finished]
        if not pending:
            return self.optimizer.ask()
        liar = copy.deepcopy(self.optimizer)
        liar.tell(pending, [min(liar.yi)] * len(pending))
        return liar.ask()

    def _point(self, trial: Trial) -> list[Any]:
        return list(peers.places(self.space, trial.params).values())
