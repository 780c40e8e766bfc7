"""Models on many random splits of one data set: who is ahead, on average and how surely.

    recsys-vae ingest --data ratings.csv --out outputs/data
    python -m benchmarks.splits --data outputs/data --out outputs/splits --table splits.md

Each split holds out other users (strong generalization). On each, `recsys-vae leaderboard` chooses
settings on its validation users, fits, and judges on its test users; what is done is not done
again. The tests are paired by user, over the test users of all splits together; a user who is a
test user of several splits counts in each, with other held-out items. `ahead` counts the splits on
which a model's mean is the best. The last line printed is one JSON object.
"""

import argparse
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from recsys_vae.evaluation.comparison import Comparison, Entry, compare
from recsys_vae.files import read_json
from recsys_vae.interactions import load_interactions
from recsys_vae.interactions.store import INTERACTIONS
from recsys_vae.splitting import StrongOptions
from recsys_vae.splitting.split import MANIFEST
from recsys_vae.steps.judged import read_entries
from recsys_vae.steps.leaderboard import LeaderboardOptions, leaderboard
from recsys_vae.steps.leaderboard_table import (
    difference_rows,
    hardware,
    markdown_table,
    mean_rows,
)
from recsys_vae.steps.split import split

METRICS = ("ndcg@100", "recall@20", "recall@50")


def pooled(splits: Sequence[Sequence[Entry]]) -> list[Entry]:
    """Join what was found on several splits, the users of one after those of the other.

    Args:
        splits: for each the models, in whatever order, with the same labels and metrics.
    """
    of_each = [{one.label: one for one in entries} for entries in splits]
    return [
        Entry(
            label=label,
            seeds=first.seeds,
            per_user={
                metric: np.concatenate([one[label].per_user[metric] for one in of_each], axis=1)
                for metric in first.per_user
            },
            overall={},
        )
        for label, first in of_each[0].items()
    ]


def times_ahead(splits: Sequence[Sequence[Entry]], metric: str) -> dict[str, int]:
    """Count for each model the splits on which its mean is the best."""
    means = [
        {one.label: float(np.nanmean(one.per_user[metric])) for one in entries}
        for entries in splits
    ]
    best = [max(one, key=one.__getitem__) for one in means]
    return {label: best.count(label) for label in means[0]}


def main(arguments: list[str] | None = None) -> None:
    """Split, fit, judge, and print the result."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.splits < 1:
        parser.error("--splits must be at least 1")
    fingerprint = load_interactions(options.data / INTERACTIONS).fingerprint
    found = []
    for seed in range(options.splits):
        folder = options.out / f"split-{seed}"
        if not (folder / MANIFEST).is_file():
            split(data=options.data, out=folder, options=StrongOptions(seed=seed))
        if _source(folder) != fingerprint:
            parser.error(
                f"{folder} was made from other data than {options.data}: give another --out"
            )
        results = options.out / f"results-{seed}"
        leaderboard(
            LeaderboardOptions(
                split=folder,
                recipes=options.recipes.split(","),
                metrics=METRICS,
                trials=options.trials,
                out=results,
            )
        )
        found.append(read_entries([(str(results), results / "evaluation")]))
        means = {one.label: float(np.nanmean(one.per_user[METRICS[0]])) for one in found[-1]}
        print(f"split {seed}: " + ", ".join(f"{name} {mean:.4f}" for name, mean in means.items()))
    comparison = compare(pooled(found), METRICS[0])
    ahead = times_ahead(found, METRICS[0])
    if options.table is not None:
        _write(options, comparison, ahead)
    board = comparison.leaderboard
    own = board[board["metric"] == METRICS[0]].set_index("model")["mean"].round(4)
    print(json.dumps({"splits": options.splits, METRICS[0]: own.to_dict(), "ahead": ahead}))


def _source(folder: Path) -> str:
    """Give the fingerprint of the data that a split was made from."""
    description = read_json(folder / MANIFEST, what="a split", remedy="delete its folder")
    return str(description.get("source_fingerprint"))


def _write(options: argparse.Namespace, comparison: Comparison, ahead: dict[str, int]) -> None:
    rows = mean_rows(comparison.leaderboard, METRICS)
    shown = [{"model": row["model"], "ahead": str(ahead[row["model"]]),
              **{name: row[name] for name in METRICS}} for row in rows]  # fmt: skip
    lines = [
        f"{options.splits} random splits; {datetime.now(UTC):%Y-%m-%d}, {hardware()}.",
        "",
        *markdown_table(shown),
        "",
        f"Against the best in {METRICS[0]}:",
        "",
        *markdown_table(difference_rows(comparison)),
    ]
    options.table.parent.mkdir(parents=True, exist_ok=True)
    options.table.write_text("\n".join(lines) + "\n", "utf-8")


def _parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder that 'ingest' wrote")
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--recipes", default="pipelines/recipes/small")
    parser.add_argument(
        "--trials", type=int, default=0, help="candidates of every model; default: its recipe's"
    )
    parser.add_argument("--table", type=Path, help="Markdown file to write")
    parser.add_argument("--out", type=Path, required=True, help="folder to work in")
    return parser


if __name__ == "__main__":
    main()
