"""Histories that lack one item each, made for many at once.

Legend: B users, I items, T histories that lack one item ("trials").
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

_ENTRIES_AT_ONCE: Final = 2**22


@dataclass(frozen=True, slots=True, eq=False)
class Trials:
    """Which item is left out of whose history.

    Attributes:
        users_T: row numbers, not falling.
        places_T: place of the item in the user's row, rising within a user.
        counts_B: trials of each user.
        left_out_B: items of each history that are not tried.
    """

    users_T: npt.NDArray[np.int64]
    places_T: npt.NDArray[np.int64]
    counts_B: npt.NDArray[np.int64]
    left_out_B: npt.NDArray[np.int64]

    @property
    def order_T(self) -> npt.NDArray[np.int64]:  # noqa: N802 # shape suffix
        """Number of each trial among those of its user, from 0."""
        starts_B = np.cumsum(self.counts_B) - self.counts_B
        order_T: npt.NDArray[np.int64] = np.arange(len(self.users_T)) - starts_B[self.users_T]
        return order_T

    def of_users(self, rows: slice) -> "Trials":
        """Give the trials of some users, numbered from 0 anew."""
        ends_B = np.concatenate([[0], np.cumsum(self.counts_B)])
        first, last, _ = rows.indices(len(self.counts_B))
        part = slice(ends_B[first], ends_B[last])
        return Trials(
            self.users_T[part] - first,
            self.places_T[part],
            self.counts_B[rows],
            self.left_out_B[rows],
        )


def trials_of(given: csr_array, most: int) -> Trials:
    """Leave out every item of every history in turn, or of long histories some.

    Args:
        given: (B, I) histories.
        most: items tried of a history: those of the largest weight, of equal ones the first.

    >>> trials = trials_of(csr_array(np.float32([[1, 2, 3], [0, 0, 0]])), most=2)
    >>> trials.places_T.tolist(), trials.left_out_B.tolist()
    ([1, 2], [1, 0])
    """
    lengths_B = np.diff(given.indptr).astype(np.int64)
    users_N = np.repeat(np.arange(len(lengths_B)), lengths_B)
    places_N = np.arange(given.nnz) - given.indptr[users_N]
    counts_B = np.minimum(lengths_B, most)
    left_out_B = lengths_B - counts_B
    kept_N = np.ones(given.nnz, dtype=bool)
    if left_out_B.any():
        by_weight = np.lexsort((places_N, -given.data, users_N))
        kept_N[by_weight] = places_N < most
    return Trials(users_N[kept_N], places_N[kept_N].astype(np.int64), counts_B, left_out_B)


def blocks_of(trials: Trials, given: csr_array, at_once: int) -> Iterator[slice]:
    """Cut trials into runs of at most `at_once`, and of few enough entries to be held."""
    entries_T = np.cumsum(np.diff(given.indptr).astype(np.int64)[trials.users_T])
    start = 0
    while start < len(entries_T):
        before = entries_T[start - 1] if start else 0
        stop = int(np.searchsorted(entries_T, before + _ENTRIES_AT_ONCE, "right"))
        stop = max(min(stop, start + at_once), start + 1)
        yield slice(start, stop)
        start = stop


def without(
    given: csr_array,
    users_T: npt.NDArray[np.integer[Any]],
    places_T: npt.NDArray[np.integer[Any]],
) -> csr_array:
    """Give the histories of some users, each without one of its items.

    Args:
        given: (B, I) histories.
        users_T: whose, row numbers.
        places_T: which of the row's stored entries is left out.

    Returns:
        (T, I).

    >>> without(csr_array(np.float32([[5, 0, 7]])), np.array([0, 0]), np.array([0, 1])).toarray()
    array([[0., 0., 7.],
           [5., 0., 0.]], dtype=float32)
    """
    starts_T = given.indptr[users_T].astype(np.int64)
    left_T = given.indptr[users_T + 1] - starts_T - 1
    offsets = np.concatenate([[0], np.cumsum(left_T)])
    order = np.arange(offsets[-1]) - offsets[:-1].repeat(left_T)
    source = starts_T.repeat(left_T) + order + (order >= places_T.repeat(left_T))
    shape = (len(users_T), given.shape[1])
    return csr_array((given.data[source], given.indices[source], offsets), shape=shape)
