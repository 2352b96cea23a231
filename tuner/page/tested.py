"""Charts of what the winner did on the test part: scores beside each other, and its errors."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from tuner.page import svg, words
from tuner.page.svg import Frame, Scale, path

Array = NDArray[Any]


def scores(
    rows: Mapping[str, tuple[float, float, float]], name: str, rival: float, each: Sequence[float]
) -> Markup:
    """Scores in rows, each a value with its interval; the first row is the tuned model's.

    `rival`, the best baseline's, is a line through all rows; `each` are the tuned model's seeds.
    """
    frame = Frame(510, 250, left=150)
    each_row = min(52.0, (frame.height - frame.top - frame.bottom) / len(rows))
    ends = [v for row in [*rows.values(), each] for v in row if math.isfinite(v)]
    x = svg.padded(min(ends), max(ends), *frame.x, share=0.15)
    marks = [
        path(svg.line([(x(rival), at) for at in frame.y]), "line level"),
        path(svg.dots((x(v), frame.top + each_row / 2) for v in each), "faint dot5"),
    ]
    for i, (label, (value, low, high)) in enumerate(rows.items()):
        y, kind = frame.top + (i + 0.5) * each_row, "won" if i == 0 else "other"
        if high > low:
            marks.append(path(svg.line([(x(low), y), (x(high), y)]), f"line span {kind}"))
        marks += [
            svg.el("circle", cx=x(value), cy=y, r=5, class_=kind),
            svg.text(frame.left - 12, y + 4, words.cut(label, 22), text_anchor="end"),
            svg.text(x(value), y - 9, words.number(value), "small", text_anchor="middle"),
        ]
    return frame.chart(frame.axes(x.ticks(), [], name), *marks, label=f"{name} beside each other")


def agreement(
    pairs: Sequence[tuple[int, float, float]], rival: tuple[str, float], name: str, level: bool
) -> Markup:
    """Validation over test value of several models, by their trial; both axes are one scale.

    The best baseline, a name and its test value, is a line; `level`: the line where both agree,
    which there is only where both are the same metric.
    """
    frame = Frame(510, 250)
    given = [v for _, *values in pairs for v in values] + [rival[1]]
    low, high = min(given), max(given)
    x, y = svg.padded(low, high, *frame.x, 0.08), svg.padded(low, high, *frame.y, 0.08)
    marks = [
        svg.el(
            "circle",
            svg.el("title", f"trial {n}: validation {words.number(a)}, test {words.number(b)}"),
            cx=x(b), cy=y(a), r=4.5, class_="complete",
        )
        for n, a, b in pairs
    ]  # fmt: skip
    ends = [(x(v), y(v)) for v in (x.low, x.high)]
    left = x(rival[1]) > sum(frame.x) / 2
    said = svg.text(
        x(rival[1]) + (-6 if left else 6), frame.top + 10, f"{words.cut(rival[0])}, test",
        "halo", text_anchor="end" if left else "start",
    )  # fmt: skip
    return frame.chart(
        frame.axes(x.ticks(), y.ticks(), f"test {name}", f"validation {name}"),
        path(svg.line(ends), "line level") if level else Markup(""),
        path(svg.line([(x(rival[1]), at) for at in frame.y]), "line rival"),
        said,
        *marks,
        label="Validation over test value",
    )


def groups(tuned: Mapping[str, float], rivals: Mapping[str, Mapping[str, float]]) -> Markup:
    """The accuracy on each group that was left out: the tuned model's, and the baselines'."""
    each = min(30.0, max(15.0, 300 / len(tuned)))
    frame = Frame(510, 70 + each * len(tuned), left=110, top=8, bottom=62)
    given = [*tuned.values(), *(s[group] for s in rivals.values() for group in tuned)]
    x = svg.padded(min(given), max(given), *frame.x)
    marks = []
    for i, (group, score) in enumerate(tuned.items()):
        y = frame.top + (i + 0.5) * each
        marks.append(svg.text(frame.left - 10, y + 4, words.cut(group, 14), text_anchor="end"))
        others = [(name, scores[group], "other") for name, scores in rivals.items()]
        for name, value, kind in [*others, ("tuned model", score, "won")]:
            title = svg.el("title", f"{name} on {group}: {words.number(value)}")
            marks.append(svg.el("circle", title, cx=x(value), cy=y, r=5, class_=kind))
    key = svg.key([("won", "tuned model"), ("after", "baselines")], 120, frame.height - 8)
    axes = frame.axes(x.ticks(), [], "accuracy")
    return frame.chart(axes, *marks, key, label="Accuracy on each group that was left out")


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
    side = min(60.0, 400 / len(classes))
    across = side * len(classes)
    frame = Frame(510, across + 62, left=(510 - across) / 2, top=10, bottom=52)
    marks = []
    for i, true in enumerate(classes):
        of = max(1, int((truth == true).sum()))
        y = frame.top + i * side
        marks.append(svg.text(frame.left - 8, y + side / 2 + 4, true, text_anchor="end"))
        marks.append(
            svg.text(frame.left + (i + 0.5) * side, frame.y[0] + 18, true, text_anchor="middle")
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
    legend = "predicted class →, true class ↓"
    name = svg.text(255, frame.y[0] + 40, legend, "name", text_anchor="middle")
    return frame.chart(*marks, name, label="Confusion matrix")
