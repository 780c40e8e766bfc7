"""One fit on a split, watched on its validation users."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from recsys_vae.evaluation.evaluate import mean_metric, mean_metrics
from recsys_vae.models.base import FitOptions, Recommender
from recsys_vae.models.choosing import Validation
from recsys_vae.splitting import Split
from recsys_vae.training.distributed import leads_here
from recsys_vae.training.host import prepare_host
from recsys_vae.training.records import EpochRecord

VALIDATION_METRIC = "ndcg@100"


@dataclass(frozen=True, slots=True)
class Fitted:
    """What a fit brought.

    Attributes:
        validation: mean of the metric over the validation users; NaN in helping processes.
        seconds: of the fit.
        epochs: one record each; none where there are no epochs.
        means: of the metric and of those that were asked for, too; none in helping processes.
    """

    validation: float
    seconds: float
    epochs: tuple[EpochRecord, ...]
    means: dict[str, Validation]


def fit(
    model: Recommender,
    parts: Split,
    *,
    metric: str = VALIDATION_METRIC,
    also: Sequence[str] = (),
    seed: int,
    device: str,
    threads: int | None = None,
    on_epoch: Callable[[EpochRecord], None] = lambda _record: None,
    checkpoint: Path | None = None,
    progress: bool = False,
) -> Fitted:
    """Fit a model, choosing its weights by a metric of the validation users.

    Args:
        model: unfitted.
        parts: the split.
        metric: of the validation, higher is better.
        also: further metrics of the validation users, at the end.
        seed: of the fit.
        device: "auto", "cpu" or "cuda".
        threads: an operation on the CPU; None: the cores that this process may use.
        on_epoch: is told of every epoch.
        checkpoint: folder of the checkpoints, or None.
        progress: whether a bar may be shown.
    """
    epochs: list[EpochRecord] = []

    def note(record: EpochRecord) -> None:
        epochs.append(record)
        on_epoch(record)

    if threads is not None:
        prepare_host(threads)
    options = FitOptions(
        seed=seed,
        device=device,
        threads=threads,
        validate=lambda fitted: mean_metric(fitted, parts.validation, metric),
        on_epoch=note,
        progress=progress,
        checkpoint=checkpoint,
    )
    started = time.perf_counter()
    model.fit(parts.train, options)
    seconds = time.perf_counter() - started
    if not leads_here():
        return Fitted(math.nan, seconds, tuple(epochs), {})
    means = mean_metrics(model, parts.validation, (metric, *also))
    return Fitted(means[metric], seconds, tuple(epochs), means)
