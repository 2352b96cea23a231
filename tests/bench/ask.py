"""What does asking cost: CPU seconds of 8 points against the number of trials told.

python -m tests.bench.ask [--arms gp,mtpe,optuna-tpe] [--told 50,500] [--limit 600]

Twelve mixed parameters, one thread, each cell in a process of its own. scikit-optimize is told
all trials by one `tell`, which fits it, and gives 8 points by `ask(8, "cl_min")`; Optuna is asked
eight times with the earlier points RUNNING. `> N s`: it was ended at the limit.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from jobs.contract import State
from tuner import samplers
from tuner.samplers.random import suggest as scattered
from tuner.space import Categorical, Float, Int, Space
from tuner.trial import Trial

POINTS = 8
SPACE = Space(
    {
        "learning_rate": Float(1e-5, 1e-1, log=True),
        "weight_decay": Float(1e-8, 1e-2, log=True),
        "clip": Float(0.1, 10.0, log=True),
        "momentum": Float(0.5, 0.99),
        "smoothing": Float(0.0, 0.3),
        "dropout": Float(0.0, 0.6, step=0.1),
        "filters": Int(16, 128, step=16),
        "hidden": Int(16, 512, log=True),
        "layers": Int(1, 4),
        "kernel": Int(1, 9),
        "pooling": Categorical(("max", "mean", "last")),
        "bidirectional": Categorical((True, False)),
    }
)
_ENOUGH = 5.0  # CPU seconds: what takes longer is measured once, the rest three times


def history(n: int) -> list[Trial]:
    """`n` finished trials at random points, with a bowl's losses and a little noise."""
    points = scattered(SPACE, [], n, 1, 0)
    noise = np.random.default_rng(0).normal(0.0, 0.05, n)
    values = [_loss(point) + float(e) for point, e in zip(points, noise, strict=True)]
    made = enumerate(zip(points, values, strict=True))
    return [Trial(number, State.COMPLETE, point, value=value) for number, (point, value) in made]


def ours(name: str) -> Callable[[Sequence[Trial]], object]:
    """Ask a sampler of ours for 8 points; nothing is kept between calls."""
    sampler = samplers.get(name)
    return lambda trials: sampler(SPACE, trials, POINTS, 0, 10)


def skopt(trials: Sequence[Trial]) -> object:
    """Tell the stock Optimizer, and ask it for a batch."""
    from skopt import Optimizer  # noqa: PLC0415
    from skopt import space as dims  # noqa: PLC0415

    def dimension(parameter: Any) -> Any:
        if isinstance(parameter, Categorical):
            return dims.Categorical(parameter.choices)
        kind = dims.Real if isinstance(parameter, Float) else dims.Integer
        prior = "log-uniform" if parameter.log else "uniform"
        return kind(parameter.low, parameter.high, prior=prior)

    optimizer = Optimizer(list(map(dimension, SPACE.parameters.values())), random_state=0)
    points = [[trial.params[name] for name in SPACE.parameters] for trial in trials]
    optimizer.tell(points, [trial.value for trial in trials])
    return optimizer.ask(POINTS, "cl_min")


def optuna(kind: str) -> Callable[[Sequence[Trial]], object]:
    """Ask a study with all trials, eight times."""

    def ask(trials: Sequence[Trial]) -> object:
        import optuna as library  # noqa: PLC0415

        library.logging.set_verbosity(library.logging.ERROR)
        study = library.create_study(sampler=getattr(library.samplers, kind)(seed=0))
        kinds = {name: _distribution(library, p) for name, p in SPACE.parameters.items()}
        study.add_trials(
            [
                library.trial.create_trial(
                    params=dict(t.params), distributions=kinds, value=t.value
                )
                for t in trials
            ]
        )
        return [study.ask(kinds) for _ in range(POINTS)]

    return ask


ARMS: Mapping[str, Callable[[Sequence[Trial]], object]] = {
    "gp": ours("gp"),
    "tpe": ours("tpe"),
    "mtpe": ours("mtpe"),
    "stock-skopt": skopt,
    "optuna-tpe": optuna("TPESampler"),
    "optuna-gp": optuna("GPSampler"),
}


def cost(arm: str, told: int) -> float:
    """CPU seconds of 8 points, the imports not counted; the median of three where it is quick."""
    trials, ask = history(told), ARMS[arm]
    ask(history(20))  # what is imported and compiled at the first call
    with threadpool_limits(1):
        found = [_once(ask, trials)]
        while len(found) < 3 and found[0] < _ENOUGH:
            found.append(_once(ask, trials))
    return statistics.median(found)


def main(argv: list[str] | None = None) -> int:
    """Print the table; `--one arm told` measures a cell in this process."""
    options = _parser().parse_args(argv)
    if options.one:
        resource.setrlimit(resource.RLIMIT_CPU, (options.limit, options.limit + 5))
        print(cost(options.one[0], int(options.one[1])))
        return 0
    print("| told |", " | ".join(options.arms), "|")
    print("| --- |", " | ".join("---" for _ in options.arms), "|")
    for told in options.told:
        print(f"| {told} |", end="", flush=True)
        for arm in options.arms:
            print(f" {_cell(arm, told, options.limit)} |", end="", flush=True)
        print()
    return 0


def _cell(arm: str, told: int, limit: int) -> str:
    command = [sys.executable, "-m", "tests.bench.ask", "--one", arm, str(told)]
    answer = subprocess.run(
        [*command, "--limit", str(limit)], capture_output=True, text=True, check=False
    )
    if answer.returncode < 0:  # a signal: the CPU limit
        return f"> {limit} s"
    return f"{float(answer.stdout):.2f} s" if answer.returncode == 0 else answer.stderr[-200:]


def _once(ask: Callable[[Sequence[Trial]], object], trials: Sequence[Trial]) -> float:
    began = time.process_time()
    ask(trials)
    return time.process_time() - began


def _loss(params: Mapping[str, Any]) -> float:
    places = [SPACE.parameters[name].place(value) for name, value in params.items()]
    rate = float(np.log10(params["learning_rate"]))
    return (rate + 3) ** 2 / 4 + float(np.mean(np.square(places[5:]))) / 1e5 + params["momentum"]


def _distribution(library: Any, parameter: Any) -> Any:
    kinds = library.distributions
    if isinstance(parameter, Categorical):
        return kinds.CategoricalDistribution(parameter.choices)
    real = isinstance(parameter, Float)
    kind = kinds.FloatDistribution if real else kinds.IntDistribution
    return kind(parameter.low, parameter.high, log=parameter.log, step=parameter.step)


def _parser() -> argparse.ArgumentParser:
    def names(text: str) -> list[str]:
        return text.split(",")

    parser = argparse.ArgumentParser(prog="python -m tests.bench.ask", description=__doc__)
    parser.add_argument("--arms", type=names, default=list(ARMS))
    parser.add_argument("--told", type=names, default=["50", "200", "500", "1000", "2000"])
    parser.add_argument("--limit", type=int, default=600, help="CPU seconds of a cell")
    parser.add_argument("--one", nargs=2, metavar=("ARM", "TOLD"), help="one cell, in here")
    return parser


if __name__ == "__main__":
    sys.exit(main())
