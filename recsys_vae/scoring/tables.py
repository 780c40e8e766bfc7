"""Lists as tables: a row a user and rank, or a row a user."""

from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recsys_vae.interactions import IdMap
from recsys_vae.ranking import TopN

Form = Literal["long", "list"]
NO_HISTORY: Final = "no history"
SHORT: Final = "short"


def long_table(users: Any, lists: TopN, items: IdMap, because: pa.Array | None = None) -> pa.Table:
    """Give lists in long form: one row a user and rank.

    Args:
        users: (B,) external ids.
        lists: of these users.
        items: of the model.
        because: what carried each place, a list a user, or None.

    Returns:
        Columns `user`, `rank` (from 1), `item`, `score`, perhaps `because`; padded places have no
        row.
    """
    kept = lists.items_BK >= 0
    ranks = np.arange(1, lists.items_BK.shape[1] + 1, dtype=np.int32)
    reasons = {} if because is None else {"because": because.flatten()}
    return pa.table(
        {
            "user": pa.array(np.repeat(np.asarray(users), lists.lengths), _kind(users)),
            "rank": pa.array(np.broadcast_to(ranks, kept.shape)[kept]),
            "item": _ids(lists, kept, items),
            "score": pa.array(lists.scores_BK[kept]),
            **reasons,
        }
    )


def list_table(
    users: Any,
    lists: TopN,
    items: IdMap,
    empty_B: npt.NDArray[np.bool_],
    because: pa.Array | None = None,
) -> pa.Table:
    """Give lists in list form: one row a user.

    Args:
        users: (B,) external ids.
        lists: of these users.
        items: of the model.
        empty_B: which of them have no history that the model knows.
        because: what carried each place, a list a user, or None.

    Returns:
        Columns `user`, `items` and `scores` (lists, best first), and `note`: null, "no history",
        or "short" where fewer items than asked for may stand in the list; perhaps `because`.
    """
    kept = lists.items_BK >= 0
    offsets = pa.array(np.concatenate([[0], np.cumsum(lists.lengths)]).astype(np.int32))
    notes = np.where(empty_B, NO_HISTORY, np.where(lists.short, SHORT, "")).astype(object)
    return pa.table(
        {
            "user": pa.array(np.asarray(users), _kind(users)),
            "items": pa.ListArray.from_arrays(offsets, _ids(lists, kept, items)),
            "scores": pa.ListArray.from_arrays(offsets, pa.array(lists.scores_BK[kept])),
            "note": pa.array(notes, pa.string(), mask=notes == ""),
            **({} if because is None else {"because": because}),
        }
    )


def _kind(users: Any) -> pa.DataType:
    # Types follow from the ids, not from the rows: a block without rows has them too.
    return pa.int64() if np.asarray(users).dtype.kind == "i" else pa.string()


def _ids(lists: TopN, kept: npt.NDArray[np.bool_], items: IdMap) -> pa.Array:
    kind = pa.int64() if items.kind == "integer" else pa.string()
    return items.to_arrow().take(pa.array(lists.items_BK[kept])).cast(kind)
