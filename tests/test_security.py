"""A machine with other people on it: what they own or can write decides nothing here."""

import dataclasses
import grp
import json
import os
import pickle
import re
import subprocess
import sys

import pytest
import torch

from jobs import doors, files, guard, trust
from jobs.cluster import Cluster
from jobs.contract import Lost
from jobs.folder import RunFolder
from jobs.worker import work
from models.train import from_bytes, to_bytes
from tests import made
from tests.slurm_cluster import REPOSITORY, wait_for
from tests.test_controller import drive
from tests.test_local import results, start, study_file
from tests.test_slurm import SLEEP, write
from tests.test_study import GOOD
from tests.test_worker import _signals, attempt_at, make  # noqa: F401
from tuner import pack, report, resume, run, status, store, study
from tuner.filetrials import FileTrials
from tuner.space import BadInput, Float
from tuner.store import Store


class Evil:
    """What runs a command when it is unpickled."""

    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return os.mkdir, (self.marker,)


def refused(main, monkeypatch, capsys, *argv):
    """The one line with which a command of the tuner ends with 2."""
    monkeypatch.setattr(sys, "argv", ["tuner", *map(str, argv)])
    with pytest.raises(SystemExit) as caught:
        raise SystemExit(main())
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def of(user, path, mode, group=None):
    """Give a file or folder to a user."""
    os.chown(path, user.uid, user.gid if group is None else group)
    path.chmod(mode)
    return path


def study_of(user, folder=None, mode=0o600, group=None, name="study.toml"):
    """A user's study file, whose content nobody may ask for: it is no TOML."""
    path = (folder or user.home) / name
    path.write_text("[")
    return of(user, path, mode, group)


def folder_of(user, path, mode=0o700, group=None):
    """A user's folder."""
    path.mkdir()
    return of(user, path, mode, group)


def link_of(user, path, target):
    """A user's symlink."""
    path.symlink_to(target)
    os.chown(path, user.uid, user.gid, follow_symlinks=False)
    return path


STUDIES = {
    "of somebody else": lambda a, m: (study_of(m, mode=0o644), "cp "),
    "for all to write": lambda a, m: (study_of(a, mode=0o646), "chmod go-w "),
    "for a group to write": lambda a, m: (study_of(a, mode=0o664, group=m.gid), "chmod go-w "),
    "in a folder for all to write": lambda a, m: (
        study_of(a, folder_of(a, a.home / "open", 0o777)), "chmod go-w ",
    ),
    "in a folder of somebody else": lambda a, m: (study_of(a, m.home), "cp "),
    "under a link of somebody else": lambda a, m: (
        link_of(m, m.home.parent / "planted.toml", study_of(a)), "cp ",
    ),
    "behind a link to a folder for all": lambda a, m: (
        link_of(
            a, a.home / "link.toml", study_of(a, folder_of(a, a.home / "open", 0o777)),
        ), "chmod go-w ",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", STUDIES)
def test_a_study_file_that_others_can_change_is_refused_unread(users, monkeypatch, capsys, case):
    """Exit 2, and one line with the file and the remedy."""
    alice, mallory = users
    path, remedy = STUDIES[case](alice, mallory)
    with alice.acting():
        line = refused(run.main, monkeypatch, capsys, path, "--folder", alice.home / "run")
    assert line.startswith(f"error: {alice.home.parent}")
    assert remedy in line
    assert "TOML" not in line
    assert not (alice.home / "run").exists()


TRUSTED = {
    "private": study_of,
    "for its owner's own group": lambda a: study_of(a, mode=0o664),
    "in a folder like /tmp": lambda a: study_of(a, a.home.parent),
    "under a link of one's own": lambda a: link_of(a, a.home / "link.toml", study_of(a)),
    "of the system": lambda a: REPOSITORY / "jobs" / "pm25.toml",
}


@pytest.mark.parametrize("case", TRUSTED)
def test_a_study_file_that_nobody_else_can_change_is_read(users, case):
    """The usual umask of 002 with a group of one's own, /tmp, and what root installed are fine."""
    with users[0].acting():
        trust.check_file(TRUSTED[case](users[0]))


def test_a_study_file_of_somebody_in_ones_own_group_is_refused(users):
    """A group that has the user's name and another member is not the user's alone."""
    alice, mallory = users
    path = study_of(alice, mode=0o664)
    subprocess.run(["gpasswd", "-a", mallory.name, alice.name], check=True, capture_output=True)
    with alice.acting(), pytest.raises(trust.Untrusted, match="others can write"):
        trust.check_file(path)
    subprocess.run(["gpasswd", "-d", mallory.name, alice.name], check=True, capture_output=True)


@pytest.mark.parametrize("case", ["a circle of links", "a closed folder", "no file"])
def test_a_study_file_that_cannot_be_read_is_said_so(users, monkeypatch, capsys, case):
    """Asking who can write it is no reason to fail with a traceback."""
    alice, _ = users
    path = alice.home / "study.toml"
    if case == "a circle of links":
        link_of(alice, path, path)
    elif case == "a closed folder":
        folder_of(alice, alice.home / "closed", 0)
        path = alice.home / "closed" / "study.toml"
    with alice.acting():
        assert "cannot be read" in refused(run.main, monkeypatch, capsys, path)


def made_run(user, **more):
    """A user's run folder, whose records nobody may ask for: they are no JSON."""
    path = folder_of(user, user.home / "run", **more)
    for name in ("open", "done", "jobs"):
        folder_of(user, path / name)
    for name in ("run.json", "settings.json"):
        of(user, path / name, 0o600) if (path / name).write_text("[") else None
    return path


def in_run(user, name, act):
    """A run folder in which something was done to an entry."""
    path = made_run(user)
    entry = path / name
    if entry.is_dir():
        entry.rmdir()
    elif entry.exists():
        entry.unlink()
    act(entry)
    return path


RUNS = {
    "of somebody else": lambda a, m: made_run(m, mode=0o755),
    "for all to write": lambda a, m: made_run(a, mode=0o777),
    "for all to write, though sticky": lambda a, m: made_run(a, mode=0o1777),
    "for a group to write": lambda a, m: made_run(a, mode=0o770, group=m.gid),
    "with somebody's open/": lambda a, m: in_run(a, "open", lambda e: folder_of(m, e, 0o755)),
    "with an open/ for all": lambda a, m: in_run(a, "open", lambda e: folder_of(a, e, 0o777)),
    "with somebody's run.json": lambda a, m: in_run(
        a, "run.json", lambda e: (e.write_text("["), of(m, e, 0o644))
    ),
    "with a link for run.json": lambda a, m: in_run(
        a, "run.json", lambda e: link_of(a, e, study_of(a))
    ),
    "with a link for open/": lambda a, m: in_run(a, "open", lambda e: link_of(a, e, a.home)),
    "with a link for the lock": lambda a, m: in_run(
        a, "controller.lock", lambda e: link_of(a, e, study_of(a))
    ),
    "with a link for results": lambda a, m: in_run(a, "done/000", lambda e: link_of(a, e, a.home)),
    "with a link in jobs/": lambda a, m: in_run(a, "jobs/x", lambda e: link_of(a, e, a.home)),
}  # fmt: skip


@pytest.mark.parametrize("case", RUNS)
def test_a_run_that_others_can_change_is_refused_unread(users, monkeypatch, capsys, case):
    """Owner, mode, planted links, of the folder and of what is in it: one line and the remedy."""
    alice, mallory = users
    path = RUNS[case](alice, mallory)
    with alice.acting():
        line = refused(resume.main, monkeypatch, capsys, path)
    assert line.startswith(f"error: {alice.home.parent}")
    assert any(remedy in line for remedy in ("chmod go-w ", "of your own", "remove it"))
    assert "is not a run" not in line


DOORS = {
    "tuner.run": lambda p, call: call(run.main, p.parent / "study.toml", "--folder", p),
    "tuner.resume": lambda p, call: call(resume.main, p),
    "tuner.report": lambda p, call: call(report.main, p),
    "tuner.status": lambda p, call: call(status.main, p),
    "tuner.pack": lambda p, call: call(pack.main, p),
    "FileTrials": lambda p, call: FileTrials(p),
    "a worker": lambda p, call: work(str(p)),
    "a submission": lambda p, call: Cluster(RunFolder(p), "ab12", {}, 1).submit(1),
}


@pytest.mark.parametrize("door", DOORS)
def test_every_door_to_a_run_asks_first(tmp_path, monkeypatch, capsys, fake_slurm, door):
    """Nothing in the folder is read, and nothing is written into it."""
    path = tmp_path / "run"
    (tmp_path / "study.toml").write_text(GOOD)
    path.mkdir()
    path.chmod(0o777)

    def call(main, *argv):
        raise trust.Untrusted(path, "", refused(main, monkeypatch, capsys, *argv))

    before = os.umask(0o077)
    try:
        with pytest.raises(trust.Untrusted, match="others can write it; chmod go-w"):
            DOORS[door](path, call)
    finally:
        os.umask(before)
    assert os.listdir(path) == []
    assert fake_slurm.calls("sbatch") == []


@pytest.mark.parametrize("command", [resume, report, status, pack], ids=lambda c: c.__name__)
def test_a_run_under_somebody_elses_link_is_refused(users, monkeypatch, capsys, command):
    """It leads to one's own run today; tomorrow it may lead elsewhere."""
    alice, mallory = users
    planted = link_of(mallory, mallory.home.parent / "planted", made_run(alice))
    with alice.acting():
        line = refused(command.main, monkeypatch, capsys, planted)
    assert f"{planted}: belongs to {mallory.name}" in line


def test_resume_passes_over_the_runs_of_others(users, monkeypatch, capsys):
    """Where runs/ is shared, only one's own are looked into."""
    alice, mallory = users
    runs = folder_of(alice, alice.home / "runs")
    theirs = folder_of(mallory, runs / "theirs", 0o755)
    (theirs / "run.json").write_text("{}")
    monkeypatch.chdir(alice.home)
    with alice.acting():
        assert "holds no unfinished run" in refused(resume.main, monkeypatch, capsys)


def test_a_run_is_closed_to_others_even_in_a_folder_that_was_open(tmp_path):
    """The user's own `mkdir` had another umask."""
    (tmp_path / "run").mkdir(mode=0o755)
    make(tmp_path)
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o700


@pytest.fixture
def lab(users):
    """A group that Alice and Mallory are in, beside their own."""
    name = f"tuner-lab-{os.getpid()}"
    subprocess.run(["groupadd", name], check=True)
    for user in users:
        subprocess.run(["gpasswd", "-a", user.name, name], check=True, capture_output=True)
        user.groups = [grp.getgrnam(name).gr_gid]
    yield name
    subprocess.run(["groupdel", name], check=True)


def shared_run(alice, group, **more):
    """A run of Alice's whose study names a group, with one trial that is done."""
    space = {"x": Float(0.0, 1.0)}
    wanted = made.study(space, train="tests.functions:quadratic", n_trials=1, group=group, **more)
    run = store.create(wanted, alice.home / "run")
    os.umask(doors.umask(run.path))  # as our commands have it
    drive(run)
    return run


def test_a_colleague_in_the_group_may_look_and_nobody_else_may(users, lab, monkeypatch, capsys):
    """Everything is the group's to read, what is written later too, and nothing is to write."""
    alice, mallory = users
    with alice.acting():
        run = shared_run(alice, lab)
        before = {path: path.lstat().st_mtime_ns for path in run.path.rglob("*")}
    for path in (run.path, *run.path.rglob("*")):
        info = path.stat()
        assert (info.st_gid, info.st_mode & 0o027) == (alice.groups[0], 0), path
        assert info.st_mode & 0o050 == (0o050 if path.is_dir() else 0o040), path
    monkeypatch.setattr(sys, "argv", ["status", str(run.path)])
    with mallory.acting():
        status.main()
        assert "1 of 1 trials are done" in capsys.readouterr().out
        with pytest.raises(trust.Untrusted, match="belongs to"):
            Store(run.path)
    assert {path: path.lstat().st_mtime_ns for path in run.path.rglob("*")} == before
    mallory.groups = []
    with mallory.acting():
        assert "ask " in refused(status.main, monkeypatch, capsys, run.path)


@pytest.mark.slow
def test_a_run_that_the_command_began_is_the_groups_from_its_first_file(users, lab, tmp_path):
    """Of `tuner.run` and its workers; a second one, and FileTrials, leave it open."""
    alice, mallory = users
    path = alice.home / "shared.toml"
    path.write_text(f"{GOOD.strip()}\n".replace("direction", f'group = "{lab}"\ndirection', 1))
    os.chown(path, alice.uid, alice.gid)
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY), "HOME": str(alice.home)}
    for _ in range(2):
        with alice.acting():
            subprocess.run(
                [sys.executable, "-m", "tuner.run", path, "--folder", alice.home / "runs" / "run"],
                check=True, capture_output=True, cwd=alice.home, env=env,
            )  # fmt: skip
        run = alice.home / "runs" / "run"
        closed = [p for p in run.rglob("*") if p.is_file() and not p.stat().st_mode & 0o040]
        assert [p.name for p in closed if p.suffix != ".lock"] == []
    with alice.acting():
        RunFolder(run).make()  # as FileTrials does
    assert run.stat().st_mode & 0o7777 == 0o2750
    with mallory.acting():
        assert status.status(Store(run, trust.check_reader))["state"] == "finished"


def test_a_run_is_shared_later_and_closed_again(users, lab):
    """What is there already is opened too; without the key it is its owner's alone."""
    alice, _ = users
    with alice.acting():
        run = shared_run(alice, None)
        assert run.path.stat().st_mode & 0o7777 == 0o700
        result = run.folder.result_path(0)
        assert result.stat().st_gid == alice.gid
        store.create(dataclasses.replace(run.study, group=lab), run.path)
        assert (result.stat().st_gid, result.stat().st_mode & 0o777) == (alice.groups[0], 0o640)
        assert run.path.stat().st_mode & 0o7777 == 0o2750
        late = run.path / "open" / "late.json"
        late.write_text("{}")
        late.chmod(0o600)
        store.create(dataclasses.replace(run.study, group=lab), run.path)  # asks one file
        assert late.stat().st_mode & 0o777 == 0o600
        store.create(run.study, run.path)
        assert run.path.stat().st_mode & 0o7777 == 0o700


@pytest.mark.parametrize("name", ["no-such-group", "daemon"])
def test_a_group_of_others_is_refused(users, name):
    """Before anything is made."""
    alice, _ = users
    with alice.acting(), pytest.raises(BadInput, match="you are in no group"):
        shared_run(alice, name)
    assert not (alice.home / "run").exists()


SUBMISSIONS = {
    "of one's own": lambda a, m, e: folder_with(a, e, of=a),
    "with somebody's pickle": lambda a, m, e: folder_with(a, e, of=m),
    "with a pickle for all to write": lambda a, m, e: folder_with(a, e, of=a, mode=0o666),
    "for all to write": lambda a, m, e: folder_with(a, e, of=a, folder=0o777),
    "of somebody else": lambda a, m, e: folder_with(m, e, of=m, folder=0o755, mode=0o644),
}


def folder_with(owner, evil, of, folder=0o700, mode=0o600):
    """A submission's folder with a pickle that leaves a mark."""
    path = folder_of(owner, owner.home / "slurm-1", folder)
    submitted = path / "77_submitted.pkl"
    submitted.write_bytes(pickle.dumps(evil))
    os.chown(submitted, of.uid, of.gid)
    submitted.chmod(mode)
    return path


@pytest.mark.parametrize("case", SUBMISSIONS)
def test_a_job_unpickles_only_what_nobody_else_can_have_written(users, case):
    """The job's own command asks before submitit loads anything; a good folder is loaded."""
    alice, mallory = users
    marker = alice.home / "ran"
    path = SUBMISSIONS[case](alice, mallory, Evil(marker))
    load = "import pickle, sys; pickle.load(open(sys.argv[1] + '/77_submitted.pkl', 'rb'))"

    def become(command, argv):
        handle = int(argv[-1].split("/")[-1])
        subprocess.run([sys.executable, *argv[1:]], check=True, pass_fds=[handle])

    with alice.acting(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["guard", "-c", load, str(path)])
        patch.setattr(os, "execv", lambda *a: become(*a) or 0)
        assert guard.main() == (0 if case == "of one's own" else 2)
    assert marker.exists() == (case == "of one's own")


def test_the_command_of_a_job_goes_through_the_guard(tmp_path, fake_slurm):
    """Every road to submitit's pickle, arrays and single jobs."""
    folder = RunFolder(tmp_path / "run")
    folder.make()
    fake_slurm.says("sbatch", "Submitted batch job 77\n")
    for jobs in (1, 3):
        Cluster(folder, "ab12", {}, 1).submit(jobs)
    for script in folder.jobs.glob("*/77_submission.sh"):
        command = next(ln for ln in script.read_text().splitlines() if ln.startswith("srun "))
        assert (
            f"{sys.executable} -m jobs.guard -u -m submitit.core._submit {script.parent}" in command
        )
    assert len(files.names(folder.jobs)) == 2


def test_a_checkpoint_runs_nothing(tmp_path):
    """A pickle in a checkpoint's place is refused, and the trial begins anew."""
    marker = tmp_path / "ran"
    folder = make(tmp_path)
    attempt_at(folder)
    folder.lose(Lost(0, 1, "x", by="controller"))
    evil = pickle.dumps(Evil(marker), protocol=2)
    folder.of(0, "checkpoint", 1).write_bytes(evil)
    with pytest.raises(pickle.UnpicklingError):
        from_bytes(evil)
    torch.save({"step": 0, "state": Evil(marker)}, folder.of(0, "checkpoint", 1))
    work(str(folder.path))
    assert folder.result(0).value == 6.0
    assert not marker.exists()
    assert from_bytes(to_bytes({"done": 1})) == {"done": 1}


def test_planted_links_are_not_followed_by_a_worker(tmp_path):
    """Neither to read a checkpoint nor to write metrics or a log."""
    folder = make(tmp_path)
    secret = tmp_path / "secret"
    secret.write_bytes(to_bytes({"step": 4, "state": {"done": 5, "value": 99.0}}))
    content = secret.read_bytes()
    attempt_at(folder)
    folder.lose(Lost(0, 1, "x", by="controller"))
    folder.of(0, "checkpoint", 1).symlink_to(secret)
    folder.of(0, "checkpoint", 2).symlink_to(secret)
    folder.kept(0).symlink_to(secret)
    work(str(folder.path))
    assert folder.result(0).value == 6.0
    (folder.jobs / "log.txt").symlink_to(secret)
    with pytest.raises(OSError, match="symbolic links"):
        files.open_log(folder.jobs / "log.txt")
    assert secret.read_bytes() == content


NAMES = ["", ".", "..", "a b", "a\\nb", "a;b", "$(id)", "`id`", "a'b", "a/b", "ü", "x" * 65, "a%j"]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_letters_digits_and_little_else(tmp_path, name):
    """It becomes a folder's name."""
    path = tmp_path / "study.toml"
    path.write_text(f'name = "{name}"' + GOOD)
    with pytest.raises(BadInput) as caught:
        study.read(path)
    assert caught.value.key == "name"


OPTIONS = [
    'partition = "a\\nb"', 'partition = "a\\rb"', 'partition = "a\\u2028b"', "partition = 'a\"b'",
    'partition = "a\'b"', 'partition = "a;b"', 'partition = "$(id)"', 'partition = "`id`"',
    'partition = "a\\\\b"', 'partition = "a #b"', 'partition = ["a", "b;c"]', "exclusive = false",
    'job-name = "a"', 'job_name = "a"', 'comment = "a"', 'comm = "a"', 'array = "0-9"',
    'output = "a"', 'err = "a"', 'export = "ALL"', 'wrap = "id"', 'J = "a"', '"x --wrap" = "id"',
    '"" = "a"',
]  # fmt: skip


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_that_could_be_more_than_one_is_refused(tmp_path, option):
    """Nothing begins a second option or a command, and what the executor sets stays its own."""
    path = tmp_path / "study.toml"
    path.write_text(GOOD + f"[jobs.slurm]\n{option}\n")
    with pytest.raises(BadInput) as caught:
        study.read(path)
    assert caught.value.key.startswith("jobs.slurm.")


def test_a_local_worker_gets_neither_token_nor_secret(tmp_path):
    """The environment is an allow-list; parameters are in files that are the owner's alone."""
    fixed = f'into = "{tmp_path / "seen.json"}"\nsecret = "s3cret"'
    path = study_file(tmp_path, "environment", 1, fixed)
    given = {"API_TOKEN": "t0ken", "OMP_PROC_BIND": "true", "SLURM_JOB_END_TIME": "4e9"}
    folder = tmp_path / "run"
    before = os.umask(0)
    try:
        with pytest.MonkeyPatch.context() as patch:
            for key, value in given.items():
                patch.setenv(key, value)
            controller = start(tmp_path, "tuner.run", path, "--folder", folder)
        output, _ = controller.communicate(timeout=120)
    finally:
        os.umask(before)
    assert controller.returncode == 0, output
    assert [r["state"] for r in results(folder)] == ["COMPLETE"]
    seen = json.loads((tmp_path / "seen.json").read_text())
    assert "t0ken" not in json.dumps(seen["environment"])
    assert {"OMP_PROC_BIND", "SLURM_JOB_END_TIME", "PATH"} <= seen["environment"].keys()
    assert "s3cret" not in json.dumps([seen["environment"], seen["command"]])
    assert seen["umask"] == 0o077
    assert open_to_others(folder) == []


def open_to_others(folder):
    """What of a run somebody else could open."""
    found = [path for path in (folder, *folder.rglob("*")) if not path.is_symlink()]
    return [path for path in found if path.stat().st_mode & 0o077]


@pytest.mark.slurm
def test_a_job_on_slurm_shows_no_secret_and_takes_an_odd_folder(cluster):
    """Names, comments, command lines, the script and the environment; files are the owner's."""
    seen = cluster.project / "seen.json"
    text = SLEEP.replace("seconds = 4", f'into = "{seen}"\nsecret = "s3cret"')
    text = text.replace(":sleep", ":environment").replace("= 32", "= 2").replace("= 8", "= 1")
    path = write(cluster, "secret.toml", text)
    folder = cluster.project / "runs" / ODD
    command = [str(cluster.python), "-m", "tuner.run", path, "--folder", str(folder)]
    line = cluster.command(command, {"API_TOKEN": "t0ken"})
    with subprocess.Popen(line, cwd=cluster.project, stderr=subprocess.PIPE, text=True) as process:
        wait_for(seen.exists, 120)
        shown = cluster.run(["scontrol", "show", "job", "-dd"]).stdout
        script = cluster.run(["scontrol", "write", "batch_script", job_of(shown), "-"]).stdout
        _, output = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert [r["state"] for r in results(folder)] == ["COMPLETE"] * 2
    found = json.loads(seen.read_text())
    assert "jobs.guard" in script
    assert "t0ken" not in json.dumps(found["environment"])
    assert "s3cret" not in json.dumps([found["environment"], found["command"], shown, script])
    assert found["umask"] == 0o077
    assert open_to_others(folder) == []


def job_of(shown):
    """The number of the newest job that scontrol shows."""
    return max(re.findall(r"JobId=(\d+)", shown), key=int)


ODD = 'it\'s 50% of $(id) "Ünï; 模型"'
