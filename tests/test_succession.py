"""A controller's own end, against a Slurm that refuses."""

import time

import pytest

from tests.test_controller import make
from tuner.succession import Succession

pytestmark = pytest.mark.fast


@pytest.fixture
def controller(tmp_path, fake_slurm, monkeypatch):
    """A controller in a job that ends in two minutes."""
    monkeypatch.setenv("TUNER_CONTROLLER", "1")
    monkeypatch.setenv("SLURM_JOB_ID", "5")
    monkeypatch.setenv("SLURM_JOB_END_TIME", str(time.time() + 120))
    return Succession(make(tmp_path))


def test_a_short_job_hands_over_at_a_quarter_of_its_time(controller, monkeypatch):
    """Not at the warning that Slurm gives a short job at its start."""
    assert not controller.due()
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 91)
    assert controller.due()


def test_the_successor_waits_for_this_job_alone(controller, fake_slurm):
    """By the run's own job name: studies do not wait for each other."""
    fake_slurm.says("squeue", "")
    controller.hand_over()
    (call,) = fake_slurm.calls("sbatch")
    assert "--dependency=singleton" in call["argv"]
    assert f"--job-name={controller.name}" in call["argv"]
    assert call["argv"][-2:] == [str(controller.store.path), "--standby"]


def test_one_copy_in_the_queue_is_enough(controller, fake_slurm):
    """No pile of controllers."""
    fake_slurm.queue(("6", "PENDING", 0, "(null)", "", "Dependency"))
    controller.hand_over()
    assert fake_slurm.calls("sbatch") == []


def test_where_sbatch_is_refused_the_job_requeues_itself(controller, fake_slurm):
    """Sites that forbid sbatch on compute nodes."""
    fake_slurm.says("sbatch", stderr="Job submission is not allowed from this host", rc=1)
    controller.hand_over()
    assert ["requeue", "5"] in [call["argv"] for call in fake_slurm.calls("scontrol")]


def test_where_that_is_refused_too_it_says_what_to_type(controller, fake_slurm, capsys):
    """And nothing is lost."""
    fake_slurm.says("sbatch", stderr="Job submission is not allowed from this host", rc=1)
    fake_slurm.says("scontrol", stderr="Access denied", rc=1)
    controller.hand_over()
    error = capsys.readouterr().err
    assert "not allowed from this host" in error
    assert f"sbatch slurm/controller.sh {controller.store.path}" in error


def test_outside_a_slurm_job_nothing_is_handed_over(tmp_path, fake_slurm, monkeypatch):
    """A controller on a laptop or a login node has no end."""
    monkeypatch.delenv("TUNER_CONTROLLER", raising=False)
    monkeypatch.setenv("SLURM_JOB_ID", "5")
    assert not Succession(make(tmp_path)).due()
    assert fake_slurm.calls("scontrol") == []
