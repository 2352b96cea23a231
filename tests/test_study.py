"""Study files: what is read, and how bad input is refused."""

import json
import os
import re
import subprocess
import sys

import pytest

from jobs.folder import RunFolder
from tests.slurm_cluster import REPOSITORY
from tuner import ours, store, study
from tuner import run as run_command
from tuner.space import BadInput

GOOD = """
direction = "minimize"
n_trials = 3
train = "tests.functions:quadratic"
sampler = "random"
[space]
x = { type = "float", low = 0, high = 1 }
"""


def write(tmp_path, text, name="study.toml"):
    """A study file."""
    path = tmp_path / name
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", [p.name for p in sorted((REPOSITORY / "jobs").glob("*.toml"))])
def test_the_shipped_studies_are_good_and_their_data_is_there(name):
    """Every study file of the project can be run as it is."""
    shipped = study.read(REPOSITORY / "jobs" / name)
    assert shipped.load_data() is not None
    assert shipped.enqueue


def test_a_study_comes_back_from_its_table(tmp_path):
    """What is written to the run's folder is what was asked."""
    shipped = study.read(REPOSITORY / "jobs" / "smartwatch.toml")
    table = json.loads(json.dumps(shipped.to_table()))
    again = study.Study.from_table(table)
    assert again.to_table() == shipped.to_table()
    assert again.space == shipped.space


def test_settings_are_laid_over_the_file(tmp_path):
    """--set reaches into tables, and a bare word is a word."""
    path = write(tmp_path, GOOD)
    read = study.read(path, ["n_trials=7", "jobs.n_workers=2", "sampler=tpe", "fixed.rate=1e-3"])
    assert (read.n_trials, read.jobs.n_workers, read.sampler) == (7, 2, "tpe")
    assert read.fixed == {"rate": 1e-3}


def test_what_our_training_takes_is_not_refused(tmp_path):
    """All shipped studies, and one with conditions."""
    for path in (*(REPOSITORY / "jobs").glob("*.toml"), write(tmp_path, OURS)):
        read = study.read(path)
        ours.check(read, read.load_data())


def test_a_list_is_written_as_sbatch_reads_it(tmp_path):
    """Slurm starts a job on whichever of the partitions has room first."""
    text = GOOD + '[jobs.slurm]\npartition = ["a100", "v100"]\ncpus_per_task = 1\n'
    read = study.read(write(tmp_path, text))
    assert read.jobs.slurm == {"partition": "a100,v100", "cpus-per-task": 1}
    assert study.Study.from_table(read.to_table()) == read


def test_a_data_file_is_found_beside_the_study_file(tmp_path):
    """Its path counts from there, wherever the command is typed."""
    (tmp_path / "own.csv").write_text("a,b\n" + "\n".join(f"{i},{i % 7}" for i in range(400)))
    text = GOOD + '[data]\nsource = "own.csv"\ntarget = "a"\nwindow = 5\n'
    read = study.read(write(tmp_path, text))
    assert read.data["source"] == str(tmp_path / "own.csv")
    assert read.load_data().task == "regression"


OURS = """
direction = "minimize"
n_trials = 3
[fixed]
epochs = 1
[space]
learning_rate = { type = "float", low = 1e-4, high = 1e-2, log = true }
optimizer = { type = "categorical", choices = ["adam", "sgd"] }
weight_decay = { type = "float", low = 0, high = 1, when = { optimizer = "sgd" } }
[data]
source = "prototype"
target = "target"
window = 20
"""


BAD = {
    "a precision that there is not": (
        OURS.replace("epochs = 1", 'precision = "fp16"'), "fixed.precision", "bf16",
    ),
    "a parameter that our training lacks": (
        OURS.replace("weight_decay", "momentum"), "space.momentum", "no parameter of cnn_lstm",
    ),
    "a choice that our training lacks": (
        OURS.replace('"adam", ', '"adam", "lion", '), "space.optimizer", "none of adam, sgd",
    ),
    "an end that our training refuses": (
        OURS.replace("low = 1e-4, high = 1e-2, log = true", "low = 0.0, high = 1e-2"),
        "space.learning_rate", "no number above 0",
    ),
    "unknown key": (GOOD.replace("n_trials", "n_trails"), "n_trails", "n_trials"),
    "unknown key of a table": (GOOD + "[jobs]\nworkers = 3", "jobs.workers", "n_workers"),
    "low above high": (GOOD.replace("high = 1", "high = -1"), "space.x.low", "swap"),
    "log of zero": (GOOD.replace("high = 1", "high = 1, log = true"), "space.x.low", "above 0"),
    "odd step": (GOOD.replace("high = 1", "high = 1, step = 0.3"), "space.x.step", "high = 0.9"),
    "unknown sampler": (GOOD.replace("random", "magic"), "sampler", "gp, mtpe, tpe, skopt, random"),
    "no direction": (GOOD.replace("direction", "#"), "direction", "minimize"),
    "no TOML": (GOOD + "[jobs", "is no TOML", "mend"),
    "n_trials of zero": (GOOD.replace("= 3", "= 0"), "n_trials", "at least 1"),
    "a line break for sbatch": (
        GOOD + '[jobs.slurm]\npartition = "a\\nb"', "jobs.slurm.partition", "one line",
    ),
    "a shell in an option's name": (
        GOOD + '[jobs.slurm]\n"x; rm" = "a"', "jobs.slurm.x; rm", "long name",
    ),
    "a bad name": ('name = "a/../b"' + GOOD, "name", "letters"),
    "a point outside": (GOOD + "[[enqueue]]\nx = 2", "enqueue[0].x", "value of the space"),
    "a point that lacks a value": (GOOD + "[[enqueue]]", "enqueue[0].x", "give it a value"),
    "no function": (GOOD.replace("tests.functions:quadratic", "quadratic"), "train", "package"),
    "no such module": (GOOD.replace("tests.functions", "tests.nothing"), "train", "import"),
    "fixed and searched": (GOOD + "[fixed]\nx = 1", "fixed.x", "remove"),
    "no group": (GOOD.replace("direction", 'group = 3\ndirection'), "group", "lab"),
    "a list of no words": (
        GOOD + "[jobs.slurm]\npartition = [1]", "jobs.slurm.partition", "one line",
    ),
    "an image on this machine": (
        GOOD + '[jobs]\ncontainer = "a.sif"', "jobs.container", "--executor slurm",
    ),
    "no data for our training": (
        GOOD.replace('train = "tests.functions:quadratic"', ""), "data", "beijing_pm25",
    ),
    "missing data": (GOOD + '[data]\nsource = "gone.csv"\ntarget = "a"', "data.source", "gone.csv"),
    "unknown data key": (GOOD + '[data]\nsource = "prototype"\nwidnow = 3', "data.widnow", "known"),
}  # fmt: skip


@pytest.mark.parametrize("fault", BAD)
def test_bad_input_is_one_line_with_file_key_and_remedy(tmp_path, monkeypatch, capsys, fault):
    """Exit 2, no traceback, nothing half-made left behind."""
    text, key, remedy = BAD[fault]
    path = write(tmp_path, text)
    assert refused(path, tmp_path, monkeypatch) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert str(path) in error
    assert key in error
    assert remedy in error
    assert os.listdir(tmp_path) == [path.name]


def refused(path, folder, monkeypatch, *more):
    """The exit code of tuner.run."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["tuner.run", str(path), *more])
    with pytest.raises(SystemExit) as caught:
        raise SystemExit(run_command.main())
    return caught.value.code


def test_a_target_full_of_nan_is_refused(tmp_path, monkeypatch, capsys):
    """Before anything is made."""
    (tmp_path / "own.csv").write_text("a,b\n" + "\n".join(f",{i}" for i in range(400)))
    text = GOOD + '[data]\nsource = "own.csv"\ntarget = "a"\nwindow = 5\n'
    assert refused(write(tmp_path, text), tmp_path, monkeypatch) == 2
    assert "data.target" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_slurm_is_refused_where_there_is_no_sbatch(tmp_path, monkeypatch, capsys):
    """With what to use instead."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert refused(write(tmp_path, GOOD), tmp_path, monkeypatch, "--executor", "slurm") == 2
    error = capsys.readouterr().err
    assert "no sbatch on PATH" in error
    assert "--executor local" in error
    assert not (tmp_path / "runs").exists()


def test_a_folder_that_holds_something_else_is_refused(tmp_path, monkeypatch, capsys):
    """Nobody's thesis is mixed with a run."""
    thesis = tmp_path / "thesis"
    thesis.mkdir()
    (thesis / "chapter1.tex").touch()
    path = write(tmp_path, GOOD)
    assert refused(path, tmp_path, monkeypatch, "--folder", str(thesis)) == 2
    assert "--folder" in capsys.readouterr().err
    assert os.listdir(thesis) == ["chapter1.tex"]


def test_a_run_whose_making_was_cut_short_is_made(tmp_path):
    """By a crash, or since another start is just making it: whoever comes first names it."""
    path = write(tmp_path, GOOD)
    RunFolder(tmp_path / "run").make()
    run = store.create(study.read(path), tmp_path / "run")
    assert store.create(study.read(path), tmp_path / "run").id == run.id


def test_a_folder_that_cannot_be_made_is_refused(tmp_path, monkeypatch, capsys):
    """A file stands where the folder should."""
    (tmp_path / "taken").touch()
    path = write(tmp_path, GOOD)
    assert refused(path, tmp_path, monkeypatch, "--folder", str(tmp_path / "taken" / "run")) == 2
    assert "cannot be written" in capsys.readouterr().err


CHANGES = {
    "space": ("high = 1", "high = 2", "space.x.high"),
    "direction": ("minimize", "maximize", "direction"),
    "sampler": ('"random"', '"tpe"', "sampler"),
    "objective": ("quadratic", "sleep", "train"),
    "data": ("window = 20", "window = 30", "data.window"),
}


WITH_DATA = GOOD + '[data]\nsource = "prototype"\ntarget = "target"\nwindow = 20\n'


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_study_on_an_existing_run_is_refused(tmp_path, change):
    """The difference is shown, and the run stays as it was."""
    old, new, key = CHANGES[change]
    run = store.create(study.read(write(tmp_path, WITH_DATA)), tmp_path / "run")
    before = (run.path / "settings.json").read_bytes()
    with pytest.raises(BadInput) as caught:
        store.create(study.read(write(tmp_path, WITH_DATA.replace(old, new))), tmp_path / "run")
    assert caught.value.key == key
    assert (run.path / "settings.json").read_bytes() == before


def test_changed_data_on_an_existing_run_is_refused(tmp_path):
    """The same path with other content is other data."""
    data = tmp_path / "own.csv"
    rows = [f"{i},{i % 7}" for i in range(400)]
    data.write_text("a,b\n" + "\n".join(rows))
    path = write(tmp_path, GOOD + '[data]\nsource = "own.csv"\ntarget = "a"\nwindow = 5\n')
    store.create(study.read(path), tmp_path / "run")
    data.write_text("a,b\n" + "\n".join(reversed(rows)))
    with pytest.raises(BadInput) as caught:
        store.create(study.read(path), tmp_path / "run")
    assert caught.value.key == "data_hash"


def test_more_trials_and_other_jobs_are_fine(tmp_path):
    """They do not change what a result means."""
    store.create(study.read(write(tmp_path, GOOD)), tmp_path / "run")
    path = write(tmp_path, GOOD.replace("= 3", "= 30") + "[jobs]\nn_workers = 9")
    run = store.create(study.read(path), tmp_path / "run")
    assert (run.study.n_trials, run.study.jobs.n_workers) == (30, 9)


def test_resume_without_a_run_says_what_to_do(tmp_path):
    """Exit 2 and one line."""
    answer = subprocess.run(
        [sys.executable, "-m", "tuner.resume"], cwd=tmp_path, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert answer.returncode == 2
    assert answer.stderr.count("\n") == 1
    assert "python -m tuner.run" in answer.stderr


@pytest.mark.fast
@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def train(params, data, report, checkpoint, seed): ...", None),
        ("def train(params, *rest): ...", None),
        ("def train(params, data, report, checkpoint, seed, more=1): ...", None),
        ("from functools import partial\ntrain = partial(print)", None),
        ("from elsewhere import *", None),
        ("def train(params, data): ...", "takes other arguments; write def train(params, data, "),
        ("def train(a, b, c, d, e, f): ...", "takes other arguments"),
        ("def train(a, b, c, d, e, *, f): ...", "takes other arguments"),
        ("def fit(a, b, c, d, e): ...", "has no train"),
        ("def train(:", "is no Python"),
    ],
)
def test_a_training_function_is_looked_at_before_a_job_is_spent(
    tmp_path, monkeypatch, source, said
):
    """It is read and not imported; what cannot be told so is left to the worker."""
    (tmp_path / "lookedat.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    wanted = study.read(
        write(tmp_path, GOOD.replace("tests.functions:quadratic", "lookedat:train"))
    )
    if said is None:
        wanted.check_train()
    else:
        with pytest.raises(BadInput, match=re.escape(said)):
            wanted.check_train()
