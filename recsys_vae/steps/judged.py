"""What `evaluate` writes, and how it is read again to be compared."""

from collections.abc import Sequence
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
from recsys_vae.evaluation.segments import UserSegments, segment_rows
from recsys_vae.files import atomic_folder, read_json, write_json
from recsys_vae.splitting import FoldIn

METRICS_FILE: Final = "metrics.csv"
PER_USER_FILE: Final = "per_user.parquet"
SEGMENTS_FILE: Final = "segments.csv"
MANIFEST: Final = "evaluation.json"
CONTENTS: Final = (METRICS_FILE, PER_USER_FILE, SEGMENTS_FILE, MANIFEST)
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
        group: what fits with several seeds are called together; None: as the model.
    """

    model: str
    estimates: dict[str, Estimate]
    evaluation: Evaluation
    name: str
    config: dict[str, Any]
    seed: int | None
    group: str | None = None


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
) -> None:
    """Write what was found into `folder`, which appears only when complete.

    Args:
        judged: the models, all on `fold`.
        fold: whose users.
        folder: is created, or replaced as a whole.
        user_segments: how to part the users in `segments.csv`.
        described: what else belongs into the manifest.
    """
    with atomic_folder(folder, CONTENTS) as temporary:
        metrics_table(judged).to_csv(temporary / METRICS_FILE, index=False)
        frames = [one.evaluation.frame().assign(model=one.model) for one in judged]
        table = pa.Table.from_pandas(pd.concat(frames), preserve_index=False)
        pa.parquet.write_table(table, temporary / PER_USER_FILE)
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
                    "checks": asdict(one.evaluation.checks),
                    "overall": one.evaluation.overall,
                }
                for one in judged
            ],
            **described,
        }
        write_json(temporary / MANIFEST, manifest)


@dataclass(frozen=True, slots=True)
class _Read:
    label: str
    name: str
    config: dict[str, Any]
    seed: int
    group: str | None
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
    fingerprints: dict[tuple[str, str], str] = {}
    for reference, folder in folders:
        manifest = read_json(folder / MANIFEST, what="an evaluation", remedy=_REMEDY)
        if manifest.get("format_version") != FORMAT_VERSION:
            raise InputError(
                f"{reference} has format version {manifest.get('format_version')}, this version "
                f"reads {FORMAT_VERSION}: {_REMEDY} again"
            )
        try:
            fingerprints.setdefault((manifest["given"], manifest["held_out"]), reference)
            found += _read(manifest, folder)
        except (OSError, KeyError, TypeError, ValueError, pa.ArrowException) as error:
            raise InputError(
                f"{reference} is damaged ({reason(error)}): {_REMEDY} again"
            ) from error
    if len(fingerprints) > 1:
        one, other = list(fingerprints.values())[:2]
        raise InputError(
            f"{one} and {other} judged different users or held-out items: evaluate the models on "
            "the same part of the same split"
        )
    return _entries(found)


def _read(manifest: dict[str, Any], folder: Path) -> list[_Read]:
    frame = pa.parquet.read_table(folder / PER_USER_FILE).to_pandas()
    read = []
    for one in manifest["models"]:
        own = frame[frame["model"] == one["label"]].drop(columns=["model", "user"])
        if own.empty:
            raise ValueError(f"there is no user of {one['label']} in {PER_USER_FILE}")
        seed = one["seed"] if one["seed"] is not None else 0
        read.append(
            _Read(
                one["label"],
                one["model"],
                one["config"],
                seed,
                one["group"],
                own,
                dict(one["overall"]),
            )
        )
    return read


def _entries(found: Sequence[_Read]) -> list[Entry]:
    groups: dict[tuple[str, str], dict[int, _Read]] = {}
    for one in found:
        key = (one.group or one.name, str(sorted(one.config.items())))
        # The same fit named twice counts once.
        groups.setdefault(key, {}).setdefault(one.seed, one)
    names = [name for name, _ in groups]
    columns = [one for one in found[0].frame.columns if all(one in f.frame for f in found)]
    overall = [one for one in found[0].overall if all(one in f.overall for f in found)]
    if not columns:
        raise InputError("the evaluations share no metric: evaluate again with the same --metrics")
    entries: list[Entry] = []
    for (name, _), fits in groups.items():
        label = name
        if names.count(name) > 1:
            label = next(iter(fits.values())).label
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


def save_comparison(comparison: Comparison, folder: Path) -> None:
    """Write `leaderboard.csv` and `pairs.csv` into `folder`, which appears only when complete."""
    with atomic_folder(folder, COMPARISON_CONTENTS) as temporary:
        comparison.leaderboard.to_csv(temporary / COMPARISON_CONTENTS[0], index=False)
        comparison.pairs.to_csv(temporary / COMPARISON_CONTENTS[1], index=False)


COMPARISON_CONTENTS: Final = ("leaderboard.csv", "pairs.csv")
