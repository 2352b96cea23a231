"""A short soak: a study under random faults on a real Slurm, with a printed seed."""

import random

import pytest

from tests.soak import Soak

pytestmark = pytest.mark.slurm


def test_a_study_under_random_faults_keeps_every_promise(cluster):
    """Asked = found, no duplicate, every training beyond the first explained by a kill."""
    seed = random.SystemRandom().randrange(10**6)
    report = Soak(cluster, seed, kills=9).run()
    print(report)
    assert report.faults.total() >= 5, report
    assert report.good, report
