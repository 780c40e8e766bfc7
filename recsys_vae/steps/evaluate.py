"""evaluate: models are judged on what is held out of the same users."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from recsys_vae.errors import InputError
from recsys_vae.evaluation.catalogue import Catalogue
from recsys_vae.evaluation.evaluate import evaluate
from recsys_vae.evaluation.measures import ACCURACY, DEFAULT_METRICS, parse_metrics
from recsys_vae.evaluation.segments import (
    ItemSegments,
    UserSegments,
    by_activity,
    by_popularity,
)
from recsys_vae.files import check_replaceable
from recsys_vae.models.base import Recommender
from recsys_vae.models.zoo import load_model, model_fingerprint, trained_on, trained_seed
from recsys_vae.splitting import FoldIn, load_split
from recsys_vae.steps.attributes import attribute_name, attribute_segments
from recsys_vae.steps.judged import (
    CONTENTS,
    MANIFEST,
    SEGMENTS_FILE,
    Judged,
    metrics_table,
    save_judged,
)
from recsys_vae.steps.pictures import draw_judged, judged_note
from recsys_vae.steps.rebuilding import (
    FILE,
    EvaluateNotes,
    JudgedModel,
    Surroundings,
    fingerprints,
    judged_results,
    located,
)
from recsys_vae.steps.seen import may_have_seen, refuse_to_judge_by_its_own_users
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
    check_replaceable(out, CONTENTS, (MANIFEST,))
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
        for label, folder in zip(labels, folders, strict=True):
            refuse_to_judge_by_its_own_users(folder, parts, f"model '{label}'")
        judged = []
        for label, folder, model in zip(labels, folders, loaded, strict=True):
            found = evaluate(
                model, fold, [str(one) for one in asked], catalogue=catalogue, item_segments=items
            )
            config = model.config.model_dump(mode="json")
            judged.append(
                Judged(
                    label,
                    found.estimates(),
                    found,
                    model.name,
                    config,
                    trained_seed(folder),
                    train=trained_on(folder),
                    may_have_seen=may_have_seen(folder, parts),
                )
            )
        counts_I = np.bincount(parts.train.matrix.indices, minlength=len(parts.train.items))
        save_judged(
            judged,
            fold,
            out,
            user_segments=users,
            described={"part": part},
            draw=lambda folder: draw_judged(judged, fold, counts_I, folder),
        )
        for one in judged:
            run.metrics({f"{one.model}_{key}": value.mean for key, value in one.estimates.items()})
        run.tags({"recsys_vae.models": ", ".join(labels), "recsys_vae.part": part})
        run.note(judged_note(judged, f"{part} users"))
        run.table(metrics_table(judged), "metrics.json")
        if (out / SEGMENTS_FILE).is_file():
            run.table(pd.read_csv(out / SEGMENTS_FILE), "segments.json")
        run.artifact(out, "evaluation")
        notes = EvaluateNotes(
            split=located(split),
            fingerprints=fingerprints(parts),
            part=part,
            metrics=tuple(metrics),
            models=tuple(
                JudgedModel(
                    label=label,
                    reference=located(folder) if str(folder) == reference else reference,
                    fingerprint=model_fingerprint(folder),
                )
                for label, folder, reference in zip(labels, folders, models, strict=True)
            ),
            results=judged_results(judged),
            surroundings=Surroundings.here("cpu"),
        )
        run.notes(notes.model_dump(mode="json"), FILE)
        return judged


def _segments(
    by: Sequence[str], fold: FoldIn, catalogue: Catalogue | None
) -> tuple[list[UserSegments], list[ItemSegments]]:
    users: list[UserSegments] = []
    items: list[ItemSegments] = []
    taken = {"activity", "popularity"}
    for one in dict.fromkeys(by):
        if one == "activity":
            users.append(by_activity(fold))
        elif one == "popularity" and catalogue is not None:
            items.append(by_popularity(catalogue))
        else:
            name = attribute_name(one)
            # Columns of several files may have one name.
            made = attribute_segments(one, fold, one if name in taken else name)
            taken.add(name)
            if isinstance(made, UserSegments):
                users.append(made)
            else:
                items.append(made)
    return users, items


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
