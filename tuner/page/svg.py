"""Enough of SVG for plain charts: elements, scales, axes, and marks that stay small.

Colours are classes of the page's style sheet, so that a chart follows light and dark.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from tuner.page.words import number, visible

Point = tuple[float, float]
_TICKS = 5
_CHARACTER = 7.0  # pixels of a letter, about, at the size of a label


def el(name: str, *children: object, **attributes: object) -> Markup:
    """One element; `class_` and `text_anchor` become `class` and `text-anchor`."""
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_short(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    inner = "".join(str(escape(visible(child))) for child in children)
    return Markup(f"<{name}{given}>{inner}</{name}>" if inner else f"<{name}{given}/>")


def group(marks: Iterable[Markup], **attributes: object) -> Markup:
    """Marks that share attributes."""
    return el("g", Markup("").join(marks), **attributes)


def text(x: float, y: float, words: object, class_: str | None = None, **more: object) -> Markup:
    """Words at a place."""
    return el("text", words, x=x, y=y, class_=class_, **more)


def path(steps: str, class_: str, **more: object) -> Markup:
    """A path by its commands."""
    return el("path", d=steps, class_=class_, **more) if steps else Markup("")


def dots(points: Iterable[Point]) -> str:
    """Commands of round dots, eight bytes each: strokes of no length with round ends."""
    return "".join(f"M{_short(x)} {_short(y)}h0" for x, y in points)


def crosses(points: Iterable[Point], size: float = 3) -> str:
    """Commands of ✕."""
    a, b = _short(size), _short(2 * size)
    return "".join(
        f"M{_short(x - size)} {_short(y - size)}l{b} {b}m0-{b}l-{b} {b}" for x, y in points if a
    )


def line(points: Iterable[Point]) -> str:
    """Commands of a line; it is broken where a coordinate is NaN."""
    steps, open_ = [], False
    for x, y in points:
        whole = math.isfinite(x) and math.isfinite(y)
        if whole:
            steps.append(f"{'L' if open_ else 'M'}{_short(x)} {_short(y)}")
        open_ = whole
    return "".join(steps)


def stairs(points: Sequence[Point]) -> str:
    """Commands of a line that keeps its height until the next point."""
    if not points:
        return ""
    first, *rest = points
    steps = "".join(f"H{_short(x)}V{_short(y)}" for x, y in rest)
    return f"M{_short(first[0])} {_short(first[1])}{steps}"


def box(x: float, y: float, width: float, height: float) -> str:
    """Commands of a rectangle."""
    return f"M{_short(x)} {_short(y)}h{_short(width)}v{_short(height)}h{_short(-width)}z"


@dataclass(frozen=True, slots=True)
class Scale:
    """From values to pixels."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The pixel of a value."""
        low, high, x = map(self._turned, (self.low, self.high, value))
        part = (x - low) / (high - low) if high > low else 0.5
        return self.start + part * (self.end - self.start)

    def ticks(self, n: int = _TICKS) -> list[tuple[float, str]]:
        """Pixels and labels of about n round values."""
        return [(self(value), number(value)) for value in self._round(n)]

    def _turned(self, value: float) -> float:
        return math.log10(max(value, 1e-300)) if self.log else value

    def _round(self, n: int) -> list[float]:
        if self.log and math.log10(self.high / self.low) > 2:
            first, last = math.ceil(math.log10(self.low)), math.floor(math.log10(self.high))
            step = -(-(last - first + 1) // n)
            return [10.0**exponent for exponent in range(first, last + 1, step)]
        if not self.high > self.low:
            return [self.low]
        rough = (self.high - self.low) / n
        size = 10 ** math.floor(math.log10(rough))
        step = next(size * k for k in (1, 2, 5, 10) if size * k >= rough * 0.999)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        digits = max(0, 1 - math.floor(math.log10(step)))
        return [round(i * step, digits) for i in range(first, last + 1)]


def padded(low: float, high: float, start: float, end: float, share: float = 0.05) -> Scale:
    """A scale with some room beyond both ends."""
    room = share * (high - low) or abs(low) * 0.1 or 1.0
    return Scale(low - room, high + room, start, end)


def whole(scale: Scale, n: int = _TICKS) -> list[tuple[float, str]]:
    """The ticks of a scale of whole numbers."""
    return [tick for tick in scale.ticks(n) if tick[1].replace(" ", "").lstrip("−").isdigit()]


@dataclass(frozen=True, slots=True)
class Frame:
    """The room of a chart: its size, and where its scales begin and end."""

    width: float = 540
    height: float = 300
    left: float = 56
    right: float = 16
    top: float = 26
    bottom: float = 40

    @property
    def x(self) -> Point:
        """From the left to the right end of the x axis."""
        return self.left, self.width - self.right

    @property
    def y(self) -> Point:
        """From the lower to the upper end of the y axis."""
        return self.height - self.bottom, self.top

    def axes(
        self,
        x: Sequence[tuple[float, str]],
        y: Sequence[tuple[float, str]],
        x_name: str = "",
        y_name: str = "",
    ) -> Markup:
        """Hairlines at the ticks of y, labels, and the names of both axes."""
        (left, right), (low, _) = self.x, self.y
        lines = "".join(f"M{_short(left)} {_short(at)}H{_short(right)}" for at, _ in y)
        below = [text(at, low + 16, label, text_anchor="middle") for at, label in x]
        beside = [text(left - 7, at + 3.5, label, text_anchor="end") for at, label in y]
        names = [
            text((left + right) / 2, low + 33, x_name, "name", text_anchor="middle"),
            text(left - 7, self.top - 10, y_name, "name", text_anchor="start")
            if not y
            else text(0, self.top - 12, y_name, "name"),
        ]
        base = path(f"M{_short(left)} {_short(low)}H{_short(right)}", "base")
        return group([path(lines, "grid"), base, *below, *beside, *names], class_="axes")

    def chart(self, *marks: Markup, label: str = "", wide: bool = False) -> Markup:
        """The chart; `label` is what a screen reader says."""
        size = f"0 0 {_short(self.width)} {_short(self.height)}"
        return el(
            "svg",
            Markup("").join(marks),
            viewBox=size,
            role="img",
            aria_label=visible(label),
            class_="wide" if wide else None,
            width=self.width,
            height=self.height,
        )


def key(entries: Sequence[tuple[str, str]], x: float, y: float, size: float = 4) -> Markup:
    """A legend in a row: classes of a dot, and what it means."""
    marks, at = [], x
    for class_, words in entries:
        sign = crosses([(at, y)], 3) if class_.startswith("cross") else dots([(at, y)])
        if class_.startswith("line"):
            sign = line([(at - 7, y), (at + 7, y)])
        marks += [path(sign, f"{class_} dot{size:g}"), text(at + 11, y + 3.5, words)]
        at += 28 + _CHARACTER * len(words)
    return group(marks, class_="key")


def clipped(name: str, frame: Frame, draw: Callable[[], Iterable[Markup]]) -> Markup:
    """Marks that end at the borders of a frame; `name` is the clip's own in the page."""
    (left, right), (low, high) = frame.x, frame.y
    area = el("rect", x=left - 4, y=high - 4, width=right - left + 8, height=low - high + 8)
    return el("clipPath", area, id=name) + group(draw(), clip_path=f"url(#{name})")


def _short(value: object) -> object:
    """A pixel to a tenth, without what says nothing."""
    if isinstance(value, float):
        return f"{value:.1f}".removesuffix(".0") if abs(value) >= 0.05 else "0"
    return value
