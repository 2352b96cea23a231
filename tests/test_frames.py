"""A run as DataFrames: what a user of pandas gets."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import tuner
from jobs.contract import State
from jobs.trust import Untrusted
from tests import made
from tests.test_report import publish
from tuner import frames, store
from tuner.space import BadInput, Categorical, Int

pytestmark = pytest.mark.fast

DTYPES = {
    "number": "int64",
    "state": "category",
    "value": "float64",
    "params_learning_rate": "float64",
    "params_lstm_units": "Int64",
    "params_optimizer": "category",
    "params_weight_decay": "float64",
    "datetime_start": "datetime64[ns, UTC]",
    "datetime_complete": "datetime64[ns, UTC]",
    "duration": "timedelta64[ns]",
    "part": "str",
    "of": "Int64",
    "origin": "str",
    "seed": "int64",
    "reason": "str",
    "epochs": "int64",
    "attempts": "int64",
    "lost_seconds": "float64",
    "host": "str",
    "device": "str",
    "job": "str",
}


@pytest.fixture
def run(tmp_path):
    """A run with trials of every state, a confirming run and a test."""
    run = store.create(made.study(), tmp_path / "run")
    for trial in made.trials(made.SMALL, 12):
        publish(run, trial)
    curve = ({"step": 0, "rmse": 3.0, "time": 1.7e9}, {"step": 1, "rmse": None, "loss": 0.5})
    publish(run, made.trial(12, 49.0, curve=curve))
    publish(run, made.trial(13, 51.0, part="confirm:0", of=12))
    publish(run, made.trial(14, 52.0, part="test", of=13, metrics={"rmse": 52.0}))
    return run


def test_a_row_a_trial_of_the_search_with_documented_dtypes(run):
    """The same columns for an empty run: code written for one does for the other."""
    frame = tuner.load(run.path)
    assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == DTYPES
    assert frame["number"].tolist() == list(range(13))
    empty = frames.table(run.study, [])
    assert {name: str(dtype) for name, dtype in empty.dtypes.items()} == DTYPES


def test_every_column_is_described(run):
    """The one place is the docstring; nothing else is in it."""
    lines = [line for line in tuner.load.__doc__.splitlines() if line.lstrip().startswith("| `")]
    named = {
        name
        for line in lines
        for name in line.split("|")[1].replace("`", " ").replace(",", " ").split()
    }
    found = {"params_<name>" if n.startswith("params_") else n for n in tuner.load(run.path)}
    assert named == found | {"metrics_<name>"}


def test_values_are_those_of_the_results(run):
    """State, value, parameters, times; missing where there is none."""
    frame = tuner.load(str(run.path)).set_index("number")
    for trial in run.trials()[:13]:
        row = frame.loc[trial.number]
        assert row["state"] == trial.state
        assert row["value"] == trial.value or (np.isnan(row["value"]) and trial.value is None)
        for name in made.SMALL:
            given = row[f"params_{name}"]
            assert given == trial.params[name] if name in trial.params else pd.isna(given)
        if trial.state.finished:
            assert row["datetime_start"] == pd.Timestamp(trial.started, unit="s", tz="UTC")
            assert row["duration"] == pd.Timedelta(seconds=90)
            assert row["datetime_complete"] - row["datetime_start"] == row["duration"]
        else:
            assert pd.isna(row["duration"])
    assert frame["params_weight_decay"].isna().any()
    assert list(frame["state"].cat.categories) == [str(state) for state in State]


def test_all_adds_what_followed_the_search(run):
    """With whose point it was, and the scores on the test part."""
    frame = tuner.load(run.path, what="all")
    assert frame["part"].tolist()[-2:] == ["confirm:0", "test"]
    assert frame["of"].tolist()[-2:] == [12, 13]
    assert frame["metrics_rmse"].tolist()[-1] == 52.0
    with pytest.raises(BadInput, match='write "search" or "all"'):
        tuner.load(run.path, what="tests")


def test_choices_have_their_own_dtype():
    """Numbers can be computed with; words, and a mixture with them, are categories."""
    choices = {
        "n": (64, 128),
        "x": (0.5, 1),
        "on": (True, False),
        "mixed": ("auto", 1),
        "w": ("a",),
    }
    space = {name: Categorical(values) for name, values in choices.items()}
    space["depth"] = Int(1, 3, when={"on": True})
    params = {"n": 64, "x": 1, "on": False, "mixed": 1, "w": "a"}
    frame = frames.table(made.study(space), [made.trial(0, 1.0, params=params)])
    kinds = {name: str(frame[f"params_{name}"].dtype) for name in space}
    words = {"mixed": "category", "w": "category", "depth": "Int64"}
    assert kinds == {"n": "Int64", "x": "float64", "on": "boolean", **words}
    assert frame["params_mixed"].tolist() == ["1"]
    assert frame["params_depth"].isna().all()


def test_curves_are_a_row_an_epoch(run):
    """What was infinite or not reported is NaN."""
    curves = tuner.load_curves(run.path)
    kinds = {"number": "int64", "step": "int64", "datetime": "datetime64[ns, UTC]"}
    kinds |= {"rmse": "float64", "loss": "float64"}
    assert {name: str(dtype) for name, dtype in curves.dtypes.items()} == kinds
    assert curves["number"].tolist() == [12, 12]
    assert curves["rmse"].tolist()[0] == 3.0
    assert curves["rmse"].isna().tolist() == [False, True]
    assert curves["loss"].isna().tolist() == [True, False]
    assert tuner.load(run.path)["epochs"].tolist()[12] == 2


def test_a_metric_called_number_does_not_hide_the_trials(run):
    """It gets a name of its own."""
    publish(run, made.trial(15, 1.0, curve=({"step": 0, "number": 7.0},)))
    curves = tuner.load_curves(run.path)
    assert curves["number"].tolist() == [12, 12, 15]
    assert curves["metrics_number"].tolist()[-1] == 7.0


def test_a_folder_that_is_no_run_is_named(run, tmp_path):
    """In a program's words: the folder, what is wrong, what to do."""
    with pytest.raises(BadInput, match=r"nothing.*is not a run's folder; name a folder"):
        tuner.load(tmp_path / "nothing")
    run.path.chmod(0o777)
    with pytest.raises(Untrusted):
        tuner.load(run.path)


@pytest.mark.slow
def test_tuner_itself_is_light():
    """Whoever imports it pays for what they ask for."""
    code = (
        "import sys, tuner; heavy = {'pandas', 'torch', 'tuner.frames'};"
        "assert not heavy & set(sys.modules); tuner.load_curves; assert 'pandas' in sys.modules;"
        "assert 'torch' not in sys.modules; assert {'load', 'load_best'} <= set(dir(tuner))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        tuner.lod  # noqa: B018 - that is the test
