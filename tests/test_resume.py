"""Exact resume: a real worker is killed, and what ends in its place equals an uninterrupted one."""

import signal
import subprocess
import sys

import pytest

from jobs import files
from jobs.contract import Lost, Proposal, State
from models.train import from_bytes
from tests.slurm_cluster import REPOSITORY, wait_for
from tests.test_train import same
from tuner import store
from tuner.settings import Jobs
from tuner.space import Space
from tuner.study import Study

SPACE = {"learning_rate": {"type": "float", "low": 1e-4, "high": 1e-1}}
SERIES = {"source": "prototype", "target": "target", "window": 20}
RECORDINGS = {
    "source": "basic_motions", "window": 95, "step": 95, "segment": 32, "n_fft": 126, "hop": 4,
    "validation_folds": 2,
}  # fmt: skip
FUSION = {
    "model": "fusion", "metric": "accuracy", "conv1_channels": 4, "conv2_channels": 8,
    "lstm_hidden": 8, "fc1_units": 16, "batch_size": 4, "schedule": "cosine", "epochs": 25,
}  # fmt: skip
POINTS = {
    "adam and dropout": ({"epochs": 40, "lstm_units": 32, "dropout": 0.4}, SERIES),
    "sgd, two layers, patience, bins": (
        {
            "epochs": 40, "optimizer": "sgd", "schedule": "cosine", "lstm_layers": 2,
            "lstm_units": 32, "patience": 39, "bins": 4,
        },
        SERIES,
    ),
    "fusion in two folds": (FUSION, RECORDINGS),
}  # fmt: skip


def prepared(path, fixed, data):
    """A run with one trial that waits."""
    direction = "maximize" if fixed.get("model") == "fusion" else "minimize"
    study = Study(
        "s", direction, 1, Space.from_table(SPACE), fixed=fixed, data=data, jobs=Jobs(grace=0.0)
    )
    run = store.create(study, path)
    run.folder.propose(Proposal(0, {"learning_rate": 5e-3}, seed=3, origin="random"))
    return run


def worker(run):
    """A worker's process."""
    command = [sys.executable, "-m", "jobs.worker", str(run.path)]
    return subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True)


def ended(run):
    """The trial's value, its curve without the times, and all that its last checkpoint holds."""
    process = worker(run)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    result = run.folder.result(0)
    assert result.state is State.COMPLETE, result.reason
    curve = [{k: v for k, v in epoch.items() if k != "time"} for epoch in result.curve]
    state = from_bytes(files.read_bytes(run.folder.kept(0)))["state"]
    return result.attempts, result.value, curve, state


@pytest.mark.parametrize("point", POINTS)
def test_a_killed_trial_ends_bit_for_bit_as_if_it_had_not_been(tmp_path, point):
    """kill -9 twice, wherever the process is: value, curve, weights, optimiser, random streams."""
    _, *whole = ended(prepared(tmp_path / "whole", *POINTS[point]))
    run = prepared(tmp_path / "killed", *POINTS[point])
    for attempt, epochs in ((1, 3), (2, 2)):
        process = worker(run)
        metrics = run.folder.of(0, "metrics", attempt)
        wait_for(lambda path=metrics, n=epochs: len(files.read_lines(path)) >= n, 120)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert run.folder.result(0) is None
        run.folder.lose(Lost(0, attempt, "killed", by="controller"))
    attempts, *resumed = ended(run)
    assert attempts == 3
    assert resumed[:2] == whole[:2]
    assert same(resumed[2], whole[2])


def test_the_same_seed_gives_the_same_curve_in_another_process_beside_another(tmp_path):
    """Two workers at once share the cores and change no bit."""
    runs = [prepared(tmp_path / name, *POINTS["adam and dropout"]) for name in ("a", "b")]
    beside = worker(runs[1])
    first = ended(runs[0])
    _, said = beside.communicate(timeout=300)
    assert beside.returncode == 0, said
    other = runs[1].folder.result(0)
    curve = [{k: v for k, v in epoch.items() if k != "time"} for epoch in other.curve]
    assert (first[1], first[2]) == (other.value, curve)
    assert other.seed == 3
