"""refit: the settings that a training chose, fitted again to everybody."""

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recsys_vae.errors import InputError
from recsys_vae.files import check_replaceable, read_json, refuse_loss
from recsys_vae.interactions import load_interactions
from recsys_vae.interactions.store import stored_or
from recsys_vae.models.autoencoder import NeuralRecommender
from recsys_vae.models.base import FitOptions, Recommender
from recsys_vae.models.zoo import (
    CONTENTS,
    PROOF,
    make_model,
    model_fingerprint,
    save_model,
    trained_seed,
    trained_settings,
    trained_threshold,
)
from recsys_vae.steps.alone import alone_making
from recsys_vae.steps.ingest import REPORT
from recsys_vae.steps.train import checkpoint_folder
from recsys_vae.tracking.registry import log_model, model_folder
from recsys_vae.tracking.runs import step_run
from recsys_vae.training.distributed import leads_here


@dataclass(frozen=True, slots=True, kw_only=True)
class RefitOptions:
    """Which model again, on what, and where to.

    Attributes:
        model: folder or MLflow URI; its settings are taken, as its validation chose them.
        data: a folder that `ingest` wrote, or stored interactions.
        out: the folder to write the model to.
        seed: of the fit; None: the model's own.
        device: "auto", "cpu" or "cuda".
        fresh: start over even if an unfinished fit lies there.
    """

    model: str
    data: Path
    out: Path
    seed: int | None = None
    device: str = "auto"
    fresh: bool = False


@dataclass(frozen=True, slots=True)
class Refitted:
    """What came out.

    Attributes:
        model: fitted.
        folder: where it is kept.
        uri: where MLflow keeps it.
        users: that it was fitted to.
        seconds: of the fit.
    """

    model: Recommender
    folder: Path
    uri: str
    users: int
    seconds: float


def refit(options: RefitOptions) -> Refitted | None:
    """Fit a model's settings to all users of some data, those included who were held out.

    Nothing is chosen: epochs, ridges and the like are those that the model's own training found
    best on its validation users. There is nobody left to judge the result, which `evaluate` and
    `promote` refuse to do with users it was fitted to.

    Returns:
        The model and where it is; None in the processes that only help the first one.

    Raises:
        InputError: model or data are unusable or do not belong together, the training diverged, or
            another process is making the same folder.
    """
    check_replaceable(options.out, CONTENTS, PROOF)
    refuse_loss(options.out, [options.data])
    folder = model_folder(options.model)
    if options.out.exists() and options.out.samefile(folder):
        raise InputError(f"--model and --out are both {options.out}: choose another --out")
    with alone_making(options.out), step_run("refit", system_metrics=True) as run:
        name, settings = trained_settings(folder)
        threshold = _same_threshold(folder, options)
        seed = options.seed if options.seed is not None else trained_seed(folder) or 0
        train = load_interactions(stored_or(options.data))
        model = make_model(name, settings)
        run.params(
            "fit", {"model": name, "seed": seed, "device": options.device, "of": options.model}
        )
        run.params("model", settings)
        run.tags({"recsys_vae.model": name})
        run.dataset(train, "interactions", "train")
        if options.fresh and leads_here():
            shutil.rmtree(checkpoint_folder(options.out), ignore_errors=True)
        started = time.perf_counter()
        model.fit(
            train,
            FitOptions(
                seed=seed,
                device=options.device,
                on_epoch=run.epoch,
                progress=True,
                checkpoint=checkpoint_folder(options.out),
            ),
        )
        seconds = time.perf_counter() - started
        if not leads_here():
            return None
        save_model(
            model,
            options.out,
            data={
                "threshold": threshold,
                "train": train.fingerprint,
                "seed": seed,
                "settled": settings,
                "refit_of": model_fingerprint(folder),
            },
            counts_I=np.bincount(train.matrix.indices, minlength=len(train.items)),
        )
        run.metrics({"fit_seconds": seconds})
        uri = log_model(model, options.out)
        if isinstance(model, NeuralRecommender):  # others have none: it is another training's
            shutil.rmtree(checkpoint_folder(options.out), ignore_errors=True)
        return Refitted(model, options.out, uri, len(train.users), seconds)


def _same_threshold(folder: Path, options: RefitOptions) -> float | None:
    """Give the threshold of the model, which must be that of the data where both are known."""
    threshold, report = trained_threshold(folder), options.data / REPORT
    if not report.is_file():
        return threshold
    found = read_json(report, what="ingested data", remedy="make it with 'recsys-vae ingest'")
    own = found.get("threshold")
    if own != threshold:
        raise InputError(
            f"{options.data} counts ratings above {own} and the model was chosen for those above "
            f"{threshold}: ingest the data with the same --threshold"
        )
    return threshold
