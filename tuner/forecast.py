"""What a whole study will take, from what single points took."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jobs.accounting import gpus_asked
from models.defaults import DEFAULTS
from tuner.parameters import Categorical, Parameter, Value
from tuner.space import Space
from tuner.study import Study

MIDDLE, LARGEST = "middle", "largest"


@dataclass(frozen=True, slots=True)
class Forecast:
    """A study's cost if every point were like one: hours of GPUs (or slots), seconds until its end.

    Start-up, queueing and early stopping are not in it.
    """

    hours: float
    seconds: float
    trial_seconds: float


def points(space: Space) -> dict[str, dict[str, Any]]:
    """The middle of a space, and its largest point: the highest of every number."""
    largest = {name: _largest(parameter) for name, parameter in space.parameters.items()}
    return {
        MIDDLE: space.from_unit([0.5] * len(space.parameters)),
        LARGEST: space.only_active(largest),
    }


def forecast(study: Study, point: Mapping[str, Any], epoch_seconds: float) -> Forecast:
    """The cost of a study whose points all take what this one took."""
    params = {**DEFAULTS, **study.fixed, **point}
    seconds = epoch_seconds * float(params["epochs"])
    jobs = study.jobs
    share = (gpus_asked(jobs.slurm) or 1) / jobs.workers_per_gpu
    n = trainings(study)
    return Forecast(n * seconds * share / 3600, -(-n // jobs.n_workers) * seconds, seconds)


def trainings(study: Study) -> int:
    """The trials of a study, and the runs with fresh seeds that follow."""
    again = study.confirm.top * study.confirm.seeds if study.confirm else 0
    return study.n_trials + again


def _largest(parameter: Parameter) -> Value:
    if not isinstance(parameter, Categorical):
        return parameter.high
    numbers = [choice for choice in parameter.choices if not isinstance(choice, (str, bool))]
    return max(numbers) if numbers else parameter.choices[-1]
