"""The digest: many results in one file; it may be gone, torn or old, and changes no answer."""

import pytest

from jobs import archive, files
from tests import manyresults
from tests.manyresults import digested_run, finished_run, measure
from tests.test_controller import drive, make
from tuner import digest as digests
from tuner.digest import Digest
from tuner.store import Store


def digested(run):
    """The run once a controller has written its digest."""
    Digest(run.folder).extend(run.view().finished)
    return run


def opened(run, monkeypatch):
    """The results that are read one by one when the run is loaded, and its trials."""
    paths = []
    real = files.read
    monkeypatch.setattr(files, "read", lambda path: paths.append(path.name) or real(path))
    trials = Store(run.path).trials()
    monkeypatch.setattr(files, "read", real)
    return [name for name in paths if name.endswith(".result.json")], trials


@pytest.fixture
def run(tmp_path):
    """A run with 60 results, and its digest."""
    return digested(finished_run(tmp_path / "run", 60))


@pytest.fixture
def truth(tmp_path):
    """The trials of that run as its result files have them."""
    return finished_run(tmp_path / "truth", 60).trials()


def test_ten_thousand_trials_load_in_two_seconds(tmp_path):
    """And 100,000 fit into a gigabyte (`python -m tests.manyresults` measures those)."""
    digested_run(tmp_path / "run", 10_000)
    found = measure(tmp_path / "run")
    assert found["trials"] == 10_000
    assert found["seconds"] < 2
    assert found["megabytes"] < 50  # half of a tenth: what Python itself takes is not in it


def test_a_digest_gives_what_the_files_give(run, truth, monkeypatch):
    """Every field of every trial, the curves too, and no result is opened."""
    read, trials = opened(run, monkeypatch)
    assert read == []
    assert trials == truth
    assert [t.curve[-1]["step"] for t in trials] == [1] * 60


DAMAGES = {
    "deleted": lambda path, data: path.unlink(),
    "torn": lambda path, data: path.write_bytes(data[: len(data) // 2 + 7]),
    "zeros": lambda path, data: path.write_bytes(data[:999] + bytes(4096) + data[5095:]),
    "flipped": lambda path, data: path.write_bytes(data.replace(b'"value":5', b'"value":6')),
    "double": lambda path, data: path.write_bytes(data + data),
    "not a digest": lambda path, data: path.write_bytes(b"{}\n[]\n\n\t\t\t\t\n" + b"x" * 99),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_digest_changes_no_answer(run, truth, damage):
    """What it lacks is read from done/."""
    path = run.path / "digest.jsonl"
    DAMAGES[damage](path, path.read_bytes())
    assert Store(run.path).trials() == truth


def test_the_digest_of_another_run_counts_for_nothing(run, tmp_path, monkeypatch):
    """Its lines are written with that run's id."""
    other = finished_run(tmp_path / "other", 60)
    (run.path / "digest.jsonl").replace(other.path / "digest.jsonl")
    read, _ = opened(other, monkeypatch)
    assert len(read) == 60


def test_only_listed_numbers_are_taken_from_a_digest(run):
    """A result that is not in done/ is no result."""
    run.folder.result_path(30).unlink()
    trials = Store(run.path).trials(run.folder.look())
    assert [t.number for t in trials] == [n for n in range(60) if n != 30]


def test_a_digest_that_is_newer_than_done_goes(run):
    """After a restored backup a number may get another result than the digest has."""
    run.folder.result_path(59).unlink()
    digested(run)
    files.write_once(run.folder.result_path(59), manyresults.table(58) | {"number": 59})
    found = Store(run.path).trials()
    assert found[59].params == found[58].params


def test_a_controller_appends_each_result_once(tmp_path):
    """Across ticks and restarts; the lines are JSON that other tools can read."""
    run = make(tmp_path, n_trials=5)
    drive(run)
    drive(Store(run.path))
    entries = list(archive.read(run.folder.archives.digest, run.id))
    assert sorted(entry.number for entry in entries) == list(range(5))
    records = files.read_lines(run.folder.archives.digest)
    assert {r["number"]: r["result"]["value"] for r in records} == {
        t.number: t.value for t in run.trials()
    }


def test_two_controllers_at_once_do_no_harm(tmp_path, truth):
    """Neither knows what the other appends: lines are there twice, and results once."""
    run = finished_run(tmp_path / "run", 60)
    both = Digest(run.folder), Digest(run.folder)
    for finished in (frozenset(), run.view().finished):
        for digest in both:
            digest.extend(finished)
    assert len(list(archive.read(run.path / "digest.jsonl", run.id))) == 120
    assert Store(run.path).trials() == truth


def test_a_disk_that_refuses_the_digest_stops_nobody(tmp_path, monkeypatch):
    """It is a cache; the next tick tries again."""
    run = finished_run(tmp_path / "run", 3)
    digest = Digest(run.folder)

    def full(path, lines):
        raise OSError(28, "no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(digests.files, "append_lines", full)
        digest.extend(run.view().finished)
    assert not (run.path / "digest.jsonl").exists()
    digest.extend(run.view().finished)
    assert len(list(archive.read(run.path / "digest.jsonl", run.id))) == 3


def test_ten_thousand_finished_trials_are_few_files(tmp_path):
    """A finished trial is one file: what open/ had of it is swept, and nothing else grows."""
    run = make(tmp_path, n_trials=3)
    drive(run)
    before = {path for path in run.path.rglob("*") if path.is_file()}
    more = make(tmp_path, n_trials=30)
    drive(more)
    after = {path for path in run.path.rglob("*") if path.is_file()}
    assert len(after - before) == 27
    assert 10_000 + len(before) - 3 < 10_500
