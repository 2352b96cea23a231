"""The whole road on a real Slurm, as an ordinary user."""

import itertools
import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.slurm_cluster import wait_for
from tests.test_combinations import SMALL, small

pytestmark = pytest.mark.slurm

SLEEP = """
direction = "minimize"
n_trials = 32
sampler = "random"
train = "tests.functions:sleep"
[fixed]
seconds = 4
[space]
x = { type = "float", low = 0, high = 1 }
[jobs]
executor = "slurm"
n_workers = 8
device = "cpu"
[jobs.slurm]
gres = "gpu:1"
time = "00:10:00"
"""


def results(run):
    """The outcomes that are published, by number."""
    found = sorted(run.glob("done/*/*.result.json"))
    return [json.loads(path.read_text()) for path in found]


def write(cluster, name, text):
    """Put a study file where the ordinary user has the project."""
    path = cluster.project / "jobs" / name
    path.write_text(text)
    path.chmod(0o644)
    return f"jobs/{name}"


def places(found):
    """(node, GPU) → the times at which trials were trained there."""
    used = {}
    for result in found:
        span = (result["started"], result["started"] + result["seconds"])
        used.setdefault((result["host"], result["device"]), []).append(span)
    return used


def assert_nothing_shared(found):
    """No (node, GPU) pair is used by two workers at once."""
    for place, spans in places(found).items():
        spans.sort()
        for (_, end), (start, _) in itertools.pairwise(spans):
            assert start >= end, f"two trials at once on {place}"


def test_sbatch_runs_the_shipped_study_to_its_report(cluster):
    """`sbatch slurm/controller.sh jobs/pm25.toml`: real data, real models, a report."""
    settings = ["n_trials=6", "fixed.epochs=1", 'jobs.device="cpu"', "jobs.grace=5"]
    settings += ["confirm.top=2", "confirm.seeds=2"]
    options = [word for setting in settings for word in ("--set", setting)]
    script = ["slurm/controller.sh", "jobs/pm25.toml", *options]
    job = cluster.run(["sbatch", "--parsable", *script]).stdout.strip()
    log = cluster.project / f"tuner-{job}.log"
    run = cluster.project / "runs" / "pm25"

    def ended():
        states = [row["State"] for row in cluster.squeue("-j", job)]
        assert "FAILED" not in states, log.read_text()
        return "COMPLETED" in states

    wait_for(ended, 400)
    found = results(run)
    again = [f"confirm:{k}" for k in (0, 0, 1, 1)]
    assert [r["part"] for r in found] == ["search"] * 6 + again + ["test"] * 2
    assert {r["state"] for r in found} == {"COMPLETE"}
    for r in found:  # what the timeline of slots is drawn from; Slurm's clock has whole seconds
        assert 0 < r["submitted"] - 1 < r["began"] < r["started"]
    assert_nothing_shared(found)
    assert "gradient boosting" in log.read_text()
    assert "over 2 fresh seeds" in log.read_text()
    assert (run / "report" / "optimization_process.png").stat().st_size > 10_000
    assert "In the queue a job waited" in (run / "report" / "index.html").read_text()
    assert os.stat(run).st_mode & 0o777 == 0o700


APPTAINER = """#!/bin/bash
# apptainer exec OPTION… IMAGE python3 ARGUMENT…, in no image but this machine
echo "$@" >>"$(dirname "$0")/calls"
while [[ $1 != *.sif ]]; do shift; done
shift 2
exec python "$@"
"""


def test_workers_run_in_an_image_of_any_of_some_partitions(cluster):
    """One setting each; apptainer is a stand-in, as Debian has none."""
    apptainer = cluster.project / "image" / "apptainer"
    apptainer.parent.mkdir()
    apptainer.write_text(APPTAINER)
    apptainer.chmod(0o755)
    image = apptainer.with_name("torch.sif")
    image.touch()
    subprocess.run(["chown", "-R", f"{cluster.user}:", apptainer.parent], check=True)
    text = SLEEP.replace("= 32", "= 3").replace("seconds = 4", "seconds = 0.1")
    text = text.replace("n_workers = 8", f'n_workers = 1\ncontainer = "{image}"\ngrace = 1')
    study = write(cluster, "image.toml", f'{text}partition = ["hi", "main"]\n')
    path = {"PATH": f"{apptainer.parent}:{cluster.python.parent}:/usr/bin:/bin"}
    cluster.run([str(cluster.python), "-m", "tuner.run", study], env=path)
    run = cluster.project / "runs" / "image"
    assert [r["state"] for r in results(run)] == ["COMPLETE"] * 3
    called = (apptainer.parent / "calls").read_text()
    assert f"exec --nv --bind={run} --bind={cluster.project} {image} python3 -m jobs.gu" in called


def test_a_killed_controller_is_replaced_and_its_jobs_are_adopted(cluster):
    """kill -9 in the middle, then tuner.resume: 8 slots, exact count, nothing trained twice."""
    study = write(cluster, "sleep.toml", SLEEP)
    run = cluster.project / "runs" / "sleep"
    command = cluster.command([str(cluster.python), "-m", "tuner.run", study])
    controller = subprocess.Popen(command, cwd=cluster.project, stderr=subprocess.DEVNULL)
    wait_for(lambda: len(results(run)) >= 4, 120)
    kill_controller(run)
    controller.wait()
    before = {row["JobArrayID"] for row in cluster.squeue() if row["Name"].startswith("tn-")}
    answer = cluster.run([str(cluster.python), "-m", "tuner.resume", "runs/sleep"], timeout=300)
    found = results(run)
    assert len(found) == 32, answer.stderr
    assert {r["state"] for r in found} == {"COMPLETE"}
    assert {r["attempts"] for r in found} == {1}, "a trial was trained twice"
    assert {r["job"] for r in found} <= before, "jobs that were there were not adopted"
    assert len(places(found)) == 8, "trials were not spread over the 8 slots"
    assert os.listdir(run / "jobs") == [], "workers that ended well left files"
    assert_nothing_shared(found)


def kill_controller(run: Path) -> None:
    """kill -9 of the controller that gives signs of life."""
    os.kill(json.loads((run / "controller.json").read_text())["pid"], signal.SIGKILL)


def test_workers_that_never_work_stop_the_study_with_their_error(cluster):
    """A GPU that torch cannot use: three tries, then the reason, and no trial is touched."""
    settings = SLEEP.replace('device = "cpu"', 'device = "auto"').replace("= 8", "= 1")
    study = write(cluster, "no_gpu.toml", settings)
    answer = cluster.run([str(cluster.python), "-m", "tuner.run", study], check=False, timeout=200)
    assert answer.returncode == 1
    assert "sees none" in answer.stderr
    run = cluster.project / "runs" / "no_gpu"
    assert results(run) == []
    assert not list(run.glob("open/*.claim.json"))


def test_an_option_that_slurm_refuses_is_said_with_its_reason(cluster):
    """A partition that is not there: exit 1 and sbatch's own words."""
    study = write(cluster, "bad.toml", SLEEP + 'partition = "nowhere"\n')
    answer = cluster.run([str(cluster.python), "-m", "tuner.run", study], check=False)
    assert answer.returncode == 1
    assert "invalid partition" in answer.stderr.lower()


@pytest.mark.parametrize("sampler", ["gp", "tpe"])
@pytest.mark.parametrize("family", SMALL)
def test_both_samplers_drive_both_model_families_on_slurm(cluster, family, sampler):
    """Real data to a test score, workers as jobs."""
    path, settings = small(family, sampler)
    words = [w for s in [*settings, "jobs.n_workers=3", "jobs.device=cpu"] for w in ("--set", s)]
    folder = f"runs/{family}-{sampler}"
    command = [str(cluster.python), "-m", "tuner.run", f"jobs/{path.name}", *words]
    cluster.run([*command, "--executor", "slurm", "--folder", folder], timeout=300)
    found = results(cluster.project / folder)
    assert {r["state"] for r in found} == {"COMPLETE"}
    assert [r["part"] for r in found].count("search") == 5
    assert "test" in {r["part"] for r in found}


def long_study(cluster, name):
    """About eighty seconds for two workers."""
    text = SLEEP.replace("n_workers = 8", "n_workers = 2").replace("n_trials = 32", "n_trials = 30")
    return write(cluster, f"{name}.toml", text)


def logs(cluster):
    """What all controllers of the project printed."""
    return "\n".join(path.read_text() for path in sorted(cluster.project.glob("tuner-*.log")))


def finished(run):
    """Whether a run has come to its end."""
    path = run / "controller.json"
    return path.exists() and "end" in json.loads(path.read_text() or "{}")


def test_a_controller_outlives_its_time_limit(cluster):
    """A limit of one minute and a study that takes longer: the successor ends it."""
    study = long_study(cluster, "outlives")
    run = cluster.project / "runs" / "outlives"
    cluster.run(["sbatch", "--time=1", "slurm/controller.sh", study])
    wait_for(lambda: finished(run), 240)
    found = results(run)
    assert len(found) == 30
    assert {r["attempts"] for r in found} == {1}
    assert "the successor goes on" in logs(cluster)


def test_a_second_copy_takes_over_from_a_killed_first(cluster):
    """Submitted twice: one works, one waits in the queue, and starts when the first is killed."""
    study = long_study(cluster, "standby")
    run = cluster.project / "runs" / "standby"
    cluster.run(["sbatch", "slurm/controller.sh", study])
    wait_for(lambda: len(results(run)) >= 2, 120)
    cluster.run(["sbatch", "slurm/controller.sh", study])
    name = "ctl-" + json.loads((run / "run.json").read_text())["id"]

    def states():
        return sorted(row["State"] for row in cluster.squeue("--name", name))

    wait_for(lambda: "PENDING" in states() and states().count("RUNNING") == 1, 60)
    first = json.loads((run / "controller.json").read_text())["pid"]
    kill_controller(run)
    wait_for(lambda: json.loads((run / "controller.json").read_text())["pid"] != first, 30)
    wait_for(lambda: finished(run), 240)
    assert len(results(run)) == 30
    assert {r["attempts"] for r in results(run)} == {1}
