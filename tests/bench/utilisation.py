"""`python -m tests.bench.utilisation`: the share of slot time that is training, on a real Slurm.

It starts slurm/cluster.sh (root, Debian's packages), and on its 8 slots a study of 160 trials that
sleep for 2 to 10 s. The bound is list scheduling without any overhead of the same durations, in
the order of their proposal. One line a run, and the medians, with peers in the same run.
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

from tests.bench.idle_peers import ARMS, SLOTS, TRIALS
from tests.bench.sleeping import seconds
from tests.slurm_cluster import PORT, a_cluster, wait_for, why_not
from tuner.samplers import point_seed

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
    argv = cluster.command([*command, f"jobs/{study.name}"])
    log, began = subprocess.DEVNULL, time.time()
    with subprocess.Popen(argv, cwd=cluster.project, stderr=log, stdout=log) as controller:
        claimed = wait_for(lambda: [p.stat().st_mtime for p in run.glob("open/*.claim.json")], 120)
        wait_for(lambda: len(list(run.glob("done/*/*.result.json"))) >= TRIALS, 900)
        assert controller.wait() == 0
    wait_for(lambda: "end" in json.loads((run / "controller.json").read_text()), 120)
    results = list(run.glob("done/*/*.result.json"))
    assert len(results) == TRIALS
    assert {json.loads(path.read_text())["attempts"] for path in results} == {1}
    last = max(path.stat().st_mtime for path in results)
    said = cluster.run([str(cluster.python), "-m", "tuner.status", f"runs/{name}", "--json"])
    known = json.loads(said.stdout)["known"] or {}
    return row(seed, last - min(claimed), last - began, known)


def measure_peer(cluster, python, arm, name, seed):
    """Run a peer from the command to its last result."""
    times = cluster.project / "runs" / f"{name}.txt"
    began = time.time()
    argv = [python, "-m", "tests.bench.idle_peers", arm, str(seed), str(times)]
    cluster.run(argv, timeout=900)
    lines = [line.split() for line in times.read_text().splitlines()]
    spans = {int(number): (float(start), float(end)) for number, start, end in lines}
    starts, ends = zip(*(spans[number] for number in range(TRIALS)), strict=True)
    return row(seed, max(ends) - min(starts), max(ends) - began, {})


def row(seed, span, wall, known):
    """The measures of one run, by name; `span` from the first claim to the last result."""
    durations = [seconds(point_seed(seed, number)) for number in range(TRIALS)]
    limit = list_schedule(durations, SLOTS)
    share, bound = (sum(durations) / SLOTS / total for total in (span, limit))
    shares = [known.get(key, math.nan) for key in ("when_asked", "when_trained")]
    return (share, bound, share / bound, wall, wall / limit, *shares, os.getloadavg()[0])


def measure_all(cluster, given):
    """Every arm once a run, side by side; yields its name and measures."""
    typed = [str(cluster.python), "-m", "tuner.run"]
    command = ["sbatch", "slurm/controller.sh"] if given.sbatch else typed
    for i in range(given.runs):
        for sampler in given.samplers.split(","):
            settings = {"seed": given.seed + i, "sampler": sampler, "jobs": given.jobs}
            yield sampler, measure(cluster, command, f"{sampler}-{i + 1}", **settings)
        for arm in (arm for arm in given.peers.split(",") if arm):
            python = given.optuna if arm == "optuna" else str(cluster.python)
            yield arm, measure_peer(cluster, python, arm, f"{arm}-{i + 1}", given.seed + i)


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--samplers", default="random,gp")
    parser.add_argument("--peers", default="barrier,top-up", help=f"of {', '.join(ARMS)}")
    parser.add_argument("--optuna", default="python", help="a Python that all can run and has it")
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
    print(f"{'':<15}" + "".join(f"{word:>11}" for word in head), flush=True)
    found = {}
    with a_cluster(f"tuner-{os.getpid()}", PORT) as cluster:
        cluster.give_project()
        for name, measures in measure_all(cluster, given):
            show(name, measures)
            found.setdefault(name, []).append(measures)
    for name, rows in found.items():
        show(f"{name}, median", [statistics.median(c) for c in zip(*rows, strict=True)])
    return 0


def show(name, measures):
    """One line of the table."""
    digits = (3, 3, 3, 1, 3, 3, 3, 1)
    cells = (f"{value:>11.{n}f}" for value, n in zip(measures, digits, strict=True))
    print(f"{name:<15}" + "".join(cells), flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
