"""The steps that look at one user at a time: repeated pairs, later thresholds, extreme users."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from recsys_vae.ingest.cleaning import CleaningOptions, Duplicates
from recsys_vae.ingest.pairs import Pairs
from recsys_vae.ingest.rules import threshold_name

_NAMES: Final[dict[Duplicates, str]] = {
    "max": "keep the largest rating of each user and item",
    "first": "keep the first row of each user and item",
    "last": "keep the last row of each user and item",
    "sum": "add up the rows of each user and item",
}
UNRATED: Final = "keep one row of each user and item"


@dataclass(frozen=True, slots=True)
class Merged:
    """Some users' rows, sorted by user and item, and what each step left.

    Attributes:
        pairs: the rows; without ratings, which have done their work.
        left: (rows, users, items flags) after each step, by the step's name.
        low: users and items, sorted likewise, whose rating is not above the threshold.
    """

    pairs: Pairs
    left: dict[str, tuple[int, int, npt.NDArray[np.bool_]]]
    low: Pairs


def merge(
    pairs: Pairs, low: Pairs, n_items: int, options: CleaningOptions, threshold: float | None
) -> Merged:
    """Take the steps that look at one user at a time.

    Args:
        pairs: all rows of some users.
        low: all their rows that were below the threshold before.
        n_items: item numbers are below it.
        options: what to keep.
        threshold: keep ratings above it, after repeated rows were made one; None: no such step.
    """
    left: dict[str, tuple[int, int, npt.NDArray[np.bool_]]] = {}

    def note(name: str, kept: Pairs) -> Pairs:
        items = np.zeros(n_items, dtype=bool)
        items[kept.item] = True
        # Sorted by user: a user begins where the number changes.
        users = int((kept.user[1:] != kept.user[:-1]).sum()) + (len(kept) > 0)
        left[name] = (len(kept), users, items)
        return kept

    rated = pairs.rating is not None
    pairs = note(
        duplicates_name(options, rated=rated), _one_each(pairs, n_items, options.duplicates)
    )
    low = _not_among(low, pairs, n_items)
    if threshold is not None and pairs.rating is not None:
        above = pairs.rating > threshold
        low = Pairs(pairs.user[~above], pairs.item[~above])
        pairs = note(threshold_name(threshold), pairs.take(above))
    if options.max_user_items is not None:
        pairs = note(cap_name(options), _capped(pairs, options.max_user_items, options))
    return Merged(Pairs(pairs.user, pairs.item, None, pairs.time), left, low)


def duplicates_name(options: CleaningOptions, *, rated: bool) -> str:
    """Name the step."""
    return (
        _NAMES[options.duplicates] if rated or options.duplicates in ("first", "last") else UNRATED
    )


def cap_name(options: CleaningOptions) -> str:
    """Name the step."""
    what = "drop users with" if options.over_cap == "drop" else "keep the newest of"
    return f"{what} more than {options.max_user_items} items"


def _keys(pairs: Pairs, n_items: int) -> npt.NDArray[np.int64]:
    keys: npt.NDArray[np.int64] = pairs.user.astype(np.int64) * n_items + pairs.item
    return keys


def _not_among(low: Pairs, pairs: Pairs, n_items: int) -> Pairs:
    """Give each pair of `low` once, without those of `pairs`: they were liked another time.

    Args:
        low: in any order.
        pairs: sorted by user and item.
        n_items: item numbers are below it.
    """
    if not len(low):
        return low
    keys, liked = _keys(low, n_items), _keys(pairs, n_items)
    if not (keys[1:] > keys[:-1]).all():
        order = np.argsort(keys)
        keys, low = keys[order], low.take(order)
    first = np.concatenate([[True], keys[1:] != keys[:-1]])
    places = np.searchsorted(liked, keys)
    found = places < len(liked)
    found[found] = liked[places[found]] == keys[found]
    kept = first & ~found
    return low if kept.all() else low.take(np.flatnonzero(kept))


def _one_each(pairs: Pairs, n_items: int, policy: Duplicates) -> Pairs:
    key = _keys(pairs, n_items)
    if (key[1:] > key[:-1]).all():
        return pairs
    order = np.argsort(key, kind="stable" if policy in ("first", "last") else None)
    key = key[order]
    same = key[1:] == key[:-1]
    if not same.any():
        return pairs.take(order)
    starts = np.concatenate([[True], ~same])
    # Only rows that share their pair with another need a closer look.
    shared = ~starts
    shared[:-1] |= same
    places = np.flatnonzero(shared)
    rows = order[places]
    order[places] = rows[np.lexsort((*_ranks(pairs, rows, policy), key[places]))]
    # Within a pair the row to keep now stands last.
    ends = np.concatenate([~same, [True]])
    kept = pairs.take(order[ends])
    if policy == "sum" and pairs.rating is not None:
        totals = np.add.reduceat(pairs.rating[order], np.flatnonzero(starts))
        kept = Pairs(kept.user, kept.item, totals, kept.time)
    return kept


def _ranks(
    pairs: Pairs, rows: npt.NDArray[np.int64], policy: Duplicates
) -> list[npt.NDArray[np.float64] | npt.NDArray[np.int64]]:
    """Give what decides between rows of one pair, the weightiest last, the row to keep highest."""
    ratings = [] if pairs.rating is None else [pairs.rating[rows]]
    times = [] if pairs.time is None else [pairs.time[rows]]
    if policy == "first":
        return [*ratings, *(-one for one in times)] if times else [-rows]
    if policy == "last":
        return [*ratings, *times] if times else [rows]
    return [*ratings, *times] if policy == "sum" else [*times, *ratings]


def _capped(pairs: Pairs, cap: int, options: CleaningOptions) -> Pairs:
    starts = np.flatnonzero(np.concatenate([[True], pairs.user[1:] != pairs.user[:-1]]))
    lengths = np.diff(np.append(starts, len(pairs)))
    if not len(pairs) or lengths.max() <= cap:
        return pairs
    if options.over_cap == "drop":
        return pairs.take(np.repeat(lengths <= cap, lengths))
    assert pairs.time is not None  # the engine refuses it before
    newest = np.lexsort((pairs.item, -pairs.time, pairs.user))
    position = np.arange(len(pairs)) - np.repeat(starts, lengths)
    return pairs.take(np.sort(newest[position < cap]))
