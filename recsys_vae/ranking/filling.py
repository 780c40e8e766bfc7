"""Filling lists under caps and quotas: all users of a block at once, item after item.

Legend: B users in the block, P candidates each, best first, Q quotas, G capped groups, A users
that are not done, W candidates looked at in one step.
"""

from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from recsys_vae.ranking.list_rules import ListRules
from recsys_vae.ranking.topn import PAD

Flags = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.int64]
_CELLS: Final = 1 << 18
"""Candidates looked at in one step, at most, so that they stay near the caches."""


@dataclass(frozen=True, slots=True, eq=False)
class Room:
    """What is still free in the lists of a block; changes as items are taken.

    Attributes:
        free_B: int64, places.
        missing_BQ: int64, items that each quota still needs.
        counts_BG: (B, G + 1) int32, items of each capped group.
        taken_BP: bool, which candidates cannot be taken (again).
    """

    free_B: Numbers
    missing_BQ: Numbers
    counts_BG: npt.NDArray[np.int32]
    taken_BP: Flags

    @classmethod
    def of(cls, rules: ListRules, n_users: int, n_candidates: int, k: int) -> Self:
        """Give empty lists of k places."""
        return cls(
            np.full(n_users, k, dtype=np.int64),
            np.tile(rules.counts_Q, (n_users, 1)),
            np.zeros((n_users, len(rules.limits_G)), dtype=np.int32),
            np.zeros((n_users, n_candidates), dtype=bool),
        )

    def rows(self, rows: Numbers) -> "Room":
        """Copy the rooms of some users."""
        return Room(
            self.free_B[rows], self.missing_BQ[rows], self.counts_BG[rows], self.taken_BP[rows]
        )

    def within_caps(
        self, rules: ListRules, rows: Numbers, items_AW: npt.NDArray[np.int32]
    ) -> Flags:
        """Say which items, (A, W), no cap forbids to the users `rows`, (A,)."""
        groups = rules.groups_IM[items_AW]
        counts = self.counts_BG[rows[:, None, None], groups]
        within: Flags = np.all(counts < rules.limits_G[groups], axis=2)
        return within

    def take(self, rules: ListRules, rows: Numbers, items: npt.NDArray[np.int32]) -> None:
        """Give each of the users `rows`, (A,), one item, (A,)."""
        self.free_B[rows] -= 1
        self.missing_BQ[rows] = np.maximum(self.missing_BQ[rows] - rules.member_IQ[items], 0)
        # An item is in a group once; only the last column, which counts nothing, may repeat.
        self.counts_BG[rows[:, None], rules.groups_IM[items]] += 1


@dataclass(frozen=True, slots=True, eq=False)
class Filled:
    """What was taken for each user of a block.

    Attributes:
        places_BK: int64, places of the taken candidates, rising; P where none was taken.
        missing_BQ: int64, items that each quota still lacks.
        unsure_B: whether items that are no candidates could have changed what was taken.
    """

    places_BK: Numbers
    missing_BQ: Numbers
    unsure_B: Flags


@dataclass(frozen=True, slots=True, eq=False)
class Supply:
    """Candidates of a block of users, best first, and what is known of the others.

    Attributes:
        items_BP: int32, `PAD` where there is none.
        best: the first so many are the best of all items; those behind them count for quotas.
        whole_B: whether there are no others.
        complete_BQ: whether there are no others that count for a quota.
    """

    items_BP: npt.NDArray[np.int32]
    best: int
    whole_B: Flags
    complete_BQ: Flags

    def rows(self, rows: Numbers) -> "Supply":
        """Give the candidates of some users."""
        return Supply(self.items_BP[rows], self.best, self.whole_B[rows], self.complete_BQ[rows])


def fill(supply: Supply, rules: ListRules, room: Room, *, quotas_first: bool) -> Filled:
    """Take candidates for the free places, the better ones first.

    An item is taken if no cap forbids it and a place is left for each item that a quota lacks, or
    if a quota lacks it. Where no candidate can serve the quotas any more, their places go to the
    best of the others.

    Args:
        supply: candidates.
        rules: caps and quotas.
        room: the free places; is used up.
        quotas_first: whether what the quotas lack is taken before anything else, which finds room
            under caps for it where the order by score does not.
    """
    n_users, width = supply.items_BP.shape
    items = np.hstack([supply.items_BP, np.full((n_users, 1), PAD, dtype=np.int32)])
    places = np.full((n_users, int(room.free_B.max(initial=0))), width, dtype=np.int64)
    count, at = np.zeros(n_users, dtype=np.int64), np.zeros(n_users, dtype=np.int64)
    unsure, given_up = np.zeros(n_users, dtype=bool), np.zeros(n_users, dtype=bool)
    taken = np.hstack([room.taken_BP | (supply.items_BP == PAD), np.ones((n_users, 1), dtype=bool)])

    def unreserved(rows: Numbers) -> Flags:
        lacking = room.missing_BQ[rows].sum(axis=1)
        spare = lacking == 0 if quotas_first else room.free_B[rows] > lacking
        flags: Flags = spare | given_up[rows]
        return flags

    rows, window = np.flatnonzero(room.free_B > 0), 1
    while len(rows):
        seen = np.minimum(at[rows, None] + np.arange(window), width)
        looked_at = items[rows[:, None], seen]
        anything = unreserved(rows)
        lacking = (rules.member_IQ[looked_at] & (room.missing_BQ[rows] > 0)[:, None]).any(axis=2)
        fits = (anything[:, None] | lacking) & ~taken[rows[:, None], seen]
        fits &= room.within_caps(rules, rows, looked_at)
        hit, first = fits.any(axis=1), fits.argmax(axis=1)
        place = np.where(hit, seen[np.arange(len(rows)), first], seen[:, -1] + 1)
        # Beyond the best, others may lie between: any of them, or those that count for a quota.
        others = np.where(
            anything,
            ~supply.whole_B[rows],
            ((room.missing_BQ[rows] > 0) & ~supply.complete_BQ[rows]).any(axis=1),
        )
        unsure[rows] |= others & (place >= supply.best)
        got, place_got = rows[hit], place[hit]
        room.take(rules, got, items[got, place_got])
        taken[got, place_got] = True
        places[got, count[got]] = place_got
        count[got] += 1
        at[rows] = np.where(hit, place + 1, place)
        through = rows[(at[rows] >= width) & ~hit]
        closed = ~unreserved(through)
        given_up[through[closed]] = True
        # What was passed over while places were reserved may be taken now.
        at[through[closed]] = 0
        opened = got[unreserved(got) & ~anything[hit]]
        at[opened] = 0
        done = np.zeros(n_users, dtype=bool)
        done[through[~closed]] = True
        rows = rows[(room.free_B[rows] > 0) & ~done[rows]]
        window = max(window // 2, 1) if 4 * len(got) > 3 * len(hit) else 2 * window
        window = max(min(window, _CELLS // max(len(rows), 1)), 1)
    places.sort(axis=1)
    return Filled(places, room.missing_BQ, unsure)
