"""The k-core: users and items with enough of each other."""

import numpy as np
import numpy.typing as npt

from recsys_vae.ingest.pairs import PairStore

Flags = npt.NDArray[np.bool_]


def find_core(
    store: PairStore, n_users: int, n_items: int, *, min_user_items: int, min_item_users: int
) -> tuple[Flags, Flags]:
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
        Which users and which items remain.
    """
    users, items = np.ones(n_users, dtype=bool), np.ones(n_items, dtype=bool)
    while True:
        per_user = np.zeros(n_users, dtype=np.int64)
        per_item = np.zeros(n_items, dtype=np.int64)
        everything = bool(users.all() and items.all())
        for part in store.parts():
            user, item = part.user, part.item
            if not everything:
                kept = users[user] & items[item]
                user, item = user[kept], item[kept]
            per_user += np.bincount(user, minlength=n_users)
            per_item += np.bincount(item, minlength=n_items)
        enough_users, enough_items = per_user >= min_user_items, per_item >= min_item_users
        # One that has nobody left is gone even where no minimum is asked for.
        enough_users &= per_user > 0
        enough_items &= per_item > 0
        if np.array_equal(enough_users, users) and np.array_equal(enough_items, items):
            return users, items
        users, items = users & enough_users, items & enough_items
