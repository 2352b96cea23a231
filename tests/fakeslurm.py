"""A Slurm that says what a test tells it to: real commands on PATH, played from files."""

import json
import stat
import sys

import pytest

COMMANDS = ("sbatch", "squeue", "sacct", "srun", "scontrol", "scancel")
PROGRAM = """#!{python}
import json, os, pathlib, sys
folder = pathlib.Path({folder!r})
name = pathlib.Path(sys.argv[0]).name
with (folder / "calls.jsonl").open("a") as file:
    call = {{"command": name, "argv": sys.argv[1:], "env": dict(os.environ)}}
    file.write(json.dumps(call) + "\\n")
path = folder / (name + ".json")
said = json.loads(path.read_text()) if path.exists() else {{}}
sys.stdout.write(said.get("stdout", ""))
sys.stderr.write(said.get("stderr", ""))
sys.exit(said.get("rc", 0))
"""


class FakeSlurm:
    """What the commands will say, and what was asked of them."""

    def __init__(self, folder):
        self.folder = folder
        for name in COMMANDS:
            path = folder / "bin" / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(PROGRAM.format(python=sys.executable, folder=str(folder)))
            path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def says(self, command, stdout="", stderr="", rc=0):
        """From now on."""
        said = {"stdout": stdout, "stderr": stderr, "rc": rc}
        (self.folder / f"{command}.json").write_text(json.dumps(said))

    def queue(self, *rows):
        """squeue's answer: rows of (job, state, restart count, comment, node, reason)."""
        self.says("squeue", "".join("|".join(map(str, row)) + "|\n" for row in rows))

    def calls(self, command):
        """How a command was called, in order."""
        path = self.folder / "calls.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [call for call in map(json.loads, lines) if call["command"] == command]


@pytest.fixture
def fake_slurm(tmp_path, monkeypatch):
    """A fake Slurm on PATH."""
    folder = tmp_path / "fakeslurm"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder / 'bin'}:/usr/bin:/bin")
    return FakeSlurm(folder)
