"""Figures of every parameter against every other: one cell a pair, all drawn in one axes.

Cell (row, column) covers the unit square at (column, rows − 1 − row) × `PITCH`; a parameter's
values are laid over 0…1 by its `Scale`, so log, stepped and categorical ones need no axes of
their own.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from jobs.contract import State
from tuner.confirm import loss, winner
from tuner.results import searched
from tuner.space import Categorical, Int, Parameter, Space
from tuner.study import Study
from tuner.style import BLUE, GREY, MARKS, ORANGE, PALE, RED, SHADES, shortened
from tuner.trial import Trial

Array = NDArray[Any]
PITCH = 1.14  # from one cell to the next, in cells
_LEVELS = 12  # a number of fewer steps has a bin for each
INSIDE = 0.9  # of a cell: what the range of a parameter takes, so that marks stay within
MOST = 12  # parameters that can be seen in one figure


@dataclass(frozen=True, slots=True)
class Scale:
    """Where the values of one parameter stand between 0 and 1."""

    name: str
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    levels: tuple[Any, ...] = ()  # the values of a parameter that has few: each has a bin

    def place(self, values: Sequence[Any]) -> Array:
        """Positions (value,) in 0…1; NaN for None, a parameter that did not apply."""
        parts = [np.nan if value is None else self._part(value) for value in values]
        return 0.5 + INSIDE * (np.array(parts) - 0.5)

    def spread(self, places: Array, seed: int) -> Array:
        """Positions (value,) with equal levels moved apart, so that trials can be counted."""
        if not self.levels:
            return places
        width = 0.55 * INSIDE / len(self.levels)
        return places + np.random.default_rng(seed).uniform(-width / 2, width / 2, len(places))

    def grid(self, n: int) -> list[Any]:
        """All levels, or about `n` values from end to end."""
        if self.levels:
            return list(self.levels)
        spacing = np.geomspace if self.log else np.linspace
        values = spacing(self.low, self.high, n).tolist()
        whole = isinstance(self.low, int)
        return sorted({round(value) for value in values}) if whole else values

    def ticks(self) -> list[tuple[float, str]]:
        """Positions and labels: every category, or the ends and the middle of a range."""
        values = self.grid(3)
        if len(values) > 4 and not isinstance(values[0], str):
            values = [values[0], values[len(values) // 2], values[-1]]
        values = values[:: -(-len(values) // 8)]  # more words would run into each other
        return list(zip(self.place(values).tolist(), map(text, values), strict=True))

    def _part(self, value: Any) -> float:
        if self.levels:
            level = min(range(len(self.levels)), key=lambda i: _distance(self.levels[i], value))
            return (level + 0.5) / len(self.levels)
        ends = self.low, self.high, value
        low, high, x = np.log(ends) if self.log else ends
        return float((x - low) / (high - low)) if high > low else 0.5


def scales(space: Space, names: Collection[str]) -> list[Scale]:
    """A scale for each of the named parameters, in file order."""
    return [_scale(name, kind) for name, kind in space.parameters.items() if name in names]


def text(value: Any) -> str:
    """A value as a short label."""
    if isinstance(value, float) and value and not 1e-3 <= abs(value) < 1e4:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa.removesuffix('.0')}e{int(exponent)}"
    if isinstance(value, float):
        return f"{value:.3g}"
    word = str(value).lower() if isinstance(value, bool) else str(value)
    return word if len(word) <= 12 else f"{word[:11]}…"


def corner(row: int, column: int, rows: int) -> tuple[float, float]:
    """The lower left corner of a cell."""
    return column * PITCH, (rows - 1 - row) * PITCH


def canvas(shown: Sequence[Scale], title: str, note: str) -> tuple[Figure, Axes]:
    """Axes with named, empty cells on and below the diagonal."""
    n = len(shown)
    side = n * PITCH
    inches = min(2.4, 13 / n)  # of a cell
    figure = Figure(figsize=(side * inches, side * inches))
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set_axis_off()
    ax.set(xlim=(0, side), ylim=(0, side))
    size = float(np.clip(6 * inches, 6.5, 9))
    for row, scale in enumerate(shown):
        for column in range(row + 1):
            place = corner(row, column, n)
            ax.add_patch(Rectangle(place, 1, 1, fc=PALE, alpha=0.6))
        x, y = place
        ax.text(x, y + 1.03, shortened(scale.name), size=size + 1, weight="bold", va="bottom")
        _ticks(ax, scale, (x, y), size, beside=row > 0)
    top: dict[str, Any] = {"xy": (0, side), "textcoords": "offset points"}
    ax.annotate(title, xytext=(0, 32), size=12, weight="bold", **top)
    ax.annotate(note, xytext=(0, 17), size=9, color=GREY, **top)
    return figure, ax


def _ticks(ax: Axes, scale: Scale, at: tuple[float, float], size: float, beside: bool) -> None:
    """Label a parameter's values below its column and, if asked, beside its row."""
    ticks = scale.ticks()
    upright = len(ticks) * max(len(label) for _, label in ticks) > 16  # no room side by side
    for place, label in ticks:
        edge = "left" if place < 0.1 else "right" if place > 0.9 else "center"
        turned = {"rotation": 90, "ha": "center"} if upright else {"ha": edge}
        ax.text(at[0] + place, -0.05, shortened(label), size=size, va="top", **turned)
        if beside:
            level = {"left": "bottom", "right": "top"}.get(edge, "center")
            ax.text(-0.05, at[1] + place, shortened(label), size=size, ha="right", va=level)


def evaluations(study: Study, trials: Sequence[Trial]) -> Figure:
    """Where the search looked: histograms on the diagonal, every pair of parameters below it."""
    rows = searched(trials)
    shown = scales(study.space, list(study.space.parameters)[:MOST])
    note = "dark: the better trials · light: the worse · ✕ failed · ◇ pruned · ★ winner"
    figure, ax = canvas(shown, f"{shortened(study.name)}: where the search looked", note)
    places = [scale.place([t.params.get(scale.name) for t in rows]) for scale in shown]
    won = winner(study, trials)
    losses = np.array([loss(study, t) for t in rows])
    order = [i for i in np.argsort(-losses) if np.isfinite(losses[i])]  # the best on top
    ranks = np.linspace(1, 0, len(order))
    failed = [i for i, t in enumerate(rows) if t.state is State.FAIL]
    pruned = [i for i, t in enumerate(rows) if t.state is State.PRUNED]
    star = [i for i, t in enumerate(rows) if t is won]
    size = 26 * min(1, 6 / len(shown)) * min(1.0, (60 / (len(rows) + 1)) ** 0.5) + 3
    cells = list(below(len(shown)))
    many = len(rows) * len(cells) > MARKS
    apart = [scale.spread(places[k], k) for k, scale in enumerate(shown)]
    across, up = (  # (cell, trial): drawn in one go, which is sooner done than a go a cell
        np.reshape([start + apart[k] for start, k in ends], (len(cells), len(rows)))
        for ends in ([(x, j) for _, j, (x, _) in cells], [(y, i) for i, _, (_, y) in cells])
    )

    def mark(which: list[int], size: float, **how: Any) -> None:
        ax.scatter(across[:, which].ravel(), up[:, which].ravel(), size, **how)

    mark(pruned, size, c="none", marker="D", ec=ORANGE, lw=0.7, rasterized=many)
    mark(order, size, c=np.tile(ranks, len(cells)), cmap=SHADES, lw=0, rasterized=many)
    mark(failed, size, c=RED, marker="x", lw=0.8, rasterized=many)
    mark(star, 110, c=RED, marker="*", ec="white", lw=0.6)
    for i, scale in enumerate(shown):
        x, y = corner(i, i, len(shown))
        _histogram(ax, places[i], len(scale.levels) or 10, (x, y))
    return figure


def _scale(name: str, kind: Parameter) -> Scale:
    if isinstance(kind, Categorical) or (kind.size and kind.size <= _LEVELS and not kind.log):
        count = kind.size or 1
        return Scale(name, levels=tuple(kind.from_unit((i + 0.5) / count) for i in range(count)))
    number = int if isinstance(kind, Int) else float
    return Scale(name, number(kind.low), number(kind.high), kind.log)


def _distance(one: Any, other: Any) -> float:
    """Of two values; a step of a float is not met to the last digit."""
    if isinstance(one, float) and isinstance(other, (int, float)):
        return abs(one - other)
    return float(one != other)


def below(n: int) -> Iterator[tuple[int, int, tuple[float, float]]]:
    """The cells below the diagonal: row, column and lower left corner."""
    return ((i, j, corner(i, j, n)) for i in range(n) for j in range(i))


def _histogram(ax: Axes, places: Array, bins: int, at: tuple[float, float]) -> None:
    known = places[np.isfinite(places)]
    counts, edges = np.histogram(known, bins=bins, range=(0.5 - INSIDE / 2, 0.5 + INSIDE / 2))
    heights = 0.92 * counts / max(1, counts.max())
    bars: dict[str, Any] = {"align": "edge", "color": BLUE, "ec": "white", "lw": 0.5}
    ax.bar(at[0] + edges[:-1], heights, np.diff(edges), at[1], **bars)
