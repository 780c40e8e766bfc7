"""Calibration: lists whose mix of attributes is that of the user's own history.

Legend: B users in the block, I items, P places of the pool, K of the list, G attributes.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.sparse import csr_array, hstack
from scipy.special import rel_entr

from recsys_vae.errors import InputError
from recsys_vae.ranking.greedy import Matrix, Places, by_blocks, check_pool, standardised
from recsys_vae.ranking.topn import TopN


@dataclass(frozen=True, slots=True, eq=False)
class ItemShares:
    """What each item consists of, such as its genres.

    Attributes:
        shares_IG: (I, G) p(g|i), not negative, with sum 1 for each item; made by `of`.
    """

    shares_IG: csr_array

    @classmethod
    def of(cls, weights_IG: csr_array) -> Self:
        """Scale each item's attributes to the sum 1.

        Args:
            weights_IG: for example 1 for each genre of a film. Items without attributes get one of
                their own, the last: that nothing is known of an item is something it has in common
                with others.

        Raises:
            InputError: a weight is negative or not finite.

        >>> ItemShares.of(csr_array(np.float32([[1, 3], [0, 0]]))).shares_IG.toarray()
        array([[0.25, 0.75, 0.  ],
               [0.  , 0.  , 1.  ]])
        """
        weights_IG = csr_array(weights_IG, dtype=np.float64)
        if not (np.isfinite(weights_IG.data) & (weights_IG.data >= 0)).all():
            raise InputError(
                "a weight of the items' attributes is negative or not finite: give numbers from 0"
            )
        sums_I = np.asarray(weights_IG.sum(axis=1))
        unknown_I1 = csr_array((sums_I == 0).astype(np.float64)[:, None])
        # Divided, not multiplied by the inverse: an item of one attribute has exactly 1 of it.
        below = np.where(sums_I > 0, sums_I, 1).repeat(np.diff(weights_IG.indptr))
        scaled = (weights_IG.data / below, weights_IG.indices, weights_IG.indptr)
        scaled_IG = csr_array(scaled, shape=weights_IG.shape)
        parts = [scaled_IG, unknown_I1] if unknown_I1.nnz else [scaled_IG]
        return cls(csr_array(hstack(parts, format="csr")))


@dataclass(frozen=True, slots=True)
class Calibration:
    """How much the mix is worth against relevance.

    Attributes:
        strength: lambda, 0 (the order stays) to 1 (only the mix counts).
        smoothing: alpha, how much of the history's mix is added to the list's, which keeps the
            divergence finite; 0.000001 to below 1.

    Raises:
        InputError: one of them is out of range.
    """

    strength: float = 0.5
    smoothing: float = 0.01

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not 0 <= self.strength <= 1:
            raise InputError(
                f"the strength {self.strength} of calibrate is out of range: choose 0 (the order "
                "as it was) to 1 (only the mix of the history counts)"
            )
        if not 1e-6 <= self.smoothing < 1:
            raise InputError(
                f"the smoothing {self.smoothing} of calibrate is out of range: choose 0.000001 to "
                "below 1, for example 0.01"
            )


def calibrate(
    pool: TopN,
    k: int,
    shares: ItemShares,
    given: csr_array,
    options: Calibration | None = None,
) -> TopN:
    r"""Take, place by place, the item after which (1 - l) sum r - l KL(p || q~) is largest.

    p(g) = sum_h w_h p(g|h) / sum_h w_h over the user's history, q(g) the mean of p(g|i) over the
    list, q~ = (1 - alpha) q + alpha p, KL(p || q~) = sum_g p(g) log(p(g) / q~(g)) in nats, r the
    score standardised within the user's pool, l the strength.

    Source: H. Steck, Calibrated Recommendations, RecSys 2018, with its greedy algorithm; there the
    scores are as the model gives them.

    Args:
        pool: the candidates, best first.
        k: list length, 1 to the candidates of a user.
        shares: of the items.
        given: (B, I) histories, row by row those of the pool; a weight below 0 counts as 0.
        options: strength and smoothing.

    Returns:
        Lists of k; the scores are those of the pool, and no longer fall along the list. Without
        history the order stays.

    Raises:
        InputError: k is out of range.
        ValueError: histories, pool and shares do not fit together.

    >>> pool = TopN(np.int32([[1, 2, 3]]), np.float32([[3, 2, 1]]))
    >>> kinds = ItemShares.of(csr_array(np.float32([[0, 1], [1, 0], [1, 0], [0, 1]])))
    >>> history = csr_array(np.float32([[1, 0, 0, 0]]))
    >>> calibrate(pool, 2, kinds, history, Calibration(0.9)).items_BK
    array([[3, 1]], dtype=int32)
    """
    check_pool(pool, k)
    options = options or Calibration()
    n_items, n_attributes = shares.shares_IG.shape
    if given.shape != (len(pool.items_BK), n_items):
        raise ValueError(
            f"histories {given.shape} do not fit {len(pool.items_BK)} users and {n_items} items"
        )
    return by_blocks(
        pool,
        k,
        3 * pool.items_BK.shape[1] * n_attributes,
        lambda part, rows: _Mix(
            (1 - options.strength) * standardised(part),
            history_mix(given[rows], shares),
            _dense_shares(part, shares),
            options,
        ),
    )


def history_mix(given: csr_array, shares: ItemShares) -> Matrix:
    """Give p(g|u) of each user: mix_BG, rows with sum 1, or 0 without history."""
    weights = np.maximum(given.data, 0).astype(np.float64)
    counted = csr_array((weights, given.indices, given.indptr), shape=given.shape)
    sums_BG = (counted @ shares.shares_IG).toarray()
    totals_B1 = np.asarray(counted.sum(axis=1))[:, None]
    mix_BG: Matrix = sums_BG / np.where(totals_B1 > 0, totals_B1, 1)
    return mix_BG


def _dense_shares(pool: TopN, shares: ItemShares) -> Matrix:
    places = np.maximum(pool.items_BK, 0)
    width = shares.shares_IG.shape[1]
    shares_BPG: Matrix = shares.shares_IG[places.ravel()].toarray().reshape(*places.shape, width)
    return shares_BPG


class _Mix:
    """Relevance less the divergence of the mix that the list would have."""

    def __init__(
        self, relevance_BP: Matrix, mix_BG: Matrix, shares_BPG: Matrix, options: Calibration
    ) -> None:
        self._relevance_BP, self._shares_BPG, self._options = relevance_BP, shares_BPG, options
        self._mix_B1G = mix_BG[:, None, :]
        self._sums_B1G = np.zeros_like(self._mix_B1G)
        self._taken = 0

    def gains(self) -> Matrix:
        alpha = self._options.smoothing
        listed_BPG = (self._shares_BPG + self._sums_B1G) / (self._taken + 1)
        smoothed_BPG = (1 - alpha) * listed_BPG + alpha * self._mix_B1G
        divergence_BP = rel_entr(self._mix_B1G, smoothed_BPG).sum(axis=2)
        gains_BP: Matrix = self._relevance_BP - self._options.strength * divergence_BP
        return gains_BP

    def take(self, places_B: Places) -> None:
        rows_B = np.arange(len(places_B))
        self._sums_B1G += self._shares_BPG[rows_B, places_B][:, None, :]
        self._taken += 1
