"""The first pass: every row read, judged, filtered and numbered."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from recsys_vae.errors import InputError
from recsys_vae.ingest.block import ROLES, Ticket
from recsys_vae.ingest.checks import check, latest_time
from recsys_vae.ingest.cleaning import STAR_THRESHOLD, CleaningOptions
from recsys_vae.ingest.ids import Numbering
from recsys_vae.ingest.pairs import LOW_IN_MEMORY, Pairs, PairStore
from recsys_vae.ingest.parallel import in_order
from recsys_vae.ingest.quarantine import QUARANTINE, Quarantine
from recsys_vae.ingest.rules import CHECKED, Flags, Left, Prepared, prepare
from recsys_vae.ingest.source import Source

READ = "read"


@dataclass(slots=True)
class Seen:
    """Rows, and the users and items that occur in them, summed over blocks."""

    rows: int = 0
    users: Flags = field(default_factory=lambda: np.zeros(0, dtype=bool))
    items: Flags = field(default_factory=lambda: np.zeros(0, dtype=bool))


@dataclass(slots=True)
class FirstPass:
    """What the first pass leaves.

    Attributes:
        store: the rows that are left, numbered in order of appearance.
        low: rows that only lack a rating above the threshold, numbered likewise.
        users: distinct ids of all rows, and their numbers.
        items: likewise.
        seen: after each step, by name, in order.
        threshold: that was applied, or None.
        highest: rating of any usable row; None: the rows have no ratings.
        rejected: rows set aside, by reason.
        has_times: whether the rows have times.
    """

    store: PairStore
    low: PairStore
    users: Numbering
    items: Numbering
    seen: dict[str, Seen]
    threshold: float | None
    highest: float | None
    rejected: dict[str, int]
    has_times: bool


class _OtherThresholdError(Exception):
    """The ratings seen so far ask for another threshold than was assumed."""


def default_threshold(highest: float) -> float:
    """Give the threshold for ratings up to `highest`: 3.5 for stars, otherwise 0."""
    return STAR_THRESHOLD if 1 < highest <= 5 else 0.0


def first_pass(source: Source, options: CleaningOptions, folder: Path) -> FirstPass:
    """Read a source.

    Where no threshold is given, it follows from the highest rating of all. Stars are assumed; if
    the rows say otherwise, they are read again.

    Args:
        source: the rows.
        options: what to keep.
        folder: for the quarantine file, and for rows that do not fit in memory.

    Raises:
        InputError: the rows cannot be used.
    """
    if options.threshold is not None:
        return _Pass(source, options, folder, options.threshold, lambda _highest: None).run()
    wanted = STAR_THRESHOLD

    def judge(highest: float) -> None:
        # For "sum" the threshold is for the sums, which are no stars.
        right = 0.0 if options.duplicates == "sum" else default_threshold(highest)
        if right != wanted:
            raise _OtherThresholdError

    for number, attempt in enumerate((STAR_THRESHOLD, 0.0, STAR_THRESHOLD)):
        wanted = attempt
        try:
            first = number == 0
            return _Pass(source, options, folder, attempt, judge, early_judge=first).run()
        except _OtherThresholdError:
            continue
    raise AssertionError("the highest rating of all asks for one of the thresholds")


class _Pass:
    def __init__(
        self,
        source: Source,
        options: CleaningOptions,
        folder: Path,
        threshold: float,
        judge: Callable[[float], None],
        *,
        early_judge: bool = False,
    ) -> None:
        self._source, self._options, self._judge = source, options, judge
        self._threshold, self._early_judge = threshold, early_judge
        # With other policies a repeated pair is made one row first.
        self._early = threshold if options.duplicates == "max" else None
        self._latest = latest_time()
        self._quarantine = Quarantine(folder / QUARANTINE)
        self._store = PairStore(folder / "rows")
        self._store.clear()
        self._low = PairStore(folder / "rows-low", in_memory=LOW_IN_MEMORY)
        self._low.clear()
        self._users, self._items = Numbering("user"), Numbering("item")
        self._waiting: list[Prepared] = []
        self._seen = {READ: Seen()}
        self._highest: float | None = None
        self._columns: tuple[bool, bool] | None = None
        self._name, self._before, self._records, self._before_this = "", 0, 0, 0

    def run(self) -> FirstPass:
        tasks = (self._task(ticket) for ticket in self._source.tickets(ROLES))
        # Shown where somebody watches.
        bar = tqdm(desc="read", unit=" rows", unit_scale=True, disable=None, leave=False)
        try:
            for prepared in in_order(tasks):
                self._take(prepared)
                bar.update(prepared.records)
            self._join()
        finally:
            bar.close()
            self._quarantine.close()
        if not self._records:
            raise InputError(
                f"{self._source.name} has no rows: give a file with at least one interaction"
            )
        self._refuse_too_many()
        if self._highest is not None:
            self._judge(self._highest)
        rated, timed = self._columns or (False, False)
        if self._options.threshold is not None and not rated:
            raise InputError(
                f"{self._source.name} has no ratings, and --threshold {self._options.threshold:g} "
                "is given: name their column with --rating-column, or leave --threshold out"
            )
        return FirstPass(
            self._store, self._low, self._users, self._items, self._seen,
            self._threshold if rated else None, self._highest, dict(self._quarantine.counts), timed,
        )  # fmt: skip

    def _task(self, ticket: Ticket) -> Callable[[], Prepared]:
        return lambda: prepare(check(ticket(), self._latest), self._options, self._early)

    def _take(self, block: Prepared) -> None:
        if block.name != self._name:
            self._name, self._before = block.name, 0
        if block.rejected is not None:
            self._quarantine.add(block.name, self._before, block.rejected)
            if self._options.strict:
                raise InputError(
                    f"{self._quarantine.first}: correct the row, or leave out --strict to set such "
                    "rows aside"
                )
        self._before += block.records
        self._before_this = self._records
        self._records += block.records
        self._same_columns(block)
        if block.highest is not None:
            self._highest = max(self._highest or 0.0, block.highest)
            # Early once, where it is certain or very likely; at the end, surely.
            if self._early_judge and (self._highest > 5 or not self._before_this):
                self._judge(self._highest)
        self._waiting.append(block)
        full = self._users.add(block.user_ids, text=block.text, name=block.name)
        full |= self._items.add(block.item_ids, text=block.text, name=block.name)
        if full:
            self._join()

    def _same_columns(self, block: Prepared) -> None:
        columns = (block.rating is not None, block.time is not None)
        if self._columns is None:
            self._columns = columns
        for what, before, now in zip(("ratings", "times"), self._columns, columns, strict=True):
            if before != now:
                raise InputError(
                    f"{block.name} has {'' if now else 'no '}{what}, unlike the files before it: "
                    "give files with the same columns"
                )

    def _join(self) -> None:
        """Number the ids of the blocks that wait, and store their rows."""
        blocks, self._waiting = self._waiting, []
        user_numbers, item_numbers = self._users.join(), self._items.join()
        for block, users, items in zip(blocks, user_numbers, item_numbers, strict=True):
            left = {READ: Left(block.records), **block.left}
            if CHECKED not in left:
                left = {READ: Left(block.records), CHECKED: Left(block.records), **block.left}
            user_flags, item_flags = np.ones(len(users), bool), np.ones(len(items), bool)
            for name, one in left.items():
                seen = self._seen.setdefault(name, Seen())
                seen.rows += one.rows
                user_flags = user_flags if one.users is None else one.users
                item_flags = item_flags if one.items is None else one.items
                seen.users = _with(seen.users, users[user_flags], len(self._users))
                seen.items = _with(seen.items, items[item_flags], len(self._items))
        # Side by side: nothing else is left to do once the last block is read.
        for pairs, low in in_order(map(_numbered, blocks, user_numbers, item_numbers)):
            self._store.append(pairs)
            if low is not None:
                self._low.append(low)

    def _refuse_too_many(self) -> None:
        count = sum(self._quarantine.counts.values())
        if count > self._options.max_rejected * self._records:
            raise InputError(
                f"{count:,} of {self._records:,} rows of {self._source.name} are unusable, the "
                f"first is {self._quarantine.first}: name the right columns, correct the rows, or "
                "pass a larger --max-rejected"
            )


def _numbered(
    block: Prepared, users: npt.NDArray[np.int32], items: npt.NDArray[np.int32]
) -> Callable[[], tuple[Pairs, Pairs | None]]:
    def number() -> tuple[Pairs, Pairs | None]:
        low = None
        if block.low is not None:
            low = Pairs(users.take(block.low[0]), items.take(block.low[1]))
        kept = Pairs(users.take(block.user), items.take(block.item), block.rating, block.time)
        return kept, low

    return number


def _with(flags: Flags, numbers: npt.NDArray[np.int32], size: int) -> Flags:
    if len(flags) < size:
        # Grows by doubling: ids may keep appearing.
        grown = np.zeros(max(size, 2 * len(flags)), dtype=bool)
        grown[: len(flags)] = flags
        flags = grown
    flags[numbers] = True
    return flags
