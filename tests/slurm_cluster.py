"""A real Slurm for tests: `cluster` runs commands on it as an ordinary user.

slurm/cluster.sh starts it once a session, in a folder, with a user and on ports of this session's
own, so sessions side by side, and a cluster started by hand, do not disturb each other.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar, final

import pytest

T = TypeVar("T")

REPOSITORY = Path(__file__).parent.parent
SCRIPT = REPOSITORY / "slurm" / "cluster.sh"
PORT = 20_000 + os.getpid() % 500 * 20  # twenty for each session, below those of the kernel


def why_not() -> str:
    """Say why a cluster cannot be started here; empty if it can."""
    if os.geteuid() != 0:
        return "a throw-away Slurm needs root, who can run jobs as another user"
    for program in ("slurmctld", "slurmd", "slurmdbd", "munged", "mariadbd"):
        if shutil.which(program) is None:
            return f"{program} is not installed (see slurm/cluster.sh)"
    if Path("/etc/slurm/slurm.conf").exists():
        return "this machine has a Slurm of its own"
    return ""


def wait_for(condition: Callable[[], T], seconds: float = 30) -> T:
    """Call `condition` until its answer is true, and return it; AssertionError after `seconds`."""
    end = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < end, f"still {answer!r} after {seconds} s"
        time.sleep(0.1)
    return answer


def call_script(*argv: str) -> subprocess.CompletedProcess[str]:
    """Call slurm/cluster.sh."""
    return subprocess.run([SCRIPT, *argv], text=True, capture_output=True, check=False)


@final
class Cluster:
    """A throw-away Slurm and its ordinary user, with a checkout and a Python of that user's own."""

    def __init__(self, base: Path, user: str, port: int) -> None:
        self.user = user
        self.port = port
        self.folder = base / "slurm"
        self.project = base / "project"
        self.python = self.project / ".venv" / "bin" / "python"

    def script(self, command: str, *options: str) -> subprocess.CompletedProcess[str]:
        """Call slurm/cluster.sh for this cluster."""
        answer = call_script(command, "--folder", str(self.folder), *options)
        assert answer.returncode == 0, answer.stderr
        return answer

    def up(self, *options: str) -> str:
        """Start whatever of the cluster does not run, and return what the script printed."""
        return self.script("up", "--user", self.user, "--port", str(self.port), *options).stdout

    def pids(self) -> dict[str, int]:
        """Return the process of each daemon: munged, mariadb, slurmdbd, slurmctld, n1, …."""
        notes = (self.folder / "run").glob("*.pid")
        # a daemon that has just begun has made its file, and not written it yet
        return {file.stem: int(wait_for(file.read_text)) for file in notes}

    def command(self, argv: list[str], env: Mapping[str, str] | None = None) -> list[str]:
        """Return the command line with which root runs `argv` as the ordinary user."""
        clean = {
            "PATH": f"{self.python.parent}:/usr/bin:/bin",
            "HOME": f"{self.folder}/home",
            "USER": self.user,
            "LANG": "C.UTF-8",
            "SLURM_CONF": f"{self.folder}/slurm.conf",
            "PYTHONPATH": str(self.project),  # before the checkout that an editable install names
            **(env or {}),
        }
        assignments = [f"{name}={value}" for name, value in clean.items()]
        return ["runuser", "-u", self.user, "--", "env", "-i", *assignments, *argv]

    def admin(self, *argv: str) -> str:
        """Run a command of Slurm's as its administrator, and return what it printed."""
        env = {**os.environ, "SLURM_CONF": f"{self.folder}/slurm.conf"}
        answer = subprocess.run(argv, text=True, capture_output=True, check=False, env=env)
        assert answer.returncode == 0, f"{argv}: {answer.stdout}{answer.stderr}"
        return answer.stdout

    def run(
        self,
        argv: list[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        check: bool = True,
        timeout: float = 120,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as the ordinary user, in the project unless told where."""
        answer = subprocess.run(
            self.command(argv, env),
            cwd=cwd or self.project,
            text=True,
            capture_output=True,
            timeout=timeout,
            check=False,
        )
        assert not check or answer.returncode == 0, f"{argv}: {answer.stderr}"
        return answer

    def sbatch(self, *options: str) -> str:
        """Submit a job without output as the ordinary user, from home, and return its id."""
        argv = ["sbatch", "--parsable", "--output=/dev/null", *options]
        return self.run(argv, cwd=self.folder / "home").stdout.strip()

    def squeue(self, *options: str) -> list[dict[str, str]]:
        """Return Slurm's jobs, one row an array task, finished ones for ten more seconds."""
        fields = ("JobArrayID", "Name", "State", "RestartCnt", "NodeList", "Reason", "Comment")
        form = ",".join(f"{field}:|" for field in fields)
        return rows(self.run(["squeue", "-h", "-r", "-t", "all", "-O", form, *options]), fields)

    def sacct(self, *options: str) -> list[dict[str, str]]:
        """Return the user's accounted jobs (and steps, without "-X"), which appear seconds late."""
        fields = ("JobID", "JobName", "State", "ExitCode", "NodeList", "AllocTRES")
        form = ",".join(fields)
        return rows(
            self.run(["sacct", "-n", "-P", "-S", "now-1days", "-o", form, *options]), fields
        )

    def scancel_all(self) -> None:
        """End the user's jobs, and wait until Slurm has none."""
        self.run(["scancel", "--user", self.user])
        wait_for(lambda: not self.run(["squeue", "-h"]).stdout)

    def give_project(self) -> None:
        """Copy this checkout, and its Python if need be, to where the ordinary user can work."""
        self.project.mkdir()
        for name in checkout():
            copy = self.project / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, copy)
        venv = self.project / ".venv"
        venv.symlink_to(sys.prefix)
        subprocess.run(["chown", "-R", "-h", f"{self.user}:", self.project], check=True)
        # The environment, or the way to it, may be closed to others; a copy of one works as well.
        if not self.can_import() and sys.prefix != sys.base_prefix:
            venv.unlink()
            subprocess.run(["cp", "-a", "--reflink=auto", sys.prefix, venv], check=True)
            subprocess.run(["chmod", "-R", "a+rX", venv], check=True)
        if not self.can_import():
            pytest.skip(f"ordinary users cannot run the Python under {sys.base_prefix}")

    def can_import(self) -> bool:
        """Say whether the ordinary user can run the project's Python with its packages."""
        argv = [str(self.python), "-c", "import submitit, torch"]
        return self.run(argv, check=False).returncode == 0


def rows(answer: subprocess.CompletedProcess[str], fields: tuple[str, ...]) -> list[dict[str, str]]:
    """Read lines of values that "|" separates or ends."""
    return [dict(zip(fields, line.split("|"), strict=False)) for line in answer.stdout.splitlines()]


def checkout() -> list[str]:
    """Name the files of the working tree that git knows or would add."""
    git = ["git", "-c", "safe.directory=*", "ls-files", "-z", "-co", "--exclude-standard"]
    listed = subprocess.run(git, cwd=REPOSITORY, text=True, capture_output=True, check=True)
    return [name for name in listed.stdout.split("\0") if name and (REPOSITORY / name).is_file()]


@contextmanager
def a_cluster(user: str, port: int, *options: str) -> Iterator[Cluster]:
    """Start a cluster in a new folder, and take both away at the end."""
    # Not under tmp_path, which other users cannot enter.
    base = Path(tempfile.mkdtemp(prefix="tuner-test-"))
    base.chmod(0o755)
    cluster = Cluster(base, user, port)
    try:
        cluster.up(*options)
        yield cluster
    finally:
        cluster.script("down")
        shutil.rmtree(base)


@pytest.fixture(scope="session")
def running_cluster() -> Iterator[Cluster]:
    """One cluster for the whole session."""
    if reason := why_not():
        pytest.skip(reason)
    with a_cluster(f"tuner-{os.getpid()}", PORT) as cluster:
        cluster.give_project()
        yield cluster


@pytest.fixture
def cluster(running_cluster: Cluster) -> Iterator[Cluster]:
    """The session's cluster, without jobs of earlier tests."""
    yield running_cluster
    running_cluster.scancel_all()
