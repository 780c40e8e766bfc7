"""Lists under rules made for one user at a time, as slowly and plainly as they are described."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True, slots=True)
class ByHand:
    """Caps as (items, count), quotas as (items, count), pins as item by place from 0."""

    caps: Sequence[tuple[Collection[int], int]] = ()
    quotas: Sequence[tuple[Collection[int], int]] = ()
    pins: dict[int, int] = field(default_factory=dict)

    def within_caps(self, chosen: list[int]) -> bool:
        return all(sum(i in group for i in chosen) <= count for group, count in self.caps)

    def lacking(self, chosen: list[int]) -> list[int]:
        return [max(count - sum(i in group for i in chosen), 0) for group, count in self.quotas]

    def serves(self, item: int, chosen: list[int]) -> bool:
        return sum(self.lacking([*chosen, item])) < sum(self.lacking(chosen))


@dataclass(frozen=True, slots=True)
class Made:
    """A list, how many items each quota lacks, and whether every pin stands at its place."""

    items: list[int]
    lacking: list[int]
    pinned: bool


def list_by_hand(scores: list[float], k: int, rules: ByHand) -> Made:
    """Make one list from scores, -inf where an item must not stand in it."""
    order = sorted(
        (i for i, score in enumerate(scores) if score > -np.inf), key=lambda i: (-scores[i], i)
    )
    standing: dict[int, int] = {}
    for place, item in sorted(rules.pins.items()):
        if item in order and rules.within_caps([*standing.values(), item]):
            standing[place] = item
    free = [i for i in order if i not in rules.pins.values()]
    pinned = list(standing.values())
    chosen = _chosen(free, pinned, k, rules, quotas_first=False)
    if sum(rules.lacking(chosen)):
        other = _chosen(free, pinned, k, rules, quotas_first=True)
        if sum(rules.lacking(other)) < sum(rules.lacking(chosen)):
            chosen = other
    others = iter(sorted(set(chosen) - set(pinned), key=order.index))
    filled = [standing.get(place, next(others, -1) if place not in standing else -1)
              for place in range(k)]  # fmt: skip
    items = [i for i in filled if i >= 0]
    kept = all(items.index(i) == place if i in items else False for place, i in rules.pins.items())
    return Made(items, rules.lacking(items), kept)


def _chosen(
    free: list[int], pinned: list[int], k: int, rules: ByHand, *, quotas_first: bool
) -> list[int]:
    chosen, given_up = list(pinned), False
    while len(chosen) < k:
        lacking = sum(rules.lacking(chosen))
        anything = given_up or (lacking == 0 if quotas_first else k - len(chosen) > lacking)
        fitting = [
            i
            for i in free
            if i not in chosen
            and rules.within_caps([*chosen, i])
            and (anything or rules.serves(i, chosen))
        ]
        if fitting:
            chosen.append(fitting[0])
        elif anything:
            break
        else:
            given_up = True
    return chosen
