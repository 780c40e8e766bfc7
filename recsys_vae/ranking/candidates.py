"""Which items a list is selected from: the best, such as quotas need, and those that are pinned.

Legend: B users in the block, I items, P candidates each, best first, J pins a list can have, Q
quotas, T items that count for rare quotas.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recsys_vae.ranking.list_rules import ListRules
from recsys_vae.ranking.pins import UserPins
from recsys_vae.ranking.topn import PAD, TopN, best

Flags = npt.NDArray[np.bool_]
Scores = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """What lists of a block of users are selected from.

    Attributes:
        ranked: (B, P) the best items, and behind them such as count for quotas.
        best: the first so many of them are the best of all items, without gaps.
        whole_B: whether they are all that the user may be given.
        complete_BQ: whether all that the user may be given and that count for a quota are among
            them.
        pinned: (B, J) items with a fixed place, in its order; `PAD` where there is none.
        places_BJ: int64, their places from 0.
        lost_B: whether a pinned item is missing because the user may not be given it.
    """

    ranked: TopN
    best: int
    whole_B: Flags
    complete_BQ: Flags
    pinned: TopN
    places_BJ: npt.NDArray[np.int64]
    lost_B: Flags

    def rows(self, rows: npt.NDArray[np.int64] | slice) -> "Candidates":
        """Give those of some users."""
        return Candidates(
            _rows(self.ranked, rows),
            self.best,
            self.whole_B[rows],
            self.complete_BQ[rows],
            _rows(self.pinned, rows),
            self.places_BJ[rows],
            self.lost_B[rows],
        )


def candidates_of(
    scores_BI: Scores, size: int, rules: ListRules, pins: UserPins | None = None
) -> Candidates:
    """Find the candidates of a block of users.

    Args:
        scores_BI: finite, or -inf where an item must not stand in the list.
        size: so many of the best; 1..I. If fewer of them than a quota asks for count for it, and
            no more items than `size` do in all, these become candidates, too.
        rules: caps and quotas.
        pins: of these users.
    """
    ranked = best(scores_BI, size)
    whole_B = ranked.short | (size == scores_BI.shape[1])
    pinned, places_BJ, lost_B = _pinned(scores_BI, pins)
    member_BPQ = rules.member_IQ[ranked.items_BK]
    rare_Q = rules.member_IQ.sum(axis=0) <= size
    wanting_BQ = (member_BPQ.sum(axis=1) < rules.counts_Q) & rare_Q & ~whole_B[:, None]
    wanting = np.flatnonzero(wanting_BQ.any(axis=1))
    complete_BQ = np.repeat(whole_B[:, None], len(rules.counts_Q), axis=1)
    if len(wanting):
        complete_BQ[wanting] = rare_Q
        members = np.flatnonzero(rules.member_IQ[:-1, rare_Q].any(axis=1)).astype(np.int32)
        ranked = _extended(ranked, scores_BI, wanting, members)
    return Candidates(ranked, size, whole_B, complete_BQ, pinned, places_BJ, lost_B)


def _extended(
    ranked: TopN, scores_BI: Scores, rows: npt.NDArray[np.int64], members: npt.NDArray[np.int32]
) -> TopN:
    """Put, for some users, those of `members` that are not among the ranked items behind them."""
    scores_BT = scores_BI[np.ix_(rows, members)]
    last, last_score = ranked.items_BK[rows, -1:], ranked.scores_BK[rows, -1:]
    # All that is not ranked comes behind the last that is: lower, or equal and of higher number.
    behind = (scores_BT < last_score) | ((scores_BT == last_score) & (members > last))
    scores_BT[~behind] = -np.inf
    order = np.argsort(-scores_BT, axis=1, kind="stable")
    shape = (len(ranked.items_BK), len(members))
    items, scores = np.full(shape, PAD, np.int32), np.full(shape, -np.inf, np.float32)
    scores[rows] = np.take_along_axis(scores_BT, order, axis=1)
    items[rows] = np.where(np.isneginf(scores[rows]), PAD, members[order])
    return TopN(np.hstack([ranked.items_BK, items]), np.hstack([ranked.scores_BK, scores]))


def _pinned(scores_BI: Scores, pins: UserPins | None) -> tuple[TopN, npt.NDArray[np.int64], Flags]:
    n_users = len(scores_BI)
    lost = np.zeros(n_users, dtype=bool)
    if pins is None or not len(pins.rows_N):
        nothing = TopN(np.zeros((n_users, 0), np.int32), np.zeros((n_users, 0), np.float32))
        return nothing, np.zeros((n_users, 0), dtype=np.int64), lost
    order = np.lexsort((pins.places_N, pins.rows_N))
    rows, items, places = pins.rows_N[order], pins.items_N[order], pins.places_N[order]
    lengths = np.bincount(rows, minlength=n_users)
    nth = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    shape = (n_users, int(lengths.max()))
    own = scores_BI[rows, items]
    masked = np.isneginf(own)
    lost[rows[masked]] = True
    items_BJ, scores_BJ = np.full(shape, PAD, np.int32), np.full(shape, -np.inf, np.float32)
    places_BJ = np.zeros(shape, dtype=np.int64)
    items_BJ[rows, nth] = np.where(masked, PAD, items)
    scores_BJ[rows, nth] = own
    places_BJ[rows, nth] = places
    return TopN(items_BJ, scores_BJ), places_BJ, lost


def _rows(lists: TopN, rows: npt.NDArray[np.int64] | slice) -> TopN:
    return TopN(lists.items_BK[rows], lists.scores_BK[rows])
