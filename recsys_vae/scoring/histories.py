"""Histories of users, streamed from a long file, ready to be scored."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy.sparse import csr_array

from recsys_vae.errors import InputError
from recsys_vae.ingest.checks import Checked
from recsys_vae.ingest.ids import is_canonical
from recsys_vae.ingest.readers import checked_blocks
from recsys_vae.ingest.reading import ReadOptions
from recsys_vae.interactions import IdArray, IdMap, Interactions
from recsys_vae.interactions.id_map import UNKNOWN
from recsys_vae.interactions.interactions import csr_from_pairs

_BELOW = -2


@dataclass(frozen=True, slots=True)
class HistoryBlock:
    """Some users and what they did.

    Attributes:
        users: external ids, one a row, in the file's order.
        given: (B, I) histories.
        unknown: rows left out because the model does not know their item.
        below: rows left out because their rating is not above the threshold.
    """

    users: IdArray
    given: csr_array
    unknown: int
    below: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HistorySource:
    """A long file (one interaction a row) whose rows are grouped by user.

    Attributes:
        path: any file that ingestion reads.
        reading: what it does not say about itself.
        threshold: where the file has ratings, only those above it count; None: all count.
        users_per_block: users a block; the last may have fewer.
    """

    path: Path
    reading: ReadOptions = ReadOptions()
    threshold: float | None = None
    users_per_block: int = 1_000

    def blocks(self, items: IdMap) -> Iterator[HistoryBlock]:
        """Stream the users in the file's order.

        Args:
            items: of the model; rows with other items are counted and left out, and their user
                stays, if need be with an empty history.

        Yields:
            Blocks of users.

        Raises:
            InputError: the file cannot be read, a column is missing, an id or rating is
                unusable, or a user's rows are not next to each other.
        """
        finished: set[Any] = set()
        pending = _Rows.empty()
        integers = self._integers()
        for block in checked_blocks(self.path, self.reading):
            pending = pending.joined(self._rows(block, items, integers=integers))
            starts = pending.starts()
            # The last user may go on in the next piece.
            complete = len(starts) - 1
            done = 0
            while complete - done >= self.users_per_block:
                cut = int(starts[done + self.users_per_block])
                begin = int(starts[done])
                yield self._block(pending.between(begin, cut), items, finished)
                done += self.users_per_block
            if done:
                pending = pending.between(int(starts[done]), len(pending.users))
        while len(pending.users):
            starts = np.append(pending.starts(), len(pending.users))
            cut = int(starts[min(self.users_per_block, len(starts) - 1)])
            yield self._block(pending.between(0, cut), items, finished)
            pending = pending.between(cut, len(pending.users))

    def _integers(self) -> bool:
        """Tell integers from strings by a first pass: text says it only at its end."""
        return all(
            block.text and is_canonical(block.user_ids)
            for block in checked_blocks(self.path, self.reading)
        )

    def _rows(self, block: Checked, items: IdMap, *, integers: bool) -> "_Rows":
        numbers = items.numbers(block.item_ids, missing="mark")[block.item]
        if self.threshold is not None and block.rating is not None:
            # Neither NaN nor infinity is a rating above the threshold.
            numbers[~((block.rating > self.threshold) & (block.rating < np.inf))] = _BELOW
        ids = block.user_ids
        if block.text:
            ids = ids.cast(pa.int64() if integers else pa.large_string())
        return _Rows(ids.to_numpy(zero_copy_only=False)[block.user], numbers)

    def _block(self, rows: "_Rows", items: IdMap, finished: set[Any]) -> HistoryBlock:
        starts = rows.starts()
        users = rows.users[starts]
        counts = Counter(users.tolist())
        again = {user for user, count in counts.items() if count > 1 or user in finished}
        if again:
            raise InputError(
                f"{self.path}: the rows of user {min(map(str, again))!r} are not "
                "next to each other: sort the file by user, or pass --unsorted to sort it in memory"
            )
        finished.update(counts)
        lengths = np.diff(np.append(starts, len(rows.users)))
        row_numbers = np.repeat(np.arange(len(users)), lengths)
        known = rows.items >= 0
        given = csr_from_pairs(
            row_numbers[known],
            rows.items[known],
            np.ones(int(known.sum()), dtype=np.float32),
            (len(users), len(items)),
        )
        unknown, below = int((rows.items == UNKNOWN).sum()), int((rows.items == _BELOW).sum())
        return HistoryBlock(users, given, unknown, below)


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows that wait for their user to be complete: ids, and item numbers or why there is none."""

    users: IdArray
    items: npt.NDArray[np.int64]

    @classmethod
    def empty(cls) -> "_Rows":
        return cls(np.empty(0, dtype=object), np.empty(0, dtype=np.int64))

    def joined(self, other: "_Rows") -> "_Rows":
        if not len(self.users):
            return other
        return _Rows(
            np.concatenate([self.users, other.users]), np.concatenate([self.items, other.items])
        )

    def between(self, begin: int, end: int) -> "_Rows":
        return _Rows(self.users[begin:end], self.items[begin:end])

    def starts(self) -> npt.NDArray[np.int64]:
        """The first row of each run of one user."""
        changes = np.flatnonzero(self.users[1:] != self.users[:-1]) + 1
        return np.concatenate([np.zeros(min(1, len(self.users)), dtype=np.int64), changes])


def stored_blocks(
    interactions: Interactions, items: IdMap, *, users_per_block: int = 1_000
) -> Iterator[HistoryBlock]:
    """Give the users of stored interactions, in blocks.

    Args:
        interactions: who did what, already above the threshold.
        items: of the model; interactions with other items are counted and left out.
        users_per_block: users a block; the last may have fewer.

    Yields:
        Blocks of users, in the order of their numbers.
    """
    numbers = items.numbers(interactions.items.to_arrow(), missing="mark")
    for start in range(0, len(interactions.users), users_per_block):
        rows = interactions.matrix[start : start + users_per_block]
        columns = numbers[rows.indices]
        known = columns >= 0
        lengths = np.diff(rows.indptr)
        row_numbers = np.repeat(np.arange(len(lengths)), lengths)
        given = csr_from_pairs(
            row_numbers[known], columns[known], rows.data[known], (len(lengths), len(items))
        )
        users = interactions.users.ids(np.arange(start, start + len(lengths)))
        yield HistoryBlock(users, given, int((~known).sum()), 0)
