"""A run's trials in other tools: what is written is read back by them."""

import datetime
import io
import subprocess
import sys

import numpy as np
import optuna
import pandas as pd
import pytest

import tuner
from jobs.contract import State
from tests import made
from tests.test_report import publish
from tuner import store
from tuner.export import export
from tuner.space import BadInput, Categorical, Float, Int

SPACE = {
    **made.SMALL,
    "grid": Float(0.1, 0.5, step=0.1),
    "hidden": Int(16, 1024, log=True),
    "leaky": Categorical((True, False)),
    "batch": Categorical((16, 32, 64)),
}


@pytest.fixture
def run(tmp_path):
    """A run with trials of every state, one with a curve; its winner was tested in between."""
    run = store.create(made.study(SPACE), tmp_path / "run")
    for trial in made.trials(SPACE, 32):
        publish(run, trial)
    publish(run, made.trial(32, 50.0, part="test", of=0))
    curve = (
        {"step": 0, "rmse": 3.0, "time": 1.7e9},
        {"step": 1, "rmse": None},
        {"step": 2, "rmse": 2},
    )
    publish(run, made.trial(33, 49.0, params=run.trials()[0].params, curve=curve))
    return run


@pytest.mark.fast
def test_parquet_keeps_every_dtype(run, tmp_path):
    """As pandas reads it, it is what tuner.load gives."""
    export(run, str(tmp_path / "pm25.parquet"))
    pd.testing.assert_frame_equal(
        pd.read_parquet(tmp_path / "pm25.parquet"), tuner.load(run.path), check_exact=True
    )


@pytest.mark.fast
def test_csv_has_the_same_columns(run, tmp_path):
    """With durations in seconds; a second export replaces the first."""
    target = tmp_path / "pm25.csv"
    target.write_text("old")
    assert export(run, str(target)) == f"33 trials: {target}"
    read, known = pd.read_csv(target), tuner.load(run.path)
    assert list(read) == list(known)
    np.testing.assert_array_equal(read["value"], known["value"])
    np.testing.assert_allclose(read["duration"], known["duration"].dt.total_seconds())
    assert (pd.to_datetime(read["datetime_start"]) == known["datetime_start"]).sum() == 31


@pytest.mark.fast
def test_no_text_of_the_csv_is_a_formula(tmp_path):
    """Neither a choice nor a reason."""
    run = store.create(made.study({"o": Categorical(("=1+1", "b"))}), tmp_path / "run")
    publish(run, made.trial(0, None, State.FAIL, params={"o": "=1+1"}, reason="@SUM(A1)"))
    export(run, str(tmp_path / "x.csv"))
    row = pd.read_csv(io.StringIO((tmp_path / "x.csv").read_text())).iloc[0]
    assert (row["params_o"], row["reason"]) == ("'=1+1", "'@SUM(A1)")


@pytest.mark.slow
def test_optuna_reads_its_own_study(run, tmp_path):
    """Direction, space, states, values, times, curves and where it was trained."""
    export(run, str(tmp_path / "pm25.db"))
    study = optuna.load_study(study_name="made", storage=f"sqlite:///{tmp_path / 'pm25.db'}")
    ours = [t for t in run.trials() if t.part == "search"]
    assert study.direction.name == "MINIMIZE"
    assert study.best_value == min(t.value for t in ours if t.state is State.COMPLETE)
    for theirs, trial in zip(study.trials, ours, strict=True):
        assert theirs.state.name == trial.state
        assert theirs.params == trial.params
        assert theirs.value == trial.value
        attributes = theirs.user_attrs
        assert (attributes["number"], attributes["host"]) == (trial.number, trial.host)
        assert attributes["reason"] == trial.reason
        if trial.state.finished:
            start = datetime.datetime.fromtimestamp(trial.started)
            assert (theirs.datetime_start, theirs.duration.total_seconds()) == (start, 90)
    assert study.trials[-1].intermediate_values == {0: 3.0, 2: 2.0}
    assert study.user_attrs == {"run": run.id}
    kinds = {name: d for t in study.trials for name, d in t.distributions.items()}
    assert kinds["learning_rate"] == optuna.distributions.FloatDistribution(1e-4, 1e-2, log=True)
    assert kinds["grid"] == optuna.distributions.FloatDistribution(0.1, 0.5, step=0.1)
    assert kinds["lstm_units"] == optuna.distributions.IntDistribution(16, 128, step=16)
    assert kinds["hidden"] == optuna.distributions.IntDistribution(16, 1024, log=True)
    assert kinds["leaky"] == optuna.distributions.CategoricalDistribution((True, False))
    assert {"weight_decay" in t.params for t in study.trials} == {True, False}


@pytest.mark.slow
def test_optuna_can_go_on_with_it(run, tmp_path):
    """Its samplers take the trials for their own."""
    url = f"sqlite:///{tmp_path / 'go on.db'}"
    export(run, url)
    study = optuna.load_study(study_name="made", storage=url)
    point = study.ask({"lstm_units": optuna.distributions.IntDistribution(16, 128, step=16)})
    assert 16 <= point.params["lstm_units"] <= 128


@pytest.mark.slow
def test_a_study_that_is_maximised_stays_so(tmp_path):
    """A waiting point is one; numbers are Optuna's, and ours are beside them."""
    run = store.create(made.study(direction="maximize"), tmp_path / "run")
    publish(run, made.trial(0, 0.5))
    publish(run, made.trial(1, 0.9))
    publish(run, made.trial(2, None, State.WAITING))
    export(run, str(tmp_path / "x.db"))
    study = optuna.load_study(study_name="made", storage=f"sqlite:///{tmp_path / 'x.db'}")
    assert (study.best_trial.number, study.best_value) == (1, 0.9)
    assert study.trials[2].state is optuna.trial.TrialState.WAITING
    assert study.trials[2].datetime_start is None


@pytest.mark.slow
def test_a_study_that_is_there_is_left_alone(run, tmp_path):
    """It may be somebody's own by now."""
    target = str(tmp_path / "pm25.db")
    export(run, target)
    with pytest.raises(BadInput, match="has a study made already"):
        export(run, target)
    storage = f"sqlite:///{target}"
    assert len(optuna.load_study(study_name="made", storage=storage).trials) == 33


@pytest.mark.slow
@pytest.mark.parametrize("target", ["x.xls", "nowhere/x.csv", "nowhere/x.db", "no://such", "x"])
def test_bad_targets_are_one_line_and_leave_nothing(run, tmp_path, target):
    """Exit code 2."""
    command = [sys.executable, "-m", "tuner.export", run.path, target]
    here = tmp_path / "here"
    here.mkdir()
    answer = subprocess.run(command, cwd=here, capture_output=True, text=True, check=False)
    assert answer.returncode == 2, answer.stderr
    assert len(answer.stderr.splitlines()) == 1
    assert target in answer.stderr
    assert list(here.iterdir()) == []


@pytest.mark.slow
def test_the_command_writes_where_it_was_typed(run, tmp_path):
    """And says what."""
    command = [sys.executable, "-m", "tuner.export", run.path, "out.parquet"]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert answer.stdout == "33 trials: out.parquet\n"
    assert len(pd.read_parquet(tmp_path / "out.parquet")) == 33


@pytest.mark.slow
def test_without_optuna_it_says_how_to_get_it(run, tmp_path):
    """The rest needs none of it."""
    code = "import sys; sys.modules['optuna'] = None; from tuner.export import main; main()"
    for target, rc in (("x.csv", 0), ("x.db", 2)):
        command = [sys.executable, "-c", code, run.path, target]
        answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert answer.returncode == rc, answer.stderr
    assert "needs Optuna; .venv/bin/pip install" in answer.stderr
