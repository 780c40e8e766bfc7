"""Pictures of a training: its curves, and what its latent dimensions carry.

Legend: Z latent width.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.ticker import MaxNLocator

from recsys_vae.evaluation.latent_use import IN_USE
from recsys_vae.reports.canvas import COLOURS, INK, finish, panels, save
from recsys_vae.training.records import EpochRecord


def plot_learning_curves(history: Sequence[EpochRecord], metric: str, path: Path) -> None:
    """Draw the loss and each of its terms, the KL weight and the validation metric by epoch.

    Args:
        history: at least one record.
        metric: what was validated, such as "NDCG@100".
        path: the PNG file; it appears only when complete.
    """
    epochs = [one.epoch for one in history]
    curves = {
        f"{'loss' if name == 'loss' else name.replace('_', ' ').replace('kl', 'KL')}, training": (
            epochs,
            [one.terms[name] for one in history],
            "nats per user",
        )
        for name in history[-1].terms
    }
    if any(one.kl_weight for one in history):
        curves["KL weight"] = (epochs, [one.kl_weight for one in history], "")
    judged = [(one.epoch, one.validation) for one in history if one.validation is not None]
    figure, grid = panels(len(curves) + bool(judged))
    for axes, (title, (x, y, unit)) in zip(grid, curves.items(), strict=False):
        axes.plot(x, y, color=COLOURS[0], linewidth=2, marker="o" if len(x) == 1 else "")
        finish(axes, title, x="epoch", y=unit)
    if judged:
        axes = grid[-1]
        axes.plot(*zip(*judged, strict=True), color=COLOURS[2], linewidth=2)
        epoch, value = max(judged, key=lambda one: (one[1], -one[0]))
        axes.plot([epoch], [value], "o", color=COLOURS[1], markersize=8)
        finish(axes, f"{metric}, validation: best {value:.4f} in epoch {epoch}", x="epoch")
    for axes in grid:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    save(figure, path)


def plot_latent_kl(kl_Z: npt.NDArray[np.float64], path: Path) -> None:
    """Draw what each latent dimension carries, the fullest first.

    Args:
        kl_Z: mean KL divergence of each from its standard normal, in nats.
        path: the PNG file; it appears only when complete.
    """
    falling = np.sort(kl_Z)[::-1]
    used = int((falling > IN_USE).sum())
    figure, (axes,) = panels(1)
    axes.bar(np.arange(1, len(falling) + 1), falling, width=1.0, color=COLOURS[0])
    axes.axhline(IN_USE, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    finish(
        axes,
        f"{used} of {len(falling)} latent dimensions carry more than {IN_USE} nats (dashed)",
        x="latent dimension, by KL",
        y="KL from N(0, 1), nats per user",
    )
    save(figure, path)
