"""`python -m tests.bench.utilisation`: the share of slot time that is training, on a real Slurm.

It starts slurm/cluster.sh (root, Debian's packages), and on its 8 slots a study of 160 trials that
sleep for 2 to 10 s. The bound is list scheduling without any overhead of the same durations, in
the order of their proposal. One line a run, and the medians.
"""

import argparse
import heapq
import json
import math
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass

from tests.bench.sleeping import seconds
from tests.slurm_cluster import PORT, a_cluster, wait_for, why_not
from tuner.samplers import point_seed

SLOTS, TRIALS = 8, 160
STUDY = """
direction = "minimize"
n_trials = {trials}
seed = {seed}
sampler = "{sampler}"
train = "tests.bench.sleeping:train"
[space]
x = {{ type = "float", low = 0, high = 1 }}
y = {{ type = "float", low = 1e-3, high = 1, log = true }}
z = {{ type = "int", low = 1, high = 64, log = true }}
[jobs]
executor = "slurm"
n_workers = {slots}
device = "cpu"
{jobs}
[jobs.slurm]
gres = "gpu:1"
time = "00:20:00"
"""


@dataclass(frozen=True, slots=True)
class Measured:
    """One run; times in seconds."""

    trained: float  # the sum of what the trials sleep
    bound: float  # the shortest that list scheduling makes of them
    span: float  # from the first claim to the last result
    wall: float  # from the command to the last result
    asked: float  # the share of earlier results that the sampler knew, as tuner.status has it
    begun: float  # … and that were there when the training began
    load: float  # of this machine, a minute's mean at the end

    def row(self):
        """Share of slot time, the bound's share, their ratio, wall time and its ratio, the rest."""
        share, best = (self.trained / SLOTS / total for total in (self.span, self.bound))
        times = (share, best, share / best, self.wall, self.wall / self.bound)
        return (*times, self.asked, self.begun, self.load)


def list_schedule(durations, slots):
    """The end of the last of some tasks that start in order, each on the first free slot."""
    free = [0.0] * slots
    for duration in durations:
        heapq.heapreplace(free, free[0] + duration)
    return max(free)


def measure(cluster, command, name, *, seed, sampler, jobs):
    """Run one study from the command to its last result."""
    study = cluster.project / "jobs" / f"{name}.toml"
    text = STUDY.format(trials=TRIALS, seed=seed, sampler=sampler, slots=SLOTS, jobs=jobs)
    study.write_text(text)
    study.chmod(0o644)
    run = cluster.project / "runs" / name
    argv = cluster.command([*command(cluster), f"jobs/{study.name}"])
    log, began = subprocess.DEVNULL, time.time()
    with subprocess.Popen(argv, cwd=cluster.project, stderr=log, stdout=log) as controller:
        claimed = wait_for(lambda: [p.stat().st_mtime for p in run.glob("open/*.claim.json")], 120)
        wait_for(lambda: len(list(run.glob("done/*/*.result.json"))) >= TRIALS, 900)
        load = os.getloadavg()[0]
        assert controller.wait() == 0
    wait_for(lambda: "end" in json.loads((run / "controller.json").read_text()), 120)
    results = list(run.glob("done/*/*.result.json"))
    last = max(path.stat().st_mtime for path in results)
    assert len(results) == TRIALS
    assert {json.loads(path.read_text())["attempts"] for path in results} == {1}
    durations = [seconds(point_seed(seed, number)) for number in range(TRIALS)]
    bound = list_schedule(durations, SLOTS)
    said = cluster.run([str(cluster.python), "-m", "tuner.status", f"runs/{name}", "--json"])
    known = json.loads(said.stdout)["known"] or {"when_asked": math.nan, "when_trained": math.nan}
    span, wall = last - min(claimed), last - began
    return Measured(sum(durations), bound, span, wall, *known.values(), load)


def typed(cluster):
    """`python -m tuner.run` on the login node."""
    return [str(cluster.python), "-m", "tuner.run"]


def queued(cluster):
    """The controller as a job."""
    return ["sbatch", "slurm/controller.sh"]


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--samplers", default="random,gp")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", default="", help='lines of [jobs], such as trials_per_job="auto"')
    parser.add_argument("--sbatch", action="store_true", help="the controller as a job too")
    given = parser.parse_args()
    if reason := why_not():
        print(reason, file=sys.stderr)
        return 1
    print(f"{SLOTS} slots, {TRIALS} trials; share: slot time spent training, bound: its limit")
    print("asked, trained: the share of earlier results known then, or there")
    head = ("share", "bound", "ratio", "wall s", "wall/bound", "asked", "trained", "load")
    print(f"{'':<14}" + "".join(f"{word:>11}" for word in head), flush=True)
    with a_cluster(f"tuner-{os.getpid()}", PORT) as cluster:
        cluster.give_project()
        for sampler in given.samplers.split(","):
            rows = []
            for i in range(given.runs):
                name = f"{sampler}-{i + 1}"
                command = queued if given.sbatch else typed
                found = measure(
                    cluster, command, name, seed=given.seed + i, sampler=sampler, jobs=given.jobs
                )
                rows.append(found.row())
                show(name, rows[-1])
            show(f"{sampler} median", [statistics.median(c) for c in zip(*rows, strict=True)])
    return 0


def show(name, row):
    """One line of the table."""
    digits = (3, 3, 3, 1, 3, 3, 3, 1)
    cells = (f"{value:>11.{n}f}" for value, n in zip(row, digits, strict=True))
    print(f"{name:<14}" + "".join(cells), flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
