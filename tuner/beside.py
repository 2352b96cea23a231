"""Runs beside each other: what each reached and spent, which belong together, and who is ahead.

Runs of equal settings but for the seed are one group. Two groups of several runs are compared by
Welch's interval of their runs' final values, which tells of the settings; two single runs by that
of their winners' fresh seeds, which tells of these two winners alone.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.contract import State
from tuner import budget, confirm
from tuner.confirm import Confirmed
from tuner.confirmation import welch
from tuner.results import best_so_far, metric, searched
from tuner.study import IDENTITY, Study
from tuner.tallies import Interval
from tuner.trial import Trial

Array = NDArray[np.float64]
_SEED = "seed"
_BORDER = "-_. "


@dataclass(frozen=True, slots=True)
class Test:
    """A test score that a run's report has written, with its 95 % interval."""

    metric: str
    interval: Interval


@dataclass(frozen=True, slots=True)
class Entry:
    """One run as it was read; `spent` is the budget's table, `data_hash` a file's of its own."""

    name: str
    study: Study
    trials: Sequence[Trial]
    spent: Mapping[str, Any]
    data_hash: str = ""
    test: Test | None = None
    id: str = ""  # the run's own, which a copy of it has too

    @property
    def best(self) -> Trial | None:
        """The best complete trial of the search."""
        return confirm.best(self.study, self.trials)

    @property
    def confirmed(self) -> Confirmed | None:
        """The winner with its fresh seeds, where there are any."""
        return confirm.confirmed(self.study, self.trials)

    @property
    def ended(self) -> list[Trial]:
        """The finished trials of the search in the order of their ends."""
        done = [t for t in searched(self.trials) if t.state.finished]
        return sorted(done, key=lambda t: ((t.started or 0.0) + (t.seconds or 0.0), t.number))

    @property
    def failed(self) -> int:
        """How many trials of the search failed."""
        return sum(t.state is State.FAIL for t in searched(self.trials))

    def final(self, again: bool) -> float:
        """The mean of the winner's fresh seeds, or the best that the search saw; NaN for none."""
        if again:
            return found.mean if (found := self.confirmed) else math.nan
        return math.nan if self.best is None else float(self.best.value or 0.0)

    def best_so_far(self) -> Array:
        """The best value after each finished trial, (trial,); NaN before the first."""
        return best_so_far(self.study, self.ended)

    def hours(self) -> Array:
        """What had been spent on the search by the end of each trial, (trial,)."""
        return np.cumsum([budget.cost(self.study.jobs, t, 0.0) for t in self.ended], dtype=float)


@dataclass(frozen=True, slots=True)
class Group:
    """Runs of the same settings with different seeds."""

    name: str
    entries: tuple[Entry, ...]

    @property
    def label(self) -> str:
        """Its name, with how many runs of it have a value."""
        n = len(self.finals(again=False))
        return f"{self.name} ({n} seeds)" if n > 1 else self.name

    def finals(self, again: bool) -> list[float]:
        """What its runs reached, of those that reached anything; of two with one seed the first."""
        by_seed = {e.study.seed: e for e in reversed(self.entries)}
        found = [e for e in self.entries if by_seed[e.study.seed] is e]
        return [v for e in found if math.isfinite(v := e.final(again))]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Who is ahead, in sentences; `ranked` are the groups with a value, the best first.

    `again` says that they are compared by the fresh seeds of their winners.
    """

    sentences: tuple[str, ...]
    ranked: tuple[Group, ...] = ()
    again: bool = False


def settings(entry: Entry) -> dict[str, Any]:
    """What a run was asked, flat: all but its seed, and how far it was to go."""
    table = entry.study.to_table()
    wanted = {key: table[key] for key in (*IDENTITY, "pruner") if key != _SEED}
    return {**_flat(wanted), "data_hash": entry.data_hash}


def groups(entries: Sequence[Entry]) -> list[Group]:
    """The runs by their settings, in the order in which they were named."""
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        key = json.dumps(settings(entry), sort_keys=True, default=str)
        found.setdefault(key, []).append(entry)
    return [Group(_common([e.name for e in each]), tuple(each)) for each in found.values()]


def differences(found: Sequence[Group]) -> list[tuple[str, list[Any]]]:
    """The settings in which groups differ, with each group's; None where it has no such."""
    asked = [settings(group.entries[0]) for group in found]
    keys = dict.fromkeys(key for each in asked for key in each)
    rows = [(key, [each.get(key) for each in asked]) for key in keys]
    return [(key, row) for key, row in rows if any(value != row[0] for value in row)]


def verdict(found: Sequence[Group]) -> Verdict:
    """Who is ahead, and whether by more than chance where that can be told."""
    some = [group for group in found if group.finals(again=False)]
    if not some:
        return Verdict(("No run has a complete trial yet.",))
    runs = [e for group in some for e in group.entries if e.best is not None]
    again = all(e.confirmed for e in runs)
    sign = runs[0].study.sign
    ranked = tuple(sorted(some, key=lambda group: sign * fmean(group.finals(again))))
    if len(ranked) == 1:
        return Verdict((_alone(ranked[0], len(found), again),), ranked, again)
    said = [_ahead(ranked, again), _chance(ranked, again), _unlike(ranked)]
    return Verdict(tuple(s for s in said if s), ranked, again)


def _alone(group: Group, of: int, again: bool) -> str:
    if of > 1:
        return f"Only {group.name} has a complete trial: there is nothing to compare it with yet."
    values = group.finals(again)
    name, kind = metric(group.entries[0].study), "confirmed" if again else "best searched"
    if len(values) == 1:
        return f"There is one run with a value: {kind} {name} {values[0]:.6g}."
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return (
        f"All are runs of the same settings: {kind} {name} {fmean(values):.6g} ± {error:.2g}, the "
        f"mean and its standard error over {len(values)} seeds of the search."
    )


def _ahead(ranked: Sequence[Group], again: bool) -> str:
    first, second = ranked[:2]
    one, other = fmean(first.finals(again)), fmean(second.finals(again))
    name = metric(first.entries[0].study)
    several = max(len(group.finals(again)) for group in (first, second)) > 1
    kind = "winners' fresh seeds" if again else "best searched values"
    by = f"by the {'means over searches of their ' if several else ''}{kind}"
    if one == other:
        return f"{first.name} and {second.name} are level {by}: {name} {one:.6g}."
    gap = f"by {abs(other - one):.4g} {name}"
    return f"{first.name} is ahead of {second.name} {gap}, {by} ({one:.6g} and {other:.6g})."


def _chance(ranked: Sequence[Group], again: bool) -> str:
    """Whether the first is ahead of the second by more than chance."""
    first, second = ranked[:2]
    sign = first.entries[0].study.sign
    alone = [len(group.finals(again)) == 1 for group in (first, second)]
    samples: list[Sequence[float]]
    if not any(alone):
        samples = [group.finals(again) for group in (first, second)]
        of = " It tells of the settings, as far as so many seeds can."
    elif all(alone) and again:
        samples = [_fresh(group) for group in (first, second)]
        of = (
            " It tells of these two winners: whether other seeds of the searches would find as "
            "good ones, single runs cannot tell."
        )
    else:
        remedy = "" if again else "; [confirm] tells at least of the two winners"
        return (
            "Whether that is more than chance cannot be told from single runs: a search with "
            f"another seed ends elsewhere. Several seeds of each would tell{remedy}."
        )
    gap = welch([sign * v for v in samples[1]], [sign * v for v in samples[0]])
    if gap is None:
        return "Whether that is more than chance cannot be told from one fresh seed each."
    more = "That is more than chance" if gap.low > 0 else "That may be chance"
    narrow = ", a little too narrow, as these two of all were chosen by it" * (len(ranked) > 2)
    return (
        f"{more}: the 95 % interval of the difference is {gap.low:.4g} … {gap.high:.4g} "
        f"(Welch{narrow}).{of}"
    )


def _fresh(group: Group) -> tuple[float, ...]:
    """The winner's fresh seeds of a group with one run that has any."""
    return next(found.values for e in group.entries if (found := e.confirmed))


def _unlike(ranked: Sequence[Group]) -> str:
    """That the first two have had different numbers of trials, where it is so."""
    counts = [
        fmean(len(e.ended) for e in group.entries if e.best is not None) for group in ranked[:2]
    ]
    if max(counts) <= 1.05 * min(counts):
        return ""
    had = f"{counts[0]:.4g} and {counts[1]:.4g} trials"
    return f"They have had {had}: the longer search has the advantage; see the charts."


def _common(names: Sequence[str]) -> str:
    """What names begin with in common, without the number that tells them apart; else the first."""
    if len(names) == 1:
        return names[0]
    n = next((i for i, c in enumerate(zip(*names, strict=False)) if len(set(c)) > 1), None)
    shared = min(names, key=len) if n is None else names[0][:n]
    short = shared.rstrip(_BORDER + "0123456789") or names[0]
    for tail in (_SEED, "s"):
        before = short.removesuffix(tail)
        if before != short and before.rstrip(_BORDER) and before[-1] in _BORDER:
            short = before.rstrip(_BORDER)
    return short


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A table of tables with dotted keys."""
    found: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, Mapping) and value:
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found
