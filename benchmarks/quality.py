"""What speed costs in quality, on the validation users of Gowalla.

    python -m benchmarks.quality --data FOLDER time-to-quality
    python -m benchmarks.quality --data FOLDER precision
    python -m benchmarks.quality --data FOLDER sampled

`time-to-quality` trains the plain dense reference until its validation NDCG@100 stops rising, and
ours until it is level; both with the paper's objective, times without validation. `precision`
compares bfloat16 with float32 products over seeds, `sampled` the sampled with the exact softmax.
The last line printed is one JSON object. The test users are never looked at.
"""

import argparse
import json
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_array

from benchmarks.gowalla import gowalla_split
from benchmarks.machine import stamp
from benchmarks.reference import DenseMultVAE, dense_step
from benchmarks.shapes import Rows, Shape
from recsys_vae.evaluation.evaluate import mean_metric
from recsys_vae.models.base import FitOptions
from recsys_vae.models.mult_vae import MultVAE, MultVAEConfig
from recsys_vae.splitting import Split
from recsys_vae.training.config import TrainingConfig
from recsys_vae.training.host import prepare_host
from recsys_vae.training.records import EpochRecord

METRIC = "ndcg@100"
KL_WEIGHT = 0.2
"""Constant from the first step on, for ours and the reference: no schedule to differ in."""


class _Dense:
    """The reference as something that can be judged."""

    name = "dense reference"
    folds_in = True

    def __init__(self, model: DenseMultVAE, split: Split) -> None:
        self.items = split.train.items
        self._model = model

    @torch.inference_mode()
    def score(self, given: csr_array) -> np.ndarray:
        """Give logits at the mean."""
        self._model.eval()
        scores: np.ndarray = self._model(torch.from_numpy(given.toarray()))[0].numpy()
        self._model.train()
        return scores


def reference_curve(
    split: Split, epochs: int, patience: int, batch: int, seed: int
) -> list[tuple[float, float]]:
    """Train the reference; give (seconds of training so far, validation metric) by epoch."""
    torch.manual_seed(seed)
    matrix = split.train.matrix
    shape = Shape(
        users=matrix.shape[0], items=matrix.shape[1], mean_history=matrix.nnz / matrix.shape[0]
    )
    rows = Rows(
        torch.from_numpy(matrix.indptr.astype(np.int64)),
        torch.from_numpy(matrix.indices),
        shape.items,
    )
    model, step = dense_step(shape, rows, torch.device("cpu"))
    judged: Any = _Dense(model, split)
    curve, seconds, best, waited = [], 0.0, 0.0, 0
    for epoch in range(epochs):
        order = torch.from_numpy(np.random.default_rng([seed, epoch]).permutation(shape.users))
        begin = time.perf_counter()
        for users in order.split(batch):
            step(users)
        seconds += time.perf_counter() - begin
        metric = mean_metric(judged, split.validation, METRIC)
        curve.append((seconds, metric))
        print(f"reference epoch {epoch + 1}: {seconds:.0f} s, {METRIC} {metric:.4f}", flush=True)
        best, waited = (metric, 0) if metric > best else (best, waited + 1)
        if waited >= patience:
            break
    return curve


def our_curve(
    split: Split, seed: int, stop_at: float = np.inf, **settings: Any
) -> list[tuple[float, float]]:
    """Train ours until a level is reached; give (seconds so far, validation metric) by epoch."""
    training = TrainingConfig(**{"batch_size": 500, "patience": 5, **settings.pop("training", {})})
    config = MultVAEConfig(
        kl_cap=KL_WEIGHT, kl_annealing_steps=0, **{"training": training, **settings}
    )
    curve: list[tuple[float, float]] = []

    def note(record: EpochRecord) -> None:
        before = curve[-1][0] if curve else 0.0
        assert record.validation is not None
        curve.append((before + record.seconds, record.validation))
        print(
            f"ours epoch {record.epoch}: {curve[-1][0]:.0f} s, {METRIC} {record.validation:.4f}",
            flush=True,
        )
        if record.validation >= stop_at:
            raise _Reached

    options = FitOptions(
        seed=seed,
        device="cpu",
        validate=lambda model: mean_metric(model, split.validation, METRIC),
        on_epoch=note,
    )
    with suppress(_Reached):
        MultVAE(config).fit(split.train, options)
    return curve


class _Reached(Exception):  # noqa: N818 # no error
    """The level is reached."""


def time_to_quality(split: Split, options: argparse.Namespace) -> dict[str, Any]:
    """Compare the times at which ours is level with the reference's best."""
    reference = reference_curve(split, options.epochs, 2, 500, 0)
    best_at, best = max(reference, key=lambda point: point[1])
    training = {"learning_rate": options.learning_rate, "batch_size": options.batch}
    ours = our_curve(split, 0, best, training={**training, "epochs": options.epochs})
    reached = [seconds for seconds, metric in ours if metric >= best]
    return {
        "reference_best": best,
        "reference_seconds": best_at,
        "ours_seconds": reached[0] if reached else None,
        "ratio": best_at / reached[0] if reached else None,
        "reference_curve": reference,
        "our_curve": ours,
        **training,
    }


def _best_by_seed(curves: Callable[[int], list[tuple[float, float]]], seeds: int) -> list[float]:
    return [max(metric for _, metric in curves(seed)) for seed in range(seeds)]


def precision(split: Split, options: argparse.Namespace) -> dict[str, Any]:
    """Compare bfloat16 with float32 products over seeds."""
    found = {}
    for name in ("bfloat16", "float32"):
        training = {"precision": name, "epochs": options.epochs, "learning_rate": 2e-3}
        found[name] = _best_by_seed(
            lambda seed, settings=training: our_curve(split, seed, training=settings),  # type: ignore[misc] # mypy cannot infer a default of a lambda
            options.seeds,
        )
    means = {name: float(np.mean(values)) for name, values in found.items()}
    return {**found, "difference": means["bfloat16"] - means["float32"]}


def sampled(split: Split, options: argparse.Namespace) -> dict[str, Any]:
    """Compare the sampled with the exact softmax, for several numbers of draws."""
    training = {"epochs": options.epochs, "learning_rate": 2e-3}
    exact = our_curve(split, 0, training=training)
    result: dict[str, Any] = {"exact": max(metric for _, metric in exact)}
    for draws in (1024, 8192):
        curve = our_curve(split, 0, softmax="sampled", negatives=draws, training=training)
        result[f"sampled_{draws}"] = max(metric for _, metric in curve)
    return result


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__)
    parser.add_argument("what", choices=["time-to-quality", "precision", "sampled"])
    parser.add_argument("--data", type=Path, required=True, help="folder with Gowalla's train.txt")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--batch", type=int, default=500)
    options = parser.parse_args(arguments)
    prepare_host()
    split = gowalla_split(options.data)
    measure = {"time-to-quality": time_to_quality, "precision": precision, "sampled": sampled}
    result = {"what": options.what, **measure[options.what](split, options), **stamp("cpu")}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
