"""Charts of what the trials reached: history, the best over time and hours, learning curves."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from jobs.contract import State
from tuner.budget import cost
from tuner.confirm import winner
from tuner.page import svg, words
from tuner.page.svg import Frame, Scale, path
from tuner.plots import fences, value_of
from tuner.results import best_so_far, metric, searched
from tuner.study import Study
from tuner.trial import Trial

Array = NDArray[Any]
CURVES = 150  # learning curves that are drawn one by one
_BEST = 50  # of them the best ones; the others are spread over the study
_POINTS = 100  # of a curve
_FLOOR = 286.0  # the pixel where a failed trial stands: above the axis of the history
_SPARSE = 100  # trials up to which their dots are large
KINDS = {State.COMPLETE: "complete", State.PRUNED: "pruned", State.FAIL: "failed"}


def history(study: Study, trials: Sequence[Trial]) -> Markup:
    """Each trial's value over its number, and the best so far; a dot leads to its row."""
    rows = [t for t in searched(trials) if t.state.finished]
    values = np.array([value_of(study, t) for t in rows], float)  # (trial,)
    known = values[np.isfinite(values)]
    won = winner(study, trials)
    if won is None or not len(known):
        return Markup("")
    frame = Frame(1040, 350, bottom=60)
    low, high = fences(known, float(won.value or 0.0))
    x = Scale(-0.5, max(1, rows[-1].number) + 0.5, *frame.x)
    y = svg.padded(low, high, *frame.y)
    size = 4.5 if len(rows) <= _SPARSE else 3
    marks = [
        _trial(t, x(t.number), _inside(y, v), 1.5 * size if t is won else size, t is won)
        for t, v in zip(rows, values, strict=True)
    ]
    best = [
        (x(t.number), _inside(y, b)) for t, b in zip(rows, best_so_far(study, rows), strict=True)
    ]
    steps = svg.stairs([p for p in best if math.isfinite(p[1])])
    states = {t.state for t in rows}
    entries = [
        ("cross failed" if s is State.FAIL else k, k) for s, k in KINDS.items() if s in states
    ]
    entries += [("line best", "best so far"), ("won", f"winner: trial {won.number}")]
    return frame.chart(
        frame.axes(svg.whole(x, 8), y.ticks(), "trial", f"validation {metric(study)}"),
        path(steps, "line best"),
        *marks,
        svg.key(entries, frame.left + 5, frame.height - 8),
        wide=True,
        label=f"Value of each of {len(rows)} trials, and the best so far",
    )


def progress(study: Study, trials: Sequence[Trial], unit: str) -> list[tuple[str, Markup]]:
    """The best value so far over the time since the first trial began, and over hours trained.

    Both advance when a trial ends; hours are those of ended trials with their lost attempts, in
    the budget's `unit`.
    """
    rows = [t for t in searched(trials) if t.state.finished and t.started and t.seconds is not None]
    rows.sort(key=_end)
    if not np.isfinite(best_so_far(study, rows)).any():
        return []
    began = min(t.started or 0.0 for t in rows)
    name, size = words.span_unit(_end(rows[-1]) - began)
    ended = [(_end(t) - began) / size for t in rows]
    hours = np.cumsum([cost(study.jobs, t, 0.0) for t in rows]).tolist()
    return [
        ("Best over time", _over(study, rows, ended, f"{name} since the first trial began")),
        (f"Best over {unit}", _over(study, rows, hours, f"{unit} of trials that ended")),
    ]


def _end(trial: Trial) -> float:
    return (trial.started or 0.0) + (trial.seconds or 0.0)


def _over(study: Study, rows: Sequence[Trial], at: Sequence[float], name: str) -> Markup:
    """The best so far over what `at` says of each trial; a dot is a new best, and leads to it."""
    best = best_so_far(study, rows)
    better = np.isfinite(best) & np.append(True, best[1:] != best[:-1])
    frame = Frame(510, 250)
    x = Scale(0, max(1e-9, at[-1]), *frame.x)
    y = svg.padded(*fences(best[better], float(best[-1])), *frame.y)
    points = [(x(a), _inside(y, float(b))) for a, b in zip(at, best, strict=True)]
    news = np.flatnonzero(better).tolist()
    marks = [_trial(rows[i], *points[i], 3.5, False) for i in news]
    steps = svg.stairs([*(points[i] for i in news), points[-1]])
    axes = frame.axes(x.ticks(), y.ticks(), name, f"best validation {metric(study)} so far")
    return frame.chart(
        axes,
        path(steps, "line best"),
        svg.group(marks, class_="news"),
        label=f"Best so far over {name}",
    )


def _trial(trial: Trial, x: float, y: float, size: float, won: bool) -> Markup:
    said = words.number(trial.value, 6) if trial.value is not None else trial.reason
    title = svg.el("title", f"trial {trial.number}: {said}")
    if trial.state is State.FAIL:
        mark = svg.el("path", title, d=svg.crosses([(x, _FLOOR)]), class_="cross failed")
    elif math.isfinite(y):
        kind = "won" if won else KINDS[trial.state]
        mark = svg.el("circle", title, cx=x, cy=y, r=size, class_=kind)
    else:
        return Markup("")
    return svg.el("a", mark, href=f"#t{trial.number}")


def _inside(scale: Scale, value: float) -> float:
    """The pixel of a value, or of the border that it lies beyond."""
    if not math.isfinite(value):
        return math.nan
    return scale(min(max(value, scale.low), scale.high))


def shown_curves(study: Study, trials: Sequence[Trial]) -> list[Trial]:
    """The trials whose curves are drawn: the best, and others spread evenly over the study."""
    rows = [t for t in searched(trials) if len(t.curve)]
    if len(rows) <= CURVES:
        return rows
    worst = math.inf
    ranked = sorted(rows, key=lambda t: study.sign * t.value if t.value is not None else worst)
    best, others = ranked[:_BEST], sorted(ranked[_BEST:], key=lambda t: t.number)
    chosen = np.linspace(0, len(others) - 1, CURVES - _BEST).round().astype(int)
    return best + [others[i] for i in chosen]


def metrics_of(study: Study, trials: Sequence[Trial]) -> list[str]:
    """The metrics that the curves report, the study's own first."""
    names: dict[str, None] = {}
    for trial in trials:
        for epoch in list(trial.curve)[:1]:
            names |= dict.fromkeys(k for k, v in epoch.items() if isinstance(v, (int, float)))
    own = metric(study)
    found = [name for name in names if name not in ("step", "time")]
    return sorted(found, key=lambda name: name != own)


def curves(shown: Sequence[Trial], name: str, won: Trial | None, nth: int) -> Markup:
    """One metric of the shown trials over their steps; the winner on top."""
    frame = Frame(1040, 330, top=14) if nth == 0 else Frame(510, 240, top=14)
    lines: dict[int, list[tuple[float, float]]] = {}
    for trial in shown:
        points = [
            (e.get("step", i), e[name])
            for i, e in enumerate(trial.curve)
            if isinstance(e.get(name), (int, float)) and math.isfinite(e[name])
        ]
        lines[trial.number] = points[:: -(-len(points) // _POINTS) or 1]
    values = np.array([v for points in lines.values() for _, v in points])
    if not len(values):
        return Markup("")
    low, high = fences(values, float(np.median(values)))
    y = svg.padded(low, high, *frame.y)
    x = Scale(0, max(1, *(s for points in lines.values() for s, _ in points)), *frame.x)
    order = sorted(
        shown,
        key=lambda t: (
            t is won or (won is not None and t.number == won.number),
            t.state is State.COMPLETE,
        ),
    )

    def draw() -> list[Markup]:
        found = []
        for trial in order:
            points = [(x(s), y(v)) for s, v in lines[trial.number]]
            class_ = f"curve {_kind(trial, won)}"
            if len(points) == 1:  # a line of one point is none
                found.append(path(svg.dots(points), f"{class_} dot5"))
            else:
                found.append(path(svg.line(points), class_))
        return found

    marks = svg.clipped(f"clip-{nth}", frame, draw)
    axes = frame.axes(svg.whole(x), y.ticks(), "step")
    return frame.chart(axes, marks, label=f"{name} over the steps", wide=nth == 0)


def _kind(trial: Trial, won: Trial | None) -> str:
    if won is not None and trial.number == won.number:
        return "won"
    return KINDS.get(trial.state, "running")
