"""What the folders of a run's submissions to Slurm tell: lost answers, silent ends, black holes."""

import re
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import final

from jobs import files, slurm
from jobs.contract import END, FULL, NOTE, READY, SUBMITTED
from jobs.folder import RunFolder

_MISSING, _SILENT = "missing.json", ".silent.json"
_ORDERS = re.compile(r"[0-9a-f]{32}\.pkl")  # submitit's, before sbatch has answered
_VOID_AFTER = 60.0  # seconds between two answers of Slurm that both lack a submission
_FAILS = 2  # jobs in a row that a node ended before they could work
_OUT_FOR = 3600.0  # seconds that a node is left out: it may be mended


def adopt(folder: RunFolder, rows: Sequence[slurm.Row]) -> None:
    """Give orders to the jobs of an sbatch that failed but submitted, or whose caller died.

    submitit names the orders after the job when sbatch has answered; a job waits a minute for
    them. All jobs of a submission have the same ones, and are in the queue at once or not at all.
    """
    for name in sorted({row.comment for row in rows if row.state in slurm.ALIVE}):
        path = folder.jobs / name
        listed = files.names(path)
        orders = [held for held in listed if _ORDERS.fullmatch(held)]
        if NOTE not in listed or SUBMITTED in listed or not orders:
            continue
        jobs = [row.job for row in rows if row.comment == name]
        for job in jobs:
            files.share(path / orders[0], path / f"{job}_submitted.pkl")
        files.write_once(path / SUBMITTED, {"job": jobs[0].split("_")[0]})


def unseen(folder: RunFolder, seen: set[str]) -> int:
    """Jobs of submissions that nobody knows the fate of: sbatch may have taken them."""
    return sum(_of_unknown_fate(folder.jobs / name) for name in names(folder) if name not in seen)


@final
class Full:
    """Knows the jobs that trained what they were to, before Slurm is asked again.

    With trials_per_job they come and go, and a slot must not wait a minute for the next.
    """

    def __init__(self, folder: RunFolder, per_job: int) -> None:
        self._folder = folder
        self._per_job = per_job
        self._job_of: dict[Path, str] = {}  # the end note of a worker → its job, if that was full

    def among(self, rows: Sequence[slurm.Row]) -> int:
        """How many of the jobs that Slurm showed alive are over."""
        ends: Counter[str] = Counter()
        for name in sorted({row.comment for row in rows}):
            path = self._folder.jobs / name
            ends.update(self._full(path / end) for end in files.names(path) if end.endswith(END))
        return sum(ends[row.job] >= self._per_job for row in rows if row.restart == 0)

    def _full(self, note: Path) -> str:
        if note not in self._job_of:
            end = files.read(note) or {}
            self._job_of[note] = str(end.get("job")) if end.get("reason") == FULL else ""
        return self._job_of[note]


def names(folder: RunFolder) -> list[str]:
    """The folders in jobs/ of what was submitted to Slurm."""
    return [name for name in files.names(folder.jobs) if name.startswith("slurm-")]


def note_silent_ends(folder: RunFolder, rows: Sequence[slurm.Row]) -> None:
    """Write down which nodes ended jobs before Python began: Slurm will forget it."""
    for row in rows:
        path = folder.jobs / row.comment
        if row.state not in ("FAILED", "BOOT_FAIL") or not row.node:
            continue
        listed = files.names(path)
        words = [n for n in listed if n.startswith(f"{row.node}-") and not n.endswith(_SILENT)]
        note = f"{row.node}-{row.job}{_SILENT}"
        if SUBMITTED in listed and not words and note not in listed:
            end = {"error": f"{row.state} before Python began", "time": time.time()}
            files.write_once(path / note, end)


def black_holes(folder: RunFolder) -> dict[str, str]:
    """The nodes whose last jobs all ended before they could work, with the last one's error."""
    fails: dict[str, list[tuple[float, str]]] = {}
    worked: dict[str, float] = {}
    for path in _answered(folder):
        listed = files.names(path)
        for name in listed:
            host, note = name.rpartition("-")[0], files.read(path / name) or {}
            at = float(note.get("time", 0.0))
            if name.endswith(READY):
                worked[host] = max(at, worked.get(host, 0.0))
            elif name.endswith((END, _SILENT)) and _unready(name, listed) and "error" in note:
                fails.setdefault(host, []).append((at, str(note["error"]).strip()))
    since = time.time() - _OUT_FOR
    last = {
        host: sorted(end for end in ends if end[0] > max(since, worked.get(host, 0.0)))
        for host, ends in fails.items()
    }
    return {host: _line(ends[-1][1]) for host, ends in last.items() if len(ends) >= _FAILS}


def _answered(folder: RunFolder) -> Iterable[Path]:
    paths = (folder.jobs / name for name in files.names(folder.jobs))
    return (path for path in paths if SUBMITTED in files.names(path))


def _unready(name: str, listed: Sequence[str]) -> bool:
    return name.removesuffix(END) + READY not in listed


def _line(error: str) -> str:
    return error.splitlines()[-1]


def _of_unknown_fate(path: Path) -> int:
    """The jobs of a submission without an answer, until two of Slurm's answers lack it."""
    listed = files.names(path)
    if SUBMITTED in listed or NOTE not in listed:
        return 0
    if _MISSING not in listed:
        files.write_once(path / _MISSING, {"time": time.time()})
    if time.time() - written(path / _MISSING) > _VOID_AFTER:
        return 0
    return int((files.read(path / NOTE) or {}).get("jobs", 0))


def written(note: Path) -> float:
    """When a note was written, by its own word, else (a crashed server tore it) by its file's."""
    return float((files.read(note) or {}).get("time") or files.modified(note) or time.time())
