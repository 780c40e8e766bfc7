"""Whole files as frames, for what needs no streaming; unusable rows are refused."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
import pyarrow as pa

from recsys_vae.errors import InputError
from recsys_vae.ingest.block import ITEM, RATING, USER, Ticket
from recsys_vae.ingest.checks import Checked, check, latest_time
from recsys_vae.ingest.ids import is_canonical
from recsys_vae.ingest.parallel import in_order
from recsys_vae.ingest.reading import ReadOptions, printable
from recsys_vae.ingest.source import FileSource
from recsys_vae.interactions import IdArray

_ROLES: Final = (USER, ITEM, RATING)
_NOT_HIGH: Final = ("the rating is missing", "the rating is infinite", "the rating is negative")


def checked_blocks(path: Path, options: ReadOptions) -> Iterator[Checked]:
    """Give the rows of a file block by block, refusing any that is unusable.

    Args:
        path: any file that `FileSource` reads.
        options: what it does not say about itself.

    Yields:
        Users, items and ratings; a rating may be missing (NaN), infinite or negative.

    Raises:
        InputError: the file cannot be read, is empty, or holds an unusable row.
    """
    latest, name, before, count = latest_time(), "", 0, 0

    def judged(ticket: Ticket) -> Callable[[], Checked]:
        return lambda: check(ticket(), latest)

    tickets = FileSource(path, options).tickets(_ROLES)
    for block in in_order(judged(ticket) for ticket in tickets):
        if block.name != name:
            name, before = block.name, 0
        if block.rejected is not None:
            _refuse(block, before)
        before += block.records
        count += block.records
        yield block
    if not count:
        raise InputError(f"{printable(path)} has no rows: give a file with at least one")


def _refuse(block: Checked, before: int) -> None:
    """Refuse the first row that is no interaction; a missing rating only is not high."""
    assert block.rejected is not None
    for place, why in enumerate(block.rejected.reasons):
        if why in _NOT_HIGH:
            continue
        given = [values[place] for values in block.rejected.values.values()]
        shown = ", ".join(one for one in given if one is not None)[:80]
        raise InputError(
            f"{block.name}, row {int(block.rejected.records[place]) + before + 1}: {why} "
            f"({shown!r}): correct the row or delete it"
        )


def read_interactions(path: Path, options: ReadOptions | None = None) -> pd.DataFrame:
    """Read a file of interactions into memory.

    Args:
        path: any file that `FileSource` reads.
        options: what it does not say about itself.

    Returns:
        Columns `user`, `item`, and where the file has it `rating` (float64, NaN where missing).
        Ids are int64 or `str`; from text, integers where every one of the column is written as
        one.

    Raises:
        InputError: the file cannot be read, or a row is unusable.
    """
    blocks = list(checked_blocks(path, options or ReadOptions()))
    columns = {
        "user": id_column([(block.user_ids, block.user) for block in blocks], blocks[0].text),
        "item": id_column([(block.item_ids, block.item) for block in blocks], blocks[0].text),
    }
    ratings = [block.rating for block in blocks]
    there = [one for one in ratings if one is not None]
    if there and len(there) < len(ratings):
        raise InputError(
            f"{printable(path)}: some of its files have ratings and some have none: give files "
            "with the same columns"
        )
    if there:
        columns["rating"] = np.concatenate(there)
    return pd.DataFrame(columns)


def id_column(parts: list[tuple[pa.Array, IdArray]], text: bool) -> IdArray:
    """Put ids and their codes together into one array of int64 or `str`."""
    kinds = {ids.type for ids, _ in parts}
    if len(kinds) > 1 and text:
        # A block whose ids all are plain integers beside one with an id that is none.
        parts = [(ids.cast(pa.large_string()), codes) for ids, codes in parts]
    elif len(kinds) > 1:
        raise InputError("ids are integers in some files and text in others: write them in one way")
    integers = text and all(is_canonical(ids) for ids, _ in parts)
    arrays = []
    for ids, codes in parts:
        values = ids.cast(pa.int64()) if integers else ids
        arrays.append(values.to_numpy(zero_copy_only=False)[codes])
    return np.concatenate(arrays)
