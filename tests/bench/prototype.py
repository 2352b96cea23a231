"""The prototype's own study: its script beside the study file, seed by seed in turn.

python -m tests.bench.prototype [--seeds 1:6] [--trials 30] [--workers 2]

The script runs alone, with torch's own threads; the study with local workers, its report, figures
and test score included, its [confirm] off: the script has no such thing. Then what each side chose
is scored alike: as reported, and trained again with fresh seeds by its own loop.
"""

import argparse
import contextlib
import ctypes
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import torch

from models.train import train
from tests.bench import script

ROOT = Path(__file__).resolve().parent.parent.parent
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of linux/prctl.h
FRESH = 5  # seeds of each winner's training again


@dataclass(frozen=True, slots=True)
class Side:
    """What one side of a seed's comparison took, and the mean squared errors of its winner."""

    wall: float  # seconds
    cpu: float  # user and system seconds of all its processes
    value: float  # the script's: of its final model, over samples; ours: what it reports
    again: float  # the mean over fresh seeds

    def line(self) -> str:
        """As cells of a table."""
        return f"{self.wall:.1f} | {self.cpu:.1f} | {self.value:.4f} | {self.again:.4f}"


class NoCheckpoint:
    """Nothing is kept."""

    def load(self) -> None:
        """There is none."""

    def save(self, *given: Any, **more: Any) -> None:
        """Not at all."""


def timed(command: list[str], env: Mapping[str, str]) -> tuple[float, float, str]:
    """Wall and CPU seconds of a command with all that it started, and what it printed."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, env=env, check=True, capture_output=True, text=True)
    wall = time.perf_counter() - began
    _reap()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu, done.stdout


def adopt_orphans() -> None:
    """Become the parent of what a command leaves behind, so that its CPU time is counted."""
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)


def of_script(seed: int, trials: int) -> Side:
    """The script's side; its winner's model is trained again as it was, for it keeps none."""
    environment = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    command = [sys.executable, "-m", "tests.bench.script", str(seed), "--evaluations", str(trials)]
    wall, cpu, said = timed(command, environment)
    won, data = json.loads(said.splitlines()[-1]), script.data()
    value = script.trained(won["params"], data, seed * 1000 + won["number"])[1]
    fresh = [script.trained(won["params"], data, 10**6 + n)[1] for n in range(FRESH)]
    scale = data.splits("search")[0].std ** 2
    return Side(wall, cpu, value * scale, statistics.mean(fresh) * scale)


def of_study(seed: int, trials: int, workers: int) -> Side:
    """The study's side: `tuner.run`, from its start to its report."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        settings = {
            "seed": seed, "n_trials": trials, "jobs.n_workers": workers, **_without_confirming(),
        }  # fmt: skip
        command = [
            *(sys.executable, "-m", "tuner.run", str(script.STUDY), "--executor", "local"),
            *("--folder", str(run)),
            *(word for key, value in settings.items() for word in ("--set", f"{key}={value}")),
        ]
        wall, cpu, _ = timed(command, os.environ)
        results = [json.loads(path.read_text()) for path in (run / "done").glob("*/*.result.json")]
    search = [r for r in results if r["part"] == "search" and r["state"] == "COMPLETE"]
    won = min(search, key=lambda result: (result["value"], result["number"]))
    return Side(wall, cpu, won["value"], _again(won["params"]))


def _without_confirming() -> dict[str, Any]:
    return {"confirm.top": 0} if "confirm" in script.study() else {}


def _again(params: Mapping[str, Any]) -> float:
    study = script.study()
    data = script.data()
    return statistics.mean(
        train({**study["fixed"], **params}, data, lambda step, **m: None, NoCheckpoint(), 10**6 + n)
        for n in range(FRESH)
    )


HEAD = (
    "| seed | script: s | CPU s | mse | again | study: s | CPU s | mse | again | × faster | × CPU |"
)


def row(seed: int | str, sides: tuple[Side, Side]) -> str:
    """A seed's line: both sides, and how many times faster ours was."""
    theirs, ours = sides
    times = f"{theirs.wall / ours.wall:.2f} | {theirs.cpu / ours.cpu:.2f}"
    return f"| {seed} | {theirs.line()} | {ours.line()} | {times} |"


def mean(sides: list[Side]) -> Side:
    """The means over the seeds."""
    columns = zip(*map(astuple, sides), strict=True)
    return Side(*map(statistics.mean, columns))


def main() -> None:
    """Compare, and print a line a seed and their means."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--seeds", default="1:6", help="from the first to before the second")
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    adopt_orphans()
    torch.set_num_threads(1)
    print(f"{HEAD}\n|{' --- |' * (HEAD.count('|') - 1)}", flush=True)
    script_, study = [], []
    for seed in range(*map(int, given.seeds.split(":"))):
        script_.append(of_script(seed, given.trials))
        study.append(of_study(seed, given.trials, given.workers))
        load = os.getloadavg()[0]
        print(row(seed, (script_[-1], study[-1])), f"load {load:.1f}", flush=True)
    print(row("mean", (mean(script_), mean(study))))


if __name__ == "__main__":
    main()
