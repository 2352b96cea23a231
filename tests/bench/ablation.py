"""What each part of the gp is worth: the regret with one thing changed.

python -m tests.bench.ablation [--seeds 4] [--tables] [--noiseless]

Hartmann's function of six variables, 60 evaluations, with 1 and with 8 workers on the simulated
cluster; with --tables (extra `bench`) the `tune` half of the tables, after 50 and 100 evaluations.
"""

import argparse
import contextlib
from dataclasses import replace
from unittest import mock

import numpy as np

from tests.bench import search, tables
from tests.bench.simcluster import Simulation, Site
from tests.bench.simstudies import hartmann, log_normal, regret, study
from tuner import acquisition, gaussian
from tuner.samplers import gp

SITE = Site(look=0.1, start_up=1.0, grace=2.0, tick=2.0, ask=lambda told, n: 0.1)
EVALUATIONS = 60


class Luckiest(gp.Search):
    """Improves on the lowest loss that was seen, instead of on the lowest that is expected."""

    def __init__(self, space, trials):
        super().__init__(space, trials)
        values = [trial.value for trial in trials if trial.value is not None]
        self.best = (min(values) - np.mean(values)) / (np.std(values) or 1.0)


class Careless(gp.Search):
    """Knows nothing of what is pending but that it is not to be asked for again."""

    def believe(self, params):
        """Expect nothing of it."""
        self.known.add(gp.identity(params))


VARIANTS = {
    "as it is": (),
    "no lies": ((gp, "Search", Careless),),
    "the luckiest, not the mean's best": ((gp, "Search", Luckiest),),
    "no climb": ((acquisition, "_ROUNDS", 0), (acquisition, "_ascend", lambda *a: a[-1])),
    "no priors": (
        (gaussian, "_LENGTH_SPREAD", 30.0),
        (gaussian, "_NOISE_SPREAD", 30.0),
        (gaussian, "_AMPLITUDE_SPREAD", 30.0),
    ),
    "length scales of Hvarfner et al.": (
        (gaussian, "_LENGTH", float(np.exp(np.sqrt(2)))),
        (gaussian, "_LENGTH_SPREAD", float(np.sqrt(3))),
    ),
    "length scales .25": ((gaussian, "_LENGTH", 0.25),),
    "length scales .8": ((gaussian, "_LENGTH", 0.8),),
    "noise .05": ((gaussian, "_NOISE", 0.05),),
}


def on_hartmann(workers, seed):
    """The regret after all evaluations."""
    wanted = study(workers, EVALUATIONS, "gp", seed)
    return regret(Simulation(wanted, SITE, hartmann, log_normal(4, 2, 10), seed).run(), wanted)


def on_tables(mode, seed, noiseless):
    """Regrets after 50 and 100 evaluations, the mean over the tables of `tune`."""
    found = []
    for name in tables.TUNE:
        table = tables.load(name)
        if noiseless:
            table = replace(table, losses=table.losses.mean(axis=1, keepdims=True))
        regrets = search.run("gp", table, mode, seed).regrets
        found.append((regrets[49], regrets[99]))
    return tuple(np.mean(found, axis=0))


def rows(options):
    """For each variant what was found, a seed each, (seed, column)."""
    for what, changes in VARIANTS.items():
        if options.only and what not in options.only:
            continue
        with contextlib.ExitStack() as stack:
            for where, name, value in changes:
                stack.enter_context(mock.patch.object(where, name, value))
            found = [_row(seed, options) for seed in range(options.seeds)]
        yield what, np.array(found)


def _row(seed, options):
    row = [on_hartmann(1, seed), on_hartmann(8, seed)]
    if options.tables:
        for mode in search.SLOTS:
            row += on_tables(mode, seed, options.noiseless)
    return row


def main(argv=None):
    """Print the table: means, and the paired difference to the first variant with its error."""
    parser = argparse.ArgumentParser("python -m tests.bench.ablation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--tables", action="store_true")
    parser.add_argument("--noiseless", action="store_true", help="the mean over training seeds")
    parser.add_argument("--only", nargs="+", help="these variants, by their names")
    options = parser.parse_args(argv)
    heads = ["Hartmann, 1", "Hartmann, 8"]
    if options.tables:
        heads += ["sequential 50", "100", "parallel 50", "100"]
    print("| gp | " + " | ".join(heads) + " |\n|---|" + "---|" * len(heads))
    first = None
    for what, found in rows(options):
        first = found if first is None else first
        error = (found - first).std(axis=0) / np.sqrt(len(found))
        cells = [
            f"{mean:.3f} ({change:+.3f} ± {spread:.3f})"
            for mean, change, spread in zip(
                found.mean(axis=0), (found - first).mean(axis=0), error, strict=True
            )
        ]
        print(f"| {what} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
