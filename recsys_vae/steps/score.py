"""score: lists for every user of a history file, into Parquet."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet

from recsys_vae.files import check_replaceable
from recsys_vae.ingest.readers import read_interactions
from recsys_vae.ingest.reading import ReadOptions
from recsys_vae.interactions import IdMap, load_interactions
from recsys_vae.interactions.store import MANIFEST as INTERACTIONS_MANIFEST
from recsys_vae.scoring.batch import CONTENTS, MANIFEST, ScoreCounts, score_users
from recsys_vae.scoring.histories import HistoryBlock, HistorySource, stored_blocks
from recsys_vae.steps.lists import list_maker
from recsys_vae.tracking.runs import step_run


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreOptions:
    """What to score, with what, and where to.

    Attributes:
        model: folder or MLflow URI.
        histories: a long file (CSV, TSV, Parquet).
        out: the folder to write.
        k: list length.
        allow: only these items; empty: all.
        block: not these items.
        mask_seen: whether items of the history are left out.
        reading: what the files do not say about themselves.
        unsorted: whether the file's rows are not grouped by user and must be sorted in memory.
        users_per_block: users scored at once; it does not change the lists.
    """

    model: str
    histories: Path
    out: Path
    k: int = 100
    allow: tuple[str, ...] = ()
    block: tuple[str, ...] = ()
    mask_seen: bool = True
    reading: ReadOptions = ReadOptions()
    unsorted: bool = False
    users_per_block: int = 1_000


def score(options: ScoreOptions) -> ScoreCounts:
    """Score every user of a file.

    Returns:
        What was counted; the lists and the manifest are in `options.out`.

    Raises:
        InputError: model, histories or options are unusable; nothing is written then.
    """
    check_replaceable(options.out, CONTENTS)
    with step_run("score") as run:
        made = list_maker(options)
        model, threshold, rules = made.model, made.threshold, made.rules
        manifest = {
            "model_uri": options.model,
            "histories": str(options.histories),
            "threshold": threshold,
            "allow": list(options.allow),
            "block": list(options.block),
            "mask_seen": options.mask_seen,
        }

        with _blocks(options, model.items, threshold) as blocks:
            counts = score_users(
                model,
                blocks,
                options.out,
                k=options.k,
                rules=rules,
                manifest=manifest,
                progress=True,
            )
        run.params("score", {"model": options.model, "k": options.k})
        run.metrics({"users": counts.users, "rows": counts.rows})
        run.artifact(options.out / MANIFEST)
        return counts


@contextmanager
def _blocks(
    options: ScoreOptions, items: IdMap, threshold: float | None
) -> Iterator[Iterator[HistoryBlock]]:
    """Open the histories: stored interactions, a grouped file, or one to be grouped first."""
    size = options.users_per_block
    if (options.histories / INTERACTIONS_MANIFEST).is_file():
        yield stored_blocks(load_interactions(options.histories), items, users_per_block=size)
        return
    source = HistorySource(
        path=options.histories, reading=options.reading, threshold=threshold, users_per_block=size
    )
    if not options.unsorted:
        yield source.blocks(items)
        return
    frame = read_interactions(options.histories, options.reading)
    frame = frame.sort_values("user", kind="stable")
    frame = frame[[name for name in ("user", "item", "rating") if name in frame.columns]]
    with TemporaryDirectory() as scratch:
        grouped = Path(scratch) / "grouped.parquet"
        pa.parquet.write_table(pa.Table.from_pandas(frame, preserve_index=False), grouped)
        yield replace(source, path=grouped, reading=ReadOptions()).blocks(items)
