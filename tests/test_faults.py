"""Faults on a real Slurm, as an ordinary user: nothing is lost, nothing is counted twice.

Several faults share a study where they do not hide each other, and the studies share the
cluster's nodes: most of the time here is spent waiting for what Slurm does at its own pace.
"""

import os
import random
import signal
from dataclasses import dataclass
from datetime import datetime

import pytest

from tests.faulty_study import FaultyStudy, kill_controllers
from tests.slurm_cluster import wait_for

pytestmark = pytest.mark.slurm

RETRAINED = ("killed in an epoch", "killed in a checkpoint", "killed before the link")
KILLED = (
    *RETRAINED,
    "killed after the link",
    "killed before the next claim",
    "killed after the next claim",
)
SEED = 1  # of the random moments


@dataclass(frozen=True)
class Storm:
    """Studies that ran side by side through all faults of workers."""

    kills: FaultyStudy  # kill -9 of workers and of controllers, on n1
    controllers_killed: int
    twins: FaultyStudy  # jobs that Slurm runs again, on n2 and n3
    ends: FaultyStudy  # jobs that Slurm does not run again, on n4
    limits: FaultyStudy  # jobs of one minute, on n1
    sleeper: FaultyStudy  # two controllers, one of which was stopped, on n2 and n3


@pytest.fixture(scope="module")
def storm(running_cluster):
    """All faults of workers at once, each study on nodes of its own."""
    cluster = running_cluster
    low = ["PartitionName=low", "Nodes=ALL", "PriorityTier=1", "PreemptMode=CANCEL"]
    cluster.admin("scontrol", "create", *low)
    kills = FaultyStudy(
        cluster, "kills", [*KILLED, *["never"] * 8], n_workers=3, seconds=0.4, exclude="n[2-4]"
    )
    twins = FaultyStudy(
        cluster, "twins", ["requeued", "lost its node"],
        n_workers=2, epochs=180, seconds=0.5, exclude="n1,n4", requeue=True,
    )  # fmt: skip
    ends = FaultyStudy(
        cluster, "ends", ["cancelled", "preempted", "memory", "error", "cuda", "nan", "inf"],
        n_workers=4, epochs=40, seconds=0.5, partition="low", exclude="n[1-3]",
    )  # fmt: skip
    limits = FaultyStudy(
        cluster, "limits", ["long"],
        n_workers=1, epochs=45, seconds=0.6, time="1", exclude="n[2-4]",
    )  # fmt: skip
    sleeper = FaultyStudy(
        cluster, "sleeper", ["never"] * 30, n_workers=2, seconds=0.3, exclude="n1,n4"
    )
    for study in (sleeper, twins, ends, limits):
        study.start()
    first = stop_and_replace(sleeper)
    cancel_and_preempt(ends)
    requeue_and_lose_a_node(twins)
    killed = kill_controllers(kills, random.Random(SEED), 4)
    wait_for(lambda: sleeper.pid() != first, 240)
    sleeper.wake(first)
    for study in (kills, twins, ends, limits, sleeper):
        study.wait(150)
        study.check()
    yield Storm(kills, killed, twins, ends, limits, sleeper)
    cluster.up()  # the lost node
    cluster.admin("scontrol", "delete", "PartitionName=low")


def stop_and_replace(study: FaultyStudy) -> int:
    """Stop a controller that holds its lock, and start another, which waits for a sign of it."""
    wait_for(study.claims, 120)
    study.kill(signal.SIGSTOP)
    study.start()
    return study.pid()


def requeue_and_lose_a_node(study: FaultyStudy) -> None:
    """Requeue a worker; then kill a slurmd whose job goes on without it, beside its twin."""
    cluster = study.cluster
    first = study.wait_for_epochs("requeued")
    cluster.run(["scontrol", "requeue", first["job"]])
    wait_for(lambda: study.claim("requeued").get("attempt") == 2, 60)
    os.kill(cluster.pids()[study.claim("lost its node")["host"]], signal.SIGKILL)


def cancel_and_preempt(study: FaultyStudy) -> None:
    """The user cancels one worker; a higher partition takes the node of the others."""
    cluster = study.cluster
    cluster.run(["scancel", study.wait_for_epochs("cancelled")["job"]])
    host = study.wait_for_epochs("preempted")["host"]
    cluster.sbatch("--partition=hi", f"--nodelist={host}", "--exclusive", "--wrap", "sleep 3")


@pytest.mark.parametrize("fault", RETRAINED)
def test_a_worker_killed_in_its_work_is_replaced_once(storm, fault):
    """kill -9 in an epoch, in a checkpoint, between the draft of a result and its link."""
    assert set(storm.kills.of(fault)["lost"]) == {"FAILED"}


def test_a_result_that_is_linked_is_never_trained_again(storm):
    """kill -9 right after the link: the trial is finished, whatever follows."""
    assert storm.kills.of("killed after the link")["attempts"] == 1


def test_a_worker_killed_around_its_claim_costs_one_attempt_at_most(storm):
    """Before the claim nothing is lost, after it one attempt: of whichever trial was next."""
    again = sum(r["attempts"] - 1 for r in storm.kills.results())
    assert again - len(RETRAINED) == 1


def test_controllers_killed_at_random_moments_cost_no_trial(storm):
    """Four of them, between kills of workers: every attempt beyond the first is a worker's."""
    assert storm.controllers_killed == 4
    assert sum(r["attempts"] - 1 for r in storm.kills.results()) == len(RETRAINED) + 1


def test_a_controller_that_slept_goes_on_beside_its_successor(storm):
    """SIGSTOP, a newcomer, SIGCONT: both tick on the same run, and no trial is trained twice."""
    wait_for(lambda: "still alive?" in storm.sleeper.log.read_text(), 60)
    reasons = {why for result in storm.sleeper.results() for why in result["lost"]}
    assert reasons <= {"NODE_FAIL"}  # of the node that the twins lose


def test_a_requeued_worker_hands_its_trial_back(storm):
    """`scontrol requeue`: the epoch is saved, and the trial goes on under another claim."""
    assert storm.twins.of("requeued")["lost"][0] == "REQUEUED"


def test_a_node_that_slurm_lost_may_go_on_beside_its_twin(storm):
    """slurmd is killed: the job runs again elsewhere, and the first copy's result counts."""
    found = storm.twins.of("lost its node")
    assert found["attempts"] == 1
    command = ["sacct", "-D", "-X", "-n", "-P", "-j", found["job"], "-o", "State,Start"]
    runs = [line.split("|") for line in storm.twins.cluster.run(command).stdout.splitlines()]
    assert [state for state, _ in runs][:1] == ["NODE_FAIL"]
    begun = datetime.fromisoformat(runs[1][1]).timestamp()
    assert found["started"] < begun < found["started"] + found["seconds"], "no twin was there"


def test_what_its_user_cancelled_is_not_tried_again(storm):
    """scancel of a worker: FAIL, with Slurm's word and the epochs so far."""
    found = storm.ends.of("cancelled")
    assert (found["state"], found["reason"], found["attempts"]) == ("FAIL", "CANCELLED", 1)
    assert len(found["curve"]) >= 3


def test_a_preempted_trial_goes_on_elsewhere(storm):
    """A higher partition takes the node (PreemptMode=CANCEL)."""
    found = storm.ends.of("preempted")
    assert (found["state"], found["lost"]) == ("COMPLETE", ["PREEMPTED"])


def test_a_point_that_wants_more_memory_than_a_job_has_fails_after_one_retry(storm):
    """The kernel kills it, Slurm says OUT_OF_MEMORY, and so do we."""
    if "proctrack/cgroup" not in (storm.ends.cluster.folder / "slurm.conf").read_text():
        pytest.skip("no memory controller of cgroup v1 on this machine")
    found = storm.ends.of("memory")
    assert (found["state"], found["reason"]) == ("FAIL", "OUT_OF_MEMORY")
    assert found["lost"].count("OUT_OF_MEMORY") == 1


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("error", "ValueError: a bug of this point"),
        ("cuda", "CUDA out of memory"),
        ("nan", "the value is nan"),
        ("inf", "the value is inf"),
    ],
)
def test_what_a_point_does_by_itself_is_fail_with_its_own_reason(storm, fault, reason):
    """Each once, and never a number."""
    found = storm.ends.of(fault)
    assert (found["state"], found["reason"], found["value"]) == ("FAIL", reason, None)


def test_a_trial_longer_than_its_job_goes_on_in_the_next(storm):
    """At the time limit it checkpoints; values and curves are those of one go (checked above)."""
    found = storm.limits.of("long")
    assert (found["state"], set(found["lost"])) == ("COMPLETE", {"TIMEOUT"})
