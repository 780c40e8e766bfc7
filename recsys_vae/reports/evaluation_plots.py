"""Pictures of an evaluation: models with intervals, by activity, and in the long tail.

Legend: I items.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.ticker import PercentFormatter

from recsys_vae.reports.canvas import INK, QUIET, finish, panels, save, short, style_of

Counts = npt.NDArray[np.int64]
_METRICS_SHOWN = 4


def plot_models(table: pd.DataFrame, labels: Mapping[str, str], path: Path) -> None:
    """Draw each model's means with their intervals, a panel a metric.

    Args:
        table: columns `model`, `metric`, `mean`, `low` and `high`.
        labels: what a metric is called; of more than four the first four are drawn.
        path: the PNG file; it appears only when complete.
    """
    metrics = list(table["metric"].unique())[:_METRICS_SHOWN]
    models = list(table["model"].unique())
    figure, grid = panels(len(metrics), height=140 + 40 * max(2, len(models)))
    for axes, metric in zip(grid, metrics, strict=True):
        own = table[table["metric"] == metric].set_index("model")
        for number, model in enumerate(models):
            row = own.loc[model]
            low, high = np.nan_to_num([row["mean"] - row["low"], row["high"] - row["mean"]])
            place = len(models) - 1 - number
            axes.errorbar(
                row["mean"], place, xerr=[[low], [high]], capsize=4, linewidth=2, **style_of(number)
            )
        axes.set_yticks(range(len(models)), [short(one) for one in models[::-1]])
        axes.set_ylim(-0.6, len(models) - 0.4)
        finish(axes, labels[metric], x="mean over users, 95 % interval")
    save(figure, path)


def plot_activity(segments: pd.DataFrame, label: str, path: Path) -> None:
    """Draw a metric over parts of the users, the least active first.

    Args:
        segments: columns `model`, `segment`, `mean`, `low`, `high` and `users`.
        label: what the metric is called.
        path: the PNG file; it appears only when complete.
    """
    parts = list(segments["segment"].unique())
    models = list(segments["model"].unique())
    figure, (axes,) = panels(1)
    for number, model in enumerate(models):
        own = segments[segments["model"] == model].set_index("segment").loc[parts]
        # Beside each other, so that intervals do not hide one another.
        shift = 0.5 * ((number + 0.5) / len(models) - 0.5)
        away = np.nan_to_num([own["mean"] - own["low"], own["high"] - own["mean"]])
        axes.errorbar(
            np.arange(len(parts)) + shift, own["mean"], yerr=away, capsize=3, linewidth=1.5,
            label=short(model), **style_of(number),
        )  # fmt: skip
    users = segments.groupby("segment")["users"].first()
    names = [f"{part}\n{users[part]:,} users" for part in parts]
    axes.set_xticks(range(len(parts)), names)
    axes.set_xlim(-0.5, len(parts) - 0.5)
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=10, labelcolor=INK)
    finish(axes, f"{label} by what is known of the users", x="", y=f"{label}, 95 % interval")
    save(figure, path)


def plot_long_tail(counts_I: Counts, shown: Mapping[str, Counts], k: int, path: Path) -> None:
    """Draw how much of what is shown goes to the most popular share of the items.

    On the diagonal every item is shown as often as any other; a curve that is at once at the top
    shows nothing but the most popular items.

    Args:
        counts_I: users who took each item in training.
        shown: by model, how many users are shown each item.
        k: length of the lists.
        path: the PNG file; it appears only when complete.
    """
    order = np.argsort(-counts_I, kind="stable")
    share = np.arange(len(order) + 1) / max(1, len(order))
    figure, (axes,) = panels(1, height=440)
    axes.plot([0, 1], [0, 1], color=QUIET, linewidth=1, linestyle=(0, (1, 2)))
    axes.plot(
        share, _held(counts_I[order]), color=QUIET, linewidth=3, alpha=0.5, label="what users took"
    )
    for number, (model, shown_I) in enumerate(shown.items()):
        style = {**style_of(number), "markevery": (0.05 + 0.02 * number, 0.2)}
        covered = float((shown_I > 0).mean()) if len(shown_I) else 0.0
        axes.plot(
            share, _held(shown_I[order]), linewidth=2,
            label=f"{short(model)} (shows {covered:.0%} of the items)", **style,
        )  # fmt: skip
    axes.set(xlim=(0, 1), ylim=(0, 1.02))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.legend(frameon=False, fontsize=10, labelcolor=INK, loc="lower right")
    finish(
        axes, f"Long tail: where the first {k} places of the lists go",
        x="share of the items, most popular first", y="share of places",
    )  # fmt: skip
    save(figure, path)


def _held(counts: Counts) -> npt.NDArray[np.float64]:
    held: npt.NDArray[np.float64] = np.concatenate([[0], np.cumsum(counts)]) / max(1, counts.sum())
    return held
