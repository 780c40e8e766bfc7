"""How long a user's list takes."""

import time
from collections.abc import Sequence
from typing import Final

from scipy.sparse import csr_array

from recsys_vae.models.base import Recommender
from recsys_vae.ranking import Ranker

_USERS: Final = 512
_ROUNDS: Final = 5


def milliseconds_a_user(asked: Sequence[tuple[Recommender, csr_array]], k: int) -> list[float]:
    """Time lists as a server makes them, for up to 512 users at once.

    The models take turns, so that other work on the machine hinders all of them alike, and the
    fastest round of each counts.

    Args:
        asked: fitted models, each with histories of its items.
        k: list length.
    """
    work = [(Ranker(model, min(k, len(model.items))), given[:_USERS]) for model, given in asked]
    for ranker, given in work:
        ranker.lists(given)  # prepares the items
    fastest = [float("inf")] * len(work)
    for _ in range(_ROUNDS):
        for place, (ranker, given) in enumerate(work):
            begin = time.perf_counter()
            ranker.lists(given)
            fastest[place] = min(fastest[place], time.perf_counter() - begin)
    return [
        1000 * seconds / max(given.shape[0], 1)
        for seconds, (_, given) in zip(fastest, work, strict=True)
    ]
