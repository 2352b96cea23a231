"""Data larger than memory: the same windows, prepared once, mapped, and streamed where asked."""

import dataclasses
import hashlib
import sys
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from jobs import files, scratch
from jobs.contract import Proposal, State
from jobs.scratch import Prepared
from models import data as datasets
from models import frames, inputs, sources
from models.data import DataError, load
from models.large import LargeSeries
from models.split import mapping
from tests.bench import memory
from tests.test_data import STEPS, table
from tests.test_train import FAST, run, same, waves
from tuner import store

JOBS = Path(__file__).parent.parent / "jobs"
SHIPPED = {  # of values, rows, targets and index of every part, before there were large files
    "basic_motions": "f02696c45ee962c3",
    "household": "03108ee34d812937",
    "pm25": "c1b7ee1c7be43c7c",
    "prototype_regression": "c9683317ca115a94",
    "smartwatch": "dcaa0d6a51eaeaa1",
}
ARRAYS = ("values", "rows", "targets", "index")


@pytest.fixture(autouse=True)
def on_cpu(monkeypatch):
    """Bit for bit is promised there."""
    monkeypatch.setenv("TUNER_DEVICE", "cpu")


def written(tmp_path, kind):
    """A table with gaps and a time, in a file of this kind; and its specification."""
    values, path = table(), tmp_path / f"own.{kind.split('-')[0]}"
    spec = {"source": str(path), "target": "load", "window": 5, "horizon": 2, "calendar": ["hour"]}
    hours = np.arange(STEPS) + 1000 + 48 * (np.arange(STEPS) >= 30)
    frame = pd.DataFrame(values, columns=["other", "load"])
    if kind in {"csv", "parquet"}:
        frame["when"] = pd.to_datetime(hours, unit="h")
        frame.to_csv(path, index=False) if kind == "csv" else frame.to_parquet(path)
        return {**spec, "time": "when"}
    if kind == "npy":
        np.save(path, np.column_stack([hours, values]))
        return {**spec, "time": "0", "target": "2"}
    if kind == "npy-fields":
        np.save(path, frame.assign(when=hours).to_records(index=False))
        return {**spec, "time": "when"}
    save = np.savez_compressed if "compressed" in kind else np.savez
    if "packed" in kind:
        save(path, values=values, columns=["other", "load"], hours_since_epoch=hours)
    else:
        save(path, other=values[:, 0], load=values[:, 1], hours_since_epoch=hours)
    return spec


KINDS = ["csv", "parquet", "npy", "npy-fields", "npz", "npz-packed", "npz-compressed"]


@pytest.fixture
def large(monkeypatch):
    """Everything is large, and read in chunks of a few dozen rows."""
    monkeypatch.setattr(datasets, "LARGE", 0)
    for module in (sources, frames):
        monkeypatch.setattr(module, "CHUNK", 90)


@pytest.mark.parametrize("name", SHIPPED)
def test_what_is_shipped_stays_as_it_was(name):
    """Windows, targets and scales bit for bit."""
    data, digest = (
        load(tomllib.loads((JOBS / f"{name}.toml").read_text())["data"]),
        hashlib.sha256(),
    )
    for split in (*data.splits("search"), *data.splits("test")):
        for part in filter(None, (split.train, split.validation, split.test)):
            for array in (getattr(part, field) for field in ARRAYS):
                digest.update(str((array.dtype, array.shape)).encode())
                digest.update(np.ascontiguousarray(array).tobytes())
        digest.update(repr((split.mean, split.std)).encode())
    assert digest.hexdigest()[:16] == SHIPPED[name]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("borders", [[0.5, 0.8], ["1970-02-20", "1970-02-25"]])
def test_a_large_file_gives_the_windows_of_a_small_one(tmp_path, request, kind, borders):
    """In every format, with gaps, holes in time and chunks that end anywhere."""
    spec = {**written(tmp_path, kind), "borders": borders}
    small = load(spec)
    request.getfixturevalue("large")
    data = load(spec, Prepared(tmp_path))
    assert isinstance(data, LargeSeries)
    for part in ("search", "test"):
        (one,), (two,) = small.splits(part), data.splits(part)
        assert (two.mean, two.std) == pytest.approx((one.mean, one.std), rel=1e-5)
        assert (one.test is None) == (two.test is None)
        assert one.recipe.keys() == two.recipe.keys()
        for key, value in one.recipe.items():
            mine = [*value] if key == "flags" else value
            exact = key not in ("mean", "std")
            assert two.recipe[key] == (mine if exact else pytest.approx(mine, rel=1e-5))
        for mine, theirs in zip(parts(one), parts(two), strict=True):
            for name in ARRAYS:
                expected, found = getattr(mine, name), getattr(theirs, name)
                np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
                assert mapping(found)


def parts(split):
    """The parts that a split has."""
    return [part for part in (split.train, split.validation, split.test) if part]


@pytest.mark.parametrize(
    ("key", "spec"),
    [
        ("target", {"target": "no such"}),
        ("window", {"window": 0}),
        ("calendar", {"calendar": ["moon"]}),
        ("borders", {"borders": [0.9, 0.8]}),
        ("borders", {"borders": ["1970-01-01", "1970-02-01"]}),
        ("borders", {"borders": ["soon", "1970-02-01"]}),
        ("borders", {"window": 399}),
    ],
)
def test_a_large_file_is_checked_before_anything_is_prepared(tmp_path, large, key, spec):
    """By who only wants to know whether the study can begin."""
    with pytest.raises(DataError) as caught:
        load({**written(tmp_path, "npz"), **spec})
    assert caught.value.key == key


def test_workers_prepare_once_and_share(tmp_path, large, monkeypatch):
    """The second finds what the first has made; without the folder it is made again."""
    spec = written(tmp_path, "npz")
    made = []
    fill = files.fill
    monkeypatch.setattr(files, "fill", lambda *given: (made.append(given[0]), fill(*given)))
    for _ in range(2):
        load(spec, Prepared(tmp_path))
    assert len(made) == 1
    files.remove_folder(tmp_path / scratch.FOLDER)
    load(spec, Prepared(tmp_path))
    assert len(made) == 2


def test_a_disk_of_the_node_may_be_named(tmp_path, large, monkeypatch):
    """TUNER_SCRATCH, in a folder that only its owner can enter."""
    monkeypatch.setenv("TUNER_SCRATCH", str(tmp_path / "node"))
    load(written(tmp_path, "npz"), Prepared(tmp_path / "run"))
    (own,) = (tmp_path / "node").iterdir()
    assert own.stat().st_mode & 0o777 == 0o700
    assert not (tmp_path / "run").exists()


def test_half_of_a_preparation_is_nothing(tmp_path, large, monkeypatch):
    """A full disk leaves no folder of that name, and says what to do."""
    monkeypatch.setattr(files, "_write_all", full)
    with pytest.raises(OSError, match="TUNER_SCRATCH"):
        load(written(tmp_path, "npz"), Prepared(tmp_path))
    assert [path.name for path in (tmp_path / scratch.FOLDER).iterdir()] == ["lock"]


def full(handle, data):
    """A disk without room."""
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("bins", [0, 4])
def test_mapped_and_in_memory_train_alike(tmp_path, large, bins, monkeypatch):
    """The same curve bit for bit, while pages are given back after every batch."""
    (split,) = load({**written(tmp_path, "npz")}, Prepared(tmp_path)).splits("search")
    monkeypatch.setattr(inputs, "_TOUCHED", 1)

    def copied(part):
        arrays = {name: np.array(getattr(part, name)) for name in ARRAYS}
        return dataclasses.replace(part, **arrays)

    plain = dataclasses.replace(
        split, train=copied(split.train), validation=copied(split.validation)
    )
    data = waves()
    curves = []
    for each in (split, plain):
        data._splits = (each,)
        curves.append(run({**FAST, "bins": bins}, data)[1])
    (one, two) = ([record["mse"] for record in curve] for curve in curves)
    assert one == (two if not bins else pytest.approx(two, rel=1e-3))


def test_streamed_and_resident_train_alike(monkeypatch):
    """Gathered a batch ahead on the host or at once on the device: the same curve."""
    resident = run(FAST, waves())
    monkeypatch.setattr(inputs, "_resides", lambda values, device: False)
    made = inputs.Inputs(waves().splits("search")[0].train, torch.device("cpu"))
    assert made.streamed
    assert run(FAST, waves()) == resident
    assert same(made.take(torch.tensor([3, 1])), next(made.batches([torch.tensor([3, 1])])))


@pytest.mark.slow
def test_a_worker_stays_small_on_a_file_that_is_not(tmp_path):
    """A real one, on .3 GB: python -m tests.bench.memory does the same on 4 GB, bar 1.5 GB.

    torch alone is .36 GB; held in memory, the table, its scaled copy and its gaps' are .9 more.
    """
    memory.write(tmp_path / "big.npy", 3e8)
    run = store.create(memory.study(tmp_path / "big.npy"), tmp_path / "run").folder
    run.propose(Proposal(0, {"learning_rate": 1e-3}, seed=0, origin="random"))
    peaks = memory.watched([sys.executable, "-m", "jobs.worker", str(run.path)])
    assert run.result(0).state is State.COMPLETE
    assert peaks["VmHWM"] < 0.8
