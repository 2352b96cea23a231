"""The real controller on a large run: what a tick costs, in time, memory and questions to Slurm.

python -m tests.bench.scale [--trials 100000] [--workers 1000] [--ticks 60] [--results 30]

The run's files, the controller, the store, the digest and the executor are the product's own; the
results are there already, as files and in the digest. Slurm's commands are played by a shell, and
between two ticks the workers' files are written as workers write them.
"""

import argparse
import collections
import cProfile
import dataclasses
import io
import json
import os
import pstats
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from jobs import files
from jobs.cluster import Cluster
from jobs.contract import Claim, Result, State
from tests import manyresults
from tests.slurm_cluster import REPOSITORY
from tuner import store
from tuner.controller import Controller
from tuner.progress import Progress
from tuner.settings import Jobs

COMMAND = """#!/bin/sh
echo {name} >> {folder}/calls
test -r {folder}/{name} && exec cat {folder}/{name}
echo "Submitted batch job $(wc -l < {folder}/calls)"
"""


class Shell:
    """Slurm's commands as shell scripts on PATH: a Python each would be the most of a tick."""

    def __init__(self, folder):
        self.folder = folder
        for name in ("sbatch", "squeue", "sacct", "srun"):
            path = folder / "bin" / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(COMMAND.format(name=name, folder=folder))
            path.chmod(0o700)
        self.queue([])
        os.environ["PATH"] = f"{folder / 'bin'}:{os.environ['PATH']}"

    def queue(self, rows):
        """What squeue says from now on."""
        lines = "".join("|".join(map(str, row)) + "|\n" for row in rows)
        (self.folder / "squeue").write_text(lines)

    def calls(self):
        """How often each command was called."""
        path = self.folder / "calls"
        return collections.Counter(path.read_text().split() if path.exists() else [])


class Workers:
    """The files of many workers: each trains one trial after the other, however long a tick is."""

    def __init__(self, run, slurm):
        self.run = run
        self.slurm = slurm
        self.claims = collections.OrderedDict()  # number → claim, the oldest first
        self.idle = []

    def begin(self):
        """Start the jobs that were queued."""
        for name in files.names(self.run.folder.jobs):
            note = files.read(self.run.folder.jobs / name / "submission.json")
            array = (files.read(self.run.folder.jobs / name / "submitted.json") or {}).get("job")
            self.idle += [(f"{array}_{task}", name) for task in range(note["jobs"])]
        rows = [(job, "RUNNING", 0, name, f"n{i % 250}", "None")
                for i, (job, name) in enumerate(self.idle)]  # fmt: skip
        self.slurm.queue(rows)
        for job, name in self.idle:
            path = self.run.folder.jobs / name / f"n-{job}.ready.json"
            path.write_text(json.dumps({"time": time.time()}))

    def fill(self, controller):
        """Give every worker a trial; the controller hears within seconds that they run."""
        while self.idle:
            time.sleep(0.5)
            controller.tick()
            self.work(0)

    def work(self, results):
        """End the oldest trials, and claim what waits."""
        for _ in range(min(results, len(self.claims))):
            number, claim = self.claims.popitem(last=False)
            self.idle.append((claim.job, claim.submission))
            proposal = self.run.folder.proposal(number)
            done = manyresults.result(number)
            self.run.folder.publish(
                Result.of_attempt(proposal, claim, State.COMPLETE, value=done.value,
                                  curve=done.curve, started=claim.time, seconds=60.0)
            )  # fmt: skip
        waiting = self.run.folder.look().numbers(State.WAITING)
        for number, (job, name) in zip(waiting, list(self.idle), strict=False):
            claim = Claim(number, 1, job, submission=name, host="n1", device="0", time=time.time())
            assert self.run.folder.claim(claim)
            self.claims[number] = claim
            self.idle.pop(0)


def measure(path, ticks, results, profile):
    """Drive a run for some ticks; returns what they took."""
    slurm_folder = path.parent / "slurm"
    slurm_folder.mkdir()
    slurm = Shell(slurm_folder)
    before = manyresults.memory()
    began = time.perf_counter()
    run = store.Store(path)
    controller = Controller(run, Cluster(run.folder, run.id, run.study.jobs.slurm, 1))
    controller.tick()
    start = time.perf_counter() - began
    crowd = Workers(run, slurm)
    crowd.begin()
    crowd.fill(controller)
    shown = Progress(run.study, io.StringIO())
    taken, busy, asked = [], [], []
    for _ in range(ticks):
        crowd.work(results)
        calls = slurm.calls()
        began, cpu = time.perf_counter(), time.process_time()
        if profile:
            profile.enable()
        status = controller.tick()
        shown.show(status)
        if profile:
            profile.disable()
        taken.append(time.perf_counter() - began)
        busy.append(time.process_time() - cpu)
        asked.append(slurm.calls() - calls)
    return {
        "start": start, "median": statistics.median(taken),
        "p95": statistics.quantiles(taken, n=20)[-1], "most": max(taken),
        "median_cpu": statistics.median(busy),
        "trials": len(status.trials), "running": len(crowd.claims),
        "megabytes": manyresults.memory(), "grown": manyresults.memory() - before,
        "squeue_a_tick": max(calls["squeue"] for calls in asked),
        "sbatch": slurm.calls()["sbatch"],
        "arrays": len(files.names(run.folder.jobs)),
    }  # fmt: skip


def prepare(path, trials, workers, budget):
    """Make the run, by another process: its memory is not the controller's."""
    run = manyresults.digested_run(path, trials, sampler="random")
    hours = 1e9 if budget else None
    slurm = {"gres": "gpu:1"}
    jobs = Jobs(executor="slurm", n_workers=workers, slurm=slurm)
    store.create(
        dataclasses.replace(run.study, n_trials=10 * trials, jobs=jobs, gpu_hours=hours), path
    )


def main():
    """Print what a tick of a large run costs."""
    parser = argparse.ArgumentParser("python -m tests.bench.scale", description=main.__doc__)
    parser.add_argument("--trials", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--ticks", type=int, default=60)
    parser.add_argument("--results", type=int, default=30, help="that end between two ticks")
    parser.add_argument("--budget", action="store_true", help="with one in GPU-hours")
    parser.add_argument("--profile", action="store_true", help="say where the time goes")
    parser.add_argument("--prepare", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.prepare:
        prepare(given.prepare, given.trials, given.workers, given.budget)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run"
        command = [sys.executable, "-m", "tests.bench.scale", *sys.argv[1:], "--prepare", path]
        subprocess.run(command, cwd=REPOSITORY, check=True)
        profile = cProfile.Profile() if given.profile else None
        found = measure(path, given.ticks, given.results, profile)
    print("\n".join(f"{name:<16}{value:>12.4g}" for name, value in found.items()))
    if profile:
        pstats.Stats(profile).sort_stats("cumulative").print_stats(45)


if __name__ == "__main__":
    main()
