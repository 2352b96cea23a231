"""The winner's test scores beside the baselines', and what they say."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs import files
from jobs.folder import RunFolder
from tuner.results import metric
from tuner.study import Study
from tuner.tallies import Interval, Mean, Tallies, Tally, interval, standard_error, tally
from tuner.trial import Trial

Array = NDArray[Any]
FEW = 10  # groups or blocks below which a bootstrap interval is a rough one
LEAVE = "leave:"
TUNED = "tuned model"


@dataclass(frozen=True, slots=True)
class Rival:
    """A baseline's scores on the winner's windows, and the winner's score less its own."""

    metrics: Mapping[str, float]
    difference: Interval


@dataclass(frozen=True, slots=True)
class Verdict:
    """The winner on the test part; `interval` is of `metric`, over `blocks` of time or groups.

    With fresh seeds scores are means over `seeds`, which says what each of them reached; then
    `number` is the first of the `numbers` of their tests.
    """

    number: int
    metric: str
    metrics: Mapping[str, float]
    interval: Interval
    blocks: int
    rivals: Mapping[str, Rival]
    numbers: tuple[int, ...] = ()
    seeds: tuple[Mapping[str, float], ...] = ()

    @property
    def error(self) -> float:
        """The standard error of the mean over seeds; NaN for fewer than two."""
        return standard_error(np.array([scores[self.metric] for scores in self.seeds]))

    @property
    def sentence(self) -> str:
        """Who wins, in plain words."""
        sign = -1 if self.metric == "accuracy" else 1
        name = min(self.rivals, key=lambda name: sign * self.rivals[name].metrics[self.metric])
        gap = self.rivals[name].difference
        if gap.value == 0:
            return f"The tuned model and {name} are level."
        wins = sign * gap.value < 0
        clear = gap.low * gap.high > 0
        doubt = "the interval excludes 0" if clear else "but the interval includes 0: no clear win"
        by = f"by {abs(gap.value):.4g} {self.metric}"
        if wins:
            return f"The tuned model beats {name}, the best baseline, {by}; {doubt}."
        return f"{name.capitalize()} wins: it beats the tuned model {by}; {doubt}."


@dataclass(frozen=True, slots=True)
class LeaveOneOut:
    """Accuracy on each group by a model that was trained on all others, by group."""

    winner: Mapping[str, float]
    rivals: Mapping[str, Mapping[str, float]]

    def mean(self, scores: Mapping[str, float]) -> tuple[float, float]:
        """Mean over the winner's groups and its standard error."""
        values = np.array([scores[group] for group in self.winner])
        return float(values.mean()), standard_error(values)

    def gap(self, name: str) -> tuple[float, float]:
        """Mean of the winner's score less the baseline's, group by group, and its error."""
        return self.mean({g: score - self.rivals[name][g] for g, score in self.winner.items()})


def judge(
    folder: RunFolder, study: Study, tests: Sequence[Trial], task: str, rivals: Tallies
) -> Verdict | None:
    """Compare what the winner forecast in its tests, one a seed; None if their files are gone."""
    found = {t.number: own for t in tests if (own := _forecast(folder, t, task)) is not None}
    if not found:
        return None
    each = tuple(own.metrics for own in found.values())
    model = Mean(tuple(found.values()))
    means = {name: float(np.mean([scores[name] for scores in each])) for name in each[0]}
    name = metric(study) if metric(study) in means else next(iter(means))
    compared = {
        rival: Rival(theirs.metrics, interval(model, name, theirs))
        for rival, theirs in rivals.items()
    }
    numbers, blocks = tuple(found), len(model.windows[0])
    return Verdict(numbers[0], name, means, interval(model, name), blocks, compared, numbers, each)


def leave_one_out(
    tested: Mapping[str, Sequence[Trial]], parts: Mapping[str, Tallies]
) -> LeaveOneOut | None:
    """The winner's accuracy on every group that was left out so far; None if none was."""
    left = [part for part in parts if part.startswith(LEAVE) and part in tested]
    if not left:
        return None
    group = {part: part.removeprefix(LEAVE) for part in left}
    return LeaveOneOut(
        {group[part]: float(tested[part][0].value or 0.0) for part in left},
        {
            name: {group[part]: parts[part][name].metrics["accuracy"] for part in left}
            for name in parts[left[0]]
        },
    )


def lines(verdict: Verdict) -> list[str]:
    """The comparison as a table of text, best first, with the sentence that says who wins."""
    names = list(verdict.metrics)
    width = max(len(name) for name in (*verdict.rivals, TUNED))
    head = "".join(f"{name:>10}" for name in names)
    note = f"tuned − baseline ({verdict.metric}, 95 % interval)"
    sign = -1 if verdict.metric == "accuracy" else 1
    rows = {TUNED: (verdict.metrics, f"95 % interval {_range(verdict.interval)}")}
    for name, rival in verdict.rivals.items():
        gap = rival.difference
        rows[name] = (rival.metrics, f"{gap.value:+.4g}  {_range(gap)}")
    ordered = sorted(rows.items(), key=lambda row: sign * row[1][0][verdict.metric])
    table = [
        f"  {name:<{width}}{''.join(f'{scores[n]:>10.4g}' for n in names)}   {text}"
        for name, (scores, text) in ordered
    ]
    kind = "groups" if verdict.metric == "accuracy" else "blocks of at most a week"
    rough = "; so few make it a rough one" if verdict.blocks < FEW else ""
    foot = f"  (paired bootstrap over {verdict.blocks} {kind}{rough})"
    seeds = f"  (scores are means over {len(verdict.seeds)} seeds: {verdict.metric} "
    seeds += f"± {verdict.error:.2g}, the standard error; intervals are of the windows alone)"
    feet = [foot, seeds] if len(verdict.seeds) > 1 else [foot]
    return [f"  {'':<{width}}{head}   {note}", *table, *feet, verdict.sentence]


def group_lines(left: LeaveOneOut, of: int) -> list[str]:
    """Leave-one-group-out as text: mean ± standard error, and the paired gap."""
    groups = f"{len(left.winner)} of {of}" if len(left.winner) < of else f"{of}"
    width = max(len(name) for name in (*left.rivals, TUNED))
    rows = [f"Leave one subject out ({groups} subjects, mean accuracy ± standard error)"]
    rows.append(f"  {TUNED:<{width}}  {_error(left.mean(left.winner))}")
    for name in sorted(left.rivals, key=lambda name: -left.mean(left.rivals[name])[0]):
        mean, gap = left.mean(left.rivals[name]), left.gap(name)
        rows.append(f"  {name:<{width}}  {_error(mean)}   tuned − baseline {_error(gap)}")
    return rows


def _forecast(folder: RunFolder, test: Trial, task: str) -> Tally | None:
    content = files.read_bytes(folder.predictions(test.number))
    if content is None:
        return None
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return tally(arrays["truth"], arrays["prediction"], arrays["index"], task)


def _range(found: Interval) -> str:
    return f"[{found.low:.4g}, {found.high:.4g}]"


def _error(found: Sequence[float]) -> str:
    return f"{found[0]:.3f} ± {found[1]:.3f}"
