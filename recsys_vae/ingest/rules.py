"""The steps that look at one row at a time; any block, in any thread."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recsys_vae.errors import InputError
from recsys_vae.ingest.checks import Checked, Codes, Rejected
from recsys_vae.ingest.cleaning import CleaningOptions

Flags = npt.NDArray[np.bool_]
CHECKED: Final = "drop unusable rows"


@dataclass(frozen=True, slots=True)
class Left:
    """What a step left of a block.

    Attributes:
        rows: how many.
        users: (distinct ids of the block,) which of them; None: as before.
        items: likewise.
    """

    rows: int
    users: Flags | None = None
    items: Flags | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """A block's rows that are left, and what happened on the way.

    Attributes:
        name: of the file.
        records: rows and malformed records that were read.
        text: whether ids came from text.
        rejected: rows that could not be taken.
        user_ids: distinct ids of all rows, also of those that are gone.
        item_ids: likewise.
        left: after each step, by the step's name.
        highest: the highest rating of usable rows; None: there are no ratings.
        user: (n,) codes into `user_ids`, and so on.
        rating: (n,) or None.
        time: (n,) milliseconds since 1970, or None.
        low: (m,) codes of users and items whose ratings are not above the threshold; None: none.
    """

    name: str
    records: int
    text: bool
    rejected: Rejected | None
    user_ids: pa.Array
    item_ids: pa.Array
    left: dict[str, Left]
    highest: float | None
    user: Codes
    item: Codes
    rating: npt.NDArray[np.float64] | None
    time: npt.NDArray[np.int64] | None
    low: tuple[Codes, Codes] | None = None


def prepare(checked: Checked, options: CleaningOptions, threshold: float | None) -> Prepared:
    """Take the steps that look at one row at a time.

    Args:
        checked: a block's rows.
        options: what to keep.
        threshold: keep ratings above it; None: that step comes later, or never.

    Raises:
        InputError: a step needs times or ratings that the file does not have.
    """
    rows = _Rows(checked)
    if checked.fine is not None:
        rows.keep(checked.fine, CHECKED)
    elif checked.rejected is not None:
        rows.left[CHECKED] = Left(len(checked.user))
    rating = checked.rating
    usable = rating if rating is None or checked.fine is None else rating[checked.fine]
    highest = None if usable is None else float(usable.max(initial=0.0))
    if options.since is not None or options.until is not None:
        if checked.time is None:
            raise InputError(
                f"{checked.name} has no times, which --since and --until need: name the "
                "--timestamp-column"
            )
        begin = -1 if options.since is None else options.since
        end = np.iinfo(np.int64).max if options.until is None else options.until
        rows.keep((checked.time >= begin) & (checked.time < end), "keep the time window")
    _keep_listed(rows, checked, options)
    low = None
    if threshold is not None and rating is not None:
        above = rating > threshold
        low = rows.others(above)
        rows.keep(above, threshold_name(threshold))
    return Prepared(
        checked.name, checked.records, checked.text, checked.rejected, checked.user_ids,
        checked.item_ids, rows.left, highest, rows.user, rows.item,
        None if rating is None else rows.of(rating),
        None if checked.time is None else rows.of(checked.time),
        low,
    )  # fmt: skip


def threshold_name(threshold: float) -> str:
    """Name the step."""
    return f"keep ratings > {threshold:g}"


def _keep_listed(rows: "_Rows", checked: Checked, options: CleaningOptions) -> None:
    for role, codes, ids, allowed, denied in (
        ("users", checked.user, checked.user_ids, options.allow_users, options.deny_users),
        ("items", checked.item, checked.item_ids, options.allow_items, options.deny_items),
    ):
        if allowed is None and not denied:
            continue
        texts = ids.cast(pa.large_string())
        kept = np.ones(len(ids), dtype=bool)
        if allowed is not None:
            listed = pa.array(allowed, pa.large_string())
            kept &= np.asarray(pc.is_in(texts, value_set=listed), dtype=bool)
        if denied:
            listed = pa.array(denied, pa.large_string())
            kept &= ~np.asarray(pc.is_in(texts, value_set=listed), dtype=bool)
        rows.keep(kept[codes], f"keep the listed {role}")


class _Rows:
    """Which rows are left so far, and what each step left."""

    def __init__(self, checked: Checked) -> None:
        self._checked = checked
        self._flags: Flags | None = None
        self._numbers: npt.NDArray[np.intp] | None = None
        self.user, self.item = checked.user, checked.item
        self.left: dict[str, Left] = {}

    def keep(self, flags: Flags, name: str) -> None:
        flags = flags if self._flags is None else self._flags & flags
        before = len(self.user)
        # By number: taking several columns by flags would look at every flag each time.
        numbers = np.flatnonzero(flags)
        if len(numbers) == before:
            self.left[name] = Left(before)
            return
        self._flags, self._numbers = flags, numbers
        checked = self._checked
        self.user, self.item = checked.user.take(numbers), checked.item.take(numbers)
        users = _occurring(self.user, len(checked.user_ids))
        items = _occurring(self.item, len(checked.item_ids))
        self.left[name] = Left(len(numbers), users, items)

    def others(self, flags: Flags) -> tuple[Codes, Codes] | None:
        """Give users and items of the rows that are left but not flagged."""
        numbers = np.flatnonzero(~flags if self._flags is None else self._flags & ~flags)
        checked = self._checked
        return (checked.user.take(numbers), checked.item.take(numbers)) if len(numbers) else None

    def of(self, column: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Give what is left of a column."""
        return column if self._numbers is None else column.take(self._numbers)


def _occurring(codes: Codes, count: int) -> Flags:
    flags = np.zeros(count, dtype=bool)
    flags[codes] = True
    return flags
