"""Rows as they are, for what does no cleaning; unusable ones are refused, or passed over."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
import pyarrow as pa

from recsys_vae.errors import InputError
from recsys_vae.ingest.block import ITEM, RATING, USER, Ticket
from recsys_vae.ingest.checks import Checked, Codes, check, latest_time
from recsys_vae.ingest.ids import is_canonical
from recsys_vae.ingest.parallel import in_order
from recsys_vae.ingest.reading import ReadOptions, printable
from recsys_vae.ingest.source import FileSource
from recsys_vae.interactions import IdArray

_ROLES: Final = (USER, ITEM, RATING)
_NOT_HIGH: Final = ("the rating is missing", "the rating is infinite", "the rating is negative")


@dataclass(slots=True)
class PassedOver:
    """Rows that are no interactions.

    Attributes:
        rows: of the whole file.
        reasons: how many are no interactions, by reason.
        first: a sentence's part on the first of them; "" where there is none.
    """

    rows: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    first: str = ""


def checked_blocks(
    path: Path, options: ReadOptions, passed_over: PassedOver | None = None
) -> Iterator[Checked]:
    """Give the rows of a file block by block, without those that are no interactions.

    Args:
        path: any file that `FileSource` reads.
        options: what it does not say about itself, and whether any such row is refused at once.
        passed_over: is told of them.

    Yields:
        Users, items and ratings; a rating may be missing (NaN), infinite or negative.

    Raises:
        InputError: the file cannot be read, is empty, or holds a row that is refused.
    """
    latest, name, before = latest_time(), "", 0
    told = PassedOver() if passed_over is None else passed_over

    def judged(ticket: Ticket) -> Callable[[], Checked]:
        return lambda: check(ticket(), latest)

    tickets = FileSource(path, options).tickets(_ROLES)
    for block in in_order(judged(ticket) for ticket in tickets):
        if block.name != name:
            name, before = block.name, 0
        if block.rejected is not None:
            wrong = _not_taken(block, before)
            if wrong and not options.max_rejected:
                raise InputError(f"{wrong[0]}: correct the row or delete it")
            told.reasons.update(why for why in block.rejected.reasons if why not in _NOT_HIGH)
            told.first = told.first or next(iter(wrong), "")
        before += block.records
        told.rows += block.records
        yield block if block.rejected is None else _taken(block)
    if not told.rows:
        raise InputError(f"{printable(path)} has no rows: give a file with at least one")


def pass_over(path: Path, options: ReadOptions) -> PassedOver:
    """Count the rows of a file that will be passed over, before anything is made of the others.

    Raises:
        InputError: as `checked_blocks`, or they are a larger share than is allowed.
    """
    found = PassedOver()
    for _ in checked_blocks(path, options, found):
        pass
    count = sum(found.reasons.values())
    if count > options.max_rejected * found.rows:
        raise InputError(
            f"{count:,} of {found.rows:,} rows of {printable(path)} are unusable, the first is "
            f"{found.first}: correct the rows, or pass a larger --max-rejected"
        )
    return found


def _not_taken(block: Checked, before: int) -> list[str]:
    """Describe the first row that is no interaction, if any; a missing rating only is not high."""
    assert block.rejected is not None
    for place, why in enumerate(block.rejected.reasons):
        if why in _NOT_HIGH:
            continue
        given = [values[place] for values in block.rejected.values.values()]
        shown = ", ".join(one for one in given if one is not None)[:80]
        row = int(block.rejected.records[place]) + before + 1
        return [f"{block.name}, row {row}: {why} ({shown!r})"]
    return []


def _taken(block: Checked) -> Checked:
    """Give a block without the rows that are no interactions, and without ids of only those."""
    if block.fine is None or block.rejected is None:
        return block
    # What is no row at all has a text, and stands in no column.
    texts = block.rejected.values["text"]
    reasons = [why for why, text in zip(block.rejected.reasons, texts, strict=True) if text is None]
    kept = block.fine.copy()
    kept[~kept] = [why in _NOT_HIGH for why in reasons]
    rows = np.flatnonzero(kept)
    user_ids, user = _compact(block.user_ids, block.user[rows])
    item_ids, item = _compact(block.item_ids, block.item[rows])
    rating = None if block.rating is None else block.rating[rows]
    time = None if block.time is None else block.time[rows]
    return replace(
        block, user=user, user_ids=user_ids, item=item, item_ids=item_ids, rating=rating, time=time
    )


def _compact(ids: pa.Array, codes: Codes) -> tuple[pa.Array, Codes]:
    used, again = np.unique(codes, return_inverse=True)
    return ids.take(pa.array(used)), again.astype(np.int32)


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
