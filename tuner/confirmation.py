"""What fresh seeds say of a search's best: whether the first can be told from the second, in words.

The interval is Welch's, of the difference of two means whose variances differ: Welch (1947),
Biometrika 34, 28-35, with Satterthwaite's degrees of freedom. The first and the second were
chosen by these very means, so it is a little too narrow.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict
from statistics import variance
from typing import Any

from tuner import confirm
from tuner.confirm import Confirmed
from tuner.results import metric
from tuner.study import Study
from tuner.tallies import Interval
from tuner.trial import Trial

_LEVEL = 0.95


def welch(one: Sequence[float], other: Sequence[float]) -> Interval | None:
    """The 95 % interval of the difference of means; None where one has fewer than two values."""
    if min(len(one), len(other)) < 2:
        return None
    from scipy.stats import t  # noqa: PLC0415 - a second, which a status need not wait for

    parts = [(variance(values) / len(values), len(values) - 1) for values in (one, other)]
    squared = sum(part for part, _ in parts)
    gap = math.fsum(one) / len(one) - math.fsum(other) / len(other)
    if squared == 0:
        return Interval(gap, gap, gap)
    freedom = squared**2 / sum(part**2 / n for part, n in parts)
    reach = float(t.ppf((1 + _LEVEL) / 2, freedom)) * math.sqrt(squared)
    return Interval(gap, gap - reach, gap + reach)


def lines(study: Study, trials: Sequence[Trial]) -> list[str]:
    """The candidates by their fresh seeds, the best first, and what can be said of them."""
    chosen = confirm.candidates(study, trials)
    if study.confirm is None or not chosen:
        return []
    found = confirm.ranking(study, trials)
    if not found:
        return [_not_yet(study, trials, len(chosen))]
    n, asked = len(found[0].runs), study.confirm.seeds
    fewer = f" of the {asked} asked for" if n < asked else ""
    seeds = "seed" if n == 1 and not fewer else "seeds"
    head = f"The best of the search, trained again with {n}{fewer} fresh {seeds} each"
    rows = [f"{head} (validation {metric(study)}, mean ± standard error)"]
    rows += [f"  trial {one.trial.number:<5} {_row(one)}" for one in found]
    rows += [text for text in (_told_apart(study, found), _luck(study, found[0])) if text]
    missing = [t for t in chosen if t.number not in {one.trial.number for one in found}]
    if missing:
        numbers = ", ".join(str(t.number) for t in missing)
        rows.append(f"Not trained again, and so out of this: trial {numbers}.")
    return rows


def document(study: Study, trials: Sequence[Trial]) -> dict[str, Any] | None:
    """The confirmed winner for best.json; None before it is known."""
    found = confirm.ranking(study, trials)
    if not found or not found[0].values:
        return None
    second = welch(found[0].values, found[1].values) if len(found) > 1 else None
    return {
        **_record(found[0]),
        "candidates": [{"number": one.trial.number, **_record(one)} for one in found],
        "first_less_second": second and asdict(second),
        "sentence": _told_apart(study, found),
    }


def _record(one: Confirmed) -> dict[str, Any]:
    return {
        "mean": one.mean,
        "standard_error": one.error,
        "searched": one.trial.value,
        "seeds": [{"seed": r.seed, "value": r.value, "number": r.number} for r in one.complete],
        "failed": [{"seed": r.seed, "reason": r.reason, "number": r.number} for r in one.failed],
    }


def _not_yet(study: Study, trials: Sequence[Trial], chosen: int) -> str:
    assert study.confirm is not None  # for mypy: see `lines`
    runs = confirm.runs_of(trials)
    done = sum(run.state.finished for run in runs)
    wanted = max(len(runs), chosen * study.confirm.seeds)
    limit = ", which may use a quarter of the budget" if study.gpu_hours is not None else ""
    return (
        f"Not confirmed: {done} of {wanted} trainings with fresh seeds are done{limit}; "
        "the best value of a search is a lucky one."
    )


def _row(one: Confirmed) -> str:
    text = f"{one!s:<22} searched: {one.trial.value:.6g}"
    if one.failed:
        reasons = sorted({run.reason for run in one.failed})
        text += f"   failed with {len(one.failed)} of {len(one.runs)} seeds: {'; '.join(reasons)}"
    return text


def _told_apart(study: Study, found: Sequence[Confirmed]) -> str:
    """Whether the first can be told from the second, in one sentence."""
    if not found[0].values:
        return "None of them has a value with any fresh seed: the search's best it is."
    if len(found) == 1:
        return "There is no second to tell it from."
    first, second = found[:2]
    if len(second.failed) > len(first.failed):
        return f"Trial {first.trial.number} is first because all others failed with more seeds."
    better, worse = (first, second) if study.sign < 0 else (second, first)
    gap = welch(better.values, worse.values)  # positive where the first is better
    if gap is None:
        return "One seed each cannot tell the first from the second."
    if gap.value == 0:
        return "The first cannot be told from the second: their means are equal."
    can, by = "can" if gap.low > 0 else "cannot", f"{gap.value:.4g} {metric(study)}"
    interval = f"95 % interval {gap.low:.4g} … {gap.high:.4g} (Welch)"
    return f"The first {can} be told from the second: it is better by {by}, {interval}."


def _luck(study: Study, one: Confirmed) -> str:
    """What the winner's searched value was beside its confirmed one."""
    if not one.values or one.trial.value is None:
        return ""
    gap = study.sign * (one.mean - one.trial.value)
    seen = f"The search saw {one.trial.value:.6g} for trial {one.trial.number}"
    if gap > 0:
        return f"{seen}: {gap:.2g} better than the mean of its fresh seeds, which was luck."
    return f"{seen}: no better than the mean of its fresh seeds."
