"""How a run is doing, in a notebook: one small display that is written over."""

import math
import sys
from collections.abc import Sequence
from html import escape
from importlib import import_module
from itertools import accumulate
from typing import Any, final

from tuner.confirm import loss
from tuner.study import Study
from tuner.trial import Trial

_WIDTH, _HEIGHT = 320, 48  # pixels of the line
_STEPS = 200  # at most, of the line
_ROOM = 2  # pixels around it
_PAGE = """\
<div style="font-family: sans-serif; font-size: 90%; line-height: 1.6">
<div><b>{name}</b> <progress value="{done}" max="{of}"></progress> {done}/{of} {left}</div>
<div>{words}</div>
{line}
</div>"""
_LINE = """\
<svg width="{width}" height="{height}" role="img" aria-label="best so far">
<polyline points="{points}" fill="none" stroke="currentColor" stroke-width="1.5"/>
</svg>"""


@final
class Card:
    """The display of the cell that made it."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self._handle: Any = None
        self._shown: object = None

    def show(self, trials: Sequence[Trial], done: int, words: str, left: str) -> None:
        """Write the display over, if it says something new."""
        data = {
            "text/plain": f"{self.study.name} {done}/{self.study.n_trials}  {words}  {left}",
            "text/html": page(self.study, trials, done, words, left),
        }
        if data == self._shown:
            return
        self._shown = data
        if self._handle is None:
            display = import_module("IPython.display").display
            self._handle = display(data, raw=True, display_id=True)
        else:
            self._handle.update(data, raw=True)


def card(study: Study) -> Card | None:
    """A display in the running cell; None where this process is no notebook's kernel."""
    if "IPython" not in sys.modules:
        return None
    shell = sys.modules["IPython"].get_ipython()
    return Card(study) if getattr(shell, "kernel", None) is not None else None


def page(study: Study, trials: Sequence[Trial], done: int, words: str, left: str) -> str:
    """What the display shows as HTML, in the colours of the page around it."""
    return _PAGE.format(
        name=escape(study.name), done=done, of=study.n_trials, left=escape(left),
        words=escape(words.replace("  ", " · ")), line=line(best_so_far(study, trials)),
    )  # fmt: skip


def best_so_far(study: Study, trials: Sequence[Trial]) -> list[float]:
    """The best value after each complete trial of the search, by number."""
    losses = (loss(study, trial) for trial in trials)
    finite = (value for value in losses if math.isfinite(value))
    return [study.sign * lowest for lowest in accumulate(finite, min)]


def line(values: Sequence[float]) -> str:
    """Values as a line over the page's width, the highest at its top; empty for fewer than two."""
    if len(values) < 2:
        return ""
    n = min(len(values), _STEPS)
    shown = [values[round(i * (len(values) - 1) / (n - 1))] for i in range(n)]
    high, span = max(shown), (max(shown) - min(shown)) or 1.0
    across, down = _WIDTH - 2 * _ROOM, _HEIGHT - 2 * _ROOM
    places = [
        (_ROOM + across * i / (n - 1), _ROOM + down * (high - value) / span)
        for i, value in enumerate(shown)
    ]
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    return _LINE.format(width=_WIDTH, height=_HEIGHT, points=points)
