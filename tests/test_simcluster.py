"""The simulated cluster: its clock adds up, nothing gets lost on it, and it can be replayed."""

import dataclasses

import pytest

from jobs.contract import State
from tests.bench.simcluster import Simulation, Site
from tests.bench.simstudies import LOWEST, bound, hartmann, log_normal, study

pytestmark = pytest.mark.fast

QUICK = Site(look=0.1, start_up=1.0, grace=2.0, ask=lambda told, n: 0.0)
ROUGH = Site(queue_wait=60.0, start_up=5.0, preempted=20.0, node_lost=5.0, failing=0.1,
             ask=lambda told, n: 0.01 * n)  # fmt: skip
DURATION = log_normal(4, 2, 10)


def played(workers=8, n_trials=160, site=QUICK, sampler="random", seed=0):
    """A study of trials that take some seconds."""
    return Simulation(study(workers, n_trials, sampler), site, hartmann, DURATION, seed).run()


def test_list_scheduling_is_the_bound():
    """Of trials of 3, 1, 1 and 2 s one worker gets the first, the other all else."""
    assert bound([3.0, 1.0, 1.0, 2.0], 2) == 4.0


def test_hartmann_has_its_minimum_where_it_is_said_to_be():
    """To the digits that are published."""
    at = (0.20169, 0.150011, 0.476874, 0.275332, 0.311652, 0.6573)
    assert hartmann({f"x{i}": x for i, x in enumerate(at)}) == pytest.approx(LOWEST, abs=1e-5)


def test_workers_of_a_calm_cluster_hardly_wait():
    """Every trial once, and never faster than list scheduling."""
    outcome = played()
    durations = [DURATION(number, None) for number in range(160)]
    assert {t.state for t in outcome.trials} == {State.COMPLETE}
    assert outcome.trained == pytest.approx(sum(durations))
    assert 0.97 < bound(durations, 8) / outcome.wall <= 1.0


def test_a_slow_sampler_makes_workers_wait():
    """A second a point for workers that want two a second."""
    slow = dataclasses.replace(QUICK, ask=lambda told, n: 1.0 * n)
    assert played(site=slow).utilisation < 0.6 * played().utilisation


def test_a_rough_cluster_loses_no_trial():
    """Queues, preemptions, lost nodes and failures: each of the trials ends once."""
    outcome = played(site=ROUGH)
    assert [t.number for t in outcome.trials] == list(range(160))
    assert all(t.state.finished for t in outcome.trials)
    assert 0 < sum(t.state is State.FAIL for t in outcome.trials) < 40
    assert max(t.attempts for t in outcome.trials) > 1
    assert outcome.trained > sum(DURATION(number, None) for number in range(160))
    asked, trained = outcome.shares
    assert 0 < asked <= trained <= 1


@pytest.mark.slow
def test_the_same_seed_plays_the_same_study():
    """Whatever the real clock does: the asking takes what the site says."""
    one, two = (
        played(site=ROUGH, sampler="gp", n_trials=30),
        played(site=ROUGH, sampler="gp", n_trials=30),
    )
    assert one.trials == two.trials
    assert played(site=ROUGH, seed=1).wall != played(site=ROUGH).wall
