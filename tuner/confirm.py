"""Who wins: the best of a search, or of them the one that does best with fresh seeds.

The lowest value of many trials is a lucky one. So where a study has `[confirm]`, the best `top`
trials are trained again when the search is over, `seeds` times each, and those runs alone decide:
the searched value has no part in it. Each is an ordinary trial whose part is `confirm:<k>` and
whose `of` is its candidate. They run k by k, so that all candidates have equally many seeds.
"""

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from statistics import fmean, stdev
from typing import Any

from jobs.contract import CONFIRM, SEARCH, State, trains_the_search
from jobs.reasons import SAYS_NOTHING
from tuner.samplers import point_seed
from tuner.study import Study
from tuner.trial import Trial

TEST = "test"


@dataclass(frozen=True, slots=True)
class Due:
    """A training that follows the search: `part` of the trial `of`, with its point and seed."""

    part: str
    of: int
    params: Mapping[str, Any]
    seed: int


@dataclass(frozen=True, slots=True)
class Confirmed:
    """A trial of the search and its finished runs with fresh seeds, by their k."""

    trial: Trial
    runs: tuple[Trial, ...]

    @property
    def complete(self) -> tuple[Trial, ...]:
        """The runs that have a value."""
        return tuple(run for run in self.runs if run.state is State.COMPLETE)

    @property
    def values(self) -> tuple[float, ...]:
        """Their values, in the study's direction."""
        return tuple(run.value for run in self.complete if run.value is not None)

    @property
    def failed(self) -> tuple[Trial, ...]:
        """The runs that failed by the point's own fault, as a diverged one."""
        ended = (run for run in self.runs if run.state is State.FAIL)
        return tuple(run for run in ended if run.reason not in SAYS_NOTHING)

    @property
    def mean(self) -> float:
        """The mean over fresh seeds; NaN where none has a value."""
        return fmean(self.values) if self.values else math.nan

    @property
    def error(self) -> float:
        """The standard error of the mean; NaN for fewer than two values."""
        n = len(self.values)
        return stdev(self.values) / math.sqrt(n) if n > 1 else math.nan

    def __str__(self) -> str:
        """Mean ± standard error, or the mean alone of a single seed."""
        if not self.values:
            return "no value"
        return f"{self.mean:.6g}" + (f" ± {self.error:.2g}" if math.isfinite(self.error) else "")


def loss(study: Study, trial: Trial) -> float:
    """What is to be minimised; NaN unless the trial is a complete one of the search."""
    if trial.state is not State.COMPLETE or trial.part != SEARCH or trial.value is None:
        return math.nan
    return study.sign * trial.value


def best(study: Study, trials: Sequence[Trial]) -> Trial | None:
    """The best complete trial of the search; None before there is one with a finite value.

    Of equal ones, as accuracies often are, the one that reported the lowest `loss`, then the
    earliest.
    """
    return next(iter(_ranked(study, trials, 1)), None)


def candidates(study: Study, trials: Sequence[Trial]) -> list[Trial]:
    """The best of the search, as many as the study confirms, the best first."""
    return _ranked(study, trials, study.confirm.top) if study.confirm else []


def runs_due(study: Study, trials: Sequence[Trial]) -> list[Due]:
    """The runs with fresh seeds that were never proposed, every candidate's k = 0 first."""
    if study.confirm is None:
        return []
    chosen, have = candidates(study, trials), _fresh(trials)
    return [
        Due(f"{CONFIRM}{k}", c.number, c.params, point_seed(study.seed, c.number, k))
        for k in range(study.confirm.seeds)
        for c in chosen
        if k not in have.get(c.number, {})
    ]


def whole_rounds(due: Sequence[Due], most: int) -> list[Due]:
    """At most so many of the runs, and of each k all or none: candidates stay comparable."""
    return [run for run in due[:most] if len(due) <= most or run.part != due[most].part]


def ranking(study: Study, trials: Sequence[Trial]) -> list[Confirmed]:
    """Who was confirmed, the best first; empty while a run with a fresh seed is unfinished.

    All are compared by the same number of seeds. Who failed with one ranks behind all who did
    not; of equal means that with the lower reported `loss` comes first. Who was confirmed before
    the search went on stays in it, so that no better one is displaced by luck.
    """
    have = _fresh(trials) if study.confirm else {}
    if not all(run.state.finished for runs in have.values() for run in runs.values()):
        return []
    rounds = {number: n for number, runs in have.items() if (n := _leading(runs))}
    now = [rounds[t.number] for t in candidates(study, trials) if t.number in rounds]
    n = min(now or rounds.values(), default=0)
    searched = {t.number: t for t in trials if rounds.get(t.number, 0) >= n and t.number in rounds}
    found = [
        Confirmed(trial, tuple(have[number][k] for k in range(n)))
        for number, trial in searched.items()
    ]
    return sorted(found, key=lambda one: _key(study, one))


def winner(study: Study, trials: Sequence[Trial]) -> Trial | None:
    """The search trial that wins: the confirmed one, or the search's best before that is known."""
    won = confirmed(study, trials)
    return won.trial if won else best(study, trials)


def confirmed(study: Study, trials: Sequence[Trial]) -> Confirmed | None:
    """The winner with its fresh seeds; None where it is the search's best for want of any."""
    first = next(iter(ranking(study, trials)), None)
    return first if first and first.values else None


def models(study: Study, trials: Sequence[Trial]) -> list[Trial]:
    """The trials whose models meet the test part: the winner's runs with fresh seeds, or itself."""
    if won := confirmed(study, trials):
        return list(won.complete)
    searched = best(study, trials)
    return [searched] if searched else []


def tests_due(study: Study, trials: Sequence[Trial], parts: Sequence[str]) -> list[Due]:
    """The winner's parts that were never proposed.

    Each of its models meets "test"; the others, which are trainings a group, only the first.
    """
    tested = models(study, trials)
    have = {(trial.of, trial.part) for trial in trials}
    return [
        Due(part, model.number, model.params, model.seed)
        for part in parts
        for model in (tested if part == TEST else tested[:1])
        if (model.number, part) not in have
    ]


def tests(study: Study, trials: Sequence[Trial]) -> dict[str, list[Trial]]:
    """The trials that tested the winner, by their part: "test", "leave:<group>"."""
    of = {model.number for model in models(study, trials)}
    found: dict[str, list[Trial]] = {}
    for trial in trials:
        if trial.of in of and not trains_the_search(trial.part):
            found.setdefault(trial.part, []).append(trial)
    return found


def runs_of(trials: Sequence[Trial]) -> list[Trial]:
    """All runs with fresh seeds, whoever's."""
    return [trial for trial in trials if trial.part.startswith(CONFIRM)]


def progress(trials: Sequence[Trial]) -> str:
    """How far the runs with fresh seeds are, in words; empty while there is none in work."""
    runs = runs_of(trials)
    done = sum(run.state.finished for run in runs)
    return f"confirming: {done} of {len(runs)} runs" if done < len(runs) else ""


def _ranked(study: Study, trials: Sequence[Trial], n: int) -> list[Trial]:
    """The best n of the search; curves, which may be many, are read of equal ones only."""
    sign, complete = study.sign, State.COMPLETE
    values = [t.value for t in trials if t.state is complete and t.part == SEARCH]
    finite = (sign * value for value in values if value is not None and math.isfinite(value))
    reach = max(heapq.nsmallest(n, finite), default=-math.inf)
    level = [
        t for t in trials
        if t.value is not None and -math.inf < sign * t.value <= reach
        and t.state is complete and t.part == SEARCH
    ]  # fmt: skip
    if len(level) > 1:
        level.sort(key=lambda t: (loss(study, t), _lowest_reported(t), t.number))
    return level[:n]


def _key(study: Study, one: Confirmed) -> tuple[int, float, float, int]:
    mean = study.sign * one.mean if one.values else math.inf
    lowest = fmean(map(_lowest_reported, one.complete)) if one.complete else math.inf
    return len(one.failed), mean, lowest, one.trial.number


def _fresh(trials: Sequence[Trial]) -> dict[int, dict[int, Trial]]:
    """Number of a candidate → k → its run."""
    found: dict[int, dict[int, Trial]] = {}
    for run in runs_of(trials):
        assert run.of is not None  # such a run is of a candidate
        found.setdefault(run.of, {})[int(run.part.removeprefix(CONFIRM))] = run
    return found


def _leading(runs: Mapping[int, Trial]) -> int:
    """How many seeds are finished, counted from k = 0 without a gap."""
    return next(k for k in count() if k not in runs or not runs[k].state.finished)


def _lowest_reported(trial: Trial) -> float:
    losses = (epoch.get("loss") for epoch in trial.curve)
    return min((value for value in losses if value is not None), default=math.inf)
