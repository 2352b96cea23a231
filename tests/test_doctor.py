"""`python -m tuner.doctor`: what would go wrong is said before a GPU-hour is spent."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jobs import canary, files
from tests import made
from tests.slurm_cluster import wait_for
from tuner.doctor import Finding, _clock, _data, _disk, _point, _room, examine
from tuner.errand import send, throw_away
from tuner.forecast import LARGEST, MIDDLE, forecast, points
from tuner.page.words import number
from tuner.settings import Confirm, Jobs
from tuner.space import BadInput, Int, Space
from tuner.study import Study
from tuner.units import amount, duration

OWN = """
direction = "minimize"
n_trials = 10
train = "{train}"
[space]
x = {{ type = "float", low = 0, high = 1 }}
[fixed]
epochs = 2
seconds = 0.2
[jobs]
executor = "{executor}"
device = "cpu"
[jobs.slurm]
gres = "gpu:1"
"""
SPACE = {
    "rate": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True},
    "units": {"type": "int", "low": 16, "high": 64, "step": 16},
    "batch": {"type": "categorical", "choices": [64, 256, 128]},
    "optimizer": {"type": "categorical", "choices": ["adam", "sgd"]},
    "momentum": {"type": "float", "low": 0, "high": 0.9, "when": {"optimizer": "adam"}},
}


def study(**more):
    """A study of ten trials of twenty epochs."""
    known = {"name": "s", "direction": "minimize", "n_trials": 10, "fixed": {"epochs": 20}}
    return Study(**{**known, "space": Space.from_table(SPACE), **more})


def write(folder, train="tests.functions:quadratic", executor="local"):
    """A study file of a user's own function."""
    path = Path(folder) / "own.toml"
    path.write_text(OWN.format(train=train, executor=executor))
    return path


def doctor(path, *options):
    """The command, as a user types it."""
    command = [sys.executable, "-m", "tuner.doctor", str(path), *options]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    return subprocess.run(
        command, text=True, capture_output=True, check=False, cwd=path.parent, env=environment
    )


@pytest.mark.fast
def test_the_largest_point_is_the_highest_of_every_number():
    """And a point of the space: where a condition does not hold the parameter is left out."""
    found = points(Space.from_table(SPACE))
    assert found[LARGEST] == {"rate": 1e-2, "units": 64, "batch": 256, "optimizer": "sgd"}
    assert found[MIDDLE]["rate"] == pytest.approx(1e-3)
    for point in found.values():
        Space.from_table(SPACE).check(point)


@pytest.mark.fast
def test_a_forecast_counts_gpus_workers_and_rounds():
    """Ten trials of 20 epochs of 18 s: one GPU-hour; four workers take three rounds of 6 min."""
    jobs = Jobs(n_workers=4, slurm={"gres": "gpu:1"})
    found = forecast(study(jobs=jobs), {}, 18.0)
    assert (found.hours, found.seconds, found.trial_seconds) == (1.0, 3 * 360.0, 360.0)
    shared = forecast(study(jobs=replace(jobs, workers_per_gpu=2, slurm={"gres": "gpu:4"})), {}, 18)
    assert shared.hours == 2.0
    confirmed = forecast(study(jobs=jobs, confirm=Confirm(top=2, seeds=5)), {}, 18.0)
    assert (confirmed.hours, confirmed.seconds) == (2.0, 5 * 360.0)
    assert forecast(study(fixed={}), {"epochs": 10}, 18.0).trial_seconds == 180.0


@pytest.mark.fast
@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.25, "0.25 s"),
        (90, "90 s"),
        (110, "110 s"),
        (600, "10 min"),
        (9000, "2.5 h"),
        (259200, "3 days"),
        (1e9, "11574 days"),
    ],
)
def test_a_duration_is_said_in_its_unit(seconds, said):
    """Nobody thinks in 0.00039 days."""
    assert duration(seconds) == said


@pytest.mark.fast
@pytest.mark.parametrize(
    ("hours", "said"),
    [(0.0, "0"), (2e-5, "under 0.001"), (0.0123, "0.0123"), (187.4, "187"), (1234.5, "1234")],
)
def test_hours_have_no_power_of_ten(hours, said):
    """Neither a small study's nor a large one's."""
    assert amount(hours) == said
    assert number(1234.5, 3) == "1234"


@pytest.mark.fast
def test_a_finding_with_a_remedy_is_a_cross():
    """The remedy stands below it."""
    assert Finding("clock", "fine").line == "✓ clock      fine"
    assert Finding("clock", "off", "mend it").line == "✗ clock      off\n    → mend it"
    assert not _clock("this host", -4.0).remedy
    assert _clock("this host", -6.0).remedy


@pytest.mark.fast
@pytest.mark.parametrize(("used", "ok"), [(30, True), (50, False)])
def test_a_point_that_will_not_fit_is_found(used, ok):
    """Two workers share the GPU of 80 GB here."""
    took = {"epoch_seconds": 1.0, "device_bytes": used * 10**9, "host_bytes": 10**9}
    found = {"gpu": "H100", "gpu_bytes": 80 * 10**9, "host_limit": 0, LARGEST: took}
    wanted = study(jobs=Jobs(workers_per_gpu=2))
    said = {f.what: f for f in _point(wanted, LARGEST, found)}
    assert "GPU-hours" in said[LARGEST].text
    assert (not said["memory"].remedy) is ok


@pytest.mark.fast
@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ("Invalid account or account/partition combination specified", "account"),
        ("invalid partition specified: nosuch", "sinfo"),
        ("Requested time limit is invalid (missing or exceeds some limit)", "time ="),
        ("Unable to allocate resources: Requested node configuration is not available", "%G"),
        ("Something new", "[jobs.slurm]"),
        ("unrecognized option '--patition'\nTry \"sbatch --help\" for more", "[jobs.slurm]"),
    ],
)
def test_sbatch_is_asked_before_a_job_is_sent(fake_slurm, tmp_path, said, remedy):
    """Its own words, and what to change; the job that would not come back is not sent."""
    fake_slurm.says("sbatch", stderr=f"sbatch: error: {said}\n", rc=1)
    jobs = Jobs(executor="slurm", slurm={"gres": "gpu:1", "exclusive": True, "cpus_per_task": 2})
    wanted = study(train="tests.functions:quadratic", jobs=jobs)
    found = list(examine(wanted, tmp_path / "runs", 1.0))
    (bad,) = [finding for finding in found if finding.remedy]
    assert said.splitlines()[0] in bad.text
    assert remedy in bad.remedy
    (call,) = fake_slurm.calls("sbatch")
    given = {"--test-only", "--gres=gpu:1", "--exclusive", "--cpus-per-task=2"}
    assert given <= set(call["argv"])
    assert not (tmp_path / "runs").exists()


@pytest.mark.fast
@pytest.mark.parametrize(("start", "reports", "seconds"), [(0.2, 2, 0.01), (0.2, 1, 0.2)])
def test_an_epoch_of_an_own_function_is_one_that_is_not_the_first(
    monkeypatch, start, reports, seconds
):
    """The first has imports in it; where it takes minutes, it alone has to do."""
    monkeypatch.setattr("jobs.canary._LONG", 0.1 if reports == 1 else 60.0)
    said = []

    def train(params, data, report, checkpoint, seed):
        time.sleep(start)
        for step in range(9):
            said.append(step)
            report(step, loss=1.0)
            time.sleep(seconds)

    found = canary._epoch(train, {}, None, 0)["epoch_seconds"]
    assert len(said) == reports
    assert seconds <= found < seconds + 0.15


@pytest.mark.fast
def test_data_larger_than_memory_are_not_prepared_by_the_doctor(monkeypatch, tmp_path):
    """The first worker does that, once for all."""
    monkeypatch.setattr("models.data.LARGE", 10)
    table = tmp_path / "table.npy"
    np.save(table, np.random.default_rng(0).normal(size=(500, 2)).astype(np.float32))
    data = {"source": str(table), "target": "0", "window": 4}
    space = {"lstm_units": Int(8, 16)}
    size, columns = _data(made.study(space, data=data))
    assert "larger than memory" in size.text
    assert columns.text == "'0' is forecast from itself, '1'"


@pytest.mark.fast
def test_a_disk_without_hard_links_is_said_and_where_to_go(tmp_path, monkeypatch):
    """Nothing that works is claimed of it."""
    monkeypatch.setattr(files, "write_once", lambda path, record: True)
    folder = next(_disk(made.study(), tmp_path))
    assert folder.line.startswith("✗ folder     two hosts could claim one trial")
    assert "--runs" in folder.remedy


@pytest.mark.fast
def test_what_our_training_refuses_the_doctor_refuses():
    """Before a job is sent: as tuner.run does."""
    data = {"source": "prototype", "target": "target", "window": 20}
    wanted = made.study({"lstm_units": Int(8, 16)}, data=data, fixed={"precision": "fp16"})
    with pytest.raises(BadInput, match="none of float32, bf16, auto"):
        list(_data(wanted))


@pytest.mark.fast
def test_the_columns_that_are_seen_are_named(tmp_path):
    """Those of words, and of dates without `time`, are not among them: nothing else says so."""
    table = tmp_path / "plant.csv"
    rows = [f"2024-01-{day:02},north,{day * 0.1},{day % 7}" for day in range(1, 29)]
    table.write_text("\n".join(["day,site,flow,yield", *rows]))
    data = {"source": str(table), "target": "yield", "window": 2}
    _, columns = _data(made.study({"lstm_units": Int(8, 16)}, data=data))
    assert columns.text == "'yield' is forecast from itself, 'flow'"


@pytest.mark.fast
def test_a_used_up_quota_is_found(monkeypatch, tmp_path):
    """`quota -q` is silent while all is well."""
    quota = tmp_path / "quota"
    quota.write_text("#!/bin/sh\necho Disk quotas for user a: $1 block limit reached on /home\n")
    quota.chmod(0o755)
    assert not _room(study(), tmp_path).remedy
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    found = _room(study(), tmp_path)
    assert "-q block limit reached" in found.text
    assert found.remedy


@pytest.mark.fast
@pytest.mark.parametrize("star", ["", "*"])
def test_a_used_up_quota_of_lustre_is_found(monkeypatch, tmp_path, star):
    """`lfs quota` always speaks, and puts a star at what is over."""
    lfs = tmp_path / "lfs"
    lfs.write_text(f"#!/bin/sh\necho /lustre 1100{star} 900 1000 6d 5 0 0 -\n")
    lfs.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    found = _room(study(), tmp_path)
    assert bool(found.remedy) == bool(star)
    assert ("1100* 900" in found.text) == bool(star)


@pytest.mark.fast
def test_no_slurm_here_is_said(monkeypatch, tmp_path):
    """On a laptop."""
    monkeypatch.setenv("PATH", str(tmp_path))
    wanted = study(train="tests.functions:quadratic", jobs=Jobs(executor="slurm"))
    found = list(examine(wanted, tmp_path / "runs", 1.0))
    assert "sbatch" in found[-1].text
    assert found[-1].remedy


def test_a_study_of_a_users_own_function_is_tried_to_its_first_report(tmp_path):
    """On this machine, in seconds; nothing stays."""
    found = doctor(write(tmp_path, "tests.functions:sleep"))
    assert found.returncode == 0, found.stdout + found.stderr
    assert "✗" not in found.stdout
    for what in ("study", "folder", "room", "canary", "python", "disk", MIDDLE, LARGEST):
        assert f"✓ {what}" in found.stdout
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_folder_that_cannot_be_written_is_found(tmp_path):
    """Before anything is sent there."""
    path = write(tmp_path)
    answer = doctor(path, "--json", "--runs", str(path / "runs"))
    assert answer.returncode == 1
    assert "cannot be written" in json.loads(answer.stdout)[-1]["text"]


@pytest.mark.parametrize("train", ["tests.functions:sleep", "tests.functions:broken"])
def test_for_programs(tmp_path, train):
    """One JSON document; the exit code says whether all is well, and why it is not."""
    answer = doctor(write(tmp_path, train), "--json")
    found = {finding["what"]: finding for finding in json.loads(answer.stdout)}
    bad = [finding["text"] for finding in found.values() if finding["remedy"]]
    assert answer.returncode == len(bad) == train.count("broken")
    assert all("the same bug" in text for text in bad)


def test_bad_input_is_one_line_and_exit_2(tmp_path):
    """As with every command."""
    answer = doctor(write(tmp_path, "no.such:function"))
    assert answer.returncode == 2
    assert answer.stderr.strip().splitlines()[-1].startswith("error: ")


def test_our_own_training_is_measured(tmp_path):
    """A batch of the smallest shipped study, and what the host needs for it."""
    path = Path(__file__).parent.parent / "jobs" / "basic_motions.toml"
    answer = doctor(path, "--json", "--runs", str(tmp_path))
    assert answer.returncode == 0, answer.stdout
    found = {finding["what"]: finding["text"] for finding in json.loads(answer.stdout)}
    assert "in each of 4 folds" in found["data"]
    assert "an epoch" in found[LARGEST]


def asked_of(cluster):
    """The command, for a study that the ordinary user has in the project."""
    path = cluster.project / "jobs" / "doctor.toml"
    path.write_text(OWN.format(train="tests.functions:sleep", executor="slurm"))
    path.chmod(0o644)
    return [str(cluster.python), "-m", "tuner.doctor", "jobs/doctor.toml"]


@pytest.mark.slurm
def test_a_job_of_the_study_looks_at_its_node(cluster):
    """With the study's own resources, as an ordinary user; the queue and runs/ are empty after."""
    command = asked_of(cluster)
    answer = cluster.run(command, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "✓ slurm      sbatch --test-only: Job" in answer.stdout
    assert "✓ accounting sacct answers" in answer.stdout
    assert f"✓ {LARGEST}" in answer.stdout
    assert list((cluster.project / "runs").glob(".doctor-*")) == []
    wait_for(lambda: not cluster.run(["squeue", "-h"]).stdout)


@pytest.mark.slurm
def test_what_is_wrong_on_the_node_is_said(cluster):
    """A GPU that torch cannot use, a partition that is not there, a queue that does not move."""
    command = asked_of(cluster)
    blind = cluster.run([*command, "--set", 'jobs.device="auto"'], check=False)
    assert blind.returncode == 1
    assert "torch" in blind.stdout
    assert "sees none" in blind.stdout
    nowhere = cluster.run([*command, "--set", 'jobs.slurm.partition="nosuch"'], check=False)
    assert nowhere.returncode == 1
    assert "invalid partition" in nowhere.stdout.lower()
    blocker = ["--exclusive", "--nodes=4", "--job-name=all", "--wrap=sleep 600"]
    cluster.sbatch(*blocker)
    wait_for(lambda: [r["State"] for r in cluster.squeue("--name", "all")] == ["RUNNING"])
    stuck = cluster.run([*command, "--wait", "3"], check=False)
    assert stuck.returncode == 1
    assert "still waits after 3 s" in stuck.stdout
    names = {row["Name"] for row in cluster.squeue() if row["State"] == "PENDING"}
    assert names <= {"all"}


def test_a_canary_that_is_killed_is_missed(tmp_path, monkeypatch):
    """Its job ends without a result: said within seconds, with the end of its log."""
    monkeypatch.setattr("tuner.errand._LAST_WORDS", 1.0)
    monkeypatch.chdir(tmp_path)
    with throw_away(study(train="tests.functions:suicide"), tmp_path) as run:
        seen = send(run, "tests.functions:suicide", {MIDDLE: {}}, 30.0)
    assert "before it trained" in seen.failed
    assert not seen.found
