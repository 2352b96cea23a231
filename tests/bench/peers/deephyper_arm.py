"""DeepHyper's centralized Bayesian optimisation with its defaults: extremely randomised trees.

It asks for as many points as slots are free after each tell, and never gives a point twice.
"""

import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

from deephyper.hpo import CBO, HpProblem

from tests.bench import peers
from tuner.space import Space
from tuner.trial import Trial


class Cbo:
    """It maximises, so it is told losses with their sign turned."""

    def __init__(self, space: Space, seed: int) -> None:
        self.space, self.seed, self.ledger = space, seed, peers.Ledger()
        self.folder = tempfile.TemporaryDirectory()
        self.search: Any = None

    def ask(self, trials: Sequence[Trial]) -> Mapping[str, Any]:
        if self.search is None:
            self._begin([peers.places(self.space, trial.params) for trial in trials])
        for trial in self.ledger.begun(trials):
            self.ledger.handles[trial.number] = peers.places(self.space, trial.params)
        if ended := self.ledger.ended(trials):
            self.search.tell([(point, -value) for point, value in ended])
        return peers.params(self.space, self.search.ask(1)[0])

    def _begin(self, first: list[dict[str, Any]]) -> None:
        problem, grids = HpProblem(), peers.highest(self.space)
        for name in self.space.parameters:
            kind = (0, grids[name]) if name in grids else peers.choices(self.space)[name]
            problem.add_hyperparameter(kind, name)
        self.search = CBO(
            problem,
            random_state=self.seed,
            log_dir=self.folder.name,
            n_initial_points=peers.STARTUP,
            initial_points=first,
        )
        asked = self.search.ask(len(first))  # so it knows that they are in work
        assert asked == first, asked
