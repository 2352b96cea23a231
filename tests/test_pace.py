"""How many points wait and how often the controller looks: pure, tested with numbers."""

import random

import pytest

from jobs.contract import State
from tests.bench.sleeping import HIGH, LOW, seconds
from tests.bench.utilisation import list_schedule
from tuner.pace import Pace, measured, pause, stock
from tuner.trial import Trial

pytestmark = pytest.mark.fast


def finished(*took, part="search"):
    """Trials that took so many seconds."""
    return [Trial(n, State.COMPLETE, {}, part=part, seconds=s) for n, s in enumerate(took)]


def test_before_anything_is_measured_a_quarter_waits():
    """A new controller begins so too: nothing of the pace is needed."""
    assert [stock(workers, Pace()) for workers in (1, 4, 8, 100)] == [1, 1, 2, 25]
    assert stock(8, Pace(period=2.0)) == stock(8, Pace(trial=2.0)) == 2


def test_the_stock_follows_the_pace():
    """One point where trials take minutes, more for quick ones or a slow sampler."""
    assert stock(8, Pace(period=2.0, trial=1200.0)) == 1
    assert stock(8, Pace(period=2.0, trial=20.0)) == 3
    assert stock(8, Pace(period=10.0, trial=20.0)) == 8  # 4 claims, but never two a worker
    assert stock(1000, Pace(period=2.0, trial=600.0)) == 7
    assert stock(8, Pace(period=2.0, trial=0.0)) == 8


@pytest.mark.parametrize(("workers", "trial"), [(8, 5.0), (8, 60.0), (100, 60.0), (1000, 600.0)])
def test_the_stock_is_just_deep_enough(workers, trial):
    """Trials of random length: it lasts in 95 % of the periods, and one less would not."""
    rng, period = random.Random(1), 1.0
    deep = stock(workers, Pace(period, trial))
    ends = [trial * rng.random() for _ in range(workers)]
    claims = []
    for now in range(1, 4000):
        claims.append(sum(end < now for end in ends))
        ends = [now + rng.expovariate(1 / trial) if end < now else end for end in ends]
    beyond = [sum(n > limit for n in claims) / len(claims) for limit in (deep, deep - 1)]
    assert beyond[0] <= 0.05
    assert beyond[1] > 0.02


def test_the_pace_is_that_of_the_newest_trials():
    """The median period passes over a slow squeue; tests of the winner are no trials."""
    trials = [*finished(*[100.0] * 30, *[10.0] * 20), *finished(999.0, part="test")]
    assert measured([1.0, 60.0, 1.2], trials, 8) == Pace(1.2, 10.0)
    assert measured([], [], 8) == Pace()


def test_the_controller_looks_as_often_as_a_point_is_taken():
    """Within bounds: four times a second at most, and not more rarely than it would."""
    assert pause(2.0, 8, Pace()) == 2.0
    assert pause(2.0, 8, Pace(1.0, 600.0)) == 2.0
    assert pause(2.0, 8, Pace(1.0, 8.0)) == 1.0
    assert pause(2.0, 1000, Pace(1.0, 8.0)) == 0.25
    assert pause(0.0, 1, Pace(1.0, 8.0)) == 0.0


def test_the_bench_measures_against_list_scheduling():
    """Tasks in their order, each on the first free slot; the same seed sleeps as long."""
    assert list_schedule([3.0, 1.0, 1.0, 1.0], 2) == 3.0
    assert list_schedule([1.0, 1.0, 3.0], 2) == 4.0
    drawn = [seconds(seed) for seed in range(300)]
    assert drawn == [seconds(seed) for seed in range(300)]
    assert (min(drawn), max(drawn)) == (LOW, HIGH)
    assert LOW < sorted(drawn)[30] < sorted(drawn)[270] < HIGH
