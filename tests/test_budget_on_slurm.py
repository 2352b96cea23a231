"""A budget in GPU-hours on a real Slurm: it ends the study in time, and its number is sacct's."""

import json

import pytest

from tests.slurm_cluster import wait_for
from tests.test_slurm import SLEEP, write

pytestmark = pytest.mark.slurm

WORKERS, TRIAL, GRACE, LEAVE = 4, 2.0, 2.0, 8.0  # seconds; LEAVE: for Python and Slurm to end a job
BUDGET = 200.0  # GPU-seconds


def test_a_study_ends_before_its_budget_is_overdrawn_and_counts_as_sacct_does(cluster):
    """Failed starts, idle workers and all: what the admin will see is what the report says."""
    study = SLEEP.replace("n_trials = 32", f"n_trials = 5000\ngpu_hours = {BUDGET / 3600}")
    study = study.replace("seconds = 4", f"seconds = {TRIAL}")
    study = study.replace("n_workers = 8", f"n_workers = {WORKERS}\ngrace = {GRACE}")
    path = write(cluster, "budget.toml", study)
    python = str(cluster.python)
    cluster.run([python, "-m", "tuner.run", path], timeout=300)
    wait_for(lambda: not cluster.run(["squeue", "-h"]).stdout)
    name = "tn-" + json.loads((cluster.project / "runs/budget/run.json").read_text())["id"]
    report = ""

    def settled():  # accounting is seconds late
        nonlocal report
        report = cluster.run([python, "-m", "tuner.report", "runs/budget"]).stdout
        said = next(line for line in report.splitlines() if line.startswith("Spent"))
        return float(said.split()[1]) == pytest.approx(charged(cluster, name) / 3600, rel=1e-3)

    wait_for(settled)
    used = charged(cluster, name)
    assert 0.6 * BUDGET < used <= BUDGET + WORKERS * (TRIAL + GRACE + LEAVE), report
    assert f"of {BUDGET / 3600:g} GPU-hours, by Slurm's accounting" in report
    assert "start-up and idle" in report


def charged(cluster, name):
    """GPU-seconds of a run's jobs, each of one GPU, by sacct's own words."""
    command = ["sacct", "-X", "-n", "-P", "-S", "now-1hours", f"--name={name}"]
    answer = cluster.run([*command, "-o", "AllocTRES,ElapsedRaw"]).stdout
    rows = [line.split("|") for line in answer.splitlines()]
    assert all("gres/gpu=1" in tres for tres, seconds in rows if int(seconds))
    return float(sum(int(seconds) for _, seconds in rows))
