"""Choosing a list from a pool place by place, for all users of a block at once.

Legend: B users in the block, P places of the pool, K places of the list.
"""

from collections.abc import Callable
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from recsys_vae.errors import InputError
from recsys_vae.ranking.topn import PAD, TopN

Matrix = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]

_NUMBERS_AT_ONCE: Final = 2**23
_DECIMALS: Final = 12
"""Of a gain that count: the order in which terms were added must not part what is equal."""


class Criterion(Protocol):
    """What the next place of each list should add; it is told what was chosen."""

    def gains(self) -> Matrix:
        """Give the worth of each candidate at the next place: gains_BP, within 1e100."""
        ...

    def take(self, places_B: Places) -> None:
        """Be told which place of the pool each user's list goes on with."""
        ...


def check_pool(pool: TopN, k: int) -> None:
    """Refuse a list length that the pool cannot fill.

    Raises:
        InputError: k is out of range.
    """
    longest = pool.items_BK.shape[1]
    if not 1 <= k <= longest:
        raise InputError(
            f"k = {k} is out of range: choose 1 to {longest}, the candidates of a user, or rank "
            "more candidates"
        )


def head(pool: TopN, k: int) -> TopN:
    """Give the first k places of each pool."""
    return TopN(pool.items_BK[:, :k].copy(), pool.scores_BK[:, :k].copy())


def standardised(pool: TopN) -> Matrix:
    """Scale scores to mean 0 and variance 1 within each user's pool.

    Models score on scales of their own; after this one unit means the same for all of them.

    Returns:
        relevance_BP, in the order of the scores; 0 at padded places and where all scores are equal.

    >>> standardised(TopN(np.int32([[4, 2, -1]]), np.float32([[9, 5, -np.inf]]))).tolist()
    [[1.0, -1.0, 0.0]]
    """
    filled_BP = pool.items_BK != PAD
    scores_BP = np.where(filled_BP, pool.scores_BK, 0).astype(np.float64)
    counts_B1 = np.maximum(filled_BP.sum(axis=1, keepdims=True), 1)
    mean_B1 = scores_BP.sum(axis=1, keepdims=True) / counts_B1
    centred_BP = np.where(filled_BP, scores_BP - mean_B1, 0)
    deviation_B1 = np.sqrt(np.square(centred_BP).sum(axis=1, keepdims=True) / counts_B1)
    relevance_BP: Matrix = centred_BP / np.where(deviation_B1 > 0, deviation_B1, 1)
    return relevance_BP


def choose(pool: TopN, k: int, criterion: Criterion) -> TopN:
    """Fill each list with the candidate of the largest gain, place by place.

    Of equal gains the candidate that stands first in the pool is taken. Nothing is taken twice; a
    pool of fewer than k items gives a short list.

    Args:
        pool: the candidates, padded places at the end.
        k: list length, 1..P.
        criterion: of these users.

    Returns:
        The lists, with the scores that the items have in the pool.
    """
    n_users = len(pool.items_BK)
    rows_B = np.arange(n_users)
    free_BP = pool.items_BK != PAD
    places_BK = np.zeros((n_users, k), dtype=np.intp)
    for place in range(k):
        gains_BP = criterion.gains().round(_DECIMALS)
        chosen_B = np.where(free_BP, gains_BP, -np.inf).argmax(axis=1)
        criterion.take(chosen_B)
        free_BP[rows_B, chosen_B] = False
        places_BK[:, place] = chosen_B
    items_BK = np.take_along_axis(pool.items_BK, places_BK, axis=1)
    scores_BK = np.take_along_axis(pool.scores_BK, places_BK, axis=1)
    ended_BK = np.arange(k) >= pool.lengths[:, None]
    items_BK[ended_BK], scores_BK[ended_BK] = PAD, -np.inf
    return TopN(items_BK, scores_BK)


def by_blocks(
    pool: TopN, k: int, numbers_a_user: int, make: Callable[[TopN, slice], Criterion]
) -> TopN:
    """Choose for some users after the others, so that what a criterion holds stays below 64 MB.

    Args:
        pool: the candidates of all users.
        k: list length, 1..P.
        numbers_a_user: how many float64 a criterion holds for each user.
        make: the criterion of some users, from their pool and their rows.
    """
    size = max(_NUMBERS_AT_ONCE // max(numbers_a_user, 1), 1)
    parts = []
    for start in range(0, max(len(pool.items_BK), 1), size):
        rows = slice(start, start + size)
        part = TopN(pool.items_BK[rows], pool.scores_BK[rows])
        parts.append(choose(part, k, make(part, rows)))
    return TopN(
        np.concatenate([part.items_BK for part in parts]),
        np.concatenate([part.scores_BK for part in parts]),
    )
