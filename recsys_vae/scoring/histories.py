"""Histories of users, streamed from a file in long or list form, ready to be scored.

Legend: B users in the block, I items, N stored entries.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

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
from recsys_vae.scoring.list_form import ListRows
from recsys_vae.scoring.order import Once

_BELOW: Final = -2
"""Of an item that the model does not know; that of a known one is as far below as its number."""


@dataclass(frozen=True, slots=True)
class HistoryBlock:
    """Some users and what they did.

    Attributes:
        users: external ids, one a row, in the file's order.
        given: (B, I) histories.
        unknown: rows left out because the model does not know their item.
        below: rows left out because their rating is not above the threshold.
        rated: (B, I) the items of those rows; None: there are none.
    """

    users: IdArray
    given: csr_array
    unknown: int
    below: int
    rated: csr_array | None = None

    def rows(self, chosen: npt.NDArray[np.intp], *, counted: bool = True) -> "HistoryBlock":
        """Give some of the users, with the counts of all or without."""
        unknown, below = (self.unknown, self.below) if counted else (0, 0)
        rated = None if self.rated is None else self.rated[chosen]
        return HistoryBlock(self.users[chosen], self.given[chosen], unknown, below, rated)

    @property
    def seen(self) -> csr_array:
        """All that the users have taken or rated, (B, I)."""
        return self.given if self.rated is None else csr_array(self.given + self.rated)


def joined(blocks: Sequence[HistoryBlock]) -> HistoryBlock:
    """Put blocks together, in order; at least one."""
    if len(blocks) == 1:
        return blocks[0]
    rated = None
    if any(one.rated is not None for one in blocks):
        rated = _stacked(
            [
                csr_array(one.given.shape, dtype=np.float32) if one.rated is None else one.rated
                for one in blocks
            ]
        )
    return HistoryBlock(
        np.concatenate([one.users for one in blocks]),
        _stacked([one.given for one in blocks]),
        sum(one.unknown for one in blocks),
        sum(one.below for one in blocks),
        rated,
    )


def _stacked(matrices: Sequence[csr_array]) -> csr_array:
    starts = np.cumsum([0, *(one.nnz for one in matrices)])
    indptr = [one.indptr[1:] + start for one, start in zip(matrices, starts[:-1], strict=True)]
    return csr_array(
        (
            np.concatenate([one.data for one in matrices]),
            np.concatenate([one.indices for one in matrices]),
            np.concatenate([[0], *indptr]),
        ),
        shape=(sum(one.shape[0] for one in matrices), matrices[0].shape[1]),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class HistorySource:
    """A file of histories whose rows are grouped by user, or that has a row a user.

    Attributes:
        path: any file that ingestion reads: one interaction a row (long form), or Parquet with a
            list of items in each row (list form).
        reading: what it does not say about itself.
        threshold: where the file has ratings, only those above it count; None: all count.
        rated: whether blocks tell of the items of other ratings, too.
        users_per_block: users a block; the last may have fewer.
    """

    path: Path
    reading: ReadOptions = ReadOptions()
    threshold: float | None = None
    rated: bool = True
    users_per_block: int = 2_048

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
        once = Once(self._user_ids, f"{self.path}")
        pending = _Runs.empty()
        for runs in self._runs(items):
            pending = pending.joined(runs)
            # The last user may go on in the next piece.
            done, complete = 0, len(pending.users) - 1
            while complete - done >= self.users_per_block:
                cut = done + self.users_per_block
                yield self._block(pending.between(done, cut), items, once)
                done = cut
            if done:
                pending = pending.between(done, len(pending.users))
        while len(pending.users):
            cut = min(self.users_per_block, len(pending.users))
            yield self._block(pending.between(0, cut), items, once)
            pending = pending.between(cut, len(pending.users))

    def _runs(self, items: IdMap) -> Iterator["_Runs"]:
        rows = ListRows.of(self.path, self.reading)
        if rows is not None:
            for users, lengths, ids in rows.batches():
                yield _Runs(users, lengths, items.numbers(ids, missing="mark")).merged()
            return
        integers = self._integers()
        for block in checked_blocks(self.path, self.reading):
            numbers = items.numbers(block.item_ids, missing="mark")[block.item]
            if self.threshold is not None and block.rating is not None:
                # Neither NaN nor infinity is a rating above the threshold.
                above = (block.rating > self.threshold) & (block.rating < np.inf)
                known = np.maximum(numbers[~above], UNKNOWN)
                numbers[~above] = _BELOW - 1 - known if self.rated else _BELOW
            yield _Runs.of(self._users(block, integers=integers), numbers)

    def _users(self, block: Checked, *, integers: bool) -> IdArray:
        ids = block.user_ids
        if block.text:
            ids = ids.cast(pa.int64() if integers else pa.large_string())
        users: IdArray = ids.to_numpy(zero_copy_only=False)[block.user]
        return users

    def _user_ids(self) -> Iterator[IdArray]:
        """Give the users again, one a run, piece by piece."""
        last = None
        for users in self._users_of_rows():
            users = users[_starts(users)]
            if len(users) and last is not None and users[0] == last:
                users = users[1:]
            last = users[-1] if len(users) else last
            yield users

    def _users_of_rows(self) -> Iterator[IdArray]:
        rows = ListRows.of(self.path, self.reading)
        if rows is not None:
            yield from (users for users, _, _ in rows.batches())
            return
        integers = self._integers()
        for block in checked_blocks(self.path, self.reading):
            yield self._users(block, integers=integers)

    def _integers(self) -> bool:
        """Tell integers from strings by a first pass: text says it only at its end."""
        return all(
            block.text and is_canonical(block.user_ids)
            for block in checked_blocks(self.path, self.reading)
        )

    def _block(self, runs: "_Runs", items: IdMap, once: Once) -> HistoryBlock:
        once.refuse_again(runs.users)
        return _block_of(runs.users, runs.lengths, runs.items, len(items))


def _block_of(
    users: IdArray, lengths: npt.NDArray[np.int64], numbers: npt.NDArray[np.int64], n_items: int
) -> HistoryBlock:
    rows = np.repeat(np.arange(len(users)), lengths)
    shape = (len(users), n_items)

    def matrix(chosen: npt.NDArray[np.bool_], items: npt.NDArray[np.int64]) -> csr_array:
        ones = np.ones(int(chosen.sum()), dtype=np.float32)
        return csr_from_pairs(rows[chosen], items[chosen], ones, shape)

    below, known_below = numbers <= _BELOW, numbers < _BELOW
    rated = matrix(known_below, _BELOW - 1 - numbers) if known_below.any() else None
    unknown = int((numbers == UNKNOWN).sum())
    return HistoryBlock(users, matrix(numbers >= 0, numbers), unknown, int(below.sum()), rated)


def _starts(users: IdArray) -> npt.NDArray[np.int64]:
    """Give the first row of each run of one user."""
    changes = np.flatnonzero(users[1:] != users[:-1]) + 1
    return np.concatenate([np.zeros(min(1, len(users)), dtype=np.int64), changes])


@dataclass(frozen=True, slots=True)
class _Runs:
    """Users in a row with what each took: item numbers, or why there is none.

    Attributes:
        users: ids, each different from the one before.
        lengths: rows of each.
        items: of all of them, one after the other.
    """

    users: IdArray
    lengths: npt.NDArray[np.int64]
    items: npt.NDArray[np.int64]

    @classmethod
    def empty(cls) -> "_Runs":
        nothing = np.empty(0, dtype=np.int64)
        return cls(np.empty(0, dtype=object), nothing, nothing)

    @classmethod
    def of(cls, users: IdArray, items: npt.NDArray[Any]) -> "_Runs":
        starts = _starts(users)
        return cls(users[starts], np.diff(np.append(starts, len(users))), items)

    def merged(self) -> "_Runs":
        """Make rows of one user that stand next to each other one."""
        starts = _starts(self.users)
        if len(starts) == len(self.users):
            return self
        return _Runs(self.users[starts], np.add.reduceat(self.lengths, starts), self.items)

    def joined(self, other: "_Runs") -> "_Runs":
        if not len(self.users) or not len(other.users):
            return other if len(other.users) else self
        if self.users.dtype.kind != other.users.dtype.kind:
            raise InputError(
                "user ids are integers in one file of the histories and text in another: write "
                "them alike"
            )
        lengths, users = other.lengths.copy(), other.users
        before = self.lengths
        if self.users[-1] == users[0]:
            lengths[0] += before[-1]
            before = before[:-1]
        return _Runs(
            np.concatenate([self.users[: len(before)], users]),
            np.concatenate([before, lengths]),
            np.concatenate([self.items, other.items]),
        )

    def between(self, begin: int, end: int) -> "_Runs":
        first = int(self.lengths[:begin].sum())
        last = first + int(self.lengths[begin:end].sum())
        return _Runs(self.users[begin:end], self.lengths[begin:end], self.items[first:last])


def stored_blocks(
    interactions: Interactions,
    items: IdMap,
    *,
    low: Interactions | None = None,
    users_per_block: int = 2_048,
) -> Iterator[HistoryBlock]:
    """Give the users of stored interactions, in blocks.

    Args:
        interactions: who did what, already above the threshold.
        items: of the model; interactions with other items are counted and left out.
        low: who rated what low, these users or others; None: nobody.
        users_per_block: users a block; the last may have fewer.

    Yields:
        Blocks of users, in the order of their numbers.
    """
    numbers = items.numbers(interactions.items.to_arrow(), missing="mark")
    low_numbers = None if low is None else items.numbers(low.items.to_arrow(), missing="mark")
    for start in range(0, len(interactions.users), users_per_block):
        rows = interactions.matrix[start : start + users_per_block]
        users = interactions.users.ids(np.arange(start, start + rows.shape[0]))
        given = _renumbered(rows, numbers, len(items))
        rated, below = None, 0
        if low is not None and low_numbers is not None:
            theirs = _rows_of(low, users)
            theirs.data = np.ones_like(theirs.data)
            rated, below = _renumbered(theirs, low_numbers, len(items)), int(theirs.nnz)
        yield HistoryBlock(users, given, int(rows.nnz - given.nnz), below, rated)


def _rows_of(interactions: Interactions, users: IdArray) -> csr_array:
    """Give the rows of these users, an empty one for who has none."""
    numbers = interactions.users.numbers(users, missing="mark")
    known = np.flatnonzero(numbers != UNKNOWN)
    found = interactions.matrix[numbers[known]]
    lengths = np.zeros(len(users), dtype=np.int64)
    lengths[known] = np.diff(found.indptr)
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    return csr_array((found.data, found.indices, indptr), shape=(len(users), found.shape[1]))


def _renumbered(rows: csr_array, numbers: npt.NDArray[np.int64], n_items: int) -> csr_array:
    """Give rows over the model's items; other items are left out."""
    columns = numbers[rows.indices]
    known = columns != UNKNOWN
    row_numbers = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
    shape = (rows.shape[0], n_items)
    return csr_from_pairs(row_numbers[known], columns[known], rows.data[known], shape)
