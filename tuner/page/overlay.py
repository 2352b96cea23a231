"""Charts of several runs in one frame: each group a colour, and its name at the end of its line."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from tuner.beside import Array, Entry, Group
from tuner.page import svg, words
from tuner.page.svg import Frame, Scale, path
from tuner.plots import fences
from tuner.results import metric

_COLOURS = 7  # Okabe & Ito's on white or black, in beside.css
_STROKES = ("", " dashed", " dotted")  # when all colours are used
_WIDTH, _ROW, _LETTERS = 1040, 16, 26
_LETTER = 8.2  # pixels


@dataclass(frozen=True, slots=True)
class Steps:
    """A group's way: the median of its runs and their range after each x, all (step,)."""

    x: Array
    middle: Array
    low: Array
    high: Array


def look(place: int) -> str:
    """The classes of the group at a place."""
    return f"s{place % _COLOURS}{_STROKES[place // _COLOURS % len(_STROKES)]}"


def over_trials(found: Sequence[Group]) -> Markup:
    """Best so far over the number of finished trials."""
    ways = [_steps([(np.arange(1.0, len(e.ended) + 1), e) for e in g.entries]) for g in found]
    return _overlaid(found, ways, "finished trials", "trials")


def over_hours(found: Sequence[Group]) -> Markup:
    """Best so far over what was spent, which has one unit in all runs."""
    ways = [_steps([(e.hours(), e) for e in g.entries]) for g in found]
    return _overlaid(
        found, ways, f"{found[0].entries[0].spent['unit']} spent on the search", "hours"
    )


def _steps(runs: Sequence[tuple[Array, Entry]]) -> Steps | None:
    """A group's way, as far as all of its runs go; None before each of them has a value."""
    shown = [(x, entry.best_so_far()) for x, entry in runs if len(x)]
    if not shown:
        return None
    end = min(x[-1] for x, _ in shown)
    at = np.unique(np.concatenate([x for x, _ in shown]))
    at = at[at <= end]  # (step,)
    known = []
    for x, best in shown:
        place = np.searchsorted(x, at, side="right") - 1
        known.append(np.where(place >= 0, best[np.maximum(place, 0)], np.nan))
    each = np.array(known)  # (run, step)
    whole = np.isfinite(each).all(axis=0)
    if not whole.any():
        return None
    at, each = at[whole], each[:, whole]
    ways = np.array([np.median(each, axis=0), each.min(axis=0), each.max(axis=0)])  # (3, step)
    changed = np.append(True, (ways[:, 1:] != ways[:, :-1]).any(axis=0))
    changed[-1] = True  # how far it goes
    return Steps(at[changed], *ways[:, changed])


def _overlaid(
    found: Sequence[Group], ways: Sequence[Steps | None], x_name: str, clip: str
) -> Markup:
    drawn = [(i, way) for i, way in enumerate(ways) if way is not None]
    if not drawn:
        return Markup("")
    labels = {i: words.cut(found[i].label, _LETTERS) for i, _ in drawn}
    right = 34 + _LETTER * max(map(len, labels.values()))
    frame = Frame(_WIDTH, max(380, 80 + _ROW * len(drawn)), right=right, top=22)
    study = found[0].entries[0].study
    all_ = np.concatenate([v for _, way in drawn for v in (way.low, way.high)])
    last = min(float(study.sign * way.middle[-1]) for _, way in drawn) * study.sign
    low, high = fences(all_, last)
    ends = [float(way.middle[-1]) for _, way in drawn]
    y = svg.padded(min(low, *ends), max(high, *ends), *frame.y)
    x = Scale(0, max(float(way.x[-1]) for _, way in drawn) or 1.0, *frame.x)

    def draw() -> list[Markup]:
        bands = [path(_band(way, x, y), f"band {look(i)}") for i, way in drawn]
        lines = [path(_line(way, x, y), f"line series {look(i)}") for i, way in drawn]
        return [*bands, *lines]

    ticks = svg.whole(x, 8) if clip == "trials" else x.ticks(8)
    axes = frame.axes(ticks, y.ticks(), x_name, f"best {metric(study)} so far")
    places = {i: (x(float(way.x[-1])), y(float(way.middle[-1]))) for i, way in drawn}
    names = _names(labels, places, frame)
    said = f"Best {metric(study)} so far over {x_name}, of {words.count(len(drawn), 'group')}"
    return frame.chart(
        axes, svg.clipped(f"clip-{clip}", frame, draw), *names, label=said, wide=True
    )


def _line(way: Steps, x: Scale, y: Scale) -> str:
    return svg.stairs([(x(float(a)), y(float(b))) for a, b in zip(way.x, way.middle, strict=True)])


def _band(way: Steps, x: Scale, y: Scale) -> str:
    """The range of a group, there along one end of it and back along the other."""
    if (way.low == way.high).all():
        return ""
    xs = [x(float(a)) for a in way.x]
    lows, highs = ([y(float(v)) for v in side] for side in (way.low, way.high))
    back = [f"L{xs[-1]:.1f} {lows[-1]:.1f}"]
    back += [f"V{lows[k]:.1f}H{xs[k]:.1f}" for k in range(len(xs) - 2, -1, -1)]
    return svg.stairs(list(zip(xs, highs, strict=True))) + "".join(back) + "Z"


def _names(
    labels: dict[int, str], places: dict[int, tuple[float, float]], frame: Frame
) -> list[Markup]:
    """Names beside the ends of lines, moved apart where these are close, each with its colour."""
    at = frame.width - frame.right + 22
    order = sorted(labels, key=lambda i: places[i][1])
    heights = _apart([places[i][1] for i in order], *reversed(frame.y))
    marks = []
    for i, height in zip(order, heights, strict=True):
        end_x, end_y = places[i]
        marks += [
            path(svg.line([(end_x, end_y), (at - 8, height)]), "leader"),
            svg.el("circle", cx=end_x, cy=end_y, r=3.5, class_=f"end {look(i)}"),
            svg.el("circle", cx=at, cy=height, r=4, class_=f"end {look(i)}"),
            svg.text(at + 9, height + 4, labels[i], "end"),
        ]
    return marks


def _apart(wanted: Sequence[float], low: float, high: float) -> list[float]:
    """Heights in rising order, at least a row apart, as near to the wanted ones as goes simply."""
    found: list[float] = []
    for height in wanted:
        found.append(max(height, low, found[-1] + _ROW if found else low))
    room = high
    for i in range(len(found) - 1, -1, -1):
        found[i] = min(found[i], room)
        room = found[i] - _ROW
    return found


def values(found: Sequence[Group]) -> Markup:
    """What each run ended with: the search's best, and the winner's fresh seeds."""
    rows = [(i, e) for i, group in enumerate(found) for e in group.entries if e.best is not None]
    if not rows:
        return Markup("")
    names = [words.cut(e.name, _LETTERS) for _, e in rows]
    left = 34 + _LETTER * max(map(len, names))
    frame = Frame(_WIDTH, 80 + 34 * len(rows), left=left, right=150, top=32)
    ends = [v for _, e in rows for v in _extent(e)]
    x = svg.padded(min(ends), max(ends), *frame.x)
    marks = []
    for place, ((i, entry), name) in enumerate(zip(rows, names, strict=True)):
        height = frame.top + 17 + 34 * place
        marks += [
            svg.el("circle", cx=12, cy=height, r=4, class_=f"end {look(i)}"),
            svg.text(24, height + 4, name, "end"),
            *_value(entry, x, height, look(i)),
            svg.text(frame.width - 138, height + 4, _said(entry), "at"),
        ]
    study = rows[0][1].study
    lines = "".join(f"M{at:.1f} {frame.top:.1f}V{frame.y[0]:.1f}" for at, _ in x.ticks(7))
    axes = [path(lines, "grid"), frame.axes(x.ticks(7), [], f"validation {metric(study)}")]
    label = f"Final {metric(study)} of {words.count(len(rows), 'run')}"
    return frame.chart(svg.group(axes, class_="axes"), *marks, _key(frame), label=label, wide=True)


def _extent(entry: Entry) -> list[float]:
    again, saw = entry.confirmed, entry.final(again=False)
    if again is None:
        return [saw]
    return [saw, *again.values, again.mean - _reach(entry), again.mean + _reach(entry)]


def _reach(entry: Entry) -> float:
    """Half the 95 % interval of the winner's mean, by Student's t; 0 for one seed."""
    again = entry.confirmed
    if again is None or not math.isfinite(again.error):
        return 0.0
    from scipy.stats import t  # noqa: PLC0415 - as in confirmation.py

    return float(t.ppf(0.975, len(again.values) - 1)) * again.error


def _value(entry: Entry, x: Scale, y: float, class_: str) -> list[Markup]:
    again = entry.confirmed
    saw = svg.el("circle", cx=x(entry.final(again=False)), cy=y, r=5, class_=f"saw {class_}")
    if again is None:
        return [saw]
    reach = _reach(entry)
    span = svg.line([(x(again.mean - reach), y), (x(again.mean + reach), y)])
    return [
        path(span if reach else "", f"line reach {class_}"),
        *(svg.el("circle", cx=x(v), cy=y, r=3, class_=f"seed {class_}") for v in again.values),
        saw,
        svg.el("circle", cx=x(again.mean), cy=y, r=6, class_=f"mean {class_}"),
    ]


def _said(entry: Entry) -> str:
    again = entry.confirmed
    if again is None:
        return f"{words.number(entry.final(again=False), 5)} once"
    error = f" ± {words.number(again.error, 2)}" if math.isfinite(again.error) else ""
    return f"{words.number(again.mean, 5)}{error}"


def _key(frame: Frame) -> Markup:
    """What the marks of `values` are."""
    y, marks, at = 10.0, [], frame.width - 520.0
    for class_, size, said in (
        ("saw", 5, "the search saw"),
        ("seed", 3, "a fresh seed"),
        ("mean", 6, "mean and its 95 % interval"),
    ):
        if class_ == "mean":
            marks.append(path(svg.line([(at - 13, y), (at + 13, y)]), "line reach"))
        marks.append(svg.el("circle", cx=at, cy=y, r=size, class_=class_))
        marks.append(svg.text(at + 17, y + 4, said))
        at += 44 + _LETTER * len(said)
    return svg.group(marks, class_="key")
