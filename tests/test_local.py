"""Workers as processes of this machine, and what kill -9 does to them and to the controller."""

import json
import os
import pty
import signal
import subprocess
import sys

import psutil
import pytest

from jobs import executor as executors
from jobs import files
from jobs.executor import Local, gpus_here
from tests.slurm_cluster import REPOSITORY, wait_for

STUDY = """
direction = "minimize"
n_trials = {n_trials}
sampler = "random"
train = "tests.functions:{train}"
[fixed]
{fixed}
[space]
x = {{ type = "float", low = 0.5, high = 1 }}
[jobs]
n_workers = 2
grace = {grace}
"""


def study_file(tmp_path, train, n_trials=4, fixed="", grace=1):
    """A study file of a test's own function."""
    path = tmp_path / "study.toml"
    path.write_text(STUDY.format(train=train, n_trials=n_trials, fixed=fixed, grace=grace))
    return path


def start(tmp_path, *command):
    """Start a command of the tuner, as a user would."""
    return subprocess.Popen(
        [sys.executable, "-m", *map(str, command)],
        cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip


def results(run):
    """The outcomes that are published."""
    return [json.loads(p.read_text()) for p in sorted(run.glob("done/*/*.result.json"))]


def live_workers(run):
    """The processes that train for a run."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        words = process.info["cmdline"] or []
        if "jobs.worker" in words and str(run) in words:
            found.append(process)
    return found


def test_killed_workers_and_controllers_lose_nothing(tmp_path):
    """kill -9 of a worker in mid-training and of the controller: resume ends with every result."""
    once = tmp_path / "once"
    once.touch()
    path = study_file(tmp_path, "counting", 6, f'kill_at = 3\nonce = "{once}"')
    run = tmp_path / "run"
    controller = start(tmp_path, "tuner.run", path, "--folder", run)
    wait_for(lambda: not once.exists() and len(results(run)) >= 1, 60)
    controller.send_signal(signal.SIGKILL)
    controller.wait()
    again = start(tmp_path, "tuner.resume", run)
    output, _ = again.communicate(timeout=120)
    assert again.returncode == 0, output
    found = results(run)
    assert [r["number"] for r in found] == list(range(6))
    assert sorted(r["attempts"] for r in found) == [1, 1, 1, 1, 1, 2]
    assert all(r["value"] == pytest.approx(6 * r["params"]["x"]) for r in found)
    assert all([m["step"] for m in r["curve"]] == list(range(6)) for r in found)
    assert list(run.rglob("*.end.json")) == []  # workers that ended well leave nothing


def test_a_new_controller_adopts_the_workers_of_the_old_one(tmp_path):
    """Slots are asked of the system: nothing is started twice."""
    path = study_file(tmp_path, "sleep", 12, "seconds = 1.5", grace=60)
    run = tmp_path / "run"
    controller = start(tmp_path, "tuner.run", path, "--folder", run)
    wait_for(lambda: len(results(run)) >= 2, 60)
    before = {process.pid for process in live_workers(run)}
    controller.send_signal(signal.SIGKILL)
    controller.wait()
    again = start(tmp_path, "tuner.resume", run)
    output, _ = again.communicate(timeout=120)
    assert again.returncode == 0, output
    assert len(before) == 2
    assert {int(r["job"].split("-")[0]) for r in results(run)} == before
    assert {r["attempts"] for r in results(run)} == {1}
    wait_for(lambda: live_workers(run) == [], 10)  # they do not wait out their grace


def test_ctrl_c_leaves_a_resumable_run_and_says_how(tmp_path):
    """Workers end after their epoch; nothing is running afterwards; resume finishes."""
    path = study_file(tmp_path, "sleep", 4, "seconds = 3")
    run = tmp_path / "run"
    controller = start(tmp_path, "tuner.run", path, "--folder", run)
    wait_for(lambda: len(list(run.glob("open/*.metrics.jsonl"))) == 2, 60)
    controller.send_signal(signal.SIGINT)
    output, _ = controller.communicate(timeout=60)
    assert controller.returncode == 130, output
    assert f"python -m tuner.resume {run}" in output
    assert live_workers(run) == []
    again = start(tmp_path, "tuner.resume", run)
    assert again.wait(timeout=120) == 0
    assert len(results(run)) == 4


def test_a_closed_terminal_is_a_controller_less(tmp_path):
    """The kernel's SIGHUP reaches the controller, and not its workers; resume ends the run."""
    path = study_file(tmp_path, "sleep", 4, "seconds = 3", grace=60)
    run = tmp_path / "run"
    inner, outer = pty.openpty()
    words = [sys.executable, "-m", "tuner.run", str(path), "--folder", str(run)]
    controller = subprocess.Popen(
        ["setsid", "--ctty", *words],
        cwd=REPOSITORY, stdin=outer, stdout=outer, stderr=outer,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip
    os.close(outer)
    wait_for(lambda: len(list(run.glob("open/*.metrics.jsonl"))) == 2, 60)
    before = {process.pid for process in live_workers(run)}
    os.close(inner)
    assert controller.wait(timeout=60) == -signal.SIGHUP
    assert {process.pid for process in live_workers(run)} == before
    again = start(tmp_path, "tuner.resume", run)
    output, _ = again.communicate(timeout=120)
    assert again.returncode == 0, output
    assert [r["attempts"] for r in results(run)] == [1] * 4
    assert {int(r["job"].split("-")[0]) for r in results(run)} == before


def test_a_second_controller_leaves_and_does_no_harm(tmp_path):
    """It says who is at work."""
    path = study_file(tmp_path, "sleep", 4, "seconds = 3")
    run = tmp_path / "run"
    first = start(tmp_path, "tuner.run", path, "--folder", run)
    wait_for((run / "controller.json").exists, 60)
    second = start(tmp_path, "tuner.run", path, "--folder", run)
    output, _ = second.communicate(timeout=60)
    assert second.returncode == 0
    assert "another controller is at work" in output
    assert first.wait(timeout=120) == 0
    assert len(results(run)) == 4


def test_a_recycled_process_id_is_not_a_worker(tmp_path):
    """A note counts only for the very process that it names."""
    note = tmp_path / "note.json"
    me = os.getpid()
    files.write_once(note, {"pid": me, "job": f"{me}-12345.00"})
    assert executors._live(note) is None


def test_workers_are_spread_over_the_gpus(tmp_path, monkeypatch):
    """The least used one is next; without GPUs the cores are counted."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    assert gpus_here() == ["2", "5"]
    run = executors.RunFolder(tmp_path)
    run.make()
    assert Local(run, ["2", "5"], per_gpu=3).capacity == 6
    assert Local(run, [], per_gpu=3).capacity == len(os.sched_getaffinity(0))
    started = []
    monkeypatch.setattr(
        executors, "_start", lambda folder, name, gpu: started.append(gpu) or Self()
    )
    Local(run, ["2", "5"], per_gpu=2).submit(4)
    assert sorted(started) == ["2", "2", "5", "5"]


class Self:
    """A process that lives as long as the test."""

    pid = os.getpid()
