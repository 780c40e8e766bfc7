"""Explanations as a column of a table.

Legend: B users, K places of a list, M items of an explanation.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recsys_vae.interactions import IdMap
from recsys_vae.ranking.explain import Explained
from recsys_vae.ranking.topn import PAD, TopN


def because(lists: TopN, explained: Explained, items: IdMap) -> pa.Array:
    """Give for each user a list with, for each listed item, what carried it.

    Args:
        lists: what was explained.
        explained: of these lists.
        items: of the model.

    Returns:
        list<list<struct<item, share: float>>> of length B. The outer lists are as long as the
        user's list is without padding; `flatten()` gives a row for each user and rank. An inner
        list holds at most M items, the largest share first; shares are of all contributions above
        0, so they add up to at most 1, and what speaks against an item is not listed.

    >>> from recsys_vae.ranking.explain import Explained
    >>> lists = TopN(np.int32([[2, -1]]), np.float32([[4, -np.inf]]))
    >>> found = Explained(
    ...     np.int32([[[0, 1], [-1, -1]]]), np.float32([[[3, 1], [0, 0]]]),
    ...     np.float32([[4, 0]]), np.array([0]),
    ... )
    >>> because(lists, found, IdMap.of(["a", "b", "c"])).to_pylist()
    [[[{'item': 'a', 'share': 0.75}, {'item': 'b', 'share': 0.25}]]]
    """
    listed_BK = lists.items_BK != PAD
    kept_BKM = (explained.contributions_BKM > 0) & (explained.items_BKM != PAD)
    # The type follows from the ids, not from the rows: a block without rows has it too.
    item_type = pa.int64() if items.kind == "integer" else pa.string()
    pairs = pa.StructArray.from_arrays(
        [
            pa.array(items.ids(explained.items_BKM[kept_BKM]), item_type),
            pa.array(explained.shares_BKM[kept_BKM], pa.float32()),
        ],
        ["item", "share"],
    )
    places = pa.ListArray.from_arrays(_offsets(kept_BKM.sum(axis=2)[listed_BK]), pairs)
    return pa.ListArray.from_arrays(_offsets(lists.lengths), places)


def _offsets(lengths: npt.NDArray[np.int64]) -> pa.Array:
    return pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
