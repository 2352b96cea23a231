"""Both samplers drive both model families; on Slurm in test_slurm.py, here on this machine."""

import pytest

from jobs.contract import SEARCH, State
from tests.slurm_cluster import REPOSITORY
from tests.test_controller import drive
from tuner import store, study

SMALL = {
    "cnn_lstm": ("prototype_regression", ['space.epochs={ type = "int", low = 1, high = 2 }']),
    "fusion": ("basic_motions", ["fixed.epochs=1"]),
}


def small(family, sampler):
    """The settings that make a shipped study a matter of seconds, and let the sampler learn."""
    name, settings = SMALL[family]
    more = ["n_trials=5", "n_initial=3", f"sampler={sampler}", "enqueue=[]", "jobs.grace=1"]
    return REPOSITORY / "jobs" / f"{name}.toml", [*settings, *more]


@pytest.mark.parametrize("sampler", ["gp", "tpe"])
@pytest.mark.parametrize("family", SMALL)
def test_both_samplers_drive_both_model_families(tmp_path, family, sampler):
    """Real data to a test score, workers in this process."""
    path, settings = small(family, sampler)
    run = store.create(study.read(path, settings), tmp_path / "run")
    drive(run)
    trials = run.trials()
    assert {t.state for t in trials} == {State.COMPLETE}, [t.reason for t in trials]
    assert [t.part for t in trials].count(SEARCH) == 5
    assert "test" in {t.part for t in trials}
