"""What the README promises: its examples run, its tests exist, its commands are there."""

import re
import subprocess
import sys

import pytest

from tests.slurm_cluster import REPOSITORY
from tuner import study

README = (REPOSITORY / "README.md").read_text()


def blocks(language):
    """The README's code blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_study_file_can_be_run_as_it_stands(tmp_path):
    """Every key in it is known, and its data are there."""
    (example,) = blocks("toml")
    path = tmp_path / "study.toml"
    path.write_text(example)
    assert study.read(path).load_data() is not None


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


def test_the_training_function_example_can_be_tuned(tmp_path):
    """Put into a module, named in a study, run with the command of the README."""
    (example,) = [block for block in blocks("python") if "def train" in block]
    (tmp_path / "mine.py").write_text(example)
    (tmp_path / "study.toml").write_text(
        'direction = "minimize"\nn_trials = 3\nsampler = "random"\ntrain = "mine:train"\n'
        '[fixed]\nepochs = 4\n[space]\nrate = { type = "float", low = 0.1, high = 0.5 }\n'
        "[jobs]\nn_workers = 1\ngrace = 0.5\n"
    )
    command = [sys.executable, "-m", "tuner.run", "study.toml"]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    assert "3 trials (3 complete)" in answer.stdout


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
