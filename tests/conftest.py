"""Fixtures for all tests."""

from tests.fakeslurm import fake_slurm  # noqa: F401
from tests.slurm_cluster import cluster, running_cluster  # noqa: F401
from tests.users import _accounts, users  # noqa: F401
