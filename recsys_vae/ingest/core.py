"""The k-core: users and items with enough of each other."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from recsys_vae.ingest.pairs import Pairs, PairStore
from recsys_vae.ingest.parallel import in_order

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Core:
    """What remains.

    Attributes:
        users: (n_users,) which users.
        items: (n_items,) which items.
        lengths: (n_users,) how many of the remaining items each user has; 0 for those that went.
    """

    users: Flags
    items: Flags
    lengths: npt.NDArray[np.int64]


def find_core(
    store: PairStore, n_users: int, n_items: int, *, min_user_items: int, min_item_users: int
) -> Core:
    """Find the largest set of users and items in which each has enough of the others.

    Dropping a user may leave an item with too few users and the other way round: both are dropped
    until nothing changes. What remains does not depend on the order (Seidman, Network structure
    and minimum degree, Social Networks 5, 1983).

    Args:
        store: distinct pairs; read once a round.
        n_users: user numbers are below it.
        n_items: item numbers are below it.
        min_user_items: a user needs so many items.
        min_item_users: an item needs so many users.

    Returns:
        Which users and which items remain, and how much each user keeps.
    """
    users, items = np.ones(n_users, dtype=bool), np.ones(n_items, dtype=bool)
    while True:
        per_user = np.zeros(n_users, dtype=np.int64)
        per_item = np.zeros(n_items, dtype=np.int64)
        chosen = None if users.all() and items.all() else (users, items)
        tasks = (partial(_counts, part, n_users, n_items, chosen) for part in store.parts())
        for user_counts, item_counts in in_order(tasks):
            per_user += user_counts
            per_item += item_counts
        enough_users, enough_items = per_user >= min_user_items, per_item >= min_item_users
        # One that has nobody left is gone even where no minimum is asked for.
        enough_users &= per_user > 0
        enough_items &= per_item > 0
        if np.array_equal(enough_users, users) and np.array_equal(enough_items, items):
            return Core(users, items, per_user)
        users, items = users & enough_users, items & enough_items


def _counts(
    part: Pairs, n_users: int, n_items: int, chosen: tuple[Flags, Flags] | None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    user, item = part.user, part.item
    if chosen is not None:
        kept = np.flatnonzero(chosen[0][user] & chosen[1][item])
        user, item = user[kept], item[kept]
    return np.bincount(user, minlength=n_users), np.bincount(item, minlength=n_items)
