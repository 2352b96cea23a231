"""The questions asked of Slurm, each one command; submitit does the submitting (cluster.py)."""

import math
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from jobs.reasons import OUT_OF_MEMORY

# Slurm's words for a job that holds or will hold a slot …
WAITING_OR_RUNNING = frozenset(
    {
        *("PENDING", "CONFIGURING", "RUNNING", "SUSPENDED", "STOPPED", "RESIZING"),
        *("SIGNALING", "STAGE_OUT", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT"),
    }
)
# … and for one whose processes may still be there.
ALIVE = WAITING_OR_RUNNING | {"COMPLETING"}
_ENVIRONMENT = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|LANG|LC_\w+|TZ|LD_LIBRARY_PATH|PYTHONPATH|VIRTUAL_ENV"
    r"|CONDA_(\w*PREFIX\w*|DEFAULT_ENV|(PYTHON_)?EXE|SHLVL)|MODULE\w*|LMOD_\w+|_LM\w+|CUDA_HOME|CUDA_PATH|OMP_NUM_THREADS|SLURM_CONF|TUNER_\w+"
)
_LOCAL = re.compile(r"(CUDA|NVIDIA|CUBLAS|(PY)?TORCH|OMP|MKL)_\w+|TMPDIR|SLURM_JOB_(ID|END_TIME)")
_SIGN = re.compile(r"[\x00-\x1f\x7f\\]|%\d*[A-Za-z%]")  # %j in a path would be the job's number
PROJECT = Path(__file__).resolve().parent.parent
_UNSET = ("", "(null)", "N/A", "UNLIMITED", "INVALID")
_PATIENCE = 60.0  # seconds for an answer; Slurm's own MessageTimeout is 10
_HURRY = 15.0  # seconds: a job that is told to leave is killed after half a minute
_COLUMNS = ("JobArrayID", "State", "RestartCnt", "Comment", "NodeList", "Reason")


@dataclass(frozen=True, slots=True)
class Row:
    """A job as `squeue` shows it."""

    job: str  # 123 or 123_4
    state: str
    restart: int
    comment: str
    node: str
    reason: str


@dataclass(frozen=True, slots=True)
class Used:
    """One run of a job as `sacct` shows it."""

    state: str
    tres: str  # what it was allocated
    seconds: float


def job_name(run_id: str) -> str:
    """The name of all of a run's workers in the queue and in accounting."""
    return f"tn-{run_id}"


def queue(name: str) -> list[Row] | None:
    """All my jobs of a name that Slurm remembers, or None if it does not answer: one command."""
    columns = ",".join(f"{column}:|" for column in _COLUMNS)  # a width would cut
    answer = _ask("squeue", "-h", "-r", "--me", "-t", "all", f"--name={name}", "-O", columns)
    return None if answer is None else [_row(line) for line in answer.splitlines() if line.strip()]


def ended_as(job: str, restart: int = 0) -> str:
    """Slurm's word for how a job's run ended, from accounting; empty where that does not know.

    Accounting has a record a run of a requeued job (-D). A step that ran out of memory leaves its
    job as FAILED: the steps are asked too.
    """
    answer = _ask("sacct", "-D", "-n", "-P", "-j", job, "-o", "JobID,State", patience=_HURRY)
    runs: list[list[str]] = []
    for line in (answer or "").splitlines():
        step, _, words = line.partition("|")
        if "." not in step:
            runs.append([])
        if runs:
            runs[-1].append((words.split() or [""])[0])  # of "CANCELLED by 1000" the first
    words_ = runs[restart] if restart < len(runs) else [""]
    if OUT_OF_MEMORY in words_:
        return OUT_OF_MEMORY
    return words_[0] if has_word_for_end(words_[0]) else ""


def accounted(name: str, since: float) -> list[Used] | None:
    """Every run of my jobs of a name, requeued ones with each; None where nobody keeps accounts."""
    start = datetime.fromtimestamp(since).isoformat(timespec="seconds")  # sacct's is local time too
    columns = "State,AllocTRES,ElapsedRaw"
    answer = _ask("sacct", "-X", "-D", "-n", "-P", f"--name={name}", "-S", start, "-o", columns)
    rows = (line.split("|") for line in (answer or "").splitlines() if line.count("|") == 2)
    used = [Used(state, tres, float(seconds or 0)) for state, tres, seconds in rows]
    return None if answer is None else used


def has_word_for_end(state: str) -> bool:
    """Whether a state says how a run of a job ended, and not that it lives."""
    return state == "REQUEUED" or state not in ALIVE


def has_ended(job: str) -> bool:
    """Whether Slurm says that a job is over; False where it does not answer."""
    answer = _ask("squeue", "-h", "--me", "-o", "%A|%T")
    if answer is None:
        return False
    return not any(line.startswith(f"{job}|") for line in answer.splitlines())


def own_job() -> str:
    """The id of the job this process runs in, as `squeue -r` writes it."""
    env = os.environ
    if "SLURM_ARRAY_JOB_ID" in env:
        return f"{env['SLURM_ARRAY_JOB_ID']}_{env['SLURM_ARRAY_TASK_ID']}"
    return env["SLURM_JOB_ID"]


def own_end() -> float:
    """When the job this process runs in ends, in seconds since the epoch.

    Slurm sets SLURM_JOB_END_TIME from version 23 on; before, one squeue a job tells.
    """
    if "SLURM_JOB_END_TIME" in os.environ:
        return float(os.environ["SLURM_JOB_END_TIME"])
    answer = _ask("squeue", "-h", "-j", os.environ["SLURM_JOB_ID"], "-o", "%e")
    try:
        return datetime.fromisoformat((answer or "").split()[0]).timestamp()
    except (IndexError, ValueError):
        return math.inf  # no limit, or no answer: the signal before the end still comes


def environment(of: Mapping[str, str], local: bool = False) -> dict[str, str]:
    """What a worker gets of an environment: no token of the user's, no setting of another job.

    A `local` one also gets this machine's settings for GPUs and threads, and the job around it.
    """
    allowed = [_ENVIRONMENT, _LOCAL] if local else [_ENVIRONMENT]
    kept = {k: v for k, v in of.items() if any(names.fullmatch(k) for names in allowed)}
    paths = [str(PROJECT), str(Path.cwd()), of.get("PYTHONPATH", "")]
    return kept | {"PYTHONPATH": os.pathsep.join(dict.fromkeys(path for path in paths if path))}


def submit(options: Sequence[str], script: Path, arguments: Sequence[str]) -> str:
    """Queue a batch script; returns sbatch's complaint, or an empty string."""
    command = ["sbatch", "--parsable", *options, str(script), *arguments]
    return _complaint(command, environment(os.environ))


def requeue(job: str) -> str:
    """Put a job back into the queue, which ends it here; returns scontrol's complaint, or ""."""
    return _complaint(["scontrol", "requeue", job], dict(os.environ))


def set_name(job: str, name: str) -> str:
    """Give a job another name; returns scontrol's complaint, or an empty string."""
    return _complaint(["scontrol", "update", f"JobId={job}", f"JobName={name}"], dict(os.environ))


def rehearsal(options: Mapping[str, Any]) -> tuple[bool, str]:
    """Whether sbatch would take a job with these options, and its word on that."""
    words = [f"--{k}" if v is True else f"--{k}={v}" for k, v in options.items()]
    command = ["sbatch", "--test-only", *words, "--wrap=true"]
    try:
        answer = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=_PATIENCE,
            env=environment(os.environ),
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return False, str(error)
    lines = (answer.stderr or answer.stdout).strip().splitlines()
    said = [line for line in lines if not line.startswith("Try ")] or ["no word"]
    return answer.returncode == 0, said[-1].removeprefix("sbatch: ").removeprefix("error: ")


def cancel(name: str) -> None:
    """Cancel all my jobs of a name."""
    _ask("scancel", "--me", f"--name={name}")


def keeps_accounts() -> bool:
    """Whether sacct answers."""
    return _ask("sacct", "-X", "-n", "-S", "now", patience=_HURRY) is not None


def own_limits() -> list[str]:
    """The options that give a successor what this job has: partition, account, QOS, time."""
    answer = _ask("squeue", "-h", "-j", os.environ["SLURM_JOB_ID"], "-o", "%P|%a|%q|%l")
    if not answer:
        return []
    names = ("partition", "account", "qos", "time")
    values = zip(names, answer.strip().split("|"), strict=True)
    return [f"--{name}={value}" for name, value in values if value not in _UNSET]


def not_for_logs(path: Path) -> str:
    """What of a folder's path Slurm would read as more than a name of its logs; else empty."""
    found = _SIGN.search(str(path))
    return found[0] if found else ""


def missing() -> list[str]:
    """Slurm's commands that are not on this host's PATH."""
    return [command for command in ("sbatch", "squeue") if shutil.which(command) is None]


def _row(line: str) -> Row:
    job, state, restart, comment, node, *reason = line.rstrip("|").split("|")
    return Row(job, state, int(restart or 0), comment, node, "|".join(reason))


def _complaint(command: Sequence[str], env: Mapping[str, str]) -> str:
    try:
        answer = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=_PATIENCE, env=env
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return "" if answer.returncode == 0 else answer.stderr.strip() or "no word why"


def _ask(*command: str, patience: float = _PATIENCE) -> str | None:
    try:
        answer = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=patience
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout if answer.returncode == 0 else None
