"""Products of items with users and items again, in blocks that fit memory.

Legend: I items, U users.
"""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

_ENTRIES: Final = 2**23
"""Numbers of a product that are computed at once: some 100 MB, and as much again for each step that
is taken with them."""


def item_blocks(
    items_IU: csr_array, lengths_U: npt.NDArray[np.integer[Any]]
) -> Iterator[tuple[int, int]]:
    """Cut the items into runs whose product with all items is small enough to be held at once.

    Args:
        items_IU: who took an item.
        lengths_U: how many items a user has.

    Yields:
        The first of a run, and the one behind its last.

    >>> list(item_blocks(csr_array([[1, 1], [0, 1]]), np.array([1, 2])))
    [(0, 2)]
    """
    n_items = items_IU.shape[0]
    steps = np.concatenate([[0], np.cumsum(lengths_U[items_IU.indices])])[items_IU.indptr]
    most = np.minimum(np.diff(steps), n_items).cumsum()
    start = 0
    while start < n_items:
        before = most[start - 1] if start else 0
        stop = max(int(np.searchsorted(most, before + _ENTRIES, "right")), start + 1)
        yield start, stop
        start = stop
