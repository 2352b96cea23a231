"""Fixtures for all tests."""

import os

import pytest

from tests.fakeslurm import fake_slurm  # noqa: F401
from tests.slurm_cluster import cluster, running_cluster  # noqa: F401
from tests.users import _accounts, users  # noqa: F401


@pytest.fixture(autouse=True)
def _umask():
    """Each test finds the umask of the session: a worker inside a test sets its own."""
    before = os.umask(0o022)
    os.umask(before)
    yield
    os.umask(before)
