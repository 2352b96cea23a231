"""The winner's study file: what trains it once more, to the same value."""

import html
import json
import subprocess
import sys
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tuner
from tests import made
from tests.slurm_cluster import REPOSITORY
from tests.test_best import finished
from tests.test_report import publish
from tuner import again, report, store, study
from tuner.space import BadInput, Categorical

WORDS = st.text(st.characters(exclude_categories=["Cs"]))
PLAIN = st.one_of(
    WORDS, st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False)
)
VALUES = st.recursive(
    PLAIN, lambda v: st.one_of(st.lists(v), st.dictionaries(WORDS, v)), max_leaves=6
)
TABLE = st.dictionaries(WORDS, VALUES)


@pytest.mark.fast
@given(TABLE)
def test_toml_is_read_back_as_it_was(table):
    """Whatever words, numbers and tables a study holds; only an empty table at the top goes."""
    kept = {key: value for key, value in table.items() if value != {}}
    assert tomllib.loads(again.toml(table)) == kept


@pytest.mark.fast
def test_the_file_is_the_winner_alone(tmp_path):
    """A complete study: its point, its seed, its resources; no search, pruner or budget."""
    changes = {"gpu_hours": 5.0, "name": "n" * 64, "pruner": {"name": "none"}, "seed": 7}
    run = store.create(made.study(**changes), tmp_path / "a run")
    publish(run, made.trial(0, 2.0))
    params = {"learning_rate": 1e-4, "lstm_units": 64, "optimizer": "sgd", "weight_decay": 0.5}
    publish(run, made.trial(1, 1.0, params=params, seed=11))
    report.refresh(run)
    path = run.folder.report / "best.toml"
    found = study.read(path)
    assert found.enqueue == (params,)
    assert found.seeds == (11,)
    assert (found.n_trials, found.gpu_hours, found.pruner, found.confirm) == (1, None, {}, None)
    assert (found.space, found.fixed) == (run.study.space, run.study.fixed)
    assert found.name.endswith("n-1")
    lines = json.loads((run.folder.report / "best.json").read_text())["train_again"]
    assert lines == [f"sbatch slurm/controller.sh '{path}'", f"python -m tuner.run '{path}'"]
    assert all(f"#   {line}\n" in path.read_text() for line in lines)
    assert lines[0] in html.unescape((run.folder.report / "index.html").read_text())


@pytest.mark.fast
def test_a_point_from_elsewhere_has_no_file(tmp_path):
    """An outer program may have asked for one that the space has not."""
    run = store.create(made.study({"o": Categorical(("a", "b"))}), tmp_path / "run")
    publish(run, made.trial(0, 2.0, params={"other": 3}))
    report.refresh(run)
    assert not (run.folder.report / "best.toml").exists()
    assert json.loads((run.folder.report / "best.json").read_text())["train_again"] == []


@pytest.mark.fast
def test_seeds_are_those_of_the_first_trials():
    """The others' are hashes, as without any."""
    plain, given_ = made.study(seed=3), made.study(seed=3, seeds=(5, 6))
    assert [given_.seed_of(n) for n in (0, 1)] == [5, 6]
    assert given_.seed_of(2) == plain.seed_of(2) != plain.seed_of(0)
    for bad in ("12", [-1], [1.5]):
        with pytest.raises(BadInput, match="seeds"):
            study.Study.from_table({**made.study().to_table(), "seeds": bad})


STUDY = """
[fixed]
epochs = 2
metric = "rmse"
[space]
learning_rate = { type = "float", low = 1e-4, high = 1e-2, log = true }
lstm_units = { type = "int", low = 8, high = 16 }
optimizer = { type = "categorical", choices = ["adam", "sgd"] }
weight_decay = { type = "float", low = 0.0, high = 0.1, when = { optimizer = "adam" } }
[data]
source = "prototype"
target = "target"
window = 8
"""


@pytest.mark.slow
def test_the_winner_is_trained_again_to_the_same_value(tmp_path, monkeypatch):
    """By the very line of the report, bit for bit, and with a model that predicts the same."""
    monkeypatch.setenv("TUNER_DEVICE", "cpu")
    run = finished(tmp_path, STUDY)
    best = tuner.load_best(run)
    command = [sys.executable, "-m", "tuner.report", run]
    told = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert f"Train the winner again: python -m tuner.run {run}/report/best.toml" in told.stdout
    line = json.loads((run / "report" / "best.json").read_text())["train_again"][1]
    words = [*line.split(), "--folder", tmp_path / "again"]
    assert words[:3] == ["python", "-m", "tuner.run"]
    subprocess.run([sys.executable, *words[1:]], cwd=REPOSITORY, check=True, capture_output=True)
    once_more = tuner.load_best(tmp_path / "again")
    assert (once_more.number, once_more.value) == (0, best.value)
    assert once_more.params == best.params
    table = tuner.load(tmp_path / "again", what="all")
    assert table["part"].tolist() == ["search", "test"]
    assert table["origin"][0] == "enqueue"
    earlier = tuner.load(run, what="all")
    assert table["metrics_rmse"][1] == earlier[earlier["part"] == "test"]["metrics_rmse"].iloc[0]
