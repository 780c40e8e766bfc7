"""Determinantal point processes: lists whose vectors span a large volume.

Legend: B users in the block, P places of the pool, K places of the list.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from recsys_vae.errors import InputError
from recsys_vae.ranking.greedy import Matrix, Places, by_blocks, check_pool, head, standardised
from recsys_vae.ranking.item_vectors import ItemVectors
from recsys_vae.ranking.topn import TopN

_LARGEST: Final = 1e6
_NOTHING_NEW: Final = 1e-6
"""Share of a unit vector below which it lies in the span of the list: rounding of float32 vectors
leaves 1e-7 where there should be 0."""
_LAST_RESORT: Final = -1e100


@dataclass(frozen=True, slots=True)
class DPP:
    """How much relevance is worth against the volume.

    Attributes:
        theta: 0 (only the volume counts) to 1,000,000, or infinity: the order stays.

    Raises:
        InputError: it is out of range.
    """

    theta: float = 1.0

    def __post_init__(self) -> None:
        """Check the range."""
        if not (0 <= self.theta <= _LARGEST or self.theta == math.inf):
            raise InputError(
                f"the theta {self.theta} of dpp is out of range: choose 0 (most diverse) to "
                "1000000, or inf (the order as it was)"
            )


def dpp(pool: TopN, k: int, vectors: ItemVectors, options: DPP | None = None) -> TopN:
    r"""Take, place by place, the item that raises log det(L_list) most.

    L = Diag(q) S Diag(q) with S the cosines of the items and q_i = exp(theta r_i), r the score
    standardised within the user's pool. With S_list = V V^T, and d_i^2 the part of item i's unit
    vector that the list does not span, the rise is 2 theta r_i + log d_i^2; after item j,
    e_i = (S_ij - <c_i, c_j>) / d_j, c_i <- [c_i, e_i], d_i^2 <- d_i^2 - e_i^2. Items that add
    nothing to the span would make the determinant 0: they come last, in the order of the pool.

    Source: L. Chen, G. Zhang, H. Zhou, Fast Greedy MAP Inference for Determinantal Point Process to
    Improve Recommendation Diversity, NeurIPS 2018, arXiv 1709.05135, algorithm 1 and section 4,
    whose theta' in 0..1 is this theta = theta' / (2 (1 - theta')).

    Args:
        pool: the candidates, best first.
        k: list length, 1 to the candidates of a user.
        vectors: of the items.
        options: theta.

    Returns:
        Lists of k; the scores are those of the pool, and no longer fall along the list.

    Raises:
        InputError: k is out of range.

    >>> pool = TopN(np.int32([[0, 1, 2]]), np.float32([[3, 2, 1]]))
    >>> alike = ItemVectors.of(np.float32([[1, 0], [1, 0.1], [0, 1]]))
    >>> dpp(pool, 2, alike, DPP(0.5)).items_BK
    array([[0, 2]], dtype=int32)
    """
    check_pool(pool, k)
    theta = (options or DPP()).theta
    if theta == math.inf:
        return head(pool, k)
    places = pool.items_BK.shape[1]
    return by_blocks(
        pool,
        k,
        places * (places + vectors.width + k),
        lambda part, _: _Volume(2 * theta * standardised(part), vectors.cosines(part.items_BK), k),
    )


class _Volume:
    """The rise of log det(L_list), by a Cholesky factor that grows by a column a place."""

    def __init__(self, log_quality_BP: Matrix, cosines_BPP: Matrix, k: int) -> None:
        self._log_quality_BP, self._cosines_BPP = log_quality_BP, cosines_BPP
        self._left_BP = np.ones(log_quality_BP.shape)
        self._factor_BPK = np.zeros((*log_quality_BP.shape, k))
        self._taken = 0

    def gains(self) -> Matrix:
        new_BP = self._left_BP > _NOTHING_NEW
        rise_BP = self._log_quality_BP + np.log(np.where(new_BP, self._left_BP, 1))
        gains_BP: Matrix = np.where(new_BP, rise_BP, _LAST_RESORT)
        return gains_BP

    def take(self, places_B: Places) -> None:
        rows_B = np.arange(len(places_B))
        left_B1 = self._left_BP[rows_B, places_B][:, None]
        factor_BPK = self._factor_BPK[:, :, : self._taken]
        # A product for each user, of the same shape in any block: the same bits in any block.
        known_BP = (factor_BPK @ factor_BPK[rows_B, places_B][:, :, None])[:, :, 0]
        across_BP = self._cosines_BPP[rows_B, places_B] - known_BP
        column_BP = np.where(
            left_B1 > _NOTHING_NEW, across_BP / np.sqrt(np.maximum(left_B1, _NOTHING_NEW)), 0
        )
        self._factor_BPK[:, :, self._taken] = column_BP
        self._left_BP -= np.square(column_BP)
        self._taken += 1
