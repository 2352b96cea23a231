"""Is the forecast of tuner/worth.py right: beside what the next ten trials then really gained.

python -m tests.bench.worth [--samplers gp,mtpe] [--seeds 20] [--tables tune] [--gaussian]

Real searches, one trial after the other, of Branin's function and Hartmann's of six variables, both
with and without noise, of a small computed table, and with `--tables` of those of regret.py. A case
is a function, a sampler and a stage. Of each: what the next ten trials gained on the mean over
seeds, the share of searches where they gained anything, the mean forecast over the mean gain, and
the rank correlation over seeds. `--gaussian` adds what a Gaussian process expects of its next ten
points (each believed, 2,000 draws of all together).
"""

import argparse
import math
import multiprocessing
import statistics
import zlib

import numpy as np
from scipy.linalg import solve_triangular
from scipy.stats import spearmanr
from threadpoolctl import threadpool_limits

from jobs.contract import State
from tests.bench import tables
from tests.bench.simstudies import hartmann
from tuner import samplers
from tuner.losses import bounded, robust
from tuner.samplers import point_seed
from tuner.samplers.gp import Search
from tuner.space import Float, Space
from tuner.study import Study
from tuner.trial import Trial
from tuner.worth import MORE, worth

STAGES = (15, 20, 30, 45, 60)
N_INITIAL = 10
_SIX = Space({f"x{i}": Float(0.0, 1.0) for i in range(6)})
_TWO = Space({"x": Float(-5, 10), "y": Float(0, 15)})
_NOISE = {"branin": 3.0, "hartmann": 0.1}
FUNCTIONS = ("branin", "hartmann", "noisy branin", "noisy hartmann", "formula")


def branin(params):
    """Branin's function (Dixon and Szegő 1978); its minimum is 0.397887."""
    x, y = params["x"], params["y"]
    curve = y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6
    return curve**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10


def subject(name, seed):
    """A space, and a function of its points."""
    plain = name.removeprefix("noisy ")
    if plain in _NOISE:
        space, function = (_TWO, branin) if plain == "branin" else (_SIX, hartmann)
        deviation = 0.0 if plain == name else _NOISE[plain]
        draw = np.random.default_rng([seed, zlib.crc32(name.encode())])
        return space, lambda params: function(params) + deviation * float(draw.standard_normal())
    table = tables.load(name)
    values = table.noisy(seed)
    return table.space, lambda params: float(values[table.index(params)])


def searched(job):
    """One search: after each stage the real gain, our forecast, and the Gaussian process's."""
    name, sampler, seed, gaussian = job
    space, function = subject(name, seed)
    study = Study("worth", "minimize", STAGES[-1] + MORE, space, seed, sampler, N_INITIAL)
    trials = []
    with threadpool_limits(1):
        for number in range(study.n_trials):
            (params,) = samplers.get(sampler)(space, trials, 1, seed, N_INITIAL)
            trials.append(Trial(number, State.COMPLETE, params, value=function(params)))
        values = [trial.value for trial in trials]
        return (name, sampler), [
            (
                min(values[:n]) - min(values[: n + MORE]),
                worth(study, trials[:n]).gain,
                by_gaussian(space, trials[:n], seed) if gaussian else math.nan,
            )
            for n in STAGES
        ]


def by_gaussian(space, trials, seed):
    """What the surrogate expects that its own next ten points improve the lowest value by."""
    search, told = Search(space, trials), [loss for _, loss in bounded(robust(trials))]
    posterior, spread = search.posterior, float(np.std(told)) or 1.0
    best = (min(told) - float(np.mean(told))) / spread
    points = []
    for k in range(MORE):
        params = search.ask(point_seed(seed, k))
        points.append(search.encoding.columns(search.encoding.places(params)[None])[0])
        search.believe(params)
    points = np.array(points)
    across = posterior.kernel.between(points, posterior.points)
    reduced = solve_triangular(posterior.factor, across.T, lower=True)
    covariance = posterior.kernel.between(points, points) - reduced.T @ reduced
    covariance[np.diag_indices(MORE)] += posterior.kernel.noise + 1e-8
    draws = np.random.default_rng(seed).standard_normal((2000, MORE))
    values = across @ posterior.weights + draws @ np.linalg.cholesky(covariance).T
    return float(np.maximum(0.0, best - values.min(axis=1)).mean()) * spread


def ratios(cases, which):
    """The mean forecast over the mean gain of each case in which anything was gained."""
    found = []
    for rows in cases.values():
        gained = statistics.fmean(row[0] for row in rows)
        if gained > 0:
            found.append(statistics.fmean(row[which] for row in rows) / gained)
    return np.array(found)


def said(cases, which, label):
    """The line of a forecast over all cases."""
    found = ratios(cases, which)
    within = " ".join(f"{np.mean((found > 1 / k) & (found < k)):.0%}" for k in (2, 3, 5))
    return f"{label:<10} median {np.median(found):.2f}, within 2, 3 and 5: {within}"


def correlation(rows, which):
    """Spearman's, over seeds; NaN where all are alike."""
    gained, forecast = ([row[i] for row in rows] for i in (0, which))
    if len(set(gained)) < 2 or len(set(forecast)) < 2:
        return math.nan
    return float(spearmanr(gained, forecast)[0])


def main():
    """Run the searches and print the table."""
    parser = argparse.ArgumentParser(
        "python -m tests.bench.worth", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--samplers", default="gp,mtpe")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--tables", help="tune, claim, all, or one name (extra bench)")
    parser.add_argument("--gaussian", action="store_true")
    given = parser.parse_args()
    names = (*FUNCTIONS, *(tables.names(given.tables) if given.tables else ()))
    jobs = [
        (name, sampler, seed, given.gaussian)
        for name in names
        for sampler in given.samplers.split(",")
        for seed in range(given.seeds)
    ]
    cases = {}
    with multiprocessing.Pool() as pool:
        for key, rows in pool.imap_unordered(searched, jobs):
            for stage, row in zip(STAGES, rows, strict=True):
                cases.setdefault((*key, stage), []).append(row)
    print("| function | sampler | trials | gained | share | forecast / gained | correlation |")
    print("|---|---|---|---|---|---|---|")
    for (name, sampler, stage), rows in sorted(cases.items()):
        gained = statistics.fmean(row[0] for row in rows)
        share = statistics.fmean(row[0] > 0 for row in rows)
        ratio = statistics.fmean(row[1] for row in rows) / gained if gained else math.nan
        cells = f"{gained:.3g} | {share:.2f} | {ratio:.2f} | {correlation(rows, 1):.2f}"
        print(f"| {name} | {sampler} | {stage} | {cells} |")
    print(said(cases, 1, "forecast"))
    for stage in STAGES:
        at = {key: rows for key, rows in cases.items() if key[2] == stage}
        print(said(at, 1, f"  at {stage}"))
    if given.gaussian:
        print(said(cases, 2, "gaussian"))


if __name__ == "__main__":
    main()
