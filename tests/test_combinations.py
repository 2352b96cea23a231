"""Both samplers drive both model families; on Slurm in test_slurm.py, here on this machine."""

import pytest

from jobs.contract import CONFIRM, SEARCH, State
from tests.slurm_cluster import REPOSITORY
from tests.test_controller import drive
from tuner import confirm, store, study

SMALL = {
    "cnn_lstm": ("prototype_regression", ['space.epochs={ type = "int", low = 1, high = 2 }']),
    "fusion": ("basic_motions", ["fixed.epochs=1"]),
}


def small(family, sampler):
    """The settings that make a shipped study a matter of seconds, and let the sampler learn."""
    name, settings = SMALL[family]
    more = ["n_trials=5", "n_initial=3", f"sampler={sampler}", "enqueue=[]", "jobs.grace=1"]
    more += ["confirm.top=2", "confirm.seeds=2"]
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
    runs = {t.number: t for t in trials if t.part.startswith(CONFIRM)}
    assert len({(t.of, t.part) for t in runs.values()}) == len(runs) == 4
    tests = [t for t in trials if t.part == "test"]
    won = confirm.confirmed(run.study, trials)
    assert [t.of for t in tests] == [t.number for t in won.runs]
    assert [t.seed for t in tests] == [t.seed for t in won.runs]
    # A series' test goes on from its model's finished checkpoint: no epoch is trained for it.
    assert all(bool(t.curve) == (family == "fusion") for t in tests)
    assert all(t.curve for t in runs.values())
