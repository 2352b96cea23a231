"""How every figure looks, and its bytes."""

import io
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

# Okabe & Ito (2008): told apart by people with any kind of colour vision.
BLUE, ORANGE, RED = "#0072B2", "#E69F00", "#D55E00"
INK, GREY, PALE = "#262626", "#6E6E6E", "#F2F2F2"
PNG, SVG = "png", "svg"
MARKS = 10_000  # in a figure, above which its SVG has them as pixels: a browser draws each
SHADES = "cividis"
NOTHING = "No trial is complete yet."
TOO_FEW = "Too few trials are complete to tell which parameters matter."
STYLE: dict[Any, Any] = {
    "figure.facecolor": "white",
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same everywhere
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": "#BFBFBF",
    "axes.labelcolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E8E8E8",
    "xtick.color": "#BFBFBF",
    "ytick.color": "#BFBFBF",
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "svg.fonttype": "none",  # text stays text: to be searched, and edited for a paper
    "svg.hashsalt": "tuner",  # or every drawing would name its parts anew
}


def pictures(
    draw: Callable[..., Figure], *arguments: Any, kinds: Sequence[str] = (PNG,)
) -> dict[str, bytes]:
    """The figure that `draw(*arguments)` returns, in our style, as bytes by the kind of file.

    The same figure has the same bytes at any time.
    """
    found = {}
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        # a parameter may be named in letters that the font lacks: a box is all it costs
        warnings.filterwarnings("ignore", "Glyph .* missing")
        figure = draw(*arguments)
        figure.draw_without_rendering()  # once, and not for every kind: of many marks it takes long
        box = figure.get_tightbbox().padded(0.2)  # inches
        figure.set_layout_engine("none")
        for kind in kinds:
            buffer = io.BytesIO()
            figure.savefig(
                buffer, format=kind, dpi=130, bbox_inches=box,
                metadata={"Date": None} if kind == SVG else None,
            )  # fmt: skip
            found[kind] = buffer.getvalue()
    return found


def shortened(label: str, length: int = 40) -> str:
    """A label of at most `length` characters that is printed as it stands: `$` would be TeX."""
    label = label if len(label) <= length else f"{label[: length - 1]}…"
    return label.replace("$", r"\$")


def empty(message: str) -> Figure:
    """A figure that says why there is nothing to see yet."""
    figure = Figure(figsize=(8, 2))
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set_axis_off()
    ax.text(0.5, 0.5, message, ha="center", va="center", size=12, color=GREY)
    return figure
