"""Which histories are not what they were: a number that stands for a history, and the last run's.

Legend: B users in the block, N stored entries.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet
from scipy.sparse import csr_array

from recsys_vae.errors import InputError, reason
from recsys_vae.files import atomic_file
from recsys_vae.interactions import IdMap
from recsys_vae.interactions.id_map import UNKNOWN
from recsys_vae.scoring.histories import HistoryBlock, joined
from recsys_vae.scoring.workplace import STATES

_CARRIED: Final = "_history-unchanged.parquet"
_OF_RATED: Final = np.uint64(0xD1342543DE82EF95)
"""Tells an item that was rated low from one that was taken; odd, so that no number is lost."""
Hashes = npt.NDArray[np.uint64]


def history_hashes(given: csr_array) -> Hashes:
    """Give a 64-bit number for each history, the same for the same items.

    The sum of a mixed number for each item: SplitMix64's mixing function (Steele, Lea, Flood, Fast
    Splittable Pseudorandom Number Generators, OOPSLA 2014). Two different histories of a user have
    the same with a chance of 2^-64.

    Args:
        given: (B, I) histories.

    >>> history_hashes(csr_array(np.float32([[1, 0], [0, 0]]))).tolist()[1]
    0
    """
    mixed_N = (given.indices.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed_N = (mixed_N ^ (mixed_N >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed_N = (mixed_N ^ (mixed_N >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed_N ^= mixed_N >> np.uint64(31)
    totals = np.concatenate([np.zeros(1, np.uint64), np.cumsum(mixed_N, dtype=np.uint64)])
    hashes: Hashes = totals[given.indptr[1:]] - totals[given.indptr[:-1]]
    return hashes


def block_hashes(block: HistoryBlock) -> Hashes:
    """Give a number for what each user has taken and what they have rated without taking it."""
    hashes = history_hashes(block.given)
    if block.rated is not None:
        hashes += history_hashes(block.rated) * _OF_RATED
    return hashes


def state_table(block: HistoryBlock) -> pa.Table:
    """Give what is remembered of histories: columns `user` and `history`."""
    kind = pa.int64() if np.asarray(block.users).dtype.kind == "i" else pa.string()
    hashes = pa.array(block_hashes(block))
    return pa.table({"user": pa.array(block.users, kind), "history": hashes})


@dataclass(slots=True)
class Before:
    """The histories of an earlier run: 8 bytes a user, and the ids.

    Attributes:
        users: of that run.
        history: (users,) their histories' numbers.
        unchanged: users of the present run that were left out so far.
        again: users of that run that the present one has, too, so far.
        left_out: numbers of the users that were left out, block by block.
    """

    users: IdMap
    history: Hashes
    unchanged: int = 0
    again: int = 0
    left_out: list[npt.NDArray[np.int64]] = field(default_factory=list)

    @classmethod
    def read(cls, folder: Path) -> "Before":
        """Read what a complete run left.

        Raises:
            InputError: it is damaged.
        """
        try:
            parts = [pa.parquet.read_table(path) for path in sorted(folder.glob(STATES))]
            if len({part.schema.field("user").type for part in parts}) > 1:
                # Ids that were integers one night and text the next.
                place = parts[0].schema.get_field_index("user")
                parts = [
                    part.set_column(place, "user", part["user"].cast(pa.string())) for part in parts
                ]
            table = pa.concat_tables(parts)
            users, history = table["user"].combine_chunks(), table["history"].to_numpy()
            if pa.types.is_string(users.type):
                users = users.cast(pa.large_string())
            order = np.asarray(pa.compute.sort_indices(users))
            return cls(IdMap.from_arrow(users.take(pa.array(order))), history[order])
        except (OSError, KeyError, ValueError, pa.ArrowException) as error:
            raise InputError(
                f"{folder} does not tell of which histories it was made ({reason(error)}): leave "
                "out --since to score everybody"
            ) from error

    @property
    def gone(self) -> int:
        """Users of that run of whom the present one, once complete, has no history."""
        return len(self.users) - self.again

    def carry_forward(self, folder: Path) -> None:
        """Write down the histories of those who were left out, so that the next run knows them."""
        if not self.unchanged:
            return
        numbers = np.concatenate(self.left_out)
        kind = pa.int64() if self.users.kind == "integer" else pa.string()
        users = self.users.to_arrow().take(pa.array(numbers)).cast(kind)
        table = pa.table({"user": users, "history": pa.array(self.history[numbers])})
        with atomic_file(folder / _CARRIED) as temporary:
            pa.parquet.write_table(table, temporary)

    def changed(self, blocks: Iterator[HistoryBlock], size: int) -> Iterator[HistoryBlock]:
        """Leave out users whose history is what it was; give a block even if that is everybody.

        Args:
            blocks: all users.
            size: users a block that is given.
        """
        waiting: list[HistoryBlock] = []
        none_yet = True
        for block in blocks:
            numbers = self.users.numbers(block.users, missing="mark")
            known = numbers != UNKNOWN
            same = known.copy()
            same[known] = self.history[numbers[known]] == block_hashes(block)[known]
            self.unchanged += int(same.sum())
            self.again += int(known.sum())
            self.left_out.append(numbers[same])
            waiting.append(block.rows(np.flatnonzero(~same)))
            while sum(len(one.users) for one in waiting) >= size:
                whole = joined(waiting)
                yield whole.rows(np.arange(size))
                none_yet = False
                waiting = [whole.rows(np.arange(size, len(whole.users)), counted=False)]
        rest = joined(waiting) if waiting else None
        # A result of no file at all could not be read as a table.
        if rest is not None and (len(rest.users) or rest.unknown or rest.below or none_yet):
            yield rest
