"""train: a split becomes a model."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from recsys_vae.files import check_replaceable
from recsys_vae.models.autoencoder import NeuralRecommender
from recsys_vae.models.base import Recommender
from recsys_vae.models.zoo import CONTENTS, PROOF, model_fingerprint, save_model
from recsys_vae.splitting import Split, load_split
from recsys_vae.steps.alone import alone_making
from recsys_vae.steps.fitting import VALIDATION_METRIC, fit
from recsys_vae.steps.pictures import show_training
from recsys_vae.steps.rebuilding import (
    FILE,
    Surroundings,
    TrainNotes,
    fingerprints,
    located,
    training_results,
)
from recsys_vae.steps.recipes import Recipe
from recsys_vae.steps.seen import draw_of
from recsys_vae.tracking.registry import check_register_name, log_model
from recsys_vae.tracking.registry import register as register_version
from recsys_vae.tracking.runs import StepRun, step_run
from recsys_vae.training.distributed import leads_here

__all__ = ["VALIDATION_METRIC", "Trained", "checkpoint_folder", "save_trained", "train"]
_ALSO_VALIDATED: Final = ("recall@20", "recall@50")


def checkpoint_folder(out: Path) -> Path:
    """Say where the checkpoints of a training lie while it runs."""
    out = out.resolve()
    return out.with_name(f"{out.name}.unfinished")


def log_fit_inputs(
    run: StepRun, model: Recommender, parts: Split, *, seed: int, device: str
) -> None:
    """Log what a fit starts from: settings, seed and data."""
    run.params("fit", {"model": model.name, "seed": seed, "device": device})
    run.params("model", model.config.model_dump(mode="json"))
    run.tags({"recsys_vae.model": model.name})
    run.dataset(parts.train, "train", "train")
    run.dataset(parts.validation.held_out, "validation", "validate")


@dataclass(frozen=True, slots=True)
class Trained:
    """What came out.

    Attributes:
        model: the fitted model.
        folder: where it is kept.
        uri: where MLflow keeps it.
        validation: mean of the validation metric.
        seconds: of the fit.
    """

    model: Recommender
    folder: Path
    uri: str
    validation: float
    seconds: float


def train(
    *,
    split: Path,
    recipe: Recipe,
    out: Path,
    seed: int,
    device: str,
    register: str | None,
    fresh: bool = False,
    metric: str = VALIDATION_METRIC,
) -> Trained | None:
    """Fit a model on a split's training users, choosing weights by a validation metric.

    A training that was interrupted goes on where it was when the same call is made again: its
    checkpoints lie beside `out` until the model is complete.

    Args:
        split: a folder that `split` wrote.
        recipe: the model and its settings.
        out: the folder to write the model to.
        seed: of the fit.
        device: "auto", "cpu" or "cuda".
        register: registered model name, or None.
        fresh: start over even if an unfinished training lies there.
        metric: of the validation, higher is better.

    Returns:
        The model and where it is; None in the processes that only help the first one.

    Raises:
        InputError: recipe or split are unusable, the training diverged, or another process is
            training into the same folder.
    """
    check_replaceable(out, CONTENTS, PROOF)
    if register is not None:
        check_register_name(register)
    name = f"train {recipe.label or recipe.model}"
    with alone_making(out), step_run("train", name=name, system_metrics=True) as run:
        model = recipe.make()
        parts = load_split(split)
        log_fit_inputs(run, model, parts, seed=seed, device=device)
        if fresh and leads_here():
            shutil.rmtree(checkpoint_folder(out), ignore_errors=True)
        asked = model.config.model_dump(mode="json")
        fitted = fit(
            model,
            parts,
            metric=metric,
            also=_ALSO_VALIDATED,
            seed=seed,
            device=device,
            on_epoch=run.epoch,
            checkpoint=checkpoint_folder(out),
            progress=True,
        )
        if not leads_here():
            return None
        save_trained(model, parts, seed, out)
        means = fitted.means
        run.metrics({f"validation_{one}": value for one, value in means.items()})
        run.metrics({"fit_seconds": fitted.seconds})
        show_training(run, model, parts.validation, means, fitted.seconds)
        notes = TrainNotes(
            split=located(split),
            fingerprints=fingerprints(parts),
            model=model.name,
            config=asked,
            seed=seed,
            metric=metric,
            results=training_results(fitted, metric),
            fingerprint=model_fingerprint(out),
            surroundings=Surroundings.here(device),
        )
        run.notes(notes.model_dump(mode="json"), FILE)
        uri = log_model(model, out)
        if register is not None:
            uri = register_version(uri, register)
        if isinstance(model, NeuralRecommender):  # others have none: it is another training's
            shutil.rmtree(checkpoint_folder(out), ignore_errors=True)
        return Trained(model, out, uri, fitted.validation, fitted.seconds)


def save_trained(model: Recommender, parts: Split, seed: int, out: Path) -> None:
    """Write a fitted model with what should be remembered of its training data."""
    threshold = parts.description.get("threshold")
    data = {
        "threshold": threshold,
        "train": parts.train.fingerprint,
        "draw": draw_of(parts),
        "seed": seed,
        "settled": model.settled().model_dump(mode="json"),
    }
    counts_I = np.bincount(parts.train.matrix.indices, minlength=len(parts.train.items))
    save_model(model, out, data=data, counts_I=counts_I)
