"""Items named for single users: the lists and pins of a rule file, looked up a block at a time.

Legend: B users in the block, N entries of these users.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recsys_vae.interactions import IdArray, IdMap

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Entries:
    """Some rows of a file of users and items, those of a block of users.

    Attributes:
        rows_N: int64, place of the user in the block, rising.
        items_N: int64 item numbers.
        places_N: int64, which row of `UserItems` it is.
    """

    rows_N: Numbers
    items_N: Numbers
    places_N: Numbers


@dataclass(frozen=True, slots=True, eq=False)
class UserItems:
    """Items by user, grouped; a user all of whose items are unknown to the model has none.

    Attributes:
        users: the users that the file names.
        starts: (users + 1,) where the entries of each user begin.
        items: item numbers by user.
        order: which row of the file each entry is.

    >>> some = UserItems.of(pa.array(["b", "a", "b"]), np.array([5, 6, -1]))
    >>> some.entries(np.array(["b", "c"], dtype=object)).items_N
    array([5])
    >>> some.named(np.array(["b", "c"], dtype=object))
    array([ True, False])
    """

    users: IdMap
    starts: Numbers
    items: Numbers
    order: Numbers

    @classmethod
    def of(cls, users: pa.Array, items: Numbers) -> Self:
        """Group rows by user.

        Args:
            users: (n,) external ids, int64 or text.
            items: (n,) item numbers, -1 where the model does not know the item; such rows count
                for nothing but naming their user.
        """
        distinct = pc.unique(users)
        named = IdMap.from_arrow(distinct.take(pc.sort_indices(distinct)))
        codes = named.numbers(users)
        rows = np.flatnonzero(items >= 0)
        order = rows[np.argsort(codes[rows], kind="stable")]
        lengths = np.bincount(codes[order], minlength=len(named))
        starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        return cls(named, starts, items[order], order)

    def named(self, users: IdArray) -> npt.NDArray[np.bool_]:
        """Say which of the users, (B,), the file names."""
        found: npt.NDArray[np.bool_] = self.users.numbers(users, missing="mark") >= 0
        return found

    def entries(self, users: IdArray) -> Entries:
        """Give the entries of a block of users.

        Args:
            users: (B,) external ids.
        """
        numbers = self.users.numbers(users, missing="mark")
        rows = np.flatnonzero(numbers >= 0)
        starts = self.starts[numbers[rows]]
        lengths = self.starts[numbers[rows] + 1] - starts
        # Entry n of the block is so many places behind the first one of its user.
        behind = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        places = np.repeat(starts, lengths) + behind
        return Entries(np.repeat(rows, lengths), self.items[places], places)
