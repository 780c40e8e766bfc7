"""What all pictures of models share: size, colours, and how a file is written."""

from math import ceil
from pathlib import Path
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from recsys_vae.files import atomic_file

# M. Okabe and K. Ito's palette without yellow and black: told apart with every colour vision.
COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X")
QUIET: Final = "#767676"
INK: Final = "#262626"
_TITLE: Final[dict[str, Any]] = {"loc": "left", "fontsize": 12, "color": INK, "fontweight": "bold"}
_DPI: Final = 100
_LONGEST_NAME: Final = 32
PANEL: Final = (560, 380)
"""Width and height of a panel, in pixels."""


def panels(number: int, *, columns: int = 2, height: int = PANEL[1]) -> tuple[Figure, list[Axes]]:
    """Give a figure with so many panels, row by row."""
    columns = min(columns, number)
    rows = ceil(number / columns)
    width = max(1.4, columns) * PANEL[0]
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12)
    size = (width / _DPI, rows * height / _DPI)
    figure = Figure(figsize=size, dpi=_DPI, layout=layout)
    FigureCanvasAgg(figure)  # no pyplot: nothing global, no window, no display needed
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    for unused in grid[number:]:
        unused.set_axis_off()
    return figure, grid[:number]


def finish(axes: Axes, title: str, *, x: str, y: str = "") -> None:
    """Name a panel and its axes; take away what carries nothing."""
    axes.set_title(title, **_TITLE)
    axes.set_xlabel(x, fontsize=11, color=INK)
    axes.set_ylabel(y, fontsize=11, color=INK)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(QUIET)
    axes.tick_params(colors=INK, labelsize=10)
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)


def short(name: str) -> str:
    """Shorten the name of a model, which may hold a path, to what has room: the end tells most.

    >>> short("mult-vae " + "a/" * 40 + "other")
    'mult-vae …/a/a/a/a/a/a/a/a/other'
    """
    if len(name) <= _LONGEST_NAME:
        return name
    first = name.split(" ")[0][:10]
    return f"{first} …{name[len(first) - _LONGEST_NAME + 2 :]}"


def save(figure: Figure, path: Path) -> None:
    """Write a PNG file, which appears only when complete."""
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=_DPI, metadata={"Software": None})


def style_of(number: int) -> dict[str, Any]:
    """Give colour and marker of the so-manieth model; 42 are told apart."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "marker": MARKERS[number % len(MARKERS)],
        "markersize": 6,
    }
