"""From candidates to lists that keep to caps, quotas and pins.

Legend: B users in the block, P candidates each, best first, K list length.
"""

from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from recsys_vae.ranking.candidates import Candidates
from recsys_vae.ranking.filling import Filled, Room, Supply, fill
from recsys_vae.ranking.list_rules import ListRules
from recsys_vae.ranking.topn import PAD, TopN

Flags = npt.NDArray[np.bool_]
_CELLS: Final = 1 << 24
"""Counts of capped groups and flags of candidates held at once, at most."""
PIN: Final = "pin"
"""How a pin that does not stand at its place is called in reports."""


@dataclass(frozen=True, slots=True, eq=False)
class Selected:
    """Lists, and which rules could not be kept for whom.

    Attributes:
        lists: (B, K) in the order of the scores, but for pins.
        relaxed_B: uint64, bit n is set where the rule `names[n]` could not be kept.
        exhausted_B: whether more candidates could make a better list.
        names: of the rules by bit.
    """

    lists: TopN
    relaxed_B: npt.NDArray[np.uint64]
    exhausted_B: Flags
    names: tuple[str, ...]

    def relaxed(self) -> dict[str, int]:
        """Count the users for whom each rule could not be kept."""
        bits = (1 << np.arange(len(self.names), dtype=np.uint64)).astype(np.uint64)
        counts = ((self.relaxed_B[:, None] & bits) != 0).sum(axis=0)
        return dict(zip(self.names, counts.tolist(), strict=True))

    def replaced(self, rows: npt.NDArray[np.int64], others: "Selected") -> "Selected":
        """Give the same with other lists for some users."""
        items, scores = self.lists.items_BK.copy(), self.lists.scores_BK.copy()
        relaxed, exhausted = self.relaxed_B.copy(), self.exhausted_B.copy()
        items[rows], scores[rows] = others.lists.items_BK, others.lists.scores_BK
        relaxed[rows], exhausted[rows] = others.relaxed_B, others.exhausted_B
        return Selected(TopN(items, scores), relaxed, exhausted, self.names)

    @classmethod
    def joined(cls, parts: "list[Selected]") -> Self:
        """Put blocks of users one behind the other."""
        lists = TopN(
            np.concatenate([one.lists.items_BK for one in parts]),
            np.concatenate([one.lists.scores_BK for one in parts]),
        )
        return cls(
            lists,
            np.concatenate([one.relaxed_B for one in parts]),
            np.concatenate([one.exhausted_B for one in parts]),
            parts[0].names,
        )


def select(candidates: Candidates, rules: ListRules, k: int) -> Selected:
    """Select lists.

    Pins take their places first, in the order of the places, unless a cap forbids them. The other
    places are filled from the best candidate on: an item is left out if a cap forbids it, or if
    the places that are left are just enough for the items that quotas lack and it is none of them.
    Where quotas are not met so, they are served before anything else, and the list that lacks
    fewer items of quotas counts, in doubt the first. What quotas still lack then goes to others.
    Caps are never exceeded: the list becomes short. Behind the pins items stand in the order of
    the candidates. Where a list ends before the place of a pin, the pin stands at its end.

    Args:
        candidates: at least as many as there are places, if there are so many.
        rules: caps and quotas.
        k: list length.
    """
    n_users, width = candidates.ranked.items_BK.shape
    at_once = max(1, _CELLS // (len(rules.limits_G) + width))
    starts = range(0, max(n_users, 1), at_once)
    parts = [
        _selected(candidates.rows(slice(start, start + at_once)), rules, k) for start in starts
    ]
    return parts[0] if len(parts) == 1 else Selected.joined(parts)


def _selected(candidates: Candidates, rules: ListRules, k: int) -> Selected:
    ranked = candidates.ranked
    room = Room.of(rules, len(ranked.items_BK), ranked.items_BK.shape[1], k)
    lists, lost = _pinned(candidates, rules, room, k)
    if rules.binding:
        filled = _filled(candidates, rules, room)
        chosen, missing, unsure = filled.places_BK, filled.missing_BQ, filled.unsure_B
    else:
        # Without caps and quotas the first candidates that are not pinned are the list.
        free = (ranked.items_BK != PAD) & ~room.taken_BP
        chosen = np.argsort(~free, axis=1, kind="stable")[:, :k]
        chosen[~np.take_along_axis(free, chosen, axis=1)] = free.shape[1]
        missing = room.missing_BQ
        unsure = (free.sum(axis=1) < room.free_B) & ~candidates.whole_B
    _place(lists, ranked, chosen)
    moved = _close_gaps(lists)
    bits = (1 << np.arange(len(rules.names), dtype=np.uint64)).astype(np.uint64)
    relaxed = ((missing > 0) * bits).sum(axis=1, dtype=np.uint64)
    relaxed |= (lost | moved).astype(np.uint64) << np.uint64(len(rules.names))
    return Selected(lists, relaxed, unsure, (*rules.names, PIN))


def _pinned(candidates: Candidates, rules: ListRules, room: Room, k: int) -> tuple[TopN, Flags]:
    """Put pins at their places, unless a cap forbids it; say whose could not be."""
    ranked, pinned = candidates.ranked, candidates.pinned
    shape = (len(candidates.whole_B), k)
    lists = TopN(np.full(shape, PAD, dtype=np.int32), np.full(shape, -np.inf, dtype=np.float32))
    lost = candidates.lost_B.copy()
    for number in range(pinned.items_BK.shape[1]):
        rows = np.flatnonzero(pinned.items_BK[:, number] != PAD)
        items = pinned.items_BK[rows, number]
        # A pinned item stands nowhere else, and one that a cap forbids does so at any place.
        room.taken_BP[rows] |= ranked.items_BK[rows] == items[:, None]
        within = room.within_caps(rules, rows, items[:, None])[:, 0]
        lost[rows[~within]] = True
        rows, items = rows[within], items[within]
        places = candidates.places_BJ[rows, number]
        lists.items_BK[rows, places] = items
        lists.scores_BK[rows, places] = pinned.scores_BK[rows, number]
        room.take(rules, rows, items)
    return lists, lost


def _filled(candidates: Candidates, rules: ListRules, room: Room) -> Filled:
    supply = Supply(
        candidates.ranked.items_BK, candidates.best, candidates.whole_B, candidates.complete_BQ
    )
    kept = room.rows(np.arange(len(room.free_B)))
    filled = fill(supply, rules, room, quotas_first=False)
    again = np.flatnonzero((filled.missing_BQ > 0).any(axis=1))
    if not len(again):
        return filled
    other = fill(supply.rows(again), rules, kept.rows(again), quotas_first=True)
    places, missing = filled.places_BK.copy(), filled.missing_BQ.copy()
    unsure = filled.unsure_B.copy()
    unsure[again] |= other.unsure_B
    better = other.missing_BQ.sum(axis=1) < missing[again].sum(axis=1)
    rows, width = again[better], other.places_BK.shape[1]
    places[rows, :width], places[rows, width:] = other.places_BK[better], supply.items_BP.shape[1]
    missing[rows] = other.missing_BQ[better]
    return Filled(places, missing, unsure)


def _place(lists: TopN, ranked: TopN, chosen: npt.NDArray[np.int64]) -> None:
    """Put the chosen candidates, in their order, at the places that pins leave free."""
    n_users = len(chosen)
    none = (n_users, 1)
    # A candidate beyond the last one is none.
    items = np.hstack([ranked.items_BK, np.full(none, PAD, dtype=np.int32)])
    scores = np.hstack([ranked.scores_BK, np.full(none, -np.inf, dtype=np.float32)])
    chosen = np.hstack([chosen, np.full(none, items.shape[1] - 1)])
    free_BK = lists.items_BK == PAD
    rows, places = np.nonzero(free_BK)
    nth = (np.cumsum(free_BK, axis=1) - 1)[rows, places]
    source = chosen[rows, np.minimum(nth, chosen.shape[1] - 1)]
    lists.items_BK[rows, places] = items[rows, source]
    lists.scores_BK[rows, places] = scores[rows, source]


def _close_gaps(lists: TopN) -> Flags:
    """Move what stands behind the end of a short list up to it; say where that moved a pin."""
    empty = lists.items_BK == PAD
    gaps = np.flatnonzero((empty[:, :-1] & ~empty[:, 1:]).any(axis=1))
    order = np.argsort(empty[gaps], axis=1, kind="stable")
    lists.items_BK[gaps] = np.take_along_axis(lists.items_BK[gaps], order, axis=1)
    lists.scores_BK[gaps] = np.take_along_axis(lists.scores_BK[gaps], order, axis=1)
    moved = np.zeros(len(empty), dtype=bool)
    # Only pins stand behind a gap: the other places are filled from the first on.
    moved[gaps] = True
    return moved
