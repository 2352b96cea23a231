"""What the README promises: its examples run, its tests exist, its commands are there."""

import json
import os
import re
import signal
import subprocess
import sys

import pytest

from tests.slurm_cluster import REPOSITORY
from tuner import ours, study

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
README = (REPOSITORY / "README.md").read_text()


def blocks(language):
    """The README's code blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_study_file_can_be_run_as_it_stands(tmp_path):
    """Every key in it is known, and its data are there."""
    (example,) = blocks("toml")
    path = tmp_path / "study.toml"
    path.write_text(example)
    read = study.read(path)
    ours.check(read, read.load_data())


def test_every_key_of_a_study_is_named():
    """A key that nobody can find is no key."""
    fields = [*study.Study.__dataclass_fields__, *study.Jobs.__dataclass_fields__]
    assert [name for name in fields if not re.search(rf"\b{name}\b", README)] == []


def test_the_hyperopt_example_runs_and_goes_on(tmp_path):
    """Unmodified, in a folder of its own; with a larger max_evals it adds the rest."""
    (example,) = [block for block in blocks("python") if "fmin" in block]
    for code in (example, example.replace("max_evals=20", "max_evals=23")):
        subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)
    assert len(list(tmp_path.glob("runs/mine/done/*/*.result.json"))) == 23


OWN = """
direction = "minimize"
n_trials = 6
sampler = "random"
train = "mymodel:train"
[fixed]
metric = "mse"
epochs = 12
batch_size = 256
units = 16
[space]
learning_rate = { type = "float", low = 1e-5, high = 1e-2, log = true }
[data]
source = "prototype"
target = "target"
window = 20
[pruner]
name = "asha"
[confirm]
top = 2
seeds = 2
[jobs]
n_workers = 2
grace = 0.5
"""


@pytest.fixture
def own(tmp_path):
    """A folder of a user's own, with the example as it stands and a study of it."""
    (example,) = [block for block in blocks("python") if "def train" in block]
    (tmp_path / "mymodel.py").write_text(example)
    (tmp_path / "study.toml").write_text(OWN)
    return tmp_path


def test_the_training_function_example_can_be_tuned(own):
    """With a pruner and a confirmation, by the command of the README, to its report."""
    command = [sys.executable, "-m", "tuner.run", "study.toml", "--folder", "run"]
    answer = subprocess.run(
        command, cwd=own, capture_output=True, text=True, check=False, env=ENVIRONMENT
    )
    assert answer.returncode == 0, answer.stderr
    assert "6 trials (" in answer.stdout
    results = [json.loads(path.read_text()) for path in own.glob("run/done/*/*.result.json")]
    complete = [r for r in results if r["state"] == "COMPLETE"]
    assert len([r for r in complete if r["part"] != "search"]) == 4  # two of them, two seeds each
    for found in complete:
        assert found["value"] == min(epoch["mse"] for epoch in found["curve"])
        assert len(found["curve"]) == 12


@pytest.mark.parametrize("killed", [1, 5])
def test_the_training_function_example_survives_a_kill_bit_for_bit(own, killed):
    """kill -9 of its worker behind an epoch; the next one ends with the same value and curve."""
    whole = tried(own, "whole")
    first = tried(own, "broken", killed)
    assert first is None
    assert tried(own, "broken") == whole
    assert len(whole[1]) == 12


def tried(folder, name, killed=-1):
    """A trial's value and curve by a worker of its own, None where it was killed in the middle."""
    code = f"""
import os, signal, sys
sys.path.insert(0, ".")
import mymodel
from models.data import load
from models.train import from_bytes, to_bytes

class File:
    def load(self):
        return from_bytes(open("{name}.pt", "rb").read()) if os.path.exists("{name}.pt") else None
    def save(self, step, state, last=False):
        with open("{name}.draft", "wb") as file:
            file.write(to_bytes(state()))
        os.replace("{name}.draft", "{name}.pt")
        if step == {killed}:
            os.kill(os.getpid(), signal.SIGKILL)

def report(step, **metrics):
    with open("{name}.curve", "a") as file:
        print(step, metrics["mse"].hex(), file=file)

params = {{"learning_rate": 3e-3, "epochs": 12, "batch_size": 256, "units": 16}}
data = load({{"source": "prototype", "target": "target", "window": 20}})
print(mymodel.train(params, data, report, File(), 7).hex())
"""
    command = [sys.executable, "-c", code]
    answer = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, env=ENVIRONMENT
    )
    if answer.returncode == -signal.SIGKILL:
        return None
    assert answer.returncode == 0, answer.stderr
    return answer.stdout, (folder / f"{name}.curve").read_text().splitlines()


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(tests/[\w.]+::\w+)`", README))))
def test_each_row_of_what_survives_names_a_test_that_exists(name):
    """No row without a test."""
    path, function = name.split("::")
    assert f"def {function}(" in (REPOSITORY / path).read_text()


@pytest.mark.parametrize("command", sorted(set(re.findall(r"python -m (tuner\.\w+)", README))))
def test_every_command_helps(command):
    """With an example, or its arguments."""
    answer = subprocess.run(
        [sys.executable, "-m", command, "--help"], capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0
    assert "usage:" in answer.stdout


def test_it_opens_with_the_two_commands():
    """A newcomer reads no further before something runs."""
    assert "make demo" in README[:1200]
    assert "make test" in README[:1200]


FRAME = """
import numpy as np
import pandas as pd
import tuner
hours = pd.date_range("2015-01-01", periods=60, freq="h")
columns = tuner.load_best("runs/pm25").features
frame = pd.DataFrame(np.full((60, len(columns)), 10.0), index=hours, columns=columns)
"""


@pytest.mark.slow
def test_the_study_by_hand_and_what_takes_its_results_run(tmp_path):
    """As they stand, but for fewer trials and epochs; two runs of it are compared, one exported."""
    (example,) = [block for block in blocks("python") if "Study(" in block]
    few = example.replace("n_trials=40", "n_trials=2").replace('"epochs": 5', '"epochs": 1')
    assert few.count("=2,") == 1
    few = few.replace("pm25-by-hand", "pm25")
    said = python(few + "print(ran.path.name, ran.finished, sorted(ran.best_params))", tmp_path)
    assert said[-1] == "pm25 True ['batch_size', 'learning_rate']"
    assert len(list(tmp_path.glob("runs/pm25/done/*/*.result.json"))) == 3  # and its test
    (load,) = [block for block in blocks("python") if "load_best" in block]
    end = "print(len(trials), len(curves), len(everything), int(forecast.notna().sum()))"
    assert python(f"{FRAME}{load}{end}", tmp_path)[-1] == "2 2 3 37"
    other = few.replace("run(study)", 'run(study, "runs/pm25-random")')
    python(other.replace("n_trials=2", 'n_trials=2, sampler="random"'), tmp_path)
    for words in ("compare runs/pm25 runs/pm25-random", "export runs/pm25 pm25.parquet"):
        assert f"python -m tuner.{words}" in README
        module, *rest = words.split()
        run = f"import runpy; runpy.run_module('tuner.{module}', run_name='__main__')"
        python(run, tmp_path, *rest)
    assert {"comparison.html", "pm25.parquet"} <= {*os.listdir(tmp_path)}


def python(code, folder, *arguments):
    """What a program prints, line by line."""
    answer = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=folder, capture_output=True, text=True,
        check=False, env=ENVIRONMENT,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    return answer.stdout.splitlines()
