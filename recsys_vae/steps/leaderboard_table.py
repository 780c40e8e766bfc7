"""The table of a leaderboard as Markdown, with all that is needed to repeat it."""

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import pandas as pd

from recsys_vae.evaluation.comparison import MARKS, Comparison
from recsys_vae.evaluation.intervals import Estimate
from recsys_vae.files import atomic_file
from recsys_vae.splitting import Split

_SHOWN: Final = ("recall_all@20", "recall@20", "ndcg@20", "recall@50", "ndcg@100", "coverage@20")
_LIBRARIES: Final = ("torch", "numpy", "scipy", "implicit")


@dataclass(frozen=True, slots=True)
class Fitted:
    """What is known of one fit.

    Attributes:
        label: of its recipe.
        model: by name in the zoo.
        settings: with which it was fitted.
        seed: of the fit.
        validation: metric of the chosen candidate.
        candidates: how many were tried; 0: there was nothing to choose.
        seconds: of this fit.
        choice_seconds: of fitting all candidates.
        peak_mb: most memory held during the fit.
    """

    label: str
    model: str
    settings: dict[str, Any]
    seed: int
    validation: float
    candidates: int
    seconds: float
    choice_seconds: float
    peak_mb: float


def write_table(
    path: Path, comparison: Comparison, fits: Sequence[Fitted], parts: Split, choose_by: str
) -> None:
    """Write the table, atomically.

    Args:
        path: the Markdown file.
        comparison: on the test users.
        fits: all of them.
        parts: the split.
        choose_by: the validation metric that settings follow.
    """
    board = comparison.leaderboard
    metrics = [one for one in _SHOWN if (board["metric"] == one).any()]
    if comparison.primary not in metrics:
        metrics.insert(0, comparison.primary)
    lines = [
        f"# Leaderboard: {path.stem}",
        "",
        f"{datetime.now(UTC):%Y-%m-%d}, {hardware()}; "
        + ", ".join(f"{one} {version(one)}" for one in _LIBRARIES)
        + ".",
        "",
        _data(parts) + f" Made by `recsys-vae leaderboard --choose-by {choose_by}`.",
        "",
        "Means over the test users with 95 % bootstrap intervals (users, and seeds where there are "
        "several). Behind the best of a column: "
        + ", ".join(f"{stars} p < {bound:g}" for bound, stars in reversed(MARKS))
        + " (paired randomisation test, Holm's correction). `recall` has min(k, held out) below, "
        "`recall_all` all held-out items (docs/metrics.md).",
        "",
        *markdown_table(mean_rows(board, metrics)),
        "",
        f"Against the best in {comparison.primary}:",
        "",
        *markdown_table(difference_rows(comparison)),
        "",
        "Settings, chosen on validation among the candidates of each recipe; seconds with whatever "
        "else the machine did:",
        "",
        *markdown_table(_settings(fits)),
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", "utf-8")


def mean_rows(board: pd.DataFrame, metrics: Sequence[str]) -> list[dict[str, str]]:
    """Give a row a model: means with intervals, the best ones bold, marks beside the others."""
    rows = []
    for model in board["model"].unique():
        own = board[board["model"] == model].set_index("metric")
        row = {"model": str(model), "seeds": str(own["seeds"].iloc[0])}
        for metric in metrics:
            one = own.loc[metric]
            shown = str(Estimate(one["mean"], one["low"], one["high"], 0, 0))
            row[metric] = f"**{shown}**" if one["best"] else f"{shown} {one['mark']}".rstrip()
        rows.append(row)
    return rows


def difference_rows(comparison: Comparison) -> list[dict[str, str]]:
    """Give a row for each model but the best: how far behind it is, and how surely."""
    return [
        {
            "model": row["model"],
            "difference": f"{row['difference']:+.4f} [{row['difference_low']:+.4f}, "
            f"{row['difference_high']:+.4f}]",
            "effect (Cohen's d)": f"{row['effect']:+.3f}",
            "better / worse for users": f"{row['wins']:.0f} / {row['losses']:.0f}",
            "p (Holm)": f"{row['p_holm']:.4f}",
        }
        for _, row in comparison.against_best().iterrows()
    ]


def _settings(fits: Sequence[Fitted]) -> list[dict[str, str]]:
    rows = []
    for one in fits:
        training = one.settings.get("training")
        flat = {name: value for name, value in one.settings.items() if name != "training"}
        if isinstance(training, dict):
            names = ("epochs", "batch_size", "learning_rate", "weight_decay")
            flat |= {name: training.get(name) for name in names}
        rows.append(
            {
                "model": one.label,
                "seed": str(one.seed),
                "settings": ", ".join(f"{name} {value}" for name, value in flat.items()) or "-",
                "candidates": str(one.candidates) if one.candidates else "as given",
                "validation": f"{one.validation:.4f}" if one.candidates else "-",
                "choice": f"{one.choice_seconds:.0f} s",
                "fit": f"{one.seconds:.0f} s",
                "peak memory": f"{one.peak_mb / 1024:.1f} GB",
            }
        )
    return rows


def markdown_table(rows: Sequence[dict[str, str]]) -> list[str]:
    """Give the lines of a table in Markdown; all rows have the first one's names."""
    if not rows:
        return ["(nothing)"]
    heads = list(rows[0])
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    return lines + [f"| {' | '.join(row[head] for head in heads)} |" for row in rows]


def _data(parts: Split) -> str:
    train, test = parts.train, parts.test
    return (
        f"Split: {parts.kind} ({parts.generalization} generalization); {len(train.users):,} "
        f"training users, {len(train.items):,} items, {len(train):,} training interactions; "
        f"{len(test.given.users):,} test users with {len(test.held_out):,} held-out ones."
    )


def hardware() -> str:
    """Name the processor and its cores."""
    name = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    return f"{os.cpu_count()} cores of {name}"
