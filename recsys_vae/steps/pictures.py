"""What a person sees of a run at first: pictures, and a description in a few words."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from recsys_vae.evaluation.evaluate import SHOWN
from recsys_vae.evaluation.latent_use import IN_USE, latent_kl
from recsys_vae.evaluation.measures import metric_label, parse_metric
from recsys_vae.evaluation.segments import by_activity, segment_rows
from recsys_vae.models.autoencoder import NeuralRecommender
from recsys_vae.models.base import Recommender
from recsys_vae.reports.evaluation_plots import plot_activity, plot_long_tail, plot_models
from recsys_vae.reports.training_plots import plot_latent_kl, plot_learning_curves
from recsys_vae.splitting import FoldIn
from recsys_vae.steps.judged import PLOTS, Judged, metrics_table
from recsys_vae.tracking.runs import StepRun


def draw_judged(
    judged: Sequence[Judged], fold: FoldIn, counts_I: npt.NDArray[np.int64], folder: Path
) -> None:
    """Draw models with intervals, the first metric by activity, and the long tail.

    Args:
        judged: the models, all on `fold`.
        fold: whose users.
        counts_I: users who took each item in training.
        folder: for the three files of `PLOTS`.
    """
    models, activity, long_tail = (folder / name for name in PLOTS)
    table = metrics_table(judged)
    plot_models(table, {name: metric_label(name) for name in table["metric"]}, models)
    users, rows = by_activity(fold), list[dict[str, Any]]()
    for one in judged:
        # One metric: resampling them all a second time would cost as much as the first.
        name = next(iter(one.evaluation.per_user), None)
        if name is not None:
            chosen = {name: one.evaluation.per_user[name]}
            rows += [{"model": one.model, **row} for row in segment_rows(chosen, [users], {})]
    if rows:
        plot_activity(pd.DataFrame(rows), metric_label(rows[0]["metric"]), activity)
    shown = {one.model: one.evaluation.shown_I for one in judged}
    plot_long_tail(counts_I, shown, SHOWN, long_tail)


def judged_note(judged: Sequence[Judged], users: str) -> str:
    """Give a table of the models, best first, in Markdown.

    Args:
        judged: at least one model.
        users: who was asked, such as "test users".
    """
    names = list(judged[0].estimates)[:4]
    sign = -1 if parse_metric(names[-1]).higher_is_better else 1
    means = {one.model: sign * one.estimates[names[-1]].mean for one in judged}
    best_first = sorted(judged, key=lambda one: (math.isnan(means[one.model]), means[one.model]))
    count = judged[0].estimates[names[0]].users
    rows = [
        ["model", *map(metric_label, names)],
        ["---"] * (1 + len(names)),
        *([one.model, *(str(one.estimates[name]) for name in names)] for one in best_first),
    ]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    shown = ", ".join(f"{one.model} {one.estimates[names[-1]].mean:.4f}" for one in best_first)
    # In one line: of a table the UI shows the beginning only, until asked for more.
    line = f"{metric_label(names[-1])}: {shown} ({count:,} {users})"
    return f"{line}\n\n{table}\n\nMeans with 95 % intervals."


def show_training(
    run: StepRun, model: Recommender, fold: FoldIn, means: Mapping[str, float], seconds: float
) -> None:
    """Log what came of a fit: pictures, numbers and a description.

    Args:
        run: of the fit.
        model: fitted.
        fold: the validation users.
        means: their metrics; the first one was followed.
        seconds: of the fit.
    """
    followed = next(iter(means))
    label = metric_label(followed)
    told = [f"**{model.name}**: validation {label} {means[followed]:.4f}", f"fit {seconds:.1f} s"]
    if isinstance(model, NeuralRecommender) and model.history:
        history = model.history
        best = next((one for one in reversed(history) if one.best), history[-1])
        run.metrics({"epochs": len(history), "best_epoch": best.epoch})
        run.plots({"learning-curves.png": partial(plot_learning_curves, history, label)})
        speed = np.median([one.users_per_second for one in history])
        told.append(f"best in epoch {best.epoch} of {len(history)}, {speed:,.0f} users/s")
    kl_Z = latent_kl(model, fold.given.matrix)
    if kl_Z is not None:
        used = int((kl_Z > IN_USE).sum())
        run.metrics({"latent_dimensions_used": used})
        run.plots({"latent-kl.png": partial(plot_latent_kl, kl_Z)})
        told.append(f"{used} of {len(kl_Z)} latent dimensions in use")
    run.note("; ".join(told))
