"""What the surrogate of a run expects: partial dependence on the parameters that matter."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from tuner.matrix import Scale, below, canvas, corner, scales
from tuner.results import metric
from tuner.study import Study
from tuner.style import BLUE, GREY, RED, SHADES, TOO_FEW, empty, shortened

Array = NDArray[Any]
_OVER = 40  # trials whose other parameters are averaged over
_GRID = 16  # values of a range that are asked for
_NOTE = "what the surrogate expects, averaged over the other parameters · dark: better · ★ best"


def dependence(study: Study, result: Any, names: Collection[str]) -> Figure:
    """The expected value over each named parameter (diagonal) and each two of them (below).

    Partial dependence (Friedman 2001) as in `skopt.plots.plot_objective`, in real units and in the
    study's direction. `result` is a scikit-optimize result with a fitted model; it may be None
    when no names are given.
    """
    shown = scales(study.space, names)
    n = len(shown)
    if not n:
        return empty(TOO_FEW)
    title = f"{shortened(study.name)}: {shortened(metric(study))} to expect"
    figure, ax = canvas(shown, title, _NOTE)
    trials = np.array([scale.place(_column(result, scale)) for scale in shown])  # (scale, trial)
    best = int(np.argmin(result.func_vals))
    curves = [study.sign * mean(result, [scale]) for scale in shown]
    ends = min(curve.min() for curve in curves), max(curve.max() for curve in curves)
    for i, (scale, curve) in enumerate(zip(shown, curves, strict=True)):
        x, y = corner(i, i, n)
        _curve(ax, scale, curve, ends, (x, y))
        ax.plot([x + trials[i, best]] * 2, [y, y + 1], color=RED, lw=0.9, ls=(0, (4, 3)))
    maps = {(i, j): mean(result, [shown[i], shown[j]]) for i, j, _ in below(n)}
    low = min((found.min() for found in maps.values()), default=0.0)
    high = max((found.max() for found in maps.values()), default=0.0)
    for i, j, (x, y) in below(n):
        across, up = x + _edges(shown[j]), y + _edges(shown[i])
        ax.pcolormesh(across, up, maps[i, j], cmap=SHADES, vmin=low, vmax=high)
        ax.scatter(x + trials[j], y + trials[i], 4, "white", alpha=0.5, lw=0)
        ax.scatter(x + trials[j, best], y + trials[i, best], 130, RED, marker="*", ec="white")
    return figure


def mean(result: Any, shown: Sequence[Scale]) -> Array:
    """The loss expected over a grid of one or two parameters: (value,) or (value, value)."""
    others = result.space.transform(result.x_iters[:: -(-len(result.x_iters) // _OVER)])
    grids = [scale.grid(_GRID) for scale in shown]
    chosen = np.indices([len(grid) for grid in grids]).reshape(len(grids), -1)  # (scale, point)
    points = np.tile(others, (chosen.shape[1], 1, 1))  # (point, other, column)
    for scale, grid, at in zip(shown, grids, chosen, strict=True):
        index = _index(result, scale)
        values = result.space.dimensions[index].transform(grid)
        begin = sum(before.transformed_size for before in result.space.dimensions[:index])
        columns = np.reshape(values, (len(grid), -1))  # (value, column): a category has several
        points[:, :, begin : begin + columns.shape[1]] = columns[at, None]
    expected = result.models[-1].predict(points.reshape(-1, points.shape[-1]))
    average: Array = expected.reshape(*map(len, grids), len(others)).mean(axis=-1)
    return average


def _column(result: Any, scale: Scale) -> list[Any]:
    column = _index(result, scale)
    return [point[column] for point in result.x_iters]


def _index(result: Any, scale: Scale) -> int:
    return [dimension.name for dimension in result.space.dimensions].index(scale.name)


def _edges(scale: Scale) -> Array:
    """Borders between the grid's values, (value + 1,)."""
    places = scale.place(scale.grid(_GRID))
    if len(places) == 1:
        return np.array([0.05, 0.95])
    middles = (places[1:] + places[:-1]) / 2
    return np.array([2 * places[0] - middles[0], *middles, 2 * places[-1] - middles[-1]])


def _curve(
    ax: Axes, scale: Scale, values: Array, ends: tuple[float, float], at: tuple[float, float]
) -> None:
    """Draw a diagonal cell; all have the same `ends`, so that they can be compared."""
    low, high = ends
    heights = 0.08 + 0.84 * (values - low) / ((high - low) or 1.0)
    marker = "o" if scale.levels else ""
    x, y = at
    ax.plot(
        x + scale.place(scale.grid(_GRID)), y + heights, color=BLUE, lw=1.8, marker=marker, ms=5
    )
    for height, value in ((0.08, low), (0.92, high)):
        ax.text(x + 1.03, y + height, f"{value:.4g}", size=8, color=GREY, va="center")
