"""`python -m tuner.steer`: a hand on a run, whether it is at work or not."""

import dataclasses
import subprocess
import sys

import pytest

from jobs.contract import Claim, State
from jobs.executor import Inline
from jobs.reasons import CANCELLED
from tests.test_controller import drive, make
from tests.test_status import Idle
from tuner import drive as drives
from tuner import samplers, steer
from tuner.controller import Controller
from tuner.settings import Jobs
from tuner.space import BadInput
from tuner.status import status
from tuner.store import Store, change, resume_line

pytestmark = pytest.mark.fast


@pytest.mark.slow
def test_a_paused_run_goes_on_and_ends_as_if_nothing_had_been(tmp_path, capsys):
    """Nobody claims; the controller leaves without an error, and says how to go on."""
    run = make(tmp_path)
    Controller(run, Idle(run.folder)).tick()
    said = steer.pause(run)
    assert drives.drive(run, Inline(run.folder)) == 0
    assert {t.state for t in run.trials()} == {State.WAITING}
    assert resume_line(run) in said
    assert resume_line(run) in capsys.readouterr().err
    assert status(run)["state"] == "stopped: paused"
    run.go_on()
    assert drive(run).finished
    assert len(run.trials()) == 8


def test_a_point_by_hand_is_trained_and_told_to_the_sampler(tmp_path):
    """One of the run's number of trials, and proposals can be replayed as ever."""
    run = make(tmp_path, sampler="tpe", n_initial=2)
    Controller(run, Idle(run.folder)).tick()
    number = run.view().size
    assert steer.try_(run, {"x": 0.25}) == f"trial {number} waits"
    drive(run)
    trials = run.trials()
    assert len(trials) == 8
    assert trials[number].params == {"x": 0.25}
    assert trials[number].state is State.COMPLETE
    last = run.folder.result(7)
    known = [t for t in trials[:7] if t.number not in last.pending]
    (point,) = samplers.get("tpe")(run.study.space, known, 1, run.study.seed, 2)
    assert point == last.params


def test_own_points_of_the_study_are_not_skipped_for_those_by_hand(tmp_path):
    """[[enqueue]] is counted by itself."""
    run = make(tmp_path, enqueue=({"x": 0.1}, {"x": 0.2}), n_trials=4)
    steer.try_(run, {"x": 0.9})
    drive(run)
    assert [t.params["x"] for t in run.trials()][:3] == [0.9, 0.1, 0.2]


@pytest.mark.slow
def test_a_finished_run_tries_one_more(tmp_path):
    """It says that it has ended, and how it goes on."""
    run = make(tmp_path, n_trials=3)
    assert drives.drive(run, Inline(run.folder)) == 0
    assert resume_line(run) in steer.again(run, 1)
    run.go_on()
    assert drives.drive(run, Inline(run.folder)) == 0
    first, again = run.trials()[1], run.trials()[3]
    assert first.params == again.params
    assert first.seed != again.seed
    assert again.state is State.COMPLETE


def test_limits_are_raised_under_a_controller_that_is_at_work(tmp_path):
    """Its next look goes by them; nothing is started anew."""
    run = make(tmp_path, n_trials=2, jobs=Jobs(n_workers=2))
    controller = Controller(run, Idle(run.folder))
    controller.tick()
    assert run.view().size == 2
    said = steer.set_(Store(run.path), ["n_trials=5", "jobs.n_workers=4", "gpu_hours=0.5"])
    assert said.startswith(
        "the run has n_trials=5, jobs.n_workers=4, gpu_hours=0.5; the study file"
    )
    status_ = controller.tick()
    assert status_.spent is not None
    assert controller.study.jobs.n_workers == 4
    assert drive(run).finished
    assert len(run.trials()) == 5


def test_two_hands_that_set_limits_lose_neither(tmp_path):
    """Each reads what the other has written."""
    run = make(tmp_path)
    first, second = Store(run.path), Store(run.path)
    steer.set_(first, ["n_trials=80"])
    steer.set_(second, ["gpu_hours=300"])
    now = Store(run.path).study
    assert (now.n_trials, now.gpu_hours) == (80, 300)


def test_what_is_no_limit_waits_for_the_next_controller(tmp_path):
    """Another pruner or executor under a living one would be half of each."""
    run = make(tmp_path, jobs=Jobs(n_workers=2, lost_after=5.0))
    other = Store(run.path).study
    jobs = dataclasses.replace(other.jobs, n_workers=3, lost_after=50.0, executor="slurm")
    change(run.path, dataclasses.replace(other, jobs=jobs, n_trials=9))
    run.reread()
    assert (run.study.n_trials, run.study.jobs.n_workers) == (9, 3)
    assert (run.study.jobs.lost_after, run.study.jobs.executor) == (5.0, "local")


@pytest.mark.slow
def test_a_finished_run_gets_more_trials(tmp_path):
    """It goes on as one that was begun with so many."""
    run = make(tmp_path, n_trials=3)
    assert drives.drive(run, Inline(run.folder)) == 0
    assert resume_line(run) in steer.set_(run, ["n_trials=5"])
    again = Store(run.path)
    again.go_on()
    assert drives.drive(again, Inline(run.folder)) == 0
    assert len(again.trials()) == 5


def test_a_number_that_the_controller_took_is_not_lost(tmp_path, monkeypatch):
    """The next one is tried."""
    run = make(tmp_path)
    real = run.folder.propose
    taken = []

    def first_taken(proposal):
        if not taken:
            taken.append(proposal.number)
            Controller(run, Idle(run.folder)).tick()
        return real(proposal)

    monkeypatch.setattr(run.folder, "propose", first_taken)
    said = steer.try_(run, {"x": 0.5})
    assert taken == [0]
    assert said == f"trial {run.view().size - 1} waits"


@pytest.mark.parametrize("running", [False, True])
def test_a_cancelled_trial_is_over(tmp_path, running):
    """Waiting or running: FAIL, in Slurm's word; its worker is fenced off, and nothing tries it."""
    run = make(tmp_path)
    Controller(run, Idle(run.folder)).tick()
    claim = Claim(1, 1, "job")
    if running:
        run.folder.claim(claim)
    assert steer.cancel(run, 1) == steer.cancel(run, 1) == "trial 1 is cancelled"
    assert not run.folder.look().holds(claim)
    drive(run)
    (failed,) = [t for t in run.trials() if t.state is State.FAIL]
    assert (failed.number, failed.reason) == (1, CANCELLED)
    with pytest.raises(BadInput, match="has a result"):
        steer.cancel(run, 0)


def test_three_trials_that_were_cancelled_first_do_not_stop_a_study(tmp_path):
    """The same error in the first three would; these are nobody's error."""
    run = make(tmp_path)
    controller = Controller(run, Idle(run.folder))
    for number in range(4):
        assert not controller.tick().stopped
        steer.cancel(run, number)
    assert not controller.tick().stopped
    assert drive(run).finished


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["try", "x=99"], "x: 99 is outside"),
        (["try", "y=0.5"], "y: is no parameter"),
        (["try", "x"], "has no ="),
        (["again", "9"], "has no trial 9; it has 0 … "),
        (["cancel", "-1"], None),
        (["set", "n_trials"], "has no ="),
        (["set", "n_trials=0"], "n_trials: 0"),
        (["set", "seed=3"], "'seed' cannot be changed here; only these may: n_trials"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(tmp_path, words, said):
    """And changes nothing."""
    run = make(tmp_path)
    Controller(run, Idle(run.folder)).tick()
    before, limits = run.view(), (run.path / "settings.json").read_bytes()
    command = [sys.executable, "-m", "tuner.steer", str(run.path), *words]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 2
    assert said is None or said in answer.stderr
    assert run.view() == before
    assert (run.path / "settings.json").read_bytes() == limits


@pytest.mark.slow
def test_the_command_does_it(tmp_path):
    """As a user types it."""
    run = make(tmp_path)
    command = [sys.executable, "-m", "tuner.steer", str(run.path)]
    for words in (["try", "x=0.5"], ["again", "0"], ["cancel", "1"], ["pause"]):
        answer = subprocess.run([*command, *words], capture_output=True, text=True, check=False)
        assert answer.returncode == 0, answer.stderr
    states = [(t.params["x"], t.state) for t in run.trials()]
    assert states == [(0.5, State.WAITING), (0.5, State.FAIL)]
    assert run.folder.stopping() == "paused"
