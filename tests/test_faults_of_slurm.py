"""Faults of Slurm itself, of its limits and of its nodes: nothing is lost, nothing runs twice."""

import json
import os
import signal
import time
from contextlib import suppress

import pytest

from jobs.reasons import WITH_STUDY
from tests.faulty_study import FaultyStudy, read
from tests.slurm_cluster import PORT, a_cluster, wait_for

pytestmark = pytest.mark.slurm

SLOW_SBATCH = """#!/bin/sh
touch {folder}/asked
while ! [ -e {folder}/go ]; do sleep 0.1; done
exec /usr/bin/sbatch "$@"
"""


@pytest.fixture
def slurm_conf(cluster):
    """Change lines of the cluster's slurm.conf, for this test alone."""
    path = cluster.folder / "slurm.conf"
    before = path.read_text()

    def change(**values):
        names = tuple(f"{name}=" for name in values)
        kept = [line for line in before.splitlines() if not line.startswith(names)]
        lines = [f"{name}={value}" for name, value in values.items()]
        path.write_text("\n".join([*kept[:1], *lines, *kept[1:]]) + "\n")
        restart(cluster)

    yield change
    cluster.scancel_all()
    path.write_text(before)
    restart(cluster)


def restart(cluster, number=signal.SIGTERM):
    """End slurmctld, and start it again."""
    kill(cluster, "slurmctld", number)
    cluster.up()


def kill(cluster, daemon, number=signal.SIGKILL):
    """Send a daemon of the cluster a signal; wait until it is gone, if that ends it."""
    pid = cluster.pids()[daemon]
    os.kill(pid, number)
    if number in (signal.SIGKILL, signal.SIGTERM):
        wait_for(lambda: not os.path.exists(f"/proc/{pid}/exe"), 60)


def wait_until_saved(cluster):
    """Wait until slurmctld has written down the jobs that run, as it does seconds after a change.

    Killed before that it forgets that they run, and ends them.
    """
    state, now = cluster.folder / "state" / "job_state", time.time()
    cluster.sbatch("--hold", "--wrap=true")
    wait_for(lambda: state.exists() and state.stat().st_mtime > now, 60)


@pytest.fixture
def mended(cluster):
    """Whatever a test did to the daemons, the next one finds them all."""
    yield cluster
    with suppress(ProcessLookupError):
        kill(cluster, "slurmctld", signal.SIGCONT)
    cluster.up()


def arrays(study):
    """The submissions whose jobs trained something."""
    return {result["job"].split("_")[0] for result in study.results()}


def test_slurm_hangs_restarts_and_forgets(mended):
    """sbatch fails but submits; slurmctld is killed; slurmdbd is away when a worker is killed."""
    cluster = mended
    folder = cluster.project / "slow"
    cluster.run(["mkdir", str(folder)])
    (folder / "sbatch").write_text(SLOW_SBATCH.format(folder=folder))
    (folder / "sbatch").chmod(0o755)
    study = FaultyStudy(cluster, "ills", ["never"] * 4, n_workers=2, epochs=60, seconds=0.5)
    study.start(PATH=f"{folder}:{cluster.python.parent}:/usr/bin:/bin")

    wait_for((folder / "asked").exists, 60)
    kill(cluster, "slurmctld", signal.SIGSTOP)
    cluster.run(["touch", str(folder / "go")])
    wait_for(lambda: "sbatch: " in study.log.read_text(), 90)
    kill(cluster, "slurmctld", signal.SIGCONT)
    wait_for(lambda: len(study.claims()) == 2, 90)

    wait_until_saved(cluster)
    restart(cluster, signal.SIGKILL)
    kill(cluster, "slurmdbd")
    victim = study.claims()[0]
    os.kill(victim["pid"], signal.SIGKILL)
    wait_for(lambda: lost(study, victim) or study.results(), 90)
    cluster.up()
    study.wait(240)
    study.check()
    assert [r["lost"] for r in study.results() if r["lost"]] == [["FAILED"]]
    notes = [read(path) for path in study.run.glob("jobs/*/submission.json")]
    assert len(arrays(study)) <= 2, f"more was submitted than was lost: {notes}"


def lost(study, claim):
    """Whether an attempt was given up."""
    return (study.run / f"open/{claim['number']:06d}.{claim['attempt']}.lost.json").exists()


def test_without_accounting_ends_are_still_told_apart(running_cluster):
    """The queue alone says who cancelled; a job that it forgets in two seconds left no trace."""
    name = f"{running_cluster.user}-n"
    with a_cluster(name, PORT + 10, "--nodes", "1", "--no-accounting") as cluster:
        cluster.give_project()
        faults = ["cancelled", "never"]
        study = FaultyStudy(cluster, "forgets", faults, n_workers=1, epochs=50, seconds=0.4)
        study.start()
        cluster.run(["scancel", study.wait_for_epochs("cancelled")["job"]])
        wait_for(lambda: any(r["params"]["fault"] == "cancelled" for r in study.results()), 90)
        assert study.of("cancelled")["reason"] == "CANCELLED"
        conf = cluster.folder / "slurm.conf"
        conf.write_text(conf.read_text().replace("MinJobAge=10", "MinJobAge=2"))
        restart(cluster)
        claim = study.wait_for_epochs("never")
        study.kill(signal.SIGSTOP)  # while nobody asks, Slurm forgets
        os.kill(claim["pid"], signal.SIGKILL)
        wait_for(lambda: claim["job"] not in {r["JobArrayID"] for r in cluster.squeue()}, 90)
        study.wake(study.pid())
        study.wait(120)
        study.check()
        assert study.of("never")["lost"][-1:] == ["gone from the queue without a trace"]


def test_limits_of_a_site_mean_wait(cluster, slurm_conf):
    """Arrays shrink to MaxArraySize and to the submit limit; a controller that may not queue a
    successor requeues itself.
    """
    for command in (f"account {cluster.user}", f"user {cluster.user} account={cluster.user}"):
        cluster.admin("sacctmgr", "-i", "add", *command.split())
    limit = ["set", "MaxSubmitJobs=3"]
    cluster.admin("sacctmgr", "-i", "modify", "user", cluster.user, *limit)
    slurm_conf(AccountingStorageEnforce="associations,limits", MaxArraySize=3)
    try:
        study = FaultyStudy(cluster, "full", ["never"] * 12, n_workers=6, seconds=0.8)
        study.file.write_text(study.file.read_text().replace("lost_after = 10", "lost_after = 20"))
        path = str(study.file.relative_to(cluster.project))
        job = cluster.run(["sbatch", "--parsable", "--time=1", "slurm/controller.sh", path])
        study.wait(240)
        study.check()
        log = (cluster.project / f"tuner-{job.stdout.strip()}.log").read_text()
    finally:
        cluster.scancel_all()
        cluster.admin("sacctmgr", "-i", "delete", "account", cluster.user)
    assert {r["attempts"] for r in study.results()} == {1}
    assert "Invalid job array" in log
    assert "MaxSubmitJob" in log
    assert "full: 12 trials (12 complete)" in log, "the same job did not go on"
    assert "the successor goes on" in log


def test_a_node_that_fails_every_job_is_left_out_and_said(cluster):
    """Python does not even begin on n4: it is noticed, excluded, and named in log and status."""
    env = cluster.project / "slurm" / "env.sh"
    before = env.read_text()
    env.write_text('if [ "$SLURMD_NODENAME" = n4 ]; then exit 1; fi\n' + before)
    try:
        study = FaultyStudy(cluster, "hole", ["never"] * 24, n_workers=8, gres="gpu:1")
        study.start()
        study.wait(150)
        study.check()
    finally:
        env.write_text(before)
    assert "n4" not in {r["host"] for r in study.results()}
    assert "node n4 is left out for an hour: FAILED before Python began" in study.log.read_text()
    command = ["python", "-m", "tuner.status", str(study.run), "--json"]
    assert "n4" in json.loads(cluster.run(command).stdout)["left_out"]
    jobs = [row for row in cluster.sacct("-X", "--name", name(study)) if row["NodeList"] == "n4"]
    assert 2 <= len(jobs) <= 6, "it went on eating jobs"


def name(study):
    """The name of a study's workers in Slurm."""
    return f"tn-{read(study.run / 'run.json')['id']}"


def test_two_studies_controllers_do_not_wait_for_each_other(cluster):
    """Both run at once; one is cancelled, its workers go on, and `resume` ends it."""
    studies = [FaultyStudy(cluster, f"study-{k}", ["never"] * 8, n_workers=2) for k in "ab"]
    jobs = []
    for study in studies:
        path = str(study.file.relative_to(cluster.project))
        answer = cluster.run(["sbatch", "--parsable", "slurm/controller.sh", path])
        jobs.append(answer.stdout.strip())
    wait_for(lambda: all(study.claims() for study in studies), 90)
    rows = {row["JobArrayID"]: row["State"] for row in cluster.squeue()}
    assert [rows[job] for job in jobs] == ["RUNNING", "RUNNING"]
    cluster.run(["scancel", jobs[0]])
    wait_for(lambda: "SIGTERM; to go on" in log_of(cluster, jobs[0]), 30)
    cluster.run(["python", "-m", "tuner.resume", str(studies[0].run)], timeout=200)
    for study in studies:
        study.wait(120)
        study.check()
        assert {r["attempts"] for r in study.results()} == {1}


def test_who_cancels_all_jobs_of_a_study_gives_up_no_trial(cluster):
    """`scancel -u` in the middle of trainings; `resume` goes on with them from their epochs."""
    study = FaultyStudy(cluster, "all-gone", ["never"] * 4, n_workers=2, epochs=40)
    path = str(study.file.relative_to(cluster.project))
    cluster.run(["sbatch", "slurm/controller.sh", path])
    study.wait_for_epochs("never")
    running = study.claims()
    cluster.run(["scancel", "--user", cluster.user])
    wait_for(lambda: not cluster.squeue(), 90)
    cluster.run(["python", "-m", "tuner.resume", str(study.run)], timeout=200)
    study.wait(120)
    study.check()
    assert {r["state"] for r in study.results()} == {"COMPLETE"}
    lost = {why for r in study.results() for why in r["lost"]}
    assert lost == {WITH_STUDY}
    assert sum(r["attempts"] - 1 for r in study.results()) >= len(running)


def log_of(cluster, job):
    """What a controller's job printed."""
    return (cluster.project / f"tuner-{job}.log").read_text()
