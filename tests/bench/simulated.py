"""Utilisation and regret on a simulated cluster, by the number of workers.

python -m tests.bench.simulated [--workers 8 64 1000] [--sampler random] [--trials-each 20]

Trials take 2 to 10 s (log-normal), as on the test cluster; `--long` makes them 10 to 50 minutes,
with a queue, preemptions, lost nodes and failures. The bound is list scheduling without any
overhead on the same durations.
"""

import argparse
import dataclasses
import statistics
import time

from tests.bench.simcluster import Simulation, Site
from tests.bench.simstudies import bound, hartmann, log_normal, regret, study

SHORT = Site(look=0.1, start_up=1.0, grace=2.0, tick=2.0)
LONG = Site(queue_wait=600.0, start_up=20.0, look=2.0, preempted=0.05, node_lost=0.01, failing=0.02)
HEAD = ("workers", "trials", "wall s", "used", "bound", "of bound", "asked", "trained", "regret",
        "tick ms", "real s")  # fmt: skip


def measure(workers, trials, given, site, duration, *, seed):
    """A row of the table."""
    wanted = study(workers, trials, given.sampler, seed)
    began = time.perf_counter()
    outcome = Simulation(wanted, site, hartmann, duration, seed).run()
    real = time.perf_counter() - began
    durations = [duration(number, None) for number in range(trials)]
    best_wall = bound(durations, workers)
    limit = sum(durations) / (workers * best_wall)
    tick = 1e3 * statistics.median(outcome.ticks)
    return (
        *(workers, trials, outcome.wall, outcome.utilisation, limit, best_wall / outcome.wall),
        *(*outcome.shares, regret(outcome, wanted), tick, real),
    )


def main():
    """Print the table."""
    parser = argparse.ArgumentParser("python -m tests.bench.simulated", description=main.__doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=[8, 64, 1000])
    parser.add_argument("--trials-each", type=int, default=20, help="trials a worker")
    parser.add_argument("--sampler", default="random")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--ask", type=float, help="seconds that a point takes; else as measured")
    parser.add_argument("--long", action="store_true", help="trials of minutes on a rough cluster")
    given = parser.parse_args()
    site, duration = (LONG, log_normal(1200, 600, 3000)) if given.long else (
        SHORT, log_normal(4, 2, 10))  # fmt: skip
    if given.ask is not None:
        site = dataclasses.replace(site, ask=lambda told, n: n * given.ask)
    print("".join(f"{word:>10}" for word in HEAD))
    for workers in given.workers:
        rows = [
            measure(workers, workers * given.trials_each, given, site, duration, seed=seed)
            for seed in range(given.seeds)
        ]
        medians = [statistics.median(column) for column in zip(*rows, strict=True)]
        print("".join(f"{value:>10.4g}" for value in medians), flush=True)


if __name__ == "__main__":
    main()
