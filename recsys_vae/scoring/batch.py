"""Score every user of a history file into Parquet, block by block."""

import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from tqdm import tqdm

from recsys_vae import __version__
from recsys_vae.errors import InputError
from recsys_vae.files import atomic_folder, write_json
from recsys_vae.interactions import IdMap
from recsys_vae.models.base import Recommender
from recsys_vae.ranking import ItemRules, TopN, rank
from recsys_vae.scoring.histories import HistoryBlock

MANIFEST = "_manifest.json"
PART = "part-00000.parquet"
CONTENTS = (MANIFEST, "part-*.parquet")


@dataclass(slots=True)
class ScoreCounts:
    """What went in and out.

    Attributes:
        users: scored users.
        without_history: of them, users none of whose items the model knows.
        short_lists: users whose list is shorter than k.
        rows: rows written.
        unknown_items: rows of the history left out because the model does not know the item.
        below_threshold: rows left out because their rating is not above the threshold.
    """

    users: int = 0
    without_history: int = 0
    short_lists: int = 0
    rows: int = 0
    unknown_items: int = 0
    below_threshold: int = 0

    def add(self, block: HistoryBlock, lists: TopN) -> None:
        """Count one block."""
        self.users += len(block.users)
        self.without_history += int((np.diff(block.given.indptr) == 0).sum())
        self.short_lists += int(lists.short.sum())
        self.rows += int(lists.lengths.sum())
        self.unknown_items += block.unknown
        self.below_threshold += block.below


def long_table(users: Any, lists: TopN, items: IdMap) -> pa.Table:
    """Give lists in long form: one row a user and rank.

    Args:
        users: (B,) external ids.
        lists: of these users.
        items: of the model.

    Returns:
        Columns `user`, `rank` (from 1), `item`, `score`; padded places have no row.
    """
    lengths = lists.lengths
    # Types follow from the ids, not from the rows: a block without rows has them too.
    user_type = pa.int64() if np.asarray(users).dtype.kind == "i" else pa.string()
    item_type = pa.int64() if items.kind == "integer" else pa.string()
    kept = lists.items_BK >= 0
    ranks = np.arange(1, lists.items_BK.shape[1] + 1, dtype=np.int32)
    return pa.table(
        {
            "user": pa.array(np.repeat(np.asarray(users), lengths), user_type),
            "rank": pa.array(np.broadcast_to(ranks, kept.shape)[kept]),
            "item": pa.array(items.ids(lists.items_BK[kept]), item_type),
            "score": pa.array(lists.scores_BK[kept]),
        }
    )


def score_users(
    model: Recommender,
    blocks: Iterable[HistoryBlock],
    out: Path,
    *,
    k: int,
    rules: ItemRules | None = None,
    manifest: dict[str, Any] | None = None,
    progress: bool = False,
) -> ScoreCounts:
    """Write a list for every user.

    Args:
        model: fitted.
        blocks: histories, from `HistorySource.blocks`.
        out: a new folder, `part-00000.parquet` (user, rank, item, score) and `_manifest.json`;
            it appears only when complete.
        k: list length.
        rules: what may stand in a list.
        manifest: further entries for the manifest.
        progress: whether to show users per second (on terminals only).

    Returns:
        The counts, which also stand in the manifest.

    Raises:
        InputError: `out` holds something else, k is out of range, a history is unusable, or no
            item of any history is known; nothing is left behind.
    """
    counts, started = ScoreCounts(), time.perf_counter()
    bar = tqdm(desc="score", unit="user", unit_scale=True, disable=None if progress else True)
    with atomic_folder(out, CONTENTS) as temporary:
        writer: pa.parquet.ParquetWriter | None = None
        try:
            for block in blocks:
                lists = rank(model.score(block.given), block.given, k, rules)
                table = long_table(block.users, lists, model.items)
                if writer is None:
                    writer = pa.parquet.ParquetWriter(temporary / PART, table.schema)
                writer.write_table(table)
                counts.add(block, lists)
                bar.update(len(block.users))
        finally:
            bar.close()
            if writer is not None:
                writer.close()
        if not counts.users:
            raise InputError("there is no user to score: give a history file with rows")
        if counts.unknown_items and counts.without_history == counts.users:
            raise InputError(
                f"the model knows none of the {counts.unknown_items} items in the histories: give "
                "histories of the data that it was trained on"
            )
        write_json(
            temporary / MANIFEST,
            {
                "version": __version__,
                "model": model.name,
                "items_fingerprint": model.items.fingerprint,
                "k": k,
                **(manifest or {}),
                "counts": asdict(counts),
                "seconds": round(time.perf_counter() - started, 3),
            },
        )
    return counts
