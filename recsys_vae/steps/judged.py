"""What `evaluate` writes, and how it is read again to be compared."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet

from recsys_vae import __version__
from recsys_vae.errors import InputError, reason
from recsys_vae.evaluation.comparison import Comparison, Entry
from recsys_vae.evaluation.evaluate import Evaluation
from recsys_vae.evaluation.intervals import Estimate
from recsys_vae.evaluation.measures import parse_metric
from recsys_vae.evaluation.segments import UserSegments, segment_rows
from recsys_vae.files import atomic_folder, read_json, write_json
from recsys_vae.splitting import FoldIn
from recsys_vae.steps.fitting import VALIDATION_METRIC

METRICS_FILE: Final = "metrics.csv"
PER_USER_FILE: Final = "per_user.parquet"
SEGMENTS_FILE: Final = "segments.csv"
MANIFEST: Final = "evaluation.json"
PLOTS: Final = ("models.png", "activity.png", "long-tail.png")
CONTENTS: Final = (METRICS_FILE, PER_USER_FILE, SEGMENTS_FILE, MANIFEST, *PLOTS)
FORMAT_VERSION: Final = 1
_REMEDY: Final = "make it with 'recsys-vae evaluate'"


@dataclass(frozen=True, slots=True)
class Judged:
    """One model, judged.

    Attributes:
        model: as it is called in tables.
        estimates: means with intervals, by metric name.
        evaluation: the metrics, user by user.
        name: of the kind of model.
        config: its hyper-parameters.
        seed: of the fit, if it is known.
        train: fingerprint of what it was fitted to, if that is known.
        group: what fits with several seeds are called together; None: as the model.
        may_have_seen: whether it may have learned what it is judged by.
    """

    model: str
    estimates: dict[str, Estimate]
    evaluation: Evaluation
    name: str
    config: dict[str, Any]
    seed: int | None
    group: str | None = None
    train: str | None = None
    may_have_seen: bool = False


def metrics_table(judged: Sequence[Judged]) -> pd.DataFrame:
    """Give the tidy table: model, metric, mean, low, high, users, left_out."""
    rows = [
        {"model": one.model, "metric": name, **asdict(estimate)}
        for one in judged
        for name, estimate in one.estimates.items()
    ]
    return pd.DataFrame(rows)


def save_judged(
    judged: Sequence[Judged],
    fold: FoldIn,
    folder: Path,
    *,
    user_segments: Sequence[UserSegments] = (),
    described: dict[str, Any],
    draw: Callable[[Path], None] = lambda _folder: None,
) -> None:
    """Write what was found into `folder`, which appears only when complete.

    Args:
        judged: the models, all on `fold`.
        fold: whose users.
        folder: is created, or replaced as a whole.
        user_segments: how to part the users in `segments.csv`.
        described: what else belongs into the manifest.
        draw: adds the `PLOTS` to a folder.
    """
    with atomic_folder(folder, CONTENTS) as temporary:
        metrics_table(judged).to_csv(temporary / METRICS_FILE, index=False)
        _write_users(judged, temporary / PER_USER_FILE)
        rows = [
            {"model": one.model, **row}
            for one in judged
            for row in segment_rows(
                one.evaluation.per_user, list(user_segments), one.evaluation.by_items
            )
        ]
        if rows:
            pd.DataFrame(rows).to_csv(temporary / SEGMENTS_FILE, index=False)
        manifest = {
            "format_version": FORMAT_VERSION,
            "version": __version__,
            "given": fold.given.fingerprint,
            "held_out": fold.held_out.fingerprint,
            "models": [
                {
                    "label": one.model,
                    "model": one.name,
                    "config": one.config,
                    "seed": one.seed,
                    "group": one.group,
                    "train": one.train,
                    "may_have_seen": one.may_have_seen,
                    "checks": asdict(one.evaluation.checks),
                    "overall": one.evaluation.overall,
                }
                for one in judged
            ],
            **described,
        }
        draw(temporary)
        write_json(temporary / MANIFEST, manifest)


def _write_users(judged: Sequence[Judged], path: Path) -> None:
    """Write a row a model and user, model by model: a frame of them all might not fit."""
    schema: pa.Schema | None = None
    with ExitStack() as stack:
        for one in judged:
            frame = one.evaluation.frame().assign(model=one.model)
            table = pa.Table.from_pandas(frame, schema=schema, preserve_index=False)
            if schema is None:
                schema = table.schema
                writer = stack.enter_context(pa.parquet.ParquetWriter(path, schema))
            writer.write_table(table)


@dataclass(frozen=True, slots=True)
class _Read:
    reference: str
    label: str
    name: str
    config: str
    seed: int
    group: str | None
    train: str | None
    users: "pd.Series[Any]"
    frame: pd.DataFrame
    overall: dict[str, float]


def read_entries(folders: Sequence[tuple[str, Path]]) -> list[Entry]:
    """Read evaluations to compare them; fits of one model with several seeds become one entry.

    Args:
        folders: what each is called in messages, and where it lies.

    Returns:
        The entries, with the metrics that all of them have.

    Raises:
        InputError: a folder is no evaluation, or they judged other users or held-out items.
    """
    found: list[_Read] = []
    first: tuple[Any, Any, str] | None = None
    for reference, folder in folders:
        manifest = read_json(folder / MANIFEST, what="an evaluation", remedy=_REMEDY)
        if manifest.get("format_version") != FORMAT_VERSION:
            raise InputError(
                f"{reference} has format version {manifest.get('format_version')}, this version "
                f"reads {FORMAT_VERSION}: {_REMEDY} again"
            )
        judged_on = (manifest.get("given"), manifest.get("held_out"), reference)
        first = first or judged_on
        if judged_on[:2] != first[:2]:
            raise InputError(
                f"{first[2]} and {reference} judged different users or held-out items: evaluate "
                "the models on the same part of the same split"
            )
        try:
            found += _read(manifest, folder, reference)
            if not found[-1].users.equals(found[0].users):
                raise ValueError(f"{PER_USER_FILE} has other users, or in another order")
        except (
            OSError, AttributeError, IndexError, KeyError, TypeError, ValueError, pa.ArrowException
        ) as error:  # fmt: skip
            raise InputError(
                f"{reference} is damaged ({reason(error)}): {_REMEDY} again"
            ) from error
    return _entries(found)


def _read(manifest: dict[str, Any], folder: Path, reference: str) -> list[_Read]:
    read: list[_Read] = []
    for one in manifest["models"]:
        label, name, seed, group = one["label"], one["model"], one["seed"], one["group"]
        train = one.get("train")
        for text in (label, name, group or "", train or ""):
            if not isinstance(text, str):
                raise TypeError(f"{text!r} is no name of a model")
        if label in [other.label for other in read]:
            raise ValueError(f"it holds {label} twice")
        if not isinstance(seed, int | None):
            raise TypeError(f"{seed!r} is no seed")
        chosen = [("model", "==", label)]
        own = pa.parquet.read_table(folder / PER_USER_FILE, filters=chosen).to_pandas()
        users = own["user"].reset_index(drop=True)
        values = own.drop(columns=["model", "user"]).astype(np.float64)
        if not len(own) or not users.is_unique:
            raise ValueError(f"{PER_USER_FILE} has no users of {label}, or some twice")
        if read and not users.equals(read[0].users):
            raise ValueError(f"{PER_USER_FILE} has other users of {label}, or in another order")
        overall = {metric: float(value) for metric, value in one["overall"].items()}
        for metric in (*values.columns, *overall):
            parse_metric(metric)
        if np.isinf(values.to_numpy()).any():
            raise ValueError(f"{PER_USER_FILE} has infinite values")
        config = str(sorted(one["config"].items()))
        fit = (label, name, config, seed or 0, group, train)
        read.append(_Read(reference, *fit, users, values, overall))
    if not read:
        raise ValueError("it holds no model")
    return read


def _grouped(found: Sequence[_Read], columns: list[str]) -> list[dict[int, _Read]]:
    """Put the fits of one model together, by seed; the same fit named twice counts once."""
    groups: dict[tuple[str, str, str | None], list[dict[int, _Read]]] = {}
    for one in found:
        alike = groups.setdefault((one.group or one.name, one.config, one.train), [])
        for fits in alike:
            same = fits.setdefault(one.seed, one)
            if same is one or same.frame[columns].equals(one.frame[columns]):
                break
        else:
            # Of the same seed but not the same: it is a model of its own.
            alike.append({one.seed: one})
    return [fits for alike in groups.values() for fits in alike]


def _entries(found: Sequence[_Read]) -> list[Entry]:
    columns = [one for one in found[0].frame.columns if all(one in f.frame for f in found)]
    overall = [one for one in found[0].overall if all(one in f.overall for f in found)]
    if not columns and not overall:
        raise InputError("the evaluations share no metric: evaluate again with the same --metrics")
    grouped = _grouped(found, columns)
    firsts = [next(iter(fits.values())) for fits in grouped]
    names = [one.group or one.name for one in firsts]
    labels = [one.label for one in firsts]
    entries: list[Entry] = []
    for name, first, fits in zip(names, firsts, grouped, strict=True):
        label = name
        if names.count(name) > 1:
            several = labels.count(first.label) > 1
            label = f"{first.label} {first.reference}" if several else first.label
        while label in {one.label for one in entries}:
            label += "'"
        parts = [fits[seed] for seed in sorted(fits)]
        entries.append(
            Entry(
                label,
                tuple(sorted(fits)),
                {one: np.stack([part.frame[one].to_numpy() for part in parts]) for one in columns},
                {one: tuple(part.overall[one] for part in parts) for one in overall},
            )
        )
    return entries


def first_choice(entries: Sequence[Entry]) -> str:
    """Give the metric to sort by where none is named.

    That by which trainings choose, otherwise the first NDCG, otherwise the last metric.
    """
    metrics = [*entries[0].overall, *entries[0].per_user]
    if VALIDATION_METRIC in metrics:
        return VALIDATION_METRIC
    return next((one for one in metrics if one.startswith("ndcg@")), metrics[-1])


def save_comparison(comparison: Comparison, folder: Path) -> None:
    """Write `leaderboard.csv` and `pairs.csv` into `folder`, which appears only when complete."""
    with atomic_folder(folder, COMPARISON_CONTENTS) as temporary:
        comparison.leaderboard.to_csv(temporary / COMPARISON_CONTENTS[0], index=False)
        comparison.pairs.to_csv(temporary / COMPARISON_CONTENTS[1], index=False)


COMPARISON_CONTENTS: Final = ("leaderboard.csv", "pairs.csv")
