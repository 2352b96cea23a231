"""The habits that all commands share: help with an example, no colours, a shell's completion."""

import os
import pty
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.slurm_cluster import REPOSITORY
from tuner.__main__ import COMMANDS

pytestmark = pytest.mark.slow
MODULES = sorted(set(re.findall(r"python -m (tuner\.\w+)", COMMANDS)))
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY), "TERM": "xterm-256color"}
# argcomplete answers a shell's own question: which words could stand where the cursor is.
COMPLETE = """
eval "$(activate-global-python-argcomplete --dest=-)"
COMP_WORDS=($1); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); COMP_LINE=$1; COMP_POINT=${#1}
COMP_TYPE=9; COMP_KEY=9
_python_argcomplete_global python "${COMP_WORDS[$COMP_CWORD]}" "${COMP_WORDS[$COMP_CWORD - 1]}"
echo "${COMPREPLY[@]}"
"""


def test_every_command_is_listed():
    """`python -m tuner` knows whatever can be typed."""
    runnable = {
        f"tuner.{path.stem}"
        for path in (REPOSITORY / "tuner").glob("[!_]*.py")
        if 'if __name__ == "__main__"' in path.read_text()
    }
    assert set(MODULES) == runnable


@pytest.mark.parametrize("module", MODULES)
def test_help_ends_with_an_example(module):
    """That begins with the command itself."""
    command = [sys.executable, "-m", module, "--help"]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, env=ENVIRONMENT)
    _, found, examples = answer.stdout.partition("\nexample")
    assert found
    for line in examples.splitlines()[1:]:
        assert line.startswith(f"  python -m {module} ")


def test_a_forgotten_environment_is_one_line():
    """Nobody has to know what psutil is."""
    command = [sys.executable, "-S", "-m", "tuner.status", "runs/pm25"]
    env = {"PYTHONPATH": str(REPOSITORY), "PATH": os.environ["PATH"]}
    answer = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert answer.returncode == 2
    (line,) = answer.stderr.splitlines()
    assert line.endswith("source slurm/env.sh")


@pytest.mark.parametrize(
    ("active", "ours"),
    [({}, True), ({"CONDA_PREFIX": "/c", "CONDA_DEFAULT_ENV": "base"}, True),
     ({"CONDA_PREFIX": "/c/envs/mine", "CONDA_DEFAULT_ENV": "mine"}, False),
     ({"VIRTUAL_ENV": "/v"}, False)],
)  # fmt: skip
def test_an_environment_of_ones_own_is_kept_but_not_condas_base(tmp_path, active, ours):
    """slurm/env.sh, in a project whose .venv is there."""
    for name in ("slurm/env.sh", ".venv/bin/python"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / "slurm" / "env.sh", tmp_path / name)
    (tmp_path / ".venv/bin/python").chmod(0o755)
    command = ["bash", "-c", 'source slurm/env.sh; echo "${VIRTUAL_ENV:-}"']
    env = {"PATH": "/usr/bin:/bin", **active}
    said = subprocess.run(
        command, cwd=tmp_path, env=env, capture_output=True, text=True, check=True
    )
    assert (said.stdout.strip() == str(tmp_path / ".venv")) is ours


def on_a_terminal(*argv, cwd):
    """What a command shows on a terminal that could show colours."""
    ours, its = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", *argv], stdin=its, stdout=its, stderr=its, cwd=cwd, env=ENVIRONMENT
    ):
        os.close(its)
        shown = b""
        while True:
            try:
                piece = os.read(ours, 4096)
            except OSError:  # how Linux says that the other side is closed
                return shown.decode()
            shown += piece


def test_no_command_shows_a_colour(tmp_path):
    """So NO_COLOR has nothing to take away: not on a terminal that could, and not for an error."""
    text = (
        '[space]\nx = { type = "float", low = 0, high = 1 }\n[jobs]\nn_workers = 1\ngrace = 0.1\n'
    )
    head = 'direction = "minimize"\nn_trials = 2\nsampler = "random"\n'
    (tmp_path / "s.toml").write_text(f'{head}train = "tests.functions:quadratic"\n{text}')
    seen = [
        on_a_terminal(*words, cwd=tmp_path)
        for words in (
            ("tuner.run", "s.toml"),
            ("tuner.status", "runs/s"),
            ("tuner.report", "runs/s"),
            ("tuner.status", "runs/s", "0"),
            ("tuner.run", "gone.toml"),
        )
    ]
    assert "2 trials (2 complete)" in seen[0]
    assert "gone.toml" in seen[-1]
    assert [text for text in seen if re.search(r"\x1b\[[0-9;]*m", text)] == []


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("python -m tuner.resume --st", "--standby"),
        ("python -m tuner.steer runs/pm25 ca", "cancel"),
        ("python -m tuner.run jobs/hous", "jobs/household.toml"),
    ],
)
def test_a_shell_completes_options_words_and_files(line, answer):
    """In a real bash, set up with the README's line."""
    if not (bash := shutil.which("bash")):
        pytest.skip("no bash")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    said = subprocess.run(
        [bash, "-c", COMPLETE, "bash", line], cwd=REPOSITORY, env={**ENVIRONMENT, "PATH": path},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert said.stdout.split() == [answer]
