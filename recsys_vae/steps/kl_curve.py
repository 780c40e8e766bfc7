"""kl-curve: what a KL weight buys, as a picture: a fit for each weight."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from recsys_vae.errors import InputError
from recsys_vae.evaluation.evaluate import mean_metric
from recsys_vae.files import atomic_folder, check_replaceable
from recsys_vae.models.autoencoder import NeuralRecommender
from recsys_vae.models.base import FitOptions
from recsys_vae.models.beta_vae import BetaVAE
from recsys_vae.reports.kl_plots import plot_kl_curve
from recsys_vae.splitting import load_split
from recsys_vae.steps.recipes import read_recipe
from recsys_vae.steps.train import VALIDATION_METRIC
from recsys_vae.tracking.runs import step_run

TABLE = "kl-curve.csv"
PICTURE = "kl-curve.png"
CONTENTS = (TABLE, PICTURE)


def kl_curve(
    *,
    split: Path,
    recipe: str,
    betas: Sequence[float],
    out: Path,
    seed: int = 0,
    device: str = "auto",
    say: Callable[[str], None] = lambda _line: None,
) -> pd.DataFrame:
    """Fit a beta-VAE with each weight and draw KL against reconstruction.

    Args:
        split: a folder that `split` wrote.
        recipe: of a beta-VAE.
        betas: the KL weights, at least two.
        out: a folder for `kl-curve.csv` and `kl-curve.png`.
        seed: of every fit.
        device: "auto", "cpu" or "cuda".
        say: is told of every fit.

    Returns:
        A row a weight: `beta`, `kl` and `reconstruction` in nats per user at the last epoch, and
        the validation metric.

    Raises:
        InputError: recipe, weights or split are unusable, or a training diverged.
    """
    check_replaceable(out, CONTENTS, (PICTURE,))
    if len(set(betas)) < 2 or not all(0 <= beta < math.inf for beta in betas):
        raise InputError("--betas must be at least two different numbers from 0: give 0.1,0.5,1,2")
    chosen = [(beta, read_recipe(recipe, [f"beta={beta}"])) for beta in sorted(set(betas))]
    if chosen[0][1].model != BetaVAE.name:
        raise InputError(
            f"--recipe {recipe} is no beta-vae, whose weight could be set: give one of beta-vae"
        )
    models = [(beta, one.make()) for beta, one in chosen]
    with step_run("kl-curve") as run:
        parts = load_split(split)
        rows = []
        for beta, model in models:
            assert isinstance(model, NeuralRecommender)  # a beta-VAE is one
            model.fit(parts.train, FitOptions(seed=seed, device=device, progress=True))
            terms = model.history[-1].terms
            validation = mean_metric(model, parts.validation, VALIDATION_METRIC)
            found = {"beta": beta, "kl": terms["kl"], "reconstruction": terms["reconstruction"]}
            rows.append({**found, f"validation_{VALIDATION_METRIC}": validation})
            say(
                f"beta {beta:g}: KL {terms['kl']:.2f}, reconstruction "
                f"{terms['reconstruction']:.2f} nats, validation {validation:.4f}"
            )
        frame = pd.DataFrame(rows)
        with atomic_folder(out, CONTENTS) as temporary:
            frame.to_csv(temporary / TABLE, index=False)
            plot_kl_curve(frame, temporary / PICTURE)
        run.params("kl_curve", {"recipe": recipe, "seed": seed})
        run.table(frame, "kl-curve.json")
        run.artifact(out / PICTURE)
        return frame
