"""One picture of what a KL weight buys: KL term against reconstruction, weight by weight."""

from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from recsys_vae.errors import InputError
from recsys_vae.files import atomic_file

WIDTH: Final = 900
HEIGHT: Final = 600
"""Pixels."""
COLUMNS: Final = ("beta", "kl", "reconstruction")

# Blue of M. Okabe and K. Ito's palette.
_LINE: Final = "#0072B2"
_QUIET: Final = "#767676"
_INK: Final = "#262626"
_DPI: Final = 100


def plot_kl_curve(frame: pd.DataFrame, path: Path) -> None:
    """Draw one point a KL weight, joined in the order of the weights.

    To the right, more is told of a history by its latent point; further down, it is reconstructed
    better. The lines on which -ELBO = KL + reconstruction is constant are dotted: the weight that
    lies on the lowest one has the best bound.

    Source: A. A. Alemi et al., Fixing a Broken ELBO, ICML 2018 (rate against distortion).

    Args:
        frame: a row a model, with columns `beta`, `kl` and `reconstruction`, the last two in nats
            per user, as the last record of a training gives them.
        path: the PNG file, 900 x 600 pixels; it appears only when complete.

    Raises:
        InputError: there are no rows, a column is missing, or a value is no finite number.
    """
    points = _checked(frame).sort_values("beta", kind="stable")
    kl, reconstruction = points["kl"].to_numpy(), points["reconstruction"].to_numpy()
    layout = ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.15)
    figure = Figure(figsize=(WIDTH / _DPI, HEIGHT / _DPI), dpi=_DPI, layout=layout)
    FigureCanvasAgg(figure)  # no pyplot: nothing global, no window, no display needed
    axes = figure.subplots()
    axes.plot(kl, reconstruction, "-o", color=_LINE, linewidth=2, markersize=7)
    for beta, x, y in zip(points["beta"], kl, reconstruction, strict=True):
        axes.annotate(
            f"{beta:g}", (x, y), xytext=(7, 7), textcoords="offset points", fontsize=11, color=_INK
        )
    axes.margins(0.12)
    # A single point has no extent of its own.
    axes.set(xlim=_widened(*axes.get_xlim()), ylim=_widened(*axes.get_ylim()))
    for bound in np.unique(kl + reconstruction):
        axes.axline((0, bound), slope=-1, color=_QUIET, linewidth=0.8, linestyle=(0, (1, 2)))
    axes.set_title(
        "What the KL weight buys (numbers: beta; dotted: the same ELBO)",
        loc="left", fontsize=13, color=_INK, fontweight="bold",
    )  # fmt: skip
    axes.set_xlabel("KL term, nats per user", fontsize=12, color=_INK)
    axes.set_ylabel("reconstruction, nats per user", fontsize=12, color=_INK)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(_QUIET)
    axes.tick_params(colors=_INK, labelsize=11)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=_DPI, metadata={"Software": None})


def _checked(frame: pd.DataFrame) -> pd.DataFrame:
    missing = [name for name in COLUMNS if name not in frame]
    if missing:
        raise InputError(
            f"a curve of the KL term needs columns {', '.join(COLUMNS)}: {missing[0]} is missing"
        )
    if frame.empty:
        raise InputError("a curve of the KL term needs at least one row: train a model")
    columns = {name: pd.to_numeric(frame[name], errors="coerce") for name in COLUMNS}
    numbers = pd.DataFrame(columns, dtype=float)
    for name in COLUMNS:
        wrong = np.flatnonzero(~np.isfinite(numbers[name].to_numpy()))
        if len(wrong):
            raise InputError(
                f"a curve of the KL term needs finite numbers: row {wrong[0] + 1} has {name} "
                f"{frame[name].iloc[wrong[0]]}: leave it out"
            )
    return numbers


def _widened(low: float, high: float) -> tuple[float, float]:
    """Give at least some width about numbers that agree but for rounding."""
    least = max(1e-3, 1e-6 * max(abs(low), abs(high)))
    return (low, high) if high - low >= least else (low - least, high + least)
