"""Fixtures for all tests."""

from tests.slurm_cluster import cluster, running_cluster  # noqa: F401
