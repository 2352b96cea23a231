"""Charts of what the trials reached: history, curves, slots, and scores beside each other."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from jobs.contract import State
from tuner.confirm import winner
from tuner.page import svg, words
from tuner.page.svg import Frame, Scale, path
from tuner.plots import best_so_far, fences, value_of
from tuner.results import metric, searched
from tuner.study import Study
from tuner.trial import Trial

Array = NDArray[Any]
CURVES = 150  # learning curves that are drawn one by one
_BEST = 50  # of them the best ones; the others are spread over the study
_POINTS = 100  # of a curve
KINDS = {State.COMPLETE: "complete", State.PRUNED: "pruned", State.FAIL: "failed"}


def history(study: Study, trials: Sequence[Trial]) -> Markup:
    """Each trial's value over its number, and the best so far; a dot leads to its row."""
    rows = [t for t in searched(trials) if t.state.finished]
    values = np.array([value_of(study, t) for t in rows], float)  # (trial,)
    known = values[np.isfinite(values)]
    won = winner(study, trials)
    if won is None or not len(known):
        return Markup("")
    frame = Frame(1040, 330)
    low, high = fences(known, float(won.value or 0.0))
    x = Scale(-0.5, max(1, rows[-1].number) + 0.5, *frame.x)
    y = svg.padded(low, high, *frame.y)
    marks = [
        _trial(t, x(t.number), _inside(y, v), t is won) for t, v in zip(rows, values, strict=True)
    ]
    best = [
        (x(t.number), _inside(y, b)) for t, b in zip(rows, best_so_far(study, rows), strict=True)
    ]
    steps = svg.stairs([p for p in best if math.isfinite(p[1])])
    entries = [
        ("complete", "complete"),
        ("pruned", "pruned"),
        ("cross failed", "failed"),
        ("line best", "best so far"),
        ("won", f"winner: trial {won.number}"),
    ]
    return frame.chart(
        frame.axes(svg.whole(x, 8), y.ticks(), "trial", f"validation {metric(study)}"),
        path(steps, "line best"),
        *marks,
        svg.key(entries, 612, 323),
        wide=True,
        label=f"Value of each of {len(rows)} trials, and the best so far",
    )


def _trial(trial: Trial, x: float, y: float, won: bool) -> Markup:
    said = words.number(trial.value, 6) if trial.value is not None else trial.reason
    title = svg.el("title", f"trial {trial.number}: {said}")
    if trial.state is State.FAIL:
        mark = svg.el("path", title, d=svg.crosses([(x, 290 - 4.0)]), class_="cross failed")
    elif math.isfinite(y):
        kind = "won" if won else KINDS[trial.state]
        mark = svg.el("circle", title, cx=x, cy=y, r=6 if won else 3, class_=kind)
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
    frame = Frame(1040, 330) if nth == 0 else Frame(510, 250)
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
        return [
            path(svg.line((x(s), y(v)) for s, v in lines[t.number]), f"curve {_kind(t, won)}")
            for t in order
        ]

    marks = svg.clipped(f"clip-{nth}", frame, draw)
    axes = frame.axes(svg.whole(x), y.ticks(), "step", name)
    return frame.chart(axes, marks, label=f"{name} over the steps", wide=nth == 0)


def _kind(trial: Trial, won: Trial | None) -> str:
    if won is not None and trial.number == won.number:
        return "won"
    return KINDS.get(trial.state, "running")


def scores(rows: Mapping[str, tuple[float, float, float]], name: str) -> Markup:
    """Scores in rows, each a value with its interval; the first row is the tuned model's."""
    frame = Frame(520, 58 + 30 * len(rows), left=150)
    ends = [v for row in rows.values() for v in row if math.isfinite(v)]
    x = svg.padded(min(ends), max(ends), *frame.x, share=0.15)
    marks = []
    for i, (label, (value, low, high)) in enumerate(rows.items()):
        y, kind = frame.top + 15 + 30 * i, "won" if i == 0 else "other"
        if high > low:
            marks.append(path(svg.line([(x(low), y), (x(high), y)]), f"line span {kind}"))
        marks += [
            svg.el("circle", cx=x(value), cy=y, r=5, class_=kind),
            svg.text(frame.left - 12, y + 4, words.cut(label, 22), text_anchor="end"),
            svg.text(x(value), y - 9, words.number(value), "small", text_anchor="middle"),
        ]
    return frame.chart(frame.axes(x.ticks(), [], name), *marks, label=f"{name} beside each other")


def residuals(truth: Array, guess: Array) -> Markup:
    """Forecast over truth, both (n,), thinned to 1,500 points, with the line of no error."""
    frame = Frame(510, 360)
    every = -(-len(truth) // 1500)
    low, high = float(min(truth.min(), guess.min())), float(max(truth.max(), guess.max()))
    x, y = svg.padded(low, high, *frame.x), svg.padded(low, high, *frame.y)
    points = [
        (x(float(a)), y(float(b))) for a, b in zip(truth[::every], guess[::every], strict=True)
    ]
    level = path(svg.line([(x(low), y(low)), (x(high), y(high))]), "line level")
    axes = frame.axes(x.ticks(), y.ticks(), "truth", "forecast")
    return frame.chart(
        axes, path(svg.dots(points), "dot3 faint"), level, label="Forecast over truth"
    )


def histogram(miss: Array) -> Markup:
    """How far forecasts (n,) are off, without the outermost percent."""
    frame = Frame(510, 360)
    low, high = (float(q) for q in np.quantile(miss, [0.005, 0.995]))
    least = 1e-3 * (float(abs(miss).max()) or 1.0)  # of the range: all may be off by the same
    counts, edges = np.histogram(miss, bins=40, range=(low - least, high + least))
    x, y = (
        Scale(float(edges[0]), float(edges[-1]), *frame.x),
        Scale(0, float(counts.max() or 1), *frame.y),
    )
    bars = "".join(
        svg.box(x(float(a)), y(float(n)), x(float(b)) - x(float(a)) - 1, y(0) - y(float(n)))
        for n, a, b in zip(counts, edges[:-1], edges[1:], strict=True)
    )
    axes = frame.axes(x.ticks(), svg.whole(y), "forecast − truth", "windows")
    return frame.chart(axes, path(bars, "bar"), label="Histogram of the residuals")


def confusion(truth: Array, guess: Array) -> Markup:
    """Windows by true and predicted class; shades are shares of the true class."""
    classes = np.unique(np.concatenate([truth, guess]))[:20]
    side = min(46.0, 420 / len(classes))
    frame = Frame(90 + side * len(classes), 60 + side * len(classes), left=60)
    marks = []
    for i, true in enumerate(classes):
        of = max(1, int((truth == true).sum()))
        y = frame.top + i * side
        marks.append(svg.text(frame.left - 8, y + side / 2 + 4, true, text_anchor="end"))
        marks.append(
            svg.text(frame.left + (i + 0.5) * side, frame.height - 28, true, text_anchor="middle")
        )
        for j, said in enumerate(classes):
            n = int(((truth == true) & (guess == said)).sum())
            x, shade = frame.left + j * side, round(8 * n / of)
            marks.append(path(svg.box(x, y, side - 1, side - 1), f"q{shade}"))
            if n:
                marks.append(
                    svg.text(
                        x + side / 2,
                        y + side / 2 + 4,
                        n,
                        "over" if shade > 4 else "",
                        text_anchor="middle",
                    )
                )
    name = svg.text(frame.left, frame.height - 8, "predicted class →, true class ↓", "name")
    return frame.chart(*marks, name, label="Confusion matrix")
