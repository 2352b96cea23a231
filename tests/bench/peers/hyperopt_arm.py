"""hyperopt's TPE with its defaults; pending trials are RUNNING among its own."""

from collections.abc import Mapping, Sequence
from typing import Any

import hyperopt
from hyperopt import hp

from tests.bench import peers
from tuner.samplers import point_seed
from tuner.space import Space
from tuner.trial import Trial


class Tpe:
    """One `tpe.suggest` a point, with a fresh seed."""

    def __init__(self, space: Space, seed: int) -> None:
        self.space, self.seed, self.ledger = space, seed, peers.Ledger()
        expressions = {k: hp.uniformint(k, 0, last) for k, last in peers.highest(space).items()}
        expressions |= {k: hp.choice(k, options) for k, options in peers.choices(space).items()}
        self.expressions = expressions
        self.domain = hyperopt.Domain(lambda _: 0.0, expressions)
        self.trials = hyperopt.Trials()

    def ask(self, trials: Sequence[Trial]) -> Mapping[str, Any]:
        for trial in self.ledger.begun(trials):
            self._begin(trial.number, self._values(peers.places(self.space, trial.params)))
        for document, value in self.ledger.ended(trials):
            document["state"] = hyperopt.JOB_STATE_DONE
            document["result"] = {"status": hyperopt.STATUS_OK, "loss": value}
        self.trials.refresh()
        seed, number = point_seed(self.seed, len(trials)), len(trials)
        found = hyperopt.tpe.suggest(
            [number], self.domain, self.trials, seed, n_startup_jobs=peers.STARTUP, verbose=False
        )
        values = found[0]["misc"]["vals"]
        self._begin(number, values)
        point = hyperopt.space_eval(self.expressions, {k: v[0] for k, v in values.items()})
        return peers.params(self.space, point)

    def _values(self, places: Mapping[str, Any]) -> dict[str, list[Any]]:
        """hyperopt keeps the number of a choice."""
        options = peers.choices(self.space)
        return {k: [options[k].index(v) if k in options else v] for k, v in places.items()}

    def _begin(self, number: int, values: Mapping[str, Any]) -> None:
        misc = {
            "tid": number,
            "cmd": self.domain.cmd,
            "idxs": {k: [number] for k in values},
            "vals": dict(values),
        }
        document = self.trials.new_trial_docs([number], [None], [{"status": "new"}], [misc])[0]
        document["state"] = hyperopt.JOB_STATE_RUNNING
        self.trials.insert_trial_doc(document)
        self.trials.refresh()
        self.ledger.handles[number] = self.trials._dynamic_trials[-1]
