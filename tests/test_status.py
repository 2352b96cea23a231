"""`python -m tuner.status`: what a run's files tell, in words and as JSON."""

import json
import subprocess
import sys

import pytest

from jobs import files
from jobs.contract import Claim, Lost
from jobs.executor import Inline
from tests.test_controller import drive, make
from tuner import drive as drives
from tuner.controller import Controller
from tuner.status import status, text

pytestmark = pytest.mark.fast


def snapshot(path):
    """Every file of a run with its time of change."""
    return {file: file.lstat().st_mtime_ns for file in path.rglob("*")}


def test_what_failed_and_what_was_lost_is_counted_by_reason(tmp_path):
    """With the best so far; the lost attempts of finished trials too."""
    run = make(tmp_path, train="tests.functions:diverging", n_trials=8)
    Controller(run, Idle(run.folder)).tick()
    run.folder.claim(Claim(0, 1, "job"))
    run.folder.lose(Lost(0, 1, "NODE_FAIL", by="controller"))
    assert status(run)["lost"] == {"NODE_FAIL": 1}
    drive(run)
    found = status(run)
    failed = found["trials"]["FAIL"]
    assert failed > 0
    assert found["failed"] == {"the value is nan": failed}
    assert found["lost"] == {"NODE_FAIL": 1}
    assert found["trials"]["COMPLETE"] + failed == 8
    assert found["known"] is None
    assert found["best"]["value"] == min(t.value for t in run.trials() if t.value is not None)
    assert "lost, and tried again: 1 × NODE_FAIL" in text(found)


class Idle(Inline):
    """An executor that starts nobody."""

    def submit(self, workers):
        """Nothing."""


def test_the_command_writes_nothing_and_says_how_to_go_on(tmp_path):
    """Anybody may look, at any time."""
    run = make(tmp_path)
    Controller(run, Idle(run.folder)).tick()
    run.stop("enough")
    before = snapshot(run.path)
    command = [sys.executable, "-m", "tuner.status", str(run.path)]
    words = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = json.loads(subprocess.run([*command, "--json"], capture_output=True, check=True).stdout)
    assert found["state"] == "stopped: enough"
    assert "s: stopped: enough" in words
    assert f"to go on: {drives.resume_line(run)}" in words
    assert snapshot(run.path) == before


def test_the_state_of_a_run_is_told_in_one_word(tmp_path, monkeypatch):
    """Begun or not, running, left alone, finished."""
    run = make(tmp_path, n_trials=2)
    assert status(run)["state"] == "no controller has begun"
    Controller(run, Idle(run.folder)).tick()
    assert status(run)["state"] == "running"
    monkeypatch.setattr("tuner.status.time.time", lambda: files.modified(run.path) + 600)
    assert status(run)["state"] == "no controller for 10 min"
    monkeypatch.undo()
    assert drives.drive(run, Inline(run.folder)) == 0
    assert status(run)["state"] == "finished"


def test_the_same_error_is_shown_in_one_screen(tmp_path, capsys):
    """The error, the path of all of it, and the line to go on with."""
    run = make(tmp_path, train="tests.functions:broken", n_trials=50)
    assert drives.drive(run, Inline(run.folder)) == 1
    shown = capsys.readouterr().err
    screen = shown[shown.index("stopped: ") :]
    assert "ValueError: the same bug every time" in screen
    assert "in broken" in screen
    assert f"all of it: {run.folder.result_path(0)}" in screen
    assert screen.rstrip().endswith(drives.resume_line(run))
    assert len(screen.splitlines()) < 24
