"""evaluate: models are judged on what is held out of the same users."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pyarrow as pa

from recsys_vae.errors import InputError, reason
from recsys_vae.evaluation.catalogue import Catalogue
from recsys_vae.evaluation.evaluate import evaluate
from recsys_vae.evaluation.measures import ACCURACY, DEFAULT_METRICS, parse_metrics
from recsys_vae.evaluation.segments import (
    ItemSegments,
    UserSegments,
    by_activity,
    by_attribute,
    by_popularity,
)
from recsys_vae.files import check_replaceable
from recsys_vae.ingest.columns import find_column
from recsys_vae.models.base import Recommender
from recsys_vae.models.zoo import load_model, trained_seed
from recsys_vae.splitting import FoldIn, load_split
from recsys_vae.steps.judged import CONTENTS, Judged, metrics_table, save_judged
from recsys_vae.tracking.registry import model_folder
from recsys_vae.tracking.runs import step_run

__all__ = ["CONTENTS", "Judged", "evaluate_models"]


def evaluate_models(
    *,
    split: Path,
    models: Sequence[str],
    out: Path,
    part: Literal["test", "validation"] = "test",
    metrics: Sequence[str] = DEFAULT_METRICS,
    by: Sequence[str] = (),
) -> list[Judged]:
    """Judge models on a split's users: what is given is masked, what is held out is to be found.

    Args:
        split: a folder that `split` wrote.
        models: folders or MLflow URIs.
        out: the folder to write `metrics.csv`, `per_user.parquet`, `evaluation.json` and, with
            `by`, `segments.csv` to.
        part: which of the split's folds.
        metrics: such as "recall@20"; "all" for every measure at 10, 20, 50 and 100.
        by: parts of the users or items to judge apart: "activity", "popularity" or "FILE:COLUMN".

    Returns:
        One entry a model, in the given order.

    Raises:
        InputError: a model or the split is unusable, or they do not belong together.
    """
    check_replaceable(out, CONTENTS)
    asked = parse_metrics(metrics)
    with step_run("evaluate") as run:
        parts = load_split(split)
        fold = parts.test if part == "test" else parts.validation
        run.params("evaluate", {"part": part, "metrics": ",".join(metrics), "by": ",".join(by)})
        run.dataset(fold.held_out, part, "evaluate")
        needed = any(one.name not in ACCURACY for one in asked) or "popularity" in by
        catalogue = Catalogue.of(parts.train) if needed else None
        users, items = _segments(by, fold, catalogue)
        folders = [model_folder(one) for one in models]
        loaded: list[Recommender] = [load_model(one) for one in folders]
        labels = _labels(loaded, models)
        judged = []
        for label, folder, model in zip(labels, folders, loaded, strict=True):
            found = evaluate(
                model, fold, [str(one) for one in asked], catalogue=catalogue, item_segments=items
            )
            config = model.config.model_dump(mode="json")
            judged.append(
                Judged(label, found.estimates(), found, model.name, config, trained_seed(folder))
            )
        save_judged(judged, fold, out, user_segments=users, described={"part": part})
        for one in judged:
            run.metrics({f"{one.model}_{key}": value.mean for key, value in one.estimates.items()})
        run.table(metrics_table(judged), "metrics.json")
        run.artifact(out, "evaluation")
        return judged


def _segments(
    by: Sequence[str], fold: FoldIn, catalogue: Catalogue | None
) -> tuple[list[UserSegments], list[ItemSegments]]:
    users: list[UserSegments] = []
    items: list[ItemSegments] = []
    for one in by:
        if one == "activity":
            users.append(by_activity(fold))
        elif one == "popularity" and catalogue is not None:
            items.append(by_popularity(catalogue))
        else:
            made = _attribute(one, fold)
            if isinstance(made, UserSegments):
                users.append(made)
            else:
                items.append(made)
    return users, items


def _attribute(reference: str, fold: FoldIn) -> UserSegments | ItemSegments:
    path, colon, column = reference.rpartition(":")
    if not colon or not path or not column:
        raise InputError(
            f"--by {reference} is neither activity nor popularity nor FILE:COLUMN: write for "
            "example movies.csv:genres"
        )
    frame = _read_attributes(Path(path))
    names = list(frame.columns)
    if column not in names:
        raise InputError(
            f"--by {reference}: {path} has no column '{column}', it has {', '.join(names)}"
        )
    for role, ids, of_items in (
        ("user", fold.given.users, False),
        ("item", fold.given.items, True),
    ):
        key = find_column(role, None, names, path, required=False)
        if key is None or key == column:
            continue
        values = frame.dropna(subset=[key]).drop_duplicates(key).set_index(key)[column]
        index: Any = values.index
        values.index = index.astype("int64" if ids.kind == "integer" else str)
        return by_attribute(ids, pd.Series(values), column, of_items=of_items)
    raise InputError(
        f"--by {reference}: {path} has no column of users or items: call it user or item"
    )


def _read_attributes(path: Path) -> pd.DataFrame:
    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        return pd.read_csv(path, sep="\t" if path.suffix == ".tsv" else ",")
    except (OSError, ValueError, pa.ArrowException) as error:
        raise InputError(
            f"--by: {path} cannot be read ({reason(error)}): give a CSV, TSV or Parquet file"
        ) from error


def _labels(models: Sequence[Recommender], references: Sequence[str]) -> list[str]:
    """Call models by name; where a name comes twice, by where they come from, too."""
    names = [model.name for model in models]
    labels = [
        name if names.count(name) == 1 else f"{name} {reference.replace(':', '').replace('@', '/')}"
        for name, reference in zip(names, references, strict=True)
    ]
    twice = next((one for one, label in zip(references, labels, strict=True)
                  if labels.count(label) > 1), None)  # fmt: skip
    if twice is not None:
        raise InputError(f"--model names {twice} twice: name each model once")
    return labels
