"""The table of trials, and the other tables of the page, as plain data."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from jobs import files
from jobs.contract import State
from tuner import confirm
from tuner.page import words
from tuner.results import searched
from tuner.space import Categorical, Parameter
from tuner.store import Store
from tuner.study import Study
from tuner.trial import Trial

MOST = 5000  # rows of the table
_BEFORE = (("trial", True), ("state", False), ("value", True))
_AFTER = (
    ("steps", True),
    ("seconds", True),
    ("tries", True),
    ("host", False),
    ("reason", False),
    ("files", False),
)


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell: its text, what it is sorted by where that differs, or links."""

    text: str = ""
    kind: str = ""
    sort: str | None = None
    links: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """A trial's row."""

    number: int
    state: str
    won: bool
    cells: tuple[Cell, ...]


def columns(study: Study) -> list[tuple[str, bool]]:
    """The heads of the columns, and whether they are sorted as numbers."""
    kinds = study.space.parameters.items()
    return [*_BEFORE, *((name, not isinstance(kind, Categorical)) for name, kind in kinds), *_AFTER]


def rows(store: Store, trials: Sequence[Trial]) -> list[Row]:
    """The rows of the newest trials of the search, by number."""
    won = confirm.winner(store.study, trials)
    logs = _logs(store)
    shown = searched(trials)[-MOST:]
    return [_row(store, t, won is not None and t.number == won.number, logs) for t in shown]


def _row(store: Store, trial: Trial, won: bool, logs: Mapping[str, str]) -> Row:
    params = [_param(trial.params.get(name)) for name in store.study.space.parameters]
    reasons = [trial.reason, *(f"lost: {why}" for why in trial.lost)]
    cells = (
        Cell(str(trial.number), "n"),
        Cell(trial.state.value.lower()),
        _number(trial.value, 6),
        *params,
        Cell(str(len(trial.curve)), "n"),
        _seconds(trial.seconds),
        Cell(str(trial.attempts), "n"),
        Cell(f"{trial.host} {trial.device}".strip()),
        Cell("; ".join(r for r in reasons if r), "why"),
        Cell(links=_links(store, trial, logs)),
    )
    return Row(trial.number, trial.state.value, won, cells)


def _param(given: Any) -> Cell:
    if given is None:
        return Cell("–", "n", sort="")
    if isinstance(given, (int, float)) and not isinstance(given, bool):
        return _number(given, 4)
    return Cell(words.value(given))


def _number(given: float | None, digits: int) -> Cell:
    return Cell(words.number(given, digits), "n", "" if given is None else f"{given:.9g}")


def _seconds(given: float | None) -> Cell:
    return Cell(words.duration(given), "n", "" if given is None else f"{given:.1f}")


def _links(store: Store, trial: Trial, logs: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """The files of a trial, as seen from the report's folder."""
    if not trial.state.finished:
        return ()
    result = store.folder.source(trial.number).relative_to(store.path)
    found = [("result", f"../{quote(str(result))}")]
    if trial.job and (log := logs.get(trial.job)):
        found.append(("log", f"../{quote(log)}"))
    return tuple(found)


def _logs(store: Store) -> dict[str, str]:
    """The logs of Slurm's jobs, by job; most go when their worker ends well."""
    found = {}
    for folder in files.names(store.folder.jobs):
        for name in files.names(store.folder.jobs / folder):
            job, end, _ = name.rpartition("_0_log.out")
            if end:
                found[job.rsplit(".", 1)[-1]] = f"jobs/{folder}/{name}"
    return found


def space(study: Study) -> list[tuple[str, str, str, str]]:
    """What was searched: a row a parameter."""
    return [
        (
            name,
            _range(kind),
            "logarithmic" if getattr(kind, "log", False) else "",
            words.listing(f"{k} = {v}" for k, v in kind.when.items()),
        )
        for name, kind in study.space.parameters.items()
    ]


def _range(kind: Parameter) -> str:
    if isinstance(kind, Categorical):
        return words.listing(words.value(choice) for choice in kind.choices)
    step = f", step {words.number(kind.step)}" if kind.step not in (None, 1) else ""
    return f"{words.number(kind.low)} … {words.number(kind.high)}{step}"


def failures(trials: Sequence[Trial]) -> list[tuple[str, str, int]]:
    """Why trials failed and attempts were lost, the most frequent first."""
    failed = Counter(t.reason for t in trials if t.state is State.FAIL)
    lost = Counter(why for t in trials for why in t.lost)
    return [("failed", words.cut(why, 300), n) for why, n in failed.most_common(20)] + [
        ("lost, tried again", words.cut(why, 300), n) for why, n in lost.most_common(20)
    ]


def costs(table: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """What the hours went to."""
    total = table["total"] or 1.0
    return [
        (name, words.number(hours, 3), f"{hours / total:.0%}")
        for name, hours in table["on"].items()
        if hours
    ] + [("all", words.number(table["total"], 3), "")]
