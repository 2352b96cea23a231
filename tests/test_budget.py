"""A budget in GPU-hours: what is counted, what may still begin, and a study that ends in time."""

import dataclasses
import math
import time

import pytest

from jobs import files
from jobs.accounting import Account, Charge, gpus_asked, gpus_in
from jobs.contract import Claim, Lost, Proposal, State
from jobs.executor import Inline, Slots
from jobs.slot import Slot
from jobs.worker import Orders, Worker
from tests import made
from tests.test_controller import drive, make
from tuner.afford import afford
from tuner.budget import CONFIRMING, IDLE, LOST, TESTING, Ledger, Past, spent, spent_lines
from tuner.controller import Controller
from tuner.plan import Afford, plan
from tuner.settings import Jobs
from tuner.space import BadInput
from tuner.status import status, text
from tuner.store import Store

pytestmark = pytest.mark.fast

HOUR = 3600.0
NONE, FULL = Slots(0, frozenset()), Slots(4, frozenset())


def budgeted(hours=10.0, n_trials=100, **jobs):
    """A study with a budget."""
    return made.study(gpu_hours=hours, n_trials=n_trials, jobs=Jobs(n_workers=4, **jobs))


def hour(number, state=State.COMPLETE, **more):
    """A trial that took an hour of a slot, or has run for one."""
    value = 10.0 - number if state is State.COMPLETE else None
    return made.trial(number, value, state, started=0.0, seconds=HOUR, **more)


def use_of(study, trials, charge, now):
    """What the trials used."""
    return spent(study, trials, charge, now, Past())


def parts_of(todo):
    """The names of what follows the search."""
    return tuple(due.part for due in todo.due)


def decide(study, trials, parts=(), now=HOUR, slots=FULL):
    """What plan() does under the study's budget."""
    reach = afford(study, trials, use_of(study, trials, None, now), parts, now)
    return plan(study, trials, slots, parts, 100, afford=reach)


def test_hours_are_told_apart_by_what_became_of_them():
    """Failed, pruned, lost and running ones count like the complete; waiting ones used none."""
    trials = [
        hour(0), hour(1), hour(2, State.PRUNED), hour(3, State.FAIL, lost_seconds=2 * HOUR),
        hour(4, State.RUNNING), hour(5, State.WAITING, lost_seconds=HOUR),
        hour(6, part="test", of=0),
    ]  # fmt: skip
    use = use_of(budgeted(), trials, None, now=1.5 * HOUR)
    assert use.parts == {
        "complete": 2, "pruned": 1, "failed": 1, LOST: 3, "running": 1.5, CONFIRMING: 0, TESTING: 1,
    }  # fmt: skip
    assert (use.total, use.idle, use.unit) == (9.5, None, "slot-hours")


@pytest.mark.parametrize(("executor", "unit"), [("local", "slot-hours"), ("slurm", "GPU-hours")])
def test_gpus_that_a_study_would_ask_of_slurm_are_not_those_of_this_machine(executor, unit):
    """The shipped studies name a gres, and run on a laptop too."""
    study = budgeted(executor=executor, slurm={"gres": "gpu:1"})
    assert use_of(study, [hour(0)], None, now=0.0).unit == unit


@pytest.mark.parametrize(
    ("jobs", "device", "hours"),
    [
        (Jobs(), "", 1.0),
        (Jobs(workers_per_gpu=4), "", 1.0),  # on a machine without GPUs each has a core
        (Jobs(workers_per_gpu=4), "0", 0.25),
        (Jobs(executor="slurm", slurm={"gres": "gpu:2"}), "0", 2.0),
        (Jobs(executor="slurm", slurm={"gres": "gpu:1"}, workers_per_gpu=4), "0", 0.25),
        (Jobs(executor="slurm", workers_per_gpu=4), "", 0.25),  # a job is a slot
    ],
)
def test_a_worker_costs_its_part_of_a_job(jobs, device, hours):
    """Of its GPUs, or of a slot."""
    study = dataclasses.replace(budgeted(), jobs=jobs)
    assert use_of(study, [hour(0, device=device)], None, 0.0).total == pytest.approx(hours)


def test_accounting_has_the_last_word_and_tells_the_idle_hours():
    """Start-up and waiting are what the jobs were charged beyond their trials."""
    use = use_of(budgeted(), [hour(0)], Charge(1.5, gpus=True), now=0.0)
    assert (use.total, use.idle, use.unit) == (1.5, 0.5, "GPU-hours")
    lagging = use_of(budgeted(), [hour(0)], Charge(0.2, gpus=True), now=0.0)
    assert (lagging.total, lagging.idle) == (1.0, 0.0)


def test_the_table_says_what_was_spent_on_what():
    """And what nobody counted."""
    use = use_of(budgeted(), [hour(0), hour(1, State.FAIL)], None, 0.0)
    lines = spent_lines(use.table(), 10.0)
    assert lines[0] == "Spent 2 of 10 slot-hours, by the trials' own clocks"
    assert [line.split() for line in lines[1:3]] == [["complete", "1"], ["failed", "1"]]
    assert IDLE in lines[3]
    assert "?" in lines[3]


def test_without_a_budget_nothing_is_held_back():
    """`n_trials` alone ends such a study."""
    study = budgeted(hours=None)
    use = use_of(study, [hour(0)], None, 0.0)
    assert afford(study, [hour(0)], use, ("test", "leave:a"), 0.0) == Afford()


def test_no_more_is_proposed_than_the_budget_reaches_for():
    """Of seven hours three are spent, and two trials are halfway: two more fit."""
    trials = [*map(hour, range(3)), hour(3, State.RUNNING), hour(4, State.RUNNING)]
    trials = [*trials, hour(5, State.WAITING)]
    todo = decide(budgeted(hours=7.0), trials, now=HOUR / 2)
    assert (todo.propose, todo.hold) == (1, range(0))  # one waits already, and one more fits
    assert decide(budgeted(hours=100.0), trials, now=HOUR / 2).propose == 2


def test_waiting_trials_beyond_the_budget_are_held():
    """The first that fits may be claimed, the others not; nobody is submitted for them."""
    trials = [hour(0), hour(1), hour(2, State.WAITING), hour(3, State.WAITING)]
    todo = decide(budgeted(hours=3.0), trials, slots=NONE)
    assert (todo.hold, todo.propose, todo.submit) == (range(3, 4), 0, 1)
    assert not todo.finished
    todo = decide(budgeted(hours=2.5), trials, slots=NONE)
    assert (todo.hold, todo.submit, todo.finished) == (range(2, 4), 0, True)


def test_running_trials_are_let_end():
    """The search is over, the study is not."""
    todo = decide(budgeted(hours=2.0), [hour(0), hour(1), hour(2, State.RUNNING)])
    assert (todo.propose, todo.finished) == (0, False)


def test_before_any_result_running_trials_are_taken_to_be_halfway():
    """Four that have run for an hour: at least four more hours, so twelve leave room for two."""
    trials = [hour(n, State.RUNNING) for n in range(4)]
    reach = afford(budgeted(12.0), trials, use_of(budgeted(12.0), trials, None, HOUR), (), HOUR)
    assert reach.trials == pytest.approx(2.0)


def test_a_long_runner_is_judged_by_those_that_lasted_as_long():
    """Of trials of 1, 1 and 5 hours only the last lasted two: three hours more."""
    trials = [hour(0), hour(1), dataclasses.replace(hour(2), seconds=5 * HOUR)]
    trials.append(hour(3, State.RUNNING))
    study = budgeted(20.0)
    reach = afford(study, trials, use_of(study, trials, None, 2 * HOUR), (), 2 * HOUR)
    assert reach.trials == pytest.approx((20 - 7 - 2 - 3) / (7 / 3))


def test_idle_hours_are_part_of_what_a_trial_costs():
    """Two trials of an hour, and an hour of start-up: each costs one and a half."""
    study = budgeted(9.0)
    use = use_of(study, [hour(0), hour(1)], Charge(3.0, gpus=True), 0.0)
    assert afford(study, [hour(0), hour(1)], use, (), 0.0).trials == pytest.approx(4.0)


def test_lost_attempts_are_part_of_what_a_trial_costs():
    """One trial of an hour with three lost ones: of twelve hours two more such trials fit."""
    study, trials = budgeted(12.0), [hour(0, lost_seconds=3 * HOUR)]
    assert afford(study, trials, use_of(study, trials, None, 0.0), (), 0.0).trials == 2.0


def test_the_winners_parts_are_put_by():
    """The search ends while two hours are left, and they go to the parts."""
    trials = [hour(n) for n in range(8)]
    todo = decide(budgeted(hours=10.0), trials, parts=("test", "leave:a"))
    assert (todo.propose, parts_of(todo)) == (0, ("test", "leave:a"))
    assert decide(budgeted(hours=10.0), trials, parts=("test",)).propose == 1


def test_cheap_tests_leave_nothing_for_another_search():
    """Else the test part would be read again for another winner."""
    trials = [*map(hour, range(8)), dataclasses.replace(hour(8, part="test", of=7), seconds=1.0)]
    todo = decide(budgeted(hours=10.0), trials, parts=("test", "leave:a"))
    assert (todo.propose, parts_of(todo)) == (0, ("leave:a",))
    done = [*trials, dataclasses.replace(hour(9, part="leave:a", of=7), seconds=1.0)]
    assert decide(budgeted(hours=10.0), done, parts=("test", "leave:a")).finished


def test_parts_that_the_budget_does_not_reach_for_are_left_out():
    """A trial that took longer than expected has eaten what was put by."""
    trials = [*map(hour, range(8)), dataclasses.replace(hour(8, State.FAIL), seconds=1.5 * HOUR)]
    todo = decide(budgeted(hours=10.0), trials, parts=("test", "leave:a"))
    assert (parts_of(todo), todo.finished) == ((), True)


@pytest.mark.parametrize(
    ("tres", "gpus"),
    [
        ("billing=2,cpu=2,gres/gpu=1,mem=4G,node=1", 1),
        ("cpu=2,gres/gpu:a100=2,gres/gpu=2,node=1", 2),
        ("cpu=2,gres/gpu:a100=2,gres/gpu:v100=1", 3),
        ("billing=1,cpu=1,mem=1G,node=1", 0),
        ("", 0),
    ],
)
def test_gpus_are_read_from_what_a_job_was_allocated(tres, gpus):
    """By kind, in all, or both; none of a job that never began."""
    assert gpus_in(tres) == gpus


@pytest.mark.parametrize(
    ("options", "gpus"),
    [
        ({"gres": "gpu:1"}, 1), ({"gres": "gpu"}, 1), ({"gres": "gpu:a100:2,shard:3"}, 2),
        ({"gpus": 2}, 2), ({"gpus-per-node": "v100:4"}, 4), ({"gpus-per-task": 1}, 1),
        ({"partition": "gpu"}, 0), ({"gres": "shard:2"}, 0),
    ],
)  # fmt: skip
def test_gpus_are_read_from_what_a_study_asks_for(options, gpus):
    """Where accounting does not count them, or there is none."""
    assert gpus_asked(options) == gpus


SACCT = """COMPLETED|billing=1,cpu=1,gres/gpu=1,node=1|3600
CANCELLED by 1000|billing=1,cpu=1,gres/gpu=1,node=1|1800
PENDING||0
RUNNING|cpu=1,gres/gpu:a100=2,node=1|900
"""


def test_the_bill_is_one_sacct_a_minute(fake_slurm):
    """All jobs of the run's name, requeued ones each time; the running go on in between."""
    fake_slurm.says("sacct", SACCT)
    account = Account("tn-ab12", 1)
    first = account.charge(since=1.7e9)
    assert first.hours == pytest.approx(2.0, abs=0.01)
    assert first.gpus
    assert account.charge(since=1.7e9).hours >= first.hours
    (call,) = fake_slurm.calls("sacct")
    assert {"-X", "-D", "--name=tn-ab12"} <= set(call["argv"])


def test_a_minute_later_sacct_is_asked_again_and_may_be_silent(fake_slurm, monkeypatch):
    """What was heard stands; what runs is taken to go on."""
    now = [1000.0]
    monkeypatch.setattr("jobs.accounting.time.monotonic", lambda: now[0])
    fake_slurm.says("sacct", SACCT)
    account = Account("tn-ab12", 1)
    account.charge(since=1.7e9)
    fake_slurm.says("sacct", rc=1)
    now[0] += 1800
    assert account.charge(since=1.7e9).hours == pytest.approx(2.0 + 2 * 0.5)
    assert len(fake_slurm.calls("sacct")) == 2


def test_jobs_without_gpus_count_as_slots(fake_slurm):
    """One slot a job; where a job asked for GPUs that accounting does not count, those."""
    fake_slurm.says("sacct", "COMPLETED|cpu=2,node=1|3600\n")
    assert Account("tn-ab12", 0).charge(0.0) == Charge(1.0, gpus=False)
    assert Account("tn-ab12", 2).charge(0.0) == Charge(2.0, gpus=True)


def test_without_accounting_the_claims_count(tmp_path, fake_slurm):
    """A Slurm that keeps no accounts: the trials' own clocks."""
    fake_slurm.says("sacct", stderr="Slurm accounting storage is disabled", rc=1)
    run = make(tmp_path, jobs=Jobs(executor="slurm", n_workers=2, slurm={"gres": "gpu:1"}))
    run.folder.propose(Proposal(0, {"x": 0.5}, 0, "random"))
    run.folder.claim(Claim(0, 1, "1_0", time=1000.0))
    run.folder.lose(Lost(0, 1, "NODE_FAIL", "controller", 5000.0, seconds=1800.0))
    use = Ledger(run).spent(run.trials())
    assert (use.charged, use.total, use.unit) == (None, 0.5, "GPU-hours")
    assert use.parts[LOST] == 0.5


def test_what_lost_attempts_took_is_counted_to_the_last_sign_of_life(tmp_path):
    """Not to when a controller found them, which may be days later; results keep it."""
    run = make(tmp_path)
    claim = Claim(0, 1, "1_0", time=0.0)
    run.folder.propose(Proposal(0, {"x": 0.5}, 0, "random"))
    run.folder.claim(claim)
    wrote = run.newest_file(claim)
    run.lose(dataclasses.replace(claim, time=wrote - 100.0), "NODE_FAIL")
    assert run.trials()[0].lost_seconds == pytest.approx(100.0)
    second = Claim(0, 2, "1_1", time=wrote - 50.0)
    run.folder.claim(second)
    assert run.trials()[0].started == wrote - 50.0
    run.fail(second, "OUT_OF_MEMORY")
    (trial,) = Store(run.path).trials()
    assert (trial.state, trial.lost_seconds) == (State.FAIL, pytest.approx(100.0))
    assert trial.seconds == pytest.approx(50.0, abs=1.0)


@pytest.mark.slow
def test_a_study_ends_in_time_and_a_larger_budget_goes_on(tmp_path):
    """It overshoots by what was running at most; the stock that was held is trained then."""
    more = {"train": "tests.functions:sleep", "fixed": {"seconds": 0.1}, "n_trials": 200}
    budget = 0.8
    run = make(tmp_path, gpu_hours=budget / HOUR, **more)
    assert drive(run, OneByOne(run.folder)).finished
    trials = run.trials()
    used = sum(t.seconds for t in trials if t.state.finished)
    assert 0.7 * budget < used <= budget + max(t.seconds for t in trials if t.state.finished)
    assert status(run)["spent"]["total"] == pytest.approx(used / HOUR)
    again = make(tmp_path, gpu_hours=2 * budget / HOUR, **more)
    assert drive(again, OneByOne(again.folder)).finished
    assert sum(t.seconds for t in again.trials() if t.state.finished) > 1.3 * used
    assert {t.number for t in trials} <= {t.number for t in again.trials()}


class OneByOne(Inline):
    """Trains one trial a tick, as a worker would whose trials take as long as a tick."""

    def submit(self, workers):
        """One trial of what may be claimed."""
        orders = dataclasses.replace(Orders.read(self.folder), trials_per_job=1)
        Worker(self.folder, orders, Slot.here(""), lambda: "").run()


def test_what_is_held_is_said_and_nobody_claims_it(tmp_path):
    """By a worker that looks, and by `tuner.status`."""
    run = make(tmp_path, gpu_hours=1e-9)
    for number in range(3):
        run.folder.propose(Proposal(number, {"x": 0.5}, 0, "random"))
    run.folder.claim(Claim(0, 1, "1_0", time=1.0))
    run.hold(range(1, 3))
    OneByOne(run.folder).submit(1)
    assert run.view().claims == {0: 1}
    assert status(run)["held"] == 2
    assert "2 proposed trials wait beyond the budget" in text(status(run))
    run.hold(range(0))
    OneByOne(run.folder).submit(1)
    assert set(run.view().finished) == {1}


def test_a_tick_holds_what_is_beyond_the_budget_and_takes_it_back(tmp_path):
    """With a larger budget the same trials may be claimed."""
    run = make(tmp_path, gpu_hours=1.0)
    Controller(run, Idle(run.folder)).tick()
    proposed = run.view().proposed
    run.folder.claim(Claim(0, 1, "1_0", time=time.time() - 2 * HOUR))
    Controller(run, Idle(run.folder)).tick()
    assert set(run.folder.held()) == proposed - {0}
    again = make(tmp_path, gpu_hours=1000.0)
    Controller(again, Idle(run.folder)).tick()
    assert run.folder.held() == range(0)


class Idle(Inline):
    """An executor whose one job lives and does nothing."""

    def slots(self):
        """A job."""
        return Slots(1, frozenset({("1_0", 0)}))

    def submit(self, workers):
        """Nothing."""


def test_without_a_budget_accounting_is_never_asked(tmp_path, fake_slurm):
    """Neither by the controller nor by status; a report asks once."""
    run = make(tmp_path, jobs=Jobs(executor="slurm", grace=0.0))
    Controller(run, Inline(run.folder)).tick()
    status(run)
    assert fake_slurm.calls("sacct") == []
    Ledger(run).spent(run.trials())
    assert len(fake_slurm.calls("sacct")) == 1


@pytest.mark.parametrize("hours", [-1, "many", True, math.nan])
def test_a_budget_that_makes_no_sense_is_refused(hours):
    """With its key."""
    with pytest.raises(BadInput, match="gpu_hours"):
        budgeted(hours=hours)


def test_a_torn_hold_holds_nothing(tmp_path):
    """Late, never wrong: the next tick writes it again."""
    run = make(tmp_path)
    files.replace(run.path / "hold.json", b"\0\0")
    assert run.folder.held() == range(0)


def test_accounts_that_know_none_of_the_jobs_are_no_accounts(fake_slurm):
    """sacct says nothing of a colleague's jobs and of purged ones: that is not 0 idle hours."""
    fake_slurm.says("sacct", "")
    assert Account("tn-ab12", 1).charge(0.0) is None
