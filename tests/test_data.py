"""Data: what reaches which part, and that nothing reaches back from the future."""

import numpy as np
import pandas as pd
import pytest

from models.data import SHIPPED, DataError, load
from models.recordings import spectrograms
from models.series import fill_forward, prototype

STEPS = 400
PM25 = {
    "source": "beijing_pm25",
    "target": "pm2.5",
    "window": 24,
    "horizon": 6,
    "borders": ["2013-01-01", "2014-01-01"],
}
START_2013 = np.datetime64("2013-01-01", "h").astype(int)
START_2014 = np.datetime64("2014-01-01", "h").astype(int)


def table():
    """Two columns of noise with gaps, the target second."""
    values = np.random.default_rng(0).normal(5, 3, (STEPS, 2)).astype(np.float32)
    values[50:55, 0] = values[120:123, 1] = values[:2, 1] = np.nan
    return values


def series(tmp_path, values=None, hours=None, **spec):
    """A data set of one's own in an .npz."""
    values = table() if values is None else values
    hours = np.arange(STEPS) + 1000 if hours is None else hours
    np.savez(tmp_path / "own.npz", other=values[:, 0], load=values[:, 1], hours_since_epoch=hours)
    return load({"source": str(tmp_path / "own.npz"), "target": "load", "window": 5, **spec})


def recordings(tmp_path, **spec):
    """Four subjects with three short recordings each, in the layout of the shipped file."""
    lengths = np.full(12, 50)
    counts = np.random.default_rng(0).integers(-99, 99, (600, 6)).astype(np.int16)
    np.savez(
        tmp_path / "watch.npz",
        counts=counts,
        units_per_count=np.ones(6),
        recording_lengths=lengths,
        label=np.tile([3, 5, 8], 4),
        subject=np.repeat([1, 2, 3, 4], 3),
    )
    small = {"window": 20, "step": 10, "n_fft": 16, "hop": 2, "test_groups": [4]}
    return load({"source": str(tmp_path / "watch.npz"), **small, "validation_folds": 3, **spec})


def groups(part):
    """The groups in a part, none for no part."""
    return set(part.index) if part else set()


def test_a_window_ends_a_horizon_before_its_target(tmp_path):
    """Input i is the window before target i, in real values what the file holds."""
    values = table()
    (split,) = series(tmp_path, values, horizon=3).splits("test")
    for part in (split.train, split.validation, split.test):
        row = part.index[-1] - 1000
        newest = part.inputs[-1][:, 0] * split.std + split.mean
        np.testing.assert_allclose(newest, fill_forward(values)[row - 7 : row - 2, 1], rtol=1e-4)
        np.testing.assert_allclose(part.targets[-1] * split.std + split.mean, values[row, 1], 1e-4)


def test_targets_never_cross_a_border():
    """PM2.5 is split by the time of the target, and each part reaches to its border."""
    (split,) = load(PM25).splits("test")
    assert split.train.index.max() == START_2013 - 1
    assert (split.validation.index.min(), split.validation.index.max()) == (
        START_2013,
        START_2014 - 1,
    )
    assert split.test.index.min() == START_2014


def test_a_target_that_was_not_measured_is_no_target(tmp_path):
    """A filled value would be scored as if it were true."""
    (split,) = series(tmp_path).splits("test")
    assert not np.isin([1120, 1121, 1122], split.train.index).any()
    assert np.isfinite(split.train.targets).all()


def test_filling_never_reads_the_future(tmp_path):
    """Another future leaves every input before it as it was."""
    values, changed = table(), table()
    changed[200:] = changed[200:] * 3 + 7
    spec = {"borders": [0.4, 0.8]}
    (before,) = series(tmp_path, values, **spec).splits("search")
    (after,) = series(tmp_path, changed, **spec).splits("search")
    np.testing.assert_array_equal(before.train.inputs, after.train.inputs)
    past = before.validation.index < 1200
    np.testing.assert_array_equal(
        before.validation.inputs[past], after.validation.inputs[after.validation.index < 1200]
    )


def test_a_gap_takes_the_last_value_before_it():
    """And stays open where nothing came before."""
    values = np.array([[np.nan, 1], [2, np.nan], [np.nan, np.nan], [3, 4]])
    np.testing.assert_array_equal(fill_forward(values), [[np.nan, 1], [2, 1], [2, 1], [3, 4]])


def test_gaps_are_flagged(tmp_path):
    """A feature of ones says where a value is not a measured one."""
    (split,) = series(tmp_path).splits("search")
    flags = split.train.values[:, 2:]  # (step, flag): columns with gaps at different times
    assert sorted(flags.sum(0)) == [5, 5]
    assert set(np.unique(flags)) == {0, 1}


def test_scaling_knows_the_training_part_only(tmp_path):
    """Mean 0 and deviation 1 there, whatever comes later."""
    values = table()
    (split,) = series(tmp_path, values, borders=[0.5, 0.75]).splits("search")
    known = fill_forward(values)[:200, 1]
    assert split.mean == pytest.approx(np.nanmean(known), rel=1e-5)
    assert split.std == pytest.approx(np.nanstd(known), rel=1e-5)
    values[200:] *= 100
    (again,) = series(tmp_path, values, borders=[0.5, 0.75]).splits("search")
    np.testing.assert_array_equal(split.train.inputs, again.train.inputs)


def test_a_search_cannot_see_the_test_part(tmp_path):
    """Neither its targets nor one step of its inputs is in what a search gets."""
    (split,) = series(tmp_path, borders=[0.5, 0.75]).splits("search")
    assert split.test is None
    assert len(split.train.values) == 300
    assert all(4 not in groups(part) for s in recordings(tmp_path).splits("search") for part in
               (s.train, s.validation, s.test))  # fmt: skip


def test_windows_are_no_copies(tmp_path):
    """All parts of a split share one table."""
    (split,) = series(tmp_path).splits("test")
    assert split.train.values is split.validation.values is split.test.values
    assert split.train.values.shape == (STEPS, 4)  # two columns and a flag for each


def test_no_window_spans_a_hole_in_time(tmp_path):
    """Two days apart are not neighbours."""
    hours = np.arange(STEPS) + 48 * (np.arange(STEPS) >= 30)
    (split,) = series(tmp_path, hours=hours).splits("search")
    assert not np.isin(np.arange(78, 83), split.train.index).any()
    assert {29, 83} <= set(split.train.index)


def test_the_calendar_knows_weekends_and_hours(tmp_path):
    """1970-01-03 was a Saturday."""
    spec = {"calendar": ["weekend", "hour"], "features": []}
    (split,) = series(tmp_path, hours=np.arange(STEPS), **spec).splits("search")
    weekend, sine, cosine = split.train.values[:, -3:].T
    assert list(np.flatnonzero(weekend[:168])) == list(range(48, 96))
    assert (sine[6], cosine[12]) == pytest.approx((1, -1))


def test_every_kind_of_file_gives_the_same_windows(tmp_path):
    """A path, a target and a window are enough for .npz, .csv and .parquet."""
    frame = pd.DataFrame(table(), columns=["other", "load"])
    frame["when"] = pd.date_range("2020-01-01", periods=STEPS, freq="h")
    frame.to_csv(tmp_path / "own.csv", index=False)
    frame.to_parquet(tmp_path / "own.parquet")
    expected = series(tmp_path).splits("test")[0].test.inputs
    for name in ("own.csv", "own.parquet"):
        spec = {"source": str(tmp_path / name), "target": "load", "window": 5, "time": "when"}
        part = load(spec).splits("test")[0].test
        np.testing.assert_allclose(part.inputs, expected, atol=1e-5)
        assert part.index[-1] == np.datetime64("2020-01-01", "h").astype(int) + STEPS - 1


@pytest.mark.parametrize("structured", [False, True])
def test_columns_of_words_and_dates_are_left_out_of_arrays_too(tmp_path, structured):
    """As from a CSV; `label` is a column like any other where a target is named."""
    columns = {
        "site": np.repeat(["north", "south"], STEPS // 2),
        "day": np.arange(STEPS).astype("datetime64[h]"),
        "label": np.arange(STEPS) % 7,
        "load": table()[:, 1],
    }
    path = tmp_path / ("own.npy" if structured else "own.npz")
    if structured:
        kinds = [(name, column.dtype) for name, column in columns.items()]
        np.save(path, np.array(list(zip(*columns.values(), strict=True)), kinds))
    else:
        np.savez(path, **columns)
    spec = {"source": str(path), "target": "load", "window": 5}
    data = load(spec)
    assert data.columns == ["load", "label"]
    assert load({**spec, "time": "day"}).splits("test")[0].test.index[-1] == STEPS - 1
    with pytest.raises(DataError, match="'site' holds str"):
        load({**spec, "time": "site"})
    with pytest.raises(DataError, match="site"):
        load({**spec, "features": ["site"]})


def test_numbers_saved_as_words_are_numbers(tmp_path):
    """As from a CSV; a column of Python's objects is left out, one that turns to words refused."""
    load_, words = table()[:, 1], np.array(["north"] * STEPS, dtype=object)
    found = {"load": load_, "flow": (load_ * 2).astype(str), "site": words}
    np.savez(tmp_path / "own.npz", **found)
    spec = {"source": str(tmp_path / "own.npz"), "target": "load", "window": 5}
    data = load(spec)
    assert data.columns == ["load", "flow"]
    np.testing.assert_array_equal(data.measured[60:110, 1], 2 * load_[60:110])
    with pytest.raises(DataError, match="'site'"):
        load({**spec, "target": "site"})
    found["flow"][STEPS - 1] = "broken"
    np.savez(tmp_path / "own.npz", **found)
    with pytest.raises(DataError, match="broken"):
        load(spec)


@pytest.mark.parametrize("name", ["own.npz", "own.npy"])
def test_a_file_of_words_alone_is_refused(tmp_path, name):
    """In one line."""
    words = np.array([["north", "south"]] * STEPS)
    np.save(tmp_path / name, words) if name == "own.npy" else np.savez(
        tmp_path / name, a=words[:, 0]
    )
    with pytest.raises(DataError, match="no column of numbers"):
        load({"source": str(tmp_path / name), "target": "a", "window": 5})


def test_persistence_on_the_shipped_series_is_what_is_published():
    """The root mean square error of the newest value, 6 h later, in 2014."""
    data = load(PM25)
    part, std = data.splits("test")[0].test, data.splits("test")[0].std
    errors = (part.inputs[:, -1, data.target_column] - part.targets) * std
    assert np.sqrt(np.mean(errors**2)) == pytest.approx(61.67, abs=0.01)


def test_the_prototype_series_is_the_same_for_every_trial():
    """Its script drew new data each time."""
    np.testing.assert_array_equal(prototype().values, prototype().values)
    assert load({"source": "prototype", "target": "target", "window": 20}).parts() == ("test",)


def test_folds_share_no_subject(tmp_path):
    """Nor do the parts that come after the search, which leave each subject out once."""
    data = recordings(tmp_path)
    folds = data.splits("search")
    for split in [*folds, *(s for part in data.parts() for s in data.splits(part))]:
        assert not groups(split.train) & (groups(split.validation) | groups(split.test))
    assert [groups(fold.validation) for fold in folds] == [{1}, {2}, {3}]
    assert data.parts() == ("test", "leave:1", "leave:2", "leave:3", "leave:4")
    assert groups(data.splits("leave:2")[0].test) == {2}


def test_no_window_crosses_two_recordings(tmp_path):
    """Each recording of 50 samples has four windows of 20 at a step of 10, not five."""
    (split,) = recordings(tmp_path).splits("test")
    assert len(split.train.rows) == 9 * 4
    assert split.train.inputs.shape[1:] == (5, 9, 3)


def test_spectrograms_are_scaled_by_the_training_part(tmp_path):
    """One mean and deviation a channel and frequency, none from the subjects held out."""
    for split in recordings(tmp_path).splits("search"):
        inputs = split.train.inputs
        np.testing.assert_allclose(inputs.mean((0, 3)), 0, atol=1e-4)
        np.testing.assert_allclose(inputs.std((0, 3)), 1, atol=1e-3)
        assert abs(split.validation.inputs.mean((0, 3))).max() > 1e-3


def test_a_tone_shows_at_its_frequency():
    """126 samples at 50 Hz: 10 Hz is bin 25, in the channel of its axis."""
    signal = np.zeros((252, 6))
    signal[:, 1] = np.sin(2 * np.pi * 10 / 50 * np.arange(252))
    spec = {"window": 252, "step": 126, "segment": 126, "n_fft": 126, "hop": 2}
    picture = spectrograms(signal, spec)
    assert picture.shape == (1, 5, 64, 64)
    assert picture[0, 1].mean(1).argmax() == 25
    assert np.ptp(picture[0, 0]) == 0


def test_shipped_recordings_have_the_shape_of_the_paper():
    """BasicMotions padded to the watch's (5, 64, 64), split as it was published."""
    spec = {"source": "basic_motions", "window": 95, "step": 95, "segment": 32, "hop": 1}
    (split,) = load({**spec, "n_fft": 126}).splits("test")
    assert split.train.inputs.shape == split.test.inputs.shape == (40, 5, 64, 64)


def test_shipped_names_are_the_files_and_the_prototype():
    """What a study file may name as its source."""
    assert SHIPPED == ("basic_motions", "beijing_pm25", "household_power", "smartwatch_shoulder",
                       "prototype")  # fmt: skip


@pytest.mark.parametrize(
    ("key", "spec"),
    [
        ("source", {"source": None}),
        ("source", {"source": "missing.csv"}),
        ("target", {"target": "pm3"}),
        ("target", {"target": None}),
        ("features", {"features": ["TEMP", "no such"]}),
        ("window", {"window": 50_000}),
        ("window", {"window": 0}),
        ("window", {"window": None}),
        ("horizon", {"horizon": 1.5}),
        ("calendar", {"calendar": ["moon"]}),
        ("calendar", {"calendar": "hour"}),
        ("borders", {"borders": ["2013-01-01", "soon"]}),
        ("borders", {"borders": [0.9, 0.8]}),
        ("borders", {"borders": [0.5]}),
        ("borders", {"borders": ["1990-01-01", "2014-01-01"]}),
        ("time", {"time": "clock"}),
        ("windwo", {"windwo": 20}),
    ],
)
def test_a_fault_in_the_table_names_its_key(key, spec):
    """And says what to do."""
    with pytest.raises(DataError) as caught:
        load({**PM25, **spec})
    assert caught.value.key == key
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("key", "spec"),
    [
        ("test_groups", {"test_groups": [9]}),
        ("test_groups", {"test_groups": None}),
        ("validation_folds", {"validation_folds": 4}),
        ("validation_folds", {"validation_folds": 1}),
        ("window", {"window": 51}),
        ("segment", {"segment": 17}),
        ("hop", {"hop": 0}),
        ("target", {"target": "label"}),
    ],
)
def test_a_fault_in_the_table_of_recordings_names_its_key(tmp_path, key, spec):
    """Before a single spectrogram is computed."""
    with pytest.raises(DataError) as caught:
        recordings(tmp_path, **spec)
    assert caught.value.key == key


def test_a_target_full_of_gaps_is_refused(tmp_path):
    """In all of the file, or in one part of it."""
    for gap in (slice(None), slice(0, 290), slice(280, 320)):
        values = table()
        values[gap, 1] = np.nan
        with pytest.raises(DataError):
            series(tmp_path, values)


def test_a_stray_word_among_numbers_is_no_column_less(tmp_path):
    """It names the row; a column of words alone is none of numbers, and left out."""
    rows = [f"{i},{'err' if i == 7 else i * 2},{'north' if i % 2 else 'south'}" for i in range(60)]
    (tmp_path / "own.csv").write_text("\n".join(["load,wind,place", *rows]))
    spec = {"source": str(tmp_path / "own.csv"), "target": "load", "window": 4}
    with pytest.raises(DataError, match="'wind' holds 'err' in row 8"):
        load(spec)
    (tmp_path / "own.csv").write_text("\n".join(["load,wind,place", *rows]).replace("err", ""))
    assert load(spec).splits("search")[0].train.values.shape[1] >= 2


def test_a_bad_date_is_named(tmp_path):
    """With its row."""
    rows = [f"2020-01-{i:02d},{i}" for i in range(1, 29)]
    rows[4] = "soon,5"
    (tmp_path / "own.csv").write_text("\n".join(["day,load", *rows]))
    spec = {"source": str(tmp_path / "own.csv"), "target": "load", "window": 4, "time": "day"}
    with pytest.raises(DataError, match="no date in row 5: 'soon'"):
        load(spec)


@pytest.mark.parametrize("mark", [";", "\t", "|"])
def test_a_table_with_other_separators_says_how_to_save_it(tmp_path, mark):
    """As much of Europe's software writes it; guessing its decimal comma could go wrong."""
    (tmp_path / "own.csv").write_text(f"day{mark}load kW\n1{mark}2,5\n")
    spec = {"source": str(tmp_path / "own.csv"), "target": "load kW", "window": 2, "time": "day"}
    with pytest.raises(DataError, match="separated by") as caught:
        load(spec)
    assert f"sep={mark!r}" in caught.value.remedy


@pytest.mark.parametrize("name", ["own.csv", "own.parquet", "own.npz", "own.xls"])
def test_a_file_that_cannot_be_read_is_refused(tmp_path, name):
    """In one line, whatever the library that reads it says."""
    (tmp_path / name).write_bytes(b"\x00\xff no table" if name != "own.csv" else b"")
    with pytest.raises(DataError) as caught:
        load({"source": str(tmp_path / name), "target": "a", "window": 5})
    assert caught.value.key == "source"
