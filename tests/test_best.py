"""The winner of a real run, ready to predict; its predictions are those of its test."""

import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import tuner
from jobs import files
from jobs.contract import State
from models.data import load
from tests import made
from tests.slurm_cluster import REPOSITORY
from tuner import pack, store
from tuner.space import BadInput

pytestmark = pytest.mark.slow

HEAD = """
n_trials = 2
seed = 3
sampler = "random"
"""
JOBS = """
[jobs]
n_workers = 2
grace = 0.2
device = "cpu"
"""
SERIES = """
[confirm]
top = 1
seeds = 2
[fixed]
epochs = 2
metric = "rmse"
bins = 3
[space]
lstm_units = { type = "int", low = 8, high = 16 }
residual = { type = "categorical", choices = [true, false] }
optimizer = { type = "categorical", choices = ["adam", "sgd"] }
[data]
source = "air.csv"
time = "when"
target = "pm"
window = 12
horizon = 3
calendar = ["hour", "weekday"]
"""
RECORDINGS = """
[fixed]
model = "fusion"
metric = "accuracy"
epochs = 4
batch_size = 4
conv1_channels = 4
conv2_channels = 8
fc1_units = 16
[space]
lstm_hidden = { type = "int", low = 8, high = 16 }
[data]
source = "basic_motions"
window = 95
step = 95
segment = 32
hop = 4
validation_folds = 2
"""
OWN = """
train = "tests.functions:saving"
[space]
x = { type = "float", low = 0.5, high = 1.0 }
"""


def air(n=600):
    """An hourly table with gaps, together and alone, and a hole in its time."""
    random = np.random.default_rng(0)
    hours = np.arange(n) + np.where(np.arange(n) < 580, 0, 7)
    when = pd.Timestamp("2020-01-01") + pd.to_timedelta(hours, unit="h")
    wave = 80 + 30 * np.sin(hours * 2 * np.pi / 24)
    frame = pd.DataFrame({"when": when, "pm": wave + random.normal(0, 5, n)})
    frame["wind"], frame["rain"] = random.normal(3, 1, n), random.exponential(1, n)
    frame.loc[random.random(n) < 0.1, ["wind", "rain"]] = np.nan
    frame.loc[random.random(n) < 0.1, "pm"] = np.nan
    return frame


def finished(folder, text, direction="minimize"):
    """The folder of a run that the command has finished, as a user has it."""
    path = folder / "study.toml"
    path.write_text(f'direction = "{direction}"\n{HEAD}{text}{JOBS}')
    command = [sys.executable, "-m", "tuner.run", path, "--folder", folder / "run"]
    answer = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return folder / "run"


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    """A run on a table of one's own, confirmed and tested; the table is gone since."""
    folder = tmp_path_factory.mktemp("series")
    frame = air()
    frame.to_csv(folder / "air.csv", index=False)
    run = finished(folder, SERIES)
    (folder / "air.csv").unlink()
    return run, frame


def stored_test(run, best):
    """What is stored of the test of the model that predicts."""
    found = store.Store(run)
    models = [t for t in found.trials() if t.part == "test" and best.model in (t.of, t.number)]
    (test,) = models
    assert test.state is State.COMPLETE
    with np.load(found.folder.predictions(test.number)) as arrays:
        return dict(arrays)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_frame_is_forecast_as_the_test_part_was(series, seed):
    """Scaled, filled, flagged and dated from the checkpoint alone: to 1e-5 in real units."""
    run, frame = series
    best = tuner.load_best(run, seed)
    assert best.features == ("pm", "wind", "rain")
    forecasts = best.predict(frame)
    assert forecasts.index.equals(frame.index)
    known = stored_test(run, best)
    hours = ((frame["when"] - pd.Timestamp(0)) / pd.Timedelta(hours=1)).to_numpy()
    targets = np.searchsorted(hours, known["index"])
    assert len(targets) > 50
    np.testing.assert_allclose(forecasts[targets - 3], known["prediction"], rtol=0, atol=1e-5)
    assert np.std(known["prediction"]) > 1e-2


def test_rows_without_a_whole_window_have_no_forecast(series):
    """The first ones, and those after a hole in the time; the newest has one."""
    run, frame = series
    forecasts = tuner.load_best(run).predict(frame)
    lacking = [*range(11), *range(580, 591)]
    assert np.flatnonzero(forecasts.isna()).tolist() == lacking
    assert len(tuner.load_best(run).predict(frame[:5])) == 5
    assert forecasts.name == "pm"


def test_windows_are_forecast_as_their_rows(series):
    """With the time of their newest steps; without gaps at their start they are the same."""
    run, frame = series
    best = tuner.load_best(run)
    ends = [e for e in range(11, 580) if frame.loc[e - 11, ["pm", "wind", "rain"]].notna().all()]
    values = frame[list(best.features)].to_numpy()
    windows = np.stack([values[e - 11 : e + 1] for e in ends])
    made = best.predict(windows, frame["when"][ends])
    np.testing.assert_allclose(made, best.predict(frame)[ends], rtol=0, atol=1e-5)
    hours = (frame["when"][ends] - pd.Timestamp(0)) / pd.Timedelta(hours=1)
    np.testing.assert_array_equal(best.predict(windows, hours.to_numpy()), made)
    assert best.predict(windows[:0], hours[:0]).shape == (0,)


def test_other_sources_of_time_say_the_same(series):
    """An index of dates, or dates beside the frame, with their zone."""
    run, frame = series
    best = tuner.load_best(run)
    known = best.predict(frame).to_numpy()
    moved = frame.set_index("when").drop(columns=["wind"]).assign(wind=frame["wind"].to_numpy())
    np.testing.assert_array_equal(best.predict(moved), known)
    there = pd.DatetimeIndex(frame["when"]).tz_localize("UTC").tz_convert("Asia/Shanghai")
    np.testing.assert_array_equal(best.predict(frame.drop(columns=["when"]), there), known)


def test_what_cannot_be_predicted_is_said(series):
    """With the key, and what to give."""
    run, frame = series
    best = tuner.load_best(run)
    for data, words in (
        (frame.drop(columns=["when"]), "time: is needed for the model's features hour, weekday"),
        (frame.drop(columns=["rain"]), "rain: is no column of the data; the model needs pm"),
        (np.zeros((3, 11, 3)), "windows have 11 steps; the model sees 12"),
        (np.zeros((3, 12, 2)), "with the columns pm, wind, rain"),
        (frame[::-1], "time: does not increase"),
    ):
        with pytest.raises(BadInput, match=words.replace("(", r"\(")):
            best.predict(data)
    with pytest.raises(BadInput, match="use predict"):
        best.predict_proba(frame)
    with pytest.raises(BadInput, match="the winner has 2 models; give one of 0 … 1"):
        tuner.load_best(run, 2)


def test_it_is_the_winner_of_the_table(series):
    """Number, parameters and value; the mean of its fresh seeds beside."""
    run, _ = series
    best, table = tuner.load_best(run), tuner.load(run, what="all").set_index("number")
    row = table.loc[best.number]
    assert row["value"] == best.value == table[table["part"] == "search"]["value"].min()
    assert {name: row[f"params_{name}"] for name in best.params} == dict(best.params)
    fresh = table[table["part"].str.startswith("confirm") & (table["of"] == best.number)]
    assert best.confirmed == pytest.approx(fresh["value"].mean())
    assert [tuner.load_best(run, k).model for k in (0, 1)] == fresh.index.tolist()
    assert best.fixed["epochs"] == 2


def test_a_packed_run_predicts_too(series):
    """The winner's weights are not in the archive."""
    run, frame = series
    before = tuner.load_best(run).predict(frame)
    pack.pack(store.Store(run))
    pd.testing.assert_series_equal(tuner.load_best(run).predict(frame), before)


def test_recordings_get_the_names_of_their_classes(tmp_path, monkeypatch):
    """By the model of the winner's test, whose stored classes they are."""
    monkeypatch.setenv("TUNER_DEVICE", "cpu")
    run = finished(tmp_path, RECORDINGS, "maximize")
    best = tuner.load_best(run)
    assert best.classes == ("standing", "running", "walking", "badminton")
    assert best.features == ("ax", "ay", "az", "wx", "wy", "wz")
    data = load({**store.Store(run).study.data})
    signals = np.stack([data.signals[n][:95] for n in data.test_groups])
    known = stored_test(run, best)
    names = np.array(best.classes)[known["prediction"]]
    assert len({*names}) > 1
    assert best.predict(signals).tolist() == names.tolist()
    chances = best.predict_proba(signals)
    assert chances.shape == (40, 4)
    np.testing.assert_allclose(chances.sum(1), 1, atol=1e-6)
    frame = pd.DataFrame(signals[0], columns=list(best.features))
    np.testing.assert_allclose(best.predict_proba(frame), chances[:1], atol=1e-5)
    with pytest.raises(BadInput, match="of at least 95 samples"):
        best.predict(signals[:, :90])
    searched = store.Store(run).folder.kept(best.number)
    best.weights.rename(best.weights.with_suffix(".gone"))
    assert tuner.load_best(run).weights == searched
    with pytest.raises(BadInput, match="2 models, of the search's folds; use those of the winner"):
        tuner.load_best(run).predict(signals)


def test_a_function_of_ones_own_gets_its_checkpoint(tmp_path):
    """Only it knows its model; parameters and value are there as for ours."""
    run = finished(tmp_path, OWN)
    best = tuner.load_best(run)
    assert best.value == pytest.approx(3 * best.params["x"])
    with pytest.raises(BadInput, match=r"tests.functions:saving is a function of your own.*pt"):
        best.predict(np.zeros((1, 1, 1)))
    assert best.checkpoint() == {"weight": best.params["x"], "epoch": 2}
    best.weights.unlink()
    with pytest.raises(BadInput, match="the training saved none, or it was removed"):
        best.checkpoint()


def test_a_pickle_in_the_place_of_weights_runs_nothing(series):
    """It is not even read."""
    run, frame = series
    best = tuner.load_best(run)
    content = best.weights.read_bytes()
    files.replace(best.weights, pickle.dumps(print, protocol=2))
    try:
        with pytest.raises(BadInput, match="is no checkpoint"):
            best.predict(frame)
    finally:
        files.replace(best.weights, content)


def test_a_run_without_a_winner_says_so(tmp_path):
    """And a folder without a run is named."""
    store.create(made.study(train="tests.functions:quadratic"), tmp_path / "run")
    with pytest.raises(BadInput, match="has no complete trial yet"):
        tuner.load_best(tmp_path / "run")
