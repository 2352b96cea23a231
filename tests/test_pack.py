"""A packed run: a few files that every command reads; a kill while packing loses nothing."""

import dataclasses
import os
import shutil
import sys
import tarfile

import pytest

from jobs import files
from jobs import folder as home
from jobs.contract import Claim, Proposal
from jobs.executor import Slots
from jobs.folder import RunFolder
from tests.manyresults import finished_run, result
from tests.test_controller import drive, make
from tuner import looks, pack, report, resume
from tuner.space import BadInput
from tuner.store import Store, create


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch):
    """Several shards of a few results."""
    monkeypatch.setattr(home, "SHARD", 4)


def all_files(run):
    """The files of a run by their names in it, but for drafts, which are swept after an hour."""
    found = (path for path in run.path.rglob("[!.]*") if path.is_file())
    return {str(path.relative_to(run.path)) for path in found}


def littered(path, n=10):
    """A finished run with logs of failed workers, and with weights of all kinds."""
    run = finished_run(path, n)
    test, left = ({"part": part, "of": 3} for part in ("test", "leave:1"))
    for number, more in ((n, test), (n + 1, left)):
        run.folder.publish(dataclasses.replace(result(number, 2), **more))
        for target in (run.folder.kept(number), run.folder.predictions(number)):
            files.replace(target, target.name.encode())
    for number in (3, 4):
        files.replace(run.folder.kept(number), b"best")
    for name in ("slurm-a", "slurm-b"):
        files.make_folder(run.folder.jobs / name)
        files.replace(run.folder.jobs / name / f"7_0_0_{name}.err", f"error of {name}".encode())
    return Store(run.path)


LOGS = {f"jobs/slurm-{x}/7_0_0_slurm-{x}.err": f"error of slurm-{x}".encode() for x in "ab"}
LEFT = {f"weights/000011.{end}": f"000011.{end}".encode() for end in ("pt", "test.npz")}


PACKED = {"done/000012.packed.jsonl", "done/002/000011.result.json"}


def kept(run):
    """Every log and weight that was packed, or is still to be packed."""
    found = {name: (run.path / name).read_bytes() for name in all_files(run)}
    if "packed.tar" in found:
        with tarfile.open(run.path / "packed.tar") as tar:
            found |= {member.name: tar.extractfile(member).read() for member in tar}
    return {name: found.get(name) for name in (LOGS | LEFT)}


def test_a_packed_run_is_a_few_files_with_the_same_trials(tmp_path):
    """The pack guards the numbers, and the last result stays beside it."""
    run = littered(tmp_path / "run")
    before = run.trials()
    pack.pack(run)
    assert Store(run.path).trials() == before
    assert {n for n in all_files(run) if n.startswith("done")} == PACKED
    assert {n for n in all_files(run) if n.startswith(("jobs", "weights", "digest"))} == {
        f"weights/{name}" for name in ("000003.pt", "000004.pt", "000010.pt", "000010.test.npz")
    }
    assert kept(run) == LOGS | LEFT


def test_the_winners_fresh_models_stay_outside_of_the_bundle(tmp_path):
    """They are what a search is for; a test that comes later goes on from them."""
    run = finished_run(tmp_path / "run", 4)
    run.folder.publish(dataclasses.replace(result(4, 2), part="confirm:0", of=3))
    files.replace(run.folder.kept(4), b"fresh")
    looks.note(run.path, "test", 5, 4, 1)
    pack.pack(Store(run.path))
    assert run.folder.kept(4).read_bytes() == b"fresh"
    assert "looks.jsonl" in all_files(run)


def test_thousands_of_trials_become_fewer_than_fifty_files(tmp_path, monkeypatch):
    """A report is among them, and names where its numbers came from."""
    monkeypatch.setattr(home, "SHARD", 1000)
    monkeypatch.setattr(report, "pictures", lambda *arguments, kinds: {})
    run = finished_run(tmp_path / "run", 2100)
    pack.pack(run)
    report.refresh(Store(run.path))
    assert len(all_files(run)) < 50
    assert len(Store(run.path).trials()) == 2100
    assert b"done/002100.packed.jsonl" in (run.path / "report" / "best.json").read_bytes()


@pytest.mark.parametrize("again", ["pack", "report", "resume", "run"])
def test_every_command_reads_a_packed_run(tmp_path, monkeypatch, again):
    """As its user types it; the table of the report is the same as before."""
    monkeypatch.setattr(report, "pictures", lambda *arguments, kinds: {})
    run = finished_run(tmp_path / "run", 4)
    table = run.path / "report" / "bayesian_optimization_results.csv"
    commands = {"pack": pack, "report": report, "resume": resume}

    def call(name):
        monkeypatch.setattr(sys, "argv", [f"tuner.{name}", str(run.path)])
        assert not commands[name].main()

    report.refresh(run)
    before = table.read_bytes()
    call("pack")
    table.unlink()
    if again == "run":
        create(run.study, run.path)  # as tuner.run does with the study's file
        again = "resume"
    call(again)
    report.refresh(Store(run.path))
    assert table.read_bytes() == before
    assert not run.folder.result_path(0).exists()


def test_more_trials_go_on_in_a_packed_run(tmp_path):
    """With the numbers after the packed ones; packed again it is one pack."""
    run = make(tmp_path, n_trials=6)
    drive(run)
    before = run.trials()
    pack.pack(run)
    more = make(tmp_path, n_trials=11)
    drive(more)
    pack.pack(Store(run.path))
    trials = Store(run.path).trials()
    assert trials[:6] == before
    assert [t.number for t in trials] == list(range(11))
    packs = [name for name in files.names(run.folder.done) if "packed" in name]
    assert packs == ["000011.packed.jsonl"]


def test_a_packed_number_is_finished_for_ever(tmp_path):
    """A worker that slept through the packing can publish nothing that counts."""
    run = littered(tmp_path / "run")
    sleeper = RunFolder(run.path)
    before = run.trials()
    pack.pack(run)
    assert not RunFolder(run.path).publish(result(5))
    files.make_folder(sleeper.result_path(2).parent)
    other = dataclasses.asdict(result(9)) | {"number": 2}
    files.write_once(sleeper.result_path(2), other)
    sleeper.claim(Claim(2, 1, "sleeper"))
    assert not sleeper.look().holds(Claim(2, 1, "sleeper"))
    assert Store(run.path).trials() == before
    pack.pack(Store(run.path))
    assert Store(run.path).trials() == before


def test_who_does_not_see_the_pack_yet_finds_a_hole(tmp_path):
    """NFS shows an old listing of done/ for a minute: nobody takes it for a shorter run."""
    run = littered(tmp_path / "run")
    pack.pack(run)
    run.folder.archives.pack(12).rename(tmp_path / "unseen")
    view = RunFolder(run.path).look()
    assert view.size == 12
    assert not view.whole


def open_trial(run, monkeypatch):
    """A trial still waits."""
    run.folder.propose(Proposal(12, {}, 0, "random"))


def workers(run, monkeypatch):
    """A worker is still there."""
    monkeypatch.setattr(pack.drive.Local, "slots", lambda self: Slots(1, frozenset()))


def unread(run, monkeypatch):
    """A result is torn."""
    run.folder.result_path(5).write_bytes(b"{")


def fmin(run, monkeypatch):
    """hyperopt's own view of its points is there."""
    files.make_folder(run.path / "fmin")


OBSTACLES = {open_trial: "unfinished", workers: "workers", unread: "cannot be read", fmin: "fmin"}


@pytest.mark.parametrize("obstacle", OBSTACLES)
def test_what_is_not_finished_is_not_packed(tmp_path, monkeypatch, obstacle):
    """With a line that says why; nothing is changed."""
    run = littered(tmp_path / "run")
    obstacle(run, monkeypatch)
    before = all_files(run)
    with pytest.raises(BadInput, match=OBSTACLES[obstacle]):
        pack.pack(run)
    assert all_files(run) - {"controller.lock"} == before


def test_a_damaged_pack_is_never_removed(tmp_path):
    """A second call finds the holes, says so, and keeps what there is."""
    run = littered(tmp_path / "run")
    pack.pack(run)
    path = run.folder.archives.pack(12)
    path.write_bytes(path.read_bytes().replace(b'"attempts":1', b'"attempts":2', 1))
    with pytest.raises(BadInput, match="holes"):
        pack.pack(Store(run.path))
    assert len(Store(run.path).trials()) == 11


OPERATIONS = ("write", "fsync", "link", "replace", "unlink", "rmdir", "mkdir")


def killed_at(run, moment):
    """Pack in a child that dies before its n-th file operation; whether it died."""
    child = os.fork()
    if child == 0:
        left = [moment]

        def dying(real):
            def operation(*arguments, **options):
                left[0] -= 1
                if left[0] < 0:
                    os._exit(9)
                return real(*arguments, **options)

            return operation

        for name in OPERATIONS:
            setattr(os, name, dying(getattr(os, name)))
        try:
            pack.pack(Store(run.path))
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def test_a_kill_at_any_file_operation_loses_nothing(tmp_path, monkeypatch):
    """Every trial is read as before, every log is there, and the next call ends the packing."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # a kill does not empty the disk's cache
    whole = littered(tmp_path / "whole")
    before, moment, died = whole.trials(), 0, True
    while died:
        shutil.copytree(whole.path, tmp_path / str(moment))
        run = Store(tmp_path / str(moment))
        died = killed_at(run, moment)
        for _ in range(2):
            assert Store(run.path).trials() == before
            assert kept(run) == LOGS | LEFT
            pack.pack(Store(run.path))
        assert {name for name in all_files(run) if name.startswith(("done", "jobs"))} == PACKED
        moment += 1
    assert moment > 40
