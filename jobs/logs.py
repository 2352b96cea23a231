"""What workers leave in jobs/: nothing if they ended well, else their logs, a hundred of them.

jobs/<submission>/               submission.json, ready and end notes, submitit's files, logs
jobs/failed/<time>.<submission>.<log>    what stays of older submissions that failed
"""

from collections import Counter
from collections.abc import Set as AbstractSet
from itertools import groupby, islice
from pathlib import Path

from jobs import files
from jobs.contract import END, NOTE, READY, Claim
from jobs.folder import RunFolder

LOG_TAIL = 16_384  # bytes of a log that a failed trial's result keeps
_KEPT = 100  # logs of failed workers that stay as files
_WHOLE = 3  # of the newest failed submissions the notes stay too: strikes are counted by them
_TELLING = 2  # ends of failed workers a host that stay as long
_FAILED = "failed"
_LOGS = (".out", ".err", ".txt")  # what Slurm and the local executor call them


def tail(folder: RunFolder, claim: Claim, last: str = "") -> str:
    """The end of what a claim's worker wrote; `last` may not have reached the file yet."""
    logs = _logs(folder, claim.submission)
    own = [log for log in logs if log == "log.txt" or log.startswith(f"{claim.job}_")]
    ordered = sorted(own, key=lambda log: (log.endswith(".err"), log))
    text = b"".join(files.read_bytes(logs[log], LOG_TAIL) or b"" for log in ordered)
    if (end := last.encode(errors="replace")) not in text:
        text += end
    return text[-LOG_TAIL:].decode(errors="replace")


def last_words(folder: RunFolder, submission: str) -> str:
    """The error that a submission's worker noted, or the end of its log."""
    path = folder.jobs / submission
    said = [((files.read(path / n) or {}).get("error", ""), path) for n in files.names(path)]
    for log in _logs(folder, submission).values():
        said.append(((files.read_bytes(log, LOG_TAIL) or b"").decode(errors="replace"), log))
    text, where = next((pair for pair in said if pair[0].strip()), ("no word in its log", path))
    return f"{text.strip().splitlines()[-1]} (all of it in {where})"


def tidy(folder: RunFolder, alive: AbstractSet[str]) -> None:
    """Remove what the ended workers of submissions left; `alive` are those to be left alone."""
    over = sorted(set(files.names(folder.jobs)) - alive - {_FAILED})
    times = ((_clean(folder.jobs / name), name) for name in over)
    failed = sorted((time, name) for time, name in times if time is not None)
    for time, name in failed[:-_WHOLE]:
        _set_aside(folder, time, name)
    aside = [folder.jobs / _FAILED / name for name in sorted(files.names(folder.jobs / _FAILED))]
    whole = [log for _, name in failed[-_WHOLE:] for log in _found(folder.jobs / name)]
    files.remove([*aside, *whole][:-_KEPT])


def _clean(path: Path) -> float | None:
    """Remove what a submission's good workers left; when it was made if others failed, else None.

    A worker that did not write its end was killed; of the notes of many a few tell enough.
    """
    listed, note = files.names(path), files.read(path / NOTE) or {}
    per_job, workers = note.get("per_job", 1), note.get("jobs", 1) * note.get("per_job", 1)
    ends = {name: files.read(path / name) or {} for name in listed if name.endswith(END)}
    good = Counter(end.get("job", "") for end in ends.values() if "error" not in end)
    if all_well := good.total() >= max(workers, len(ends)):
        files.remove_folder(path)
    if all_well or not note:  # without its note it is just being made
        return None
    well = tuple(f"{job}_" for job, count in good.items() if count >= per_job)
    ready = sorted(name for name in listed if name.endswith(READY))
    notes = [name for name in listed if name.endswith(".json") and name not in (*ends, *ready)]
    keep = {*_telling({name for name, end in ends.items() if "error" in end}), *ready[:1], *notes}
    keep |= {log.name for log in _found(path) if not log.name.startswith(well)}
    files.remove(path / name for name in sorted(set(listed) - keep))
    return float(note.get("time", 0.0))


def _telling(errors: AbstractSet[str]) -> set[str]:
    """Of the ends with an error two a host, by which black holes are known, with their starts."""
    of = groupby(sorted(errors), key=lambda name: name.rpartition("-")[0])
    kept = {name for _, names in of for name in islice(names, _TELLING)}
    return kept | {name.removesuffix(END) + READY for name in kept}


def _set_aside(folder: RunFolder, time: float, name: str) -> None:
    """Keep the logs of a failed submission, and nothing else of it."""
    files.make_folder(folder.jobs / _FAILED)
    for log in _found(folder.jobs / name):
        files.share(log, folder.jobs / _FAILED / f"{int(time):010d}.{name}.{log.name}")
    files.remove_folder(folder.jobs / name)


def _found(path: Path) -> list[Path]:
    """The logs in a folder that say anything, in order."""
    logs = [path / name for name in sorted(files.names(path)) if name.endswith(_LOGS)]
    return [log for log in logs if files.read_bytes(log, 1)]


def _logs(folder: RunFolder, submission: str) -> dict[str, Path]:
    """The logs of a submission by their own names, wherever they are by now."""
    aside = (name.split(".", 2) for name in files.names(folder.jobs / _FAILED))
    found = {
        log: folder.jobs / _FAILED / f"{t}.{of}.{log}" for t, of, log in aside if of == submission
    }
    if submission:
        found |= {log.name: log for log in _found(folder.jobs / submission)}
    return found
