"""`python -m tuner.status`: what a run's files tell, in words and as JSON."""

import dataclasses
import json
import resource
import subprocess
import sys
import time

import pytest

from jobs import files
from jobs.contract import Claim, Lost, Proposal, State
from jobs.executor import Inline
from tests.manyresults import digested_run
from tests.test_controller import drive, make
from tuner import detail, live, steer
from tuner import drive as drives
from tuner.controller import Controller
from tuner.settings import Jobs
from tuner.status import status, text, watch
from tuner.store import resume_line
from tuner.trial import Trial

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


def trial(number, state, started, seconds=None, **more):
    """One trial of a search, by its times."""
    return Trial(number, state, {"x": 0.5}, started=started, seconds=seconds, **more)


def test_a_slot_is_busy_while_it_trains(tmp_path):
    """Four slots: of the last hour, or of a younger run's life."""
    study = make(tmp_path).study
    study = dataclasses.replace(study, jobs=Jobs(n_workers=4))
    done, runs = State.COMPLETE, State.RUNNING
    assert live.busy(study, [trial(0, State.WAITING, None)], 100.0) is None
    young = [trial(0, done, 0.0, 50.0), trial(1, runs, 50.0)]
    assert live.busy(study, young, 100.0) == pytest.approx(100 / 400)
    old = [trial(0, done, 0.0, 7200.0), trial(1, done, 3500.0, 200.0), trial(2, runs, 5400.0)]
    assert live.busy(study, old, 7200.0) == pytest.approx((3600 + 100 + 1800) / (4 * 3600))


def test_the_time_left_follows_from_what_was_measured(tmp_path):
    """Six trials of 60 s, two at once: three minutes."""
    study = dataclasses.replace(make(tmp_path).study, n_trials=8)
    trials = [trial(n, State.COMPLETE, 0.0, 60.0) for n in range(2)]
    assert live.seconds_left(study, trials) is None
    trials += [trial(n, State.RUNNING, 0.0) for n in (2, 3)]
    assert live.seconds_left(study, trials) == 180.0


@pytest.mark.parametrize(
    ("curve", "drawn"),
    [((), ""), ((3.0,), "▁"), ((1.0, 1.0), "▁▁"), ((8.0, 4.5, 1.0), "█▅▁"), (range(30), 20)],
)
def test_a_curve_is_drawn_with_bars(curve, drawn):
    """From its lowest value to its highest; a long one's end."""
    line = live.bars([float(value) for value in curve])
    assert line == drawn if isinstance(drawn, str) else len(line) == drawn


def test_running_trials_are_shown_with_their_curves(tmp_path):
    """Epoch, values and host, of the newest attempt; a torn line is passed over."""
    run = make(tmp_path, n_trials=2, fixed={"epochs": 9, "metric": "mse"})
    Controller(run, Idle(run.folder)).tick()
    run.folder.claim(Claim(0, 1, "job", host="n1", time=time.time() - 90))
    metrics = run.folder.of(0, "metrics", 1)
    for step, mse in enumerate((4.0, 2.5)):
        files.append(metrics, {"step": step, "time": 0.0, "train": 9.0, "mse": mse})
    with metrics.open("ab") as file:
        file.write(b'\n{"step": 2, "ms')
    (found,) = status(run)["running"]
    assert (found["number"], found["host"], found["epochs"], found["of"]) == (0, "n1", 2, 9)
    assert found["curve"] == (4.0, 2.5)
    assert found["seconds"] == pytest.approx(90, abs=5)
    assert "trial 0 on n1, 90 s, 2 of 9 epochs  █▁ 2.5" in text(status(run))


def test_watching_shows_it_again_and_again_until_ctrl_c(capsys):
    """And leaves the last screen where it is."""
    screens = iter(["one", "two"])

    def look():
        try:
            return next(screens)
        except StopIteration:
            raise KeyboardInterrupt from None

    watch(look, 0.0)
    assert capsys.readouterr().out == "one\ntwo\n\n"


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
    assert f"to go on: {resume_line(run)}" in words
    assert snapshot(run.path) == before


def test_a_look_brings_no_array_library(tmp_path):
    """Their imports alone take longer than a small run's whole status."""
    run = make(tmp_path, n_trials=3)
    code = "import sys, runpy; sys.argv = ['status', sys.argv[1]]\n"
    code += "runpy.run_module('tuner.status', run_name='__main__')\n"
    code += "print(sorted({'numpy', 'pandas', 'torch', 'skopt'} & set(sys.modules)))"
    command = [sys.executable, "-c", code, str(run.path)]
    words = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert words.splitlines()[-1] == "[]"


@pytest.mark.slow
def test_ten_thousand_trials_are_shown_at_once(tmp_path):
    """In CPU seconds of the whole command, which a busy machine does not change much; bar: one."""
    digested_run(tmp_path / "run", 10_000)
    command = [sys.executable, "-m", "tuner.status", str(tmp_path / "run")]
    used = []
    for _ in range(5):  # what else runs here can only add to it
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        words = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert "10000 of 10000 trials are done" in words
        used.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(used) < 1.0


def test_the_state_of_a_run_is_told_in_one_word(tmp_path, monkeypatch):
    """Begun or not, running, left alone, finished."""
    run = make(tmp_path, n_trials=2)
    assert status(run)["state"] == "no controller has begun"
    Controller(run, Idle(run.folder)).tick()
    assert status(run)["state"] == "running"
    monkeypatch.setattr("tuner.status.time.time", lambda: files.modified(run.path) + 600)
    assert status(run)["state"] == "no controller for 10 min"
    monkeypatch.undo()
    assert status(run)["jobs"] == "0 workers at work"
    assert drives.drive(run, Inline(run.folder)) == 0
    assert status(run)["state"] == "finished"
    assert status(run)["jobs"] is None


def test_the_same_error_is_shown_in_one_screen(tmp_path, capsys):
    """The error, the path of all of it, and the line to go on with."""
    run = make(tmp_path, train="tests.functions:broken", n_trials=50)
    assert drives.drive(run, Inline(run.folder)) == 1
    shown = capsys.readouterr().err
    screen = shown[shown.index("stopped: ") :]
    assert "ValueError: the same bug every time" in screen
    assert "in broken" in screen
    assert f"all of it: {run.folder.result_path(0)}" in screen
    assert screen.rstrip().endswith(resume_line(run))
    assert len(screen.splitlines()) < 24


def test_a_screen_holds_sixteen_running_trials(tmp_path):
    """The oldest: each costs a file to read."""
    run = make(tmp_path, n_trials=40, jobs=Jobs(n_workers=20))
    for number in range(20):
        run.folder.propose(Proposal(number, {"x": 0.5}, 1, "random"))
        run.folder.claim(Claim(number, 1, "job"))
    shown = status(run)
    assert [trial["number"] for trial in shown["running"]] == list(range(16))
    assert shown["trials"]["RUNNING"] == 20


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_an_errors_text_commands_no_terminal(tmp_path, more):
    """Whoever raised it may have coloured it, or worse."""
    run = make(tmp_path, train="tests.functions:colourful", n_trials=1)
    drive(run)
    command = [sys.executable, "-m", "tuner.status", str(run.path), *more]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "red" in said
    assert "\x1b" not in said


def told(run, number):
    """What is shown of one trial."""
    return detail.text(json.loads(json.dumps(detail.detail(run, number), allow_nan=False)))


def test_a_trial_is_shown_with_its_point_its_log_and_how_to_train_it_again(tmp_path):
    """One that failed, one that runs, one that is complete."""
    run = make(tmp_path, train="tests.functions:diverging", n_trials=8)
    drive(run)
    failed = next(t for t in run.trials() if t.state is State.FAIL)
    shown = told(run, failed.number)
    assert f"trial {failed.number} (search) is FAIL: the value is nan" in shown
    assert f"x  {failed.params['x']}" in shown
    assert f"python -m tuner.steer {run.path} again {failed.number}" in shown
    steer.try_(run, {"x": 0.5})
    run.folder.claim(Claim(8, 1, "job", submission="local-1"))
    log = run.folder.jobs / "local-1" / "log.txt"
    files.make_folder(log.parent)
    log.write_text("epoch 1\nepoch 2\n")
    assert "epoch 2" in told(run, 8)
    assert "trial 8 (search) is RUNNING" in told(run, 8)
    files.append(run.folder.of(8, "metrics", 1), {"step": 0, "mse": 1.0})
    assert "1 epoch, attempt 1" in told(run, 8)
    command = [sys.executable, "-m", "tuner.status", str(run.path)]
    shown = subprocess.run([*command, "8"], capture_output=True, text=True, check=True).stdout
    assert "epoch 2" in shown
    gone = subprocess.run([*command, "9"], capture_output=True, text=True, check=False)
    assert (gone.returncode, "has no trial 9; it has 0 … 8" in gone.stderr) == (2, True)
