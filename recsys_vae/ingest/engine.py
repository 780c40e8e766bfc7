"""From a source of rows to stored interactions, in bounded memory, with an account of every row."""

import itertools
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recsys_vae.errors import InputError
from recsys_vae.ingest.cleaning import Account, CleaningOptions, Step
from recsys_vae.ingest.core import find_core
from recsys_vae.ingest.first_pass import READ, FirstPass, first_pass
from recsys_vae.ingest.ids import is_canonical, sorted_map
from recsys_vae.ingest.merge import Merged, merge
from recsys_vae.ingest.pairs import LOW_IN_MEMORY, Pairs, PairStore
from recsys_vae.ingest.parallel import in_order
from recsys_vae.ingest.rules import CHECKED, threshold_name
from recsys_vae.ingest.source import Source
from recsys_vae.interactions import IdMap
from recsys_vae.interactions.store import Rows, save_rows

_ROWS_AT_ONCE: Final = 1 << 21
"""Rows of one group of users that are sorted together."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What was written.

    Attributes:
        account: what became of every row.
        fingerprint: of the interactions.
        low: pairs of the same users and items whose rating is not above the threshold.
    """

    account: Account
    fingerprint: str
    low: int


def store_rows(
    source: Source,
    options: CleaningOptions,
    folder: Path,
    work: Path,
    *,
    low_folder: Path | None = None,
) -> Stored:
    """Read, clean and number rows, and store them as interactions.

    Two passes: the first reads the source and keeps small numbers for ids, in memory or, where
    they are too many, on disk; the second sorts them user by user. Memory is in proportion to the
    distinct users and items, not to the rows.

    Args:
        source: the rows.
        options: what to keep.
        folder: where the interactions go; appears only when complete.
        work: an existing folder for `quarantine.csv`, and for rows that do not fit in memory;
            those are removed in the end.
        low_folder: where ratings that are not above the threshold go, in the same form and with
            the same users and items; appears only if there are any. None: they are forgotten.

    Returns:
        The account.

    Raises:
        InputError: the rows cannot be used, or none is left.
    """
    read = first_pass(source, options, work)
    merged = _MergedRows(
        PairStore(work / "merged"), PairStore(work / "merged-low", in_memory=LOW_IN_MEMORY)
    )
    try:
        return _second_pass(read, merged, source, options, folder, low_folder)
    finally:
        for store in (read.store, read.low, merged.liked, merged.low):
            store.clear()
            shutil.rmtree(store.folder, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class _MergedRows:
    """Distinct pairs, sorted by user and item."""

    liked: PairStore
    low: PairStore


def _second_pass(
    read: FirstPass,
    merged: _MergedRows,
    source: Source,
    options: CleaningOptions,
    folder: Path,
    low_folder: Path | None,
) -> Stored:
    if options.over_cap == "newest" and options.max_user_items is not None and not read.has_times:
        raise InputError(
            f"{source.name} has no times, which --over-cap newest needs: name the "
            "--timestamp-column or choose --over-cap drop"
        )
    steps = _first_steps(read)
    last = list(read.seen.values())[-1]
    _refuse_nothing(steps, read, source)
    users, user_places = _sorted(read, "users", last.users)
    items, item_places = _sorted(read, "items", last.items)
    _merge_all(read, user_places, item_places, len(users), len(items), options, merged, steps)
    _refuse_nothing(steps, read, source)
    core = find_core(
        merged.liked,
        len(users),
        len(items),
        min_user_items=options.min_user_items,
        min_item_users=options.min_item_users,
    )
    least = f"{options.min_user_items} items, items with >= {options.min_item_users} users"
    rows = int(core.lengths.sum())
    steps.append(
        Step(
            f"users with >= {least}", len(merged.liked), rows, int(core.users.sum()),
            int(core.items.sum()),
        )
    )  # fmt: skip
    if not rows:
        raise InputError(
            f"{source.name}: no interaction is left after requiring {options.min_user_items} items "
            f"a user and {options.min_item_users} users an item: lower --min-user-items, "
            "--min-item-users or --threshold"
        )
    users, items = users.take(np.flatnonzero(core.users)), items.take(np.flatnonzero(core.items))
    liked = _final_rows(merged.liked, core.users, core.items)
    fingerprint = save_rows(folder, users, items, core.lengths[core.users], liked)
    lengths = _lengths(merged.low, core.users, core.items)
    if low_folder is not None and lengths.any():
        low = _final_rows(merged.low, core.users, core.items)
        save_rows(low_folder, users, items, lengths[core.users], low)
    account = Account(tuple(steps), read.threshold, read.rejected, read.has_times)
    return Stored(account, fingerprint, int(lengths.sum()))


def _first_steps(read: FirstPass) -> list[Step]:
    steps: list[Step] = []
    before = read.seen[READ].rows
    for name, seen in read.seen.items():
        steps.append(Step(name, before, seen.rows, int(seen.users.sum()), int(seen.items.sum())))
        before = seen.rows
    return steps


def _sorted(
    read: FirstPass, what: str, last: npt.NDArray[np.bool_]
) -> tuple[IdMap, npt.NDArray[np.int32]]:
    numbering = read.users if what == "users" else read.items
    ids, count = numbering.ids(), len(numbering)
    usable = getattr(read.seen[CHECKED], what)[:count]
    # Judged by the ids of all usable rows, so that no later step decides what an id is.
    textual = numbering.text and not pa.types.is_integer(ids.type)
    integers = textual and is_canonical(ids.filter(pa.array(usable)))
    return sorted_map(ids, last[:count], integers=integers)


def _merge_all(
    read: FirstPass,
    user_places: npt.NDArray[np.int32],
    item_places: npt.NDArray[np.int32],
    n_users: int,
    n_items: int,
    options: CleaningOptions,
    merged: _MergedRows,
    steps: list[Step],
) -> None:
    """Sort the rows by user and item, one group of users after the other."""
    liked = _Placed.of(read.store, user_places, item_places, n_users)
    low = _Placed.of(read.low, user_places, item_places, n_users)
    ends = np.cumsum(liked.per_user + low.per_user)
    bounds = [0]
    while bounds[-1] < n_users:
        done = ends[bounds[-1] - 1] if bounds[-1] else 0
        bounds.append(
            max(bounds[-1] + 1, int(np.searchsorted(ends, done + _ROWS_AT_ONCE, "right")))
        )
    late = None if options.duplicates == "max" else read.threshold

    def task(begin: int, end: int) -> Callable[[], Merged]:
        def gather_and_merge() -> Merged:
            return merge(liked.group(begin, end), low.group(begin, end), n_items, options, late)

        return gather_and_merge

    totals: dict[str, tuple[int, int, npt.NDArray[np.bool_]]] = {}
    groups = itertools.pairwise(bounds)
    for one in in_order(task(begin, end) for begin, end in groups):
        merged.liked.append(one.pairs)
        merged.low.append(one.low)
        for name, (rows, users, items) in one.left.items():
            before = totals.get(name, (0, 0, np.zeros(n_items, dtype=bool)))
            totals[name] = (before[0] + rows, before[1] + users, before[2] | items)
    rows_in = len(read.store)
    for name, (rows, users, items) in totals.items():
        steps.append(Step(name, rows_in, rows, users, int(items.sum())))
        rows_in = rows
    read.store.clear()
    read.low.clear()


@dataclass(frozen=True, slots=True)
class _Placed:
    """Rows whose users and items are about to get their places among the sorted ids.

    Attributes:
        store: the rows, by provisional numbers.
        users: place of each user number, -1: they have none.
        items: likewise.
        per_user: (users,) rows of each place.
        spans: first and last place of the users of each part of the store.
    """

    store: PairStore
    users: npt.NDArray[np.int32]
    items: npt.NDArray[np.int32]
    per_user: npt.NDArray[np.int64]
    spans: list[tuple[int, int]]

    @classmethod
    def of(
        cls,
        store: PairStore,
        users: npt.NDArray[np.int32],
        items: npt.NDArray[np.int32],
        n_users: int,
    ) -> "_Placed":
        """Count the rows of each user."""

        def count(part: Pairs) -> tuple[npt.NDArray[np.int64], tuple[int, int]]:
            places = users[part.user]
            places = places[places >= 0]
            span = (int(places.min()), int(places.max())) if len(places) else (n_users, -1)
            return np.bincount(places, minlength=n_users), span

        per_user = np.zeros(n_users, dtype=np.int64)
        spans: list[tuple[int, int]] = []
        for counts, span in in_order(partial(count, part) for part in store.parts()):
            per_user += counts
            spans.append(span)
        return cls(store, users, items, per_user, spans)

    def group(self, begin: int, end: int) -> Pairs:
        """Give the rows of users in these places, without items that have none."""
        return Pairs.joined(list(self._parts(begin, end)))

    def _parts(self, begin: int, end: int) -> Iterator[Pairs]:
        for part, (first, last) in zip(self.store.parts(), self.spans, strict=True):
            if first >= end or last < begin:
                continue
            users, items = self.users[part.user], self.items[part.item]
            if first < begin or last >= end or users.min() < 0 or items.min() < 0:
                chosen = np.flatnonzero((users >= begin) & (users < end) & (items >= 0))
                part, users, items = part.take(chosen), users[chosen], items[chosen]
            yield Pairs(users, items, part.rating, part.time)


def _lengths(
    store: PairStore, users: npt.NDArray[np.bool_], items: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int64]:
    """Count the pairs of each user whose user and item remain."""
    lengths = np.zeros(len(users), dtype=np.int64)
    whole = bool(users.all() and items.all())
    for part in store.parts():
        kept = part.user if whole else part.user[users[part.user] & items[part.item]]
        lengths += np.bincount(kept, minlength=len(users))
    return lengths


def _final_rows(
    merged: PairStore, users: npt.NDArray[np.bool_], items: npt.NDArray[np.bool_]
) -> Iterator[Rows]:
    numbers = (np.cumsum(items) - 1).astype(np.int32)
    whole = bool(users.all() and items.all())

    def task(part: Pairs) -> Callable[[], Rows]:
        def finish() -> Rows:
            kept = part
            if not whole:
                kept = part.take(np.flatnonzero(users[part.user] & items[part.item]))
            return Rows(numbers[kept.item], None, kept.time)

        return finish

    yield from in_order(task(part) for part in merged.parts())


def _refuse_nothing(steps: list[Step], read: FirstPass, source: Source) -> None:
    """Refuse where no row is left, naming the step that took the last one."""
    last = next((step.name for step in steps if not step.rows_out), None)
    if last is None:
        return
    if read.threshold is not None and last == threshold_name(read.threshold):
        if read.highest is not None and read.highest > read.threshold:
            raise InputError(
                f"{source.name}: of the rows that the steps before left, none has a rating above "
                f"the threshold {read.threshold:g}: lower --threshold, or give other lists or dates"
            )
        raise InputError(
            f"{source.name}: no rating is above the threshold {read.threshold:g} (the highest is "
            f"{read.highest or 0:g}): lower --threshold"
        )
    if last == CHECKED:
        usual = max(read.rejected, key=lambda why: read.rejected[why])
        raise InputError(
            f"{source.name}: no row is usable, mostly because {usual}: name the right columns, or "
            "correct the rows"
        )
    raise InputError(
        f"{source.name}: no row is left after {last!r}: give other lists, dates or limits"
    )
