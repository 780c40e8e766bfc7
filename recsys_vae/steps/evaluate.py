"""evaluate: models are judged on what is held out of the same users."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet

from recsys_vae.evaluation.evaluate import DEFAULT_METRICS, evaluate
from recsys_vae.evaluation.intervals import Estimate
from recsys_vae.files import atomic_folder, check_replaceable
from recsys_vae.models.base import Recommender
from recsys_vae.models.zoo import load_model
from recsys_vae.splitting import load_split
from recsys_vae.tracking.registry import model_folder
from recsys_vae.tracking.runs import step_run

METRICS_FILE = "metrics.csv"
PER_USER_FILE = "per_user.parquet"
CONTENTS = (METRICS_FILE, PER_USER_FILE)


@dataclass(frozen=True, slots=True)
class Judged:
    """One model's means with intervals, by metric name; the model as it is called in tables."""

    model: str
    estimates: dict[str, Estimate]


def evaluate_models(
    *,
    split: Path,
    models: Sequence[str],
    out: Path,
    part: Literal["test", "validation"] = "test",
    metrics: Sequence[str] = DEFAULT_METRICS,
) -> list[Judged]:
    """Judge models on a split's users: what is given is masked, what is held out is to be found.

    Args:
        split: a folder that `split` wrote.
        models: folders or MLflow URIs.
        out: the folder to write `metrics.csv` and `per_user.parquet` to.
        part: which of the split's folds.
        metrics: such as "recall@20".

    Returns:
        One entry a model, in the given order.

    Raises:
        InputError: a model or the split is unusable, or they do not belong together.
    """
    check_replaceable(out, CONTENTS)
    with step_run("evaluate") as run:
        parts = load_split(split)
        fold = parts.test if part == "test" else parts.validation
        run.params("evaluate", {"part": part, "metrics": ",".join(metrics)})
        run.dataset(fold.held_out, part, "evaluate")
        judged, frames = [], []
        loaded: list[Recommender] = [load_model(model_folder(one)) for one in models]
        for label, model in zip(_labels(loaded, models), loaded, strict=True):
            evaluation = evaluate(model, fold, metrics)
            judged.append(Judged(label, evaluation.estimates()))
            frames.append(evaluation.frame().assign(model=label))
        table = metrics_table(judged)
        with atomic_folder(out, CONTENTS) as temporary:
            table.to_csv(temporary / METRICS_FILE, index=False)
            per_user = pa.Table.from_pandas(pd.concat(frames), preserve_index=False)
            pa.parquet.write_table(per_user, temporary / PER_USER_FILE)
        for one in judged:
            run.metrics({f"{one.model}_{key}": value.mean for key, value in one.estimates.items()})
        run.table(table, "metrics.json")
        run.artifact(out, "evaluation")
        return judged


def _labels(models: Sequence[Recommender], references: Sequence[str]) -> list[str]:
    """Call models by name; where a name comes twice, by where they come from, too."""
    names = [model.name for model in models]
    return [
        name if names.count(name) == 1 else f"{name} {reference.replace(':', '').replace('@', '/')}"
        for name, reference in zip(names, references, strict=True)
    ]


def metrics_table(judged: Sequence[Judged]) -> pd.DataFrame:
    """Give the tidy table: model, metric, mean, low, high, users, left_out."""
    rows = [
        {
            "model": one.model,
            "metric": name,
            "mean": estimate.mean,
            "low": estimate.low,
            "high": estimate.high,
            "users": estimate.users,
            "left_out": estimate.left_out,
        }
        for one in judged
        for name, estimate in one.estimates.items()
    ]
    return pd.DataFrame(rows)
