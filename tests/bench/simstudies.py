"""What the simulated cluster trains: a made-up function, made-up durations, and what they allow."""

import heapq
import math
import random

from tuner.confirm import best
from tuner.settings import Jobs
from tuner.space import Space
from tuner.study import Study

# Hartmann's function of six variables (Dixon and Szegő 1978), −3.32237 at its best.
_ALPHA = (1.0, 1.2, 3.0, 3.2)
_A = ((10, 3, 17, 3.5, 1.7, 8), (0.05, 10, 17, 0.1, 8, 14),
      (3, 3.5, 1.7, 10, 17, 8), (17, 8, 0.05, 10, 0.1, 14))  # fmt: skip
_P = ((0.1312, 0.1696, 0.5569, 0.0124, 0.8283, 0.5886),
      (0.2329, 0.4135, 0.8307, 0.3736, 0.1004, 0.9991),
      (0.2348, 0.1451, 0.3522, 0.2883, 0.3047, 0.6650),
      (0.4047, 0.8828, 0.8732, 0.5743, 0.1091, 0.0381))  # fmt: skip
LOWEST = -3.32237


def hartmann(params):
    """A smooth function with several valleys, of x0 to x5 in [0, 1]."""
    x = [params[f"x{i}"] for i in range(6)]
    exponents = (
        sum(a * (v - p) ** 2 for a, v, p in zip(row, x, at, strict=True))
        for row, at in zip(_A, _P, strict=True)
    )
    return -sum(alpha * math.exp(-e) for alpha, e in zip(_ALPHA, exponents, strict=True))


def study(workers, n_trials, sampler, seed=0, n_initial=10):
    """A study of that function."""
    table = {f"x{i}": {"type": "float", "low": 0.0, "high": 1.0} for i in range(6)}
    return Study("sim", "minimize", n_trials, Space.from_table(table), seed, sampler, n_initial,
                 jobs=Jobs(n_workers=workers))  # fmt: skip


def log_normal(median, low, high, sigma=0.5):
    """Durations that are log-normal around a median and cut at both ends, by number alone."""

    def duration(number, chance):
        drawn = median * math.exp(sigma * random.Random(number).gauss(0, 1))
        return min(max(drawn, low), high)

    return duration


def regret(outcome, study_):
    """The best value found less the lowest there is."""
    won = best(study_, outcome.trials)
    return math.nan if won is None else won.value - LOWEST


def bound(durations, workers):
    """The wall time of list scheduling without any overhead, in the order of the trials."""
    free = [0.0] * workers
    for duration in durations:
        heapq.heapreplace(free, free[0] + duration)
    return max(free)
