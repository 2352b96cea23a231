"""No sampler at all: the points come from outside, such as `hyperopt.fmin` with FileTrials."""

from collections.abc import Sequence
from typing import Any

from tuner.space import Space
from tuner.trial import Trial


def suggest(
    space: Space,  # noqa: ARG001
    trials: Sequence[Trial],  # noqa: ARG001
    n: int,  # noqa: ARG001
    seed: int,  # noqa: ARG001
    n_initial: int,  # noqa: ARG001
) -> list[dict[str, Any]]:
    """None: whoever has points proposes them to the run's folder."""
    return []
