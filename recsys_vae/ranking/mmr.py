"""Maximal marginal relevance: no item that is much like one already in the list.

Legend: B users in the block, P places of the pool, K places of the list.
"""

from dataclasses import dataclass

import numpy as np

from recsys_vae.errors import InputError
from recsys_vae.ranking.greedy import Matrix, Places, by_blocks, check_pool, standardised
from recsys_vae.ranking.item_vectors import ItemVectors
from recsys_vae.ranking.topn import TopN


@dataclass(frozen=True, slots=True)
class MMR:
    """How much relevance is worth against being new.

    Attributes:
        trade_off: 0 (after the first place only being unlike counts) to 1 (the order stays).

    Raises:
        InputError: it is out of range.
    """

    trade_off: float = 0.7

    def __post_init__(self) -> None:
        """Check the range."""
        if not 0 <= self.trade_off <= 1:
            raise InputError(
                f"the trade-off {self.trade_off} of mmr is out of range: choose 0 (most diverse) "
                "to 1 (the order as it was)"
            )


def mmr(pool: TopN, k: int, vectors: ItemVectors, options: MMR | None = None) -> TopN:
    r"""Take, place by place, argmax_i t r_i - (1 - t) max_{j in the list} cos(i, j).

    r is the score, standardised within the user's pool; the first place goes to the best score,
    with nothing to be like yet.

    Source: J. Carbonell, J. Goldstein, The Use of MMR, Diversity-Based Reranking for Reordering
    Documents and Producing Summaries, SIGIR 1998.

    Args:
        pool: the candidates, best first.
        k: list length, 1 to the candidates of a user.
        vectors: of the items.
        options: the trade-off t.

    Returns:
        Lists of k; the scores are those of the pool, and no longer fall along the list.

    Raises:
        InputError: k is out of range.

    >>> pool = TopN(np.int32([[0, 1, 2]]), np.float32([[3, 2, 1]]))
    >>> twins = ItemVectors.of(np.float32([[1, 0], [1, 0], [0, 1]]))
    >>> mmr(pool, 2, twins, MMR(0.2)).items_BK
    array([[0, 2]], dtype=int32)
    """
    check_pool(pool, k)
    trade_off = (options or MMR()).trade_off
    places = pool.items_BK.shape[1]
    return by_blocks(
        pool,
        k,
        places * (places + vectors.width),
        lambda part, _: _Marginal(
            trade_off * standardised(part), 1 - trade_off, vectors.cosines(part.items_BK)
        ),
    )


class _Marginal:
    """Relevance less the likeness to the nearest item of the list."""

    def __init__(self, relevance_BP: Matrix, penalty: float, cosines_BPP: Matrix) -> None:
        self._relevance_BP, self._penalty, self._cosines_BPP = relevance_BP, penalty, cosines_BPP
        self._nearest_BP: Matrix | None = None

    def gains(self) -> Matrix:
        if self._nearest_BP is None:
            return self._relevance_BP
        gains_BP: Matrix = self._relevance_BP - self._penalty * self._nearest_BP
        return gains_BP

    def take(self, places_B: Places) -> None:
        to_it_BP = self._cosines_BPP[np.arange(len(places_B)), places_B]
        if self._nearest_BP is None:
            self._nearest_BP = to_it_BP
        else:
            self._nearest_BP = np.maximum(self._nearest_BP, to_it_BP)
