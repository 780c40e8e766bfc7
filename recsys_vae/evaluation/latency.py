"""How long a user's list takes."""

import time
from collections.abc import Sequence
from typing import Final

from recsys_vae.models.base import Recommender
from recsys_vae.ranking import Ranker
from recsys_vae.splitting import FoldIn

_USERS: Final = 512
_ROUNDS: Final = 5


def milliseconds_a_user(models: Sequence[Recommender], fold: FoldIn, k: int) -> list[float]:
    """Time lists as a server makes them, for up to 512 users at once.

    The models take turns, so that other work on the machine hinders all of them alike, and the
    fastest round of each counts.

    Args:
        models: fitted, on the fold's items.
        fold: whose given histories.
        k: list length.
    """
    given = fold.given.matrix[:_USERS]
    rankers = [Ranker(model, min(k, len(model.items))) for model in models]
    for ranker in rankers:
        ranker.lists(given)  # prepares the items
    fastest = [float("inf")] * len(models)
    for _ in range(_ROUNDS):
        for place, ranker in enumerate(rankers):
            begin = time.perf_counter()
            ranker.lists(given)
            fastest[place] = min(fastest[place], time.perf_counter() - begin)
    return [1000 * seconds / max(given.shape[0], 1) for seconds in fastest]
