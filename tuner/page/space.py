"""Charts over the searched parameters: importance, dependence, slices, pairs, parallel axes."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from tuner import matrix
from tuner.confirm import loss, winner
from tuner.dependence import mean
from tuner.page import svg, words
from tuner.page.svg import Frame, Scale, path
from tuner.plots import fences, value_of
from tuner.results import metric, searched
from tuner.study import Study
from tuner.trial import Trial

Array = NDArray[Any]
Places = matrix.Scale
LINES = 300  # trials in parallel coordinates
PAIRED = 1000  # trials in the cells of pairs
MOST = 8  # parameters that have a row in the matrix, or an axis
FEW = 5  # complete trials below which pairs and lines say nothing
_SEAM = 0.5  # pixels by which cells overlap, or the ground would shine through between them
_LEFT, _WIDE = 116, 918  # pixels beside the matrix of pairs, and across it
MAPS = 4  # parameters each two of which have a map of what to expect


def importance(shares: Mapping[str, tuple[float, float]]) -> Markup:
    """Bars of each parameter's share with its standard error, the largest first."""
    ranked = sorted(shares.items(), key=lambda item: -item[1][0])
    frame = Frame(1040, 20 + 26 * len(ranked), left=190, top=8)
    x = Scale(0, max(0.01, *(m + e for m, e in shares.values())) * 1.1, *frame.x)
    marks = []
    for i, (name, (share, error)) in enumerate(ranked):
        y, end = frame.top + 26 * i, x(max(0.0, share))
        whisker = f"{svg.line([(x(max(0.0, share - error)), y + 9), (x(share + error), y + 9)])}"
        marks += [
            path(svg.box(frame.left, y + 2, end - frame.left, 15), "bar"),
            path(whisker, "line error"),
            svg.text(frame.left - 10, y + 14, words.cut(name), text_anchor="end"),
            svg.text(x(share + error) + 8, y + 14, f"{share:.2f} ± {error:.3f}", "small"),
        ]
    return frame.chart(*marks, label="Importance of parameters", wide=True)


def dependence(study: Study, result: Any, names: Sequence[str]) -> list[tuple[str, Markup]]:
    """For each named parameter the value to expect over it, all on one scale."""
    shown = _in_order(study, names)
    curves = [study.sign * mean(result, [scale]) for scale in shown]
    low, high = min(c.min() for c in curves), max(c.max() for c in curves)
    best = result.x_iters[int(np.argmin(result.func_vals))]
    index = [dimension.name for dimension in result.space.dimensions].index
    found = []
    for scale, curve in zip(shown, curves, strict=True):
        frame = Frame(330, 190, top=12, bottom=24)
        x, y = Scale(0, 1, *frame.x), svg.padded(float(low), float(high), *frame.y)
        points = [(x(p), y(v)) for p, v in zip(scale.place(scale.grid(16)), curve, strict=True)]
        at = x(float(scale.place([best[index(scale.name)]])[0]))
        marks = [
            path(svg.line([(at, frame.y[0]), (at, frame.y[1])]), "line level"),
            path(svg.dots(points) if scale.levels else "", "won dot8"),
            path(svg.line(points), "line won"),
        ]
        chart = frame.chart(
            frame.axes(_ticks(scale, x), y.ticks(4)), *marks, label=f"Dependence on {scale.name}"
        )
        found.append((scale.name, chart))
    return found


def maps(study: Study, result: Any, names: Sequence[str]) -> list[tuple[str, Markup]]:
    """The value to expect over each two of the first few names; darker is better."""
    shown = _in_order(study, names[:MAPS])
    pairs = [(a, b) for i, b in enumerate(shown) for a in shown[:i]]
    found = [mean(result, [a, b]) for a, b in pairs]  # losses (value, value)
    low, high = min((f.min() for f in found), default=0), max((f.max() for f in found), default=1)
    return [
        (f"{b.name} over {a.name}", _map(a, b, 8 - 8 * (f - low) / ((high - low) or 1)))
        for (a, b), f in zip(pairs, found, strict=True)
    ]


def _map(a: Places, b: Places, shades: Array) -> Markup:
    frame = Frame(330, 250, top=12, bottom=24)
    x, y, steps = Scale(0, 1, *frame.x), Scale(0, 1, *frame.y), [""] * 9
    across, up = _edges(a), _edges(b)
    for i, row in enumerate(shades.round().astype(int)):
        for j, shade in enumerate(row):
            left, top = x(across[i]), y(up[j + 1])
            wide, high = x(across[i + 1]) - left, y(up[j]) - top
            steps[shade] += svg.box(left, top, wide + _SEAM, high + _SEAM)
    cells = [path(step, f"q{shade} crisp") for shade, step in enumerate(steps)]
    axes = frame.axes(_ticks(a, x), _ticks(b, y))
    return frame.chart(axes, *cells, label=f"Dependence on {a.name} and {b.name}")


def slices(study: Study, trials: Sequence[Trial]) -> list[tuple[str, Markup]]:
    """For each parameter, where its trials ended."""
    rows = [t for t in searched(trials) if math.isfinite(loss(study, t))]
    won = winner(study, trials)
    if won is None:
        return []
    values = np.array([value_of(study, t) for t in rows])
    low, high = fences(values, float(won.value or 0.0))
    values = np.clip(values, low, high)
    found = []
    for k, scale in enumerate(_in_order(study, list(study.space.parameters))):
        frame = Frame(330, 190, top=12, bottom=24)
        x, y = Scale(0, 1, *frame.x), svg.padded(low, high, *frame.y)
        places = scale.spread(scale.place([t.params.get(scale.name) for t in rows]), k)
        points = [
            (x(p), y(v), t is won)
            for p, v, t in zip(places, values, rows, strict=True)
            if math.isfinite(p)
        ]
        plain = path(svg.dots((a, b) for a, b, _ in points), f"faint {_size(len(rows))}")
        star = path(svg.dots((a, b) for a, b, best in points if best), "won dot10")
        axes = frame.axes(_ticks(scale, x), y.ticks(4))
        found.append(
            (scale.name, frame.chart(axes, plain, star, label=f"{metric(study)} over {scale.name}"))
        )
    return found


def pairs(study: Study, trials: Sequence[Trial], names: Sequence[str]) -> Markup:
    """Each two parameters: below the diagonal shades by rank, above it by the time of asking."""
    rows = [t for t in searched(trials) if math.isfinite(loss(study, t))]
    rows = rows[:: -(-len(rows) // PAIRED) or 1]
    shown = _in_order(study, names[:MOST])
    if len(rows) < FEW or len(shown) < 2:
        return Markup("")
    n, side = len(shown), _WIDE / len(shown)
    ranks = np.argsort(np.argsort([loss(study, t) for t in rows]))
    classes = {"rank": 4 - 5 * ranks // len(rows), "asked": 5 * np.arange(len(rows)) // len(rows)}
    places = [
        s.spread(s.place([t.params.get(s.name) for t in rows]), k) for k, s in enumerate(shown)
    ]
    marks = [
        _cell(places, (i, j), side, classes["rank" if i > j else "asked"])
        for i in range(n)
        for j in range(n)
    ]
    labels = [
        svg.text(
            _LEFT + (i + 0.5) * side,
            _WIDE + 28,
            words.cut(s.name, int(side / 7.5)),
            "name",
            text_anchor="middle",
        )
        for i, s in enumerate(shown)
    ]
    beside = [
        svg.text(_LEFT - 8, 20 + (i + 0.5) * side, words.cut(s.name, 14), "name", text_anchor="end")
        for i, s in enumerate(shown)
    ]
    return Frame(1040, _WIDE + 40).chart(
        *marks, *labels, *beside, label="Pairs of parameters", wide=True
    )


def _cell(places: Sequence[Array], at: tuple[int, int], side: float, classes: Array) -> Markup:
    i, j = at
    left, top, size = _LEFT + j * side, 10 + i * side, side - 6
    back = path(svg.box(left, top, size, size), "cell")
    if i == j:
        known = places[i][np.isfinite(places[i])]
        counts, edges = np.histogram(known, bins=10, range=(0.05, 0.95))
        top_, most = top + size, max(1, int(counts.max()))
        bars = "".join(
            svg.box(
                left + size * float(e),
                top_ - 0.9 * size * int(c) / most,
                size * 0.085,
                0.9 * size * int(c) / most,
            )
            for c, e in zip(counts, edges[:-1], strict=True)
        )
        return back + path(bars, "bar")
    xs, ys = left + size * places[j], top + size * (1 - places[i])
    whole = np.isfinite(xs) & np.isfinite(ys)
    found = [
        path(
            svg.dots(
                zip(
                    xs[whole & (classes == c)].tolist(),
                    ys[whole & (classes == c)].tolist(),
                    strict=True,
                )
            ),
            f"r{c} {_size(len(classes))}",
        )
        for c in range(5)
    ]
    return back + Markup("").join(found)


def parallel(study: Study, trials: Sequence[Trial], names: Sequence[str]) -> Markup:
    """A line a trial through its parameters to its value; the best fifth on top."""
    rows = sorted(
        (t for t in searched(trials) if math.isfinite(loss(study, t))),
        key=lambda t: -loss(study, t),
    )
    if len(rows) < FEW:
        return Markup("")
    best, others = rows[-LINES // 3 :], rows[: -LINES // 3]
    rows = others[:: -(-len(others) // (2 * LINES // 3)) or 1] + best
    shown = _in_order(study, names[:MOST])
    frame = Frame(1040, 350, left=60, right=70, top=34, bottom=30)
    values = np.array([value_of(study, t) for t in rows])
    low, high = fences(values, float(values[-1]))
    y, unit = svg.padded(low, high, *frame.y), Scale(0, 1, *frame.y)
    at = np.linspace(*frame.x, len(shown) + 1).tolist()
    places, steps = [s.place([t.params.get(s.name) for t in rows]) for s in shown], [""] * 5
    for i in range(len(rows)):
        ups = [unit(p[i]) if math.isfinite(p[i]) else frame.y[0] + 14 for p in places]
        ups.append(y(float(np.clip(values[i], low, high))))
        steps[5 * i // len(rows)] += svg.line(zip(at, ups, strict=True))
    marks = [path(step, f"parallel r{k}") for k, step in enumerate(steps)]
    axes = [
        _axis(x, frame, words.cut(s.name, int(900 / len(at) / 7)), _ticks(s, unit))
        for x, s in zip(at, shown, strict=False)
    ]
    axes.append(_axis(at[-1], frame, metric(study), y.ticks()))
    return frame.chart(*marks, *axes, label="Parallel coordinates", wide=True)


def _axis(x: float, frame: Frame, name: str, ticks: Sequence[tuple[float, str]]) -> Markup:
    labels = [svg.text(x + 5, at + 4, label, "halo") for at, label in ticks]
    return svg.group(
        [
            path(svg.line([(x, frame.y[0]), (x, frame.y[1])]), "base"),
            *labels,
            svg.text(x, 18, name, "name", text_anchor="middle"),
        ]
    )


def _size(n: int) -> str:
    """The class of dots of which there are so many."""
    return "dot8" if n <= 50 else "dot5" if n <= 300 else "dot3"


def _in_order(study: Study, names: Sequence[str]) -> list[Places]:
    of = {scale.name: scale for scale in matrix.scales(study.space, names)}
    return [of[name] for name in names if name in of]


def _ticks(scale: Places, axis: Scale) -> list[tuple[float, str]]:
    return [(axis(at), words.cut(label, 9)) for at, label in scale.ticks()]


def _edges(scale: Places) -> list[float]:
    places = scale.place(scale.grid(16))
    middles = (places[1:] + places[:-1]) / 2
    return [0.0, *middles.tolist(), 1.0]
