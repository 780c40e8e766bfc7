"""Judging rows one by one: what cannot be an interaction is rejected, with its reason."""

import time
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from recsys_vae.errors import InputError
from recsys_vae.ingest.block import ITEM, RATING, TIME, USER, Block
from recsys_vae.ingest.ids import encoded
from recsys_vae.ingest.reading import unreadable

REASONS: Final = (
    "",
    "the user id is missing",
    "the item id is missing",
    "the rating is missing",
    "the rating is no number",
    "the rating is infinite",
    "the rating is negative",
    "the time is missing",
    "the time cannot be read",
    "the time is before 1970",
    "the time is in the future",
)
"""Why a row was rejected, by code; the first that applies."""
_DAY: Final = 86_400_000
_LAST: Final = 2**63 - 1024
"""Near the last 64-bit integer, and exactly a float of that size, too."""
_UNITS: Final = ((10**11, 1_000.0), (10**14, 1.0), (10**17, 1e-3), (2**63, 1e-6))
"""Epoch times below the bound are seconds, milliseconds, microseconds, nanoseconds."""
_FIRST_DAY: Final = 19_000_101
_LAST_DAY: Final = 20_991_231
"""Numbers within these that are dates as digits, such as 20200102, are such dates."""
Codes = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Rejected:
    """Rows that were not taken.

    Attributes:
        records: numbers within the block, from 0.
        reasons: what is wrong with each.
        values: what stood there, as text, by role; "text" where it is no row at all.
    """

    records: npt.NDArray[np.int64]
    reasons: list[str]
    values: dict[str, list[str | None]]


@dataclass(frozen=True, slots=True)
class Checked:
    """A block's rows, judged.

    Attributes:
        name: of the file.
        records: rows and malformed records.
        text: whether ids came from text.
        user: (n,) codes into `user_ids`, and so on for `item`.
        rating: (n,) or None.
        time: (n,) milliseconds since 1970, or None.
        fine: (n,) rows that can be taken; None: all.
        rejected: the others, and the malformed ones.
    """

    name: str
    records: int
    text: bool
    user: Codes
    user_ids: pa.Array
    item: Codes
    item_ids: pa.Array
    rating: npt.NDArray[np.float64] | None
    time: npt.NDArray[np.int64] | None
    fine: npt.NDArray[np.bool_] | None
    rejected: Rejected | None


def latest_time() -> int:
    """Give the latest time that is no future: a day from now, for clocks that go wrong."""
    return int(time.time() * 1_000) + _DAY


def check(block: Block, latest: int) -> Checked:
    """Judge a block's rows.

    Args:
        block: columns `user`, `item` and perhaps `rating` and `timestamp`.
        latest: in milliseconds since 1970; later times are in the future.

    Raises:
        InputError: a column is of a type that cannot play its role, or holds text that is none.
    """
    try:
        return _judged(block, latest)
    except (pa.ArrowException, UnicodeError) as error:
        raise unreadable(block.name, error) from error


def _judged(block: Block, latest: int) -> Checked:
    table, wrong = block.table, np.zeros(block.table.num_rows, dtype=np.uint8)
    rating = None
    time_ = None
    if TIME in table.column_names:
        time_ = _times(table[TIME], block.name, wrong, latest)
    if RATING in table.column_names:
        rating = _ratings(table[RATING], block.name, wrong)
    item, item_ids = _ids(table[ITEM], block, ITEM, wrong)
    user, user_ids = _ids(table[USER], block, USER, wrong)
    bad = np.flatnonzero(wrong)
    rejected = _rejected(block, bad, wrong) if len(bad) or block.malformed else None
    fine = (wrong == 0) if len(bad) else None
    return Checked(
        block.name, block.records, block.text, user, user_ids, item, item_ids, rating, time_, fine,
        rejected,
    )  # fmt: skip


def _rejected(block: Block, bad: npt.NDArray[np.int64], wrong: npt.NDArray[np.uint8]) -> Rejected:
    records = np.concatenate(
        [block.record_numbers()[bad], [one.record for one in block.malformed]]
    ).astype(np.int64)
    reasons = [REASONS[code] for code in wrong[bad]] + [one.reason for one in block.malformed]
    none = [None] * len(block.malformed)
    rows = block.table.take(pa.array(bad))
    values: dict[str, list[str | None]] = {
        name: [*_texts(rows[name]), *none] for name in rows.column_names
    }
    values["text"] = [None] * len(bad) + [one.text for one in block.malformed]
    order = np.argsort(records, kind="stable")
    return Rejected(
        records[order],
        [reasons[n] for n in order],
        {name: [column[n] for n in order] for name, column in values.items()},
    )


def _texts(column: pa.ChunkedArray) -> list[str | None]:
    try:
        return [None if one is None else str(one) for one in column.to_pylist()]
    except (OverflowError, ValueError):
        # Arrow can write timestamps that Python's dates cannot hold.
        texts: list[str | None] = column.cast(pa.string()).to_pylist()
        return texts


def _mark(wrong: npt.NDArray[np.uint8], where: npt.NDArray[np.bool_], reason: str) -> None:
    wrong[where] = REASONS.index(reason)


def _flags(column: Any) -> npt.NDArray[np.bool_]:
    return np.asarray(column, dtype=bool)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _ids(
    column: pa.ChunkedArray, block: Block, role: str, wrong: npt.NDArray[np.uint8]
) -> tuple[Codes, pa.Array]:
    kind = column.type
    value_type = kind.value_type if pa.types.is_dictionary(kind) else kind
    if pa.types.is_null(value_type):
        column, value_type = column.cast(pa.string()), pa.string()
    if not (_is_text(value_type) or pa.types.is_integer(value_type)):
        raise InputError(
            f"{block.name}: {role} ids must be integers or strings, not {value_type}: name another "
            f"--{role}-column or convert it"
        )
    if column.null_count:
        if pa.types.is_dictionary(column.type):
            column = column.cast(value_type)
        if not _is_text(value_type):
            _mark(wrong, _flags(pc.is_null(column)), f"the {role} id is missing")
        column = column.fill_null("" if _is_text(value_type) else 0)
    try:
        codes, ids = encoded(column, fresh=block.text)
    except pa.ArrowInvalid as error:
        if pa.types.is_integer(value_type):
            raise InputError(
                f"{block.name}: a {role} id is beyond 64-bit integers with sign: convert the "
                "column to strings"
            ) from error
        raise
    if _is_text(ids.type):
        empty = pc.index(pc.utf8_trim_whitespace(ids), "").as_py()
        if empty >= 0:
            blank = _flags(pc.equal(pc.utf8_trim_whitespace(ids), ""))
            _mark(wrong, blank[codes], f"the {role} id is missing")
    return codes, ids


def _ratings(
    column: pa.ChunkedArray, name: str, wrong: npt.NDArray[np.uint8]
) -> npt.NDArray[np.float64]:
    kind = column.type
    unread = None
    if _is_text(kind):
        texts = column.to_pandas()
        numbers = pd.to_numeric(texts, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
        missing = texts.isna() | texts.str.strip().str.lower().isin(["", "nan", "null", "na"])
        unread = np.isnan(numbers) & ~missing.to_numpy(dtype=bool)
    else:
        try:
            filled = column.cast(pa.float64(), safe=False).fill_null(np.nan)
            numbers = np.asarray(filled.to_numpy(), dtype=np.float64)
        except pa.ArrowException as error:
            raise InputError(
                f"{name}: ratings must be numbers, not {kind}: name another --rating-column, or "
                "'none' to read no ratings"
            ) from error
    # What is nearly always fine is seen from two numbers; NaN is neither.
    if numbers.size and not (numbers.min() >= 0 and numbers.max() < np.inf):
        _mark(wrong, numbers < 0, "the rating is negative")
        _mark(wrong, np.isinf(numbers), "the rating is infinite")
        _mark(wrong, np.isnan(numbers), "the rating is missing")
        if unread is not None:
            _mark(wrong, unread, "the rating is no number")
    return np.asarray(numbers, dtype=np.float64)


def _times(
    column: pa.ChunkedArray, name: str, wrong: npt.NDArray[np.uint8], latest: int
) -> npt.NDArray[np.int64]:
    kind = column.type
    if pa.types.is_null(kind):
        column, kind = column.cast(pa.string()), pa.string()
    missing = _flags(pc.is_null(column)) if column.null_count else None
    unread = None
    if _is_text(kind):
        times, missing, unread = text_times(column)
    elif pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        zone = kind.tz if pa.types.is_timestamp(kind) else None
        utc = column.cast(pa.timestamp("ms", zone), safe=False).cast(pa.int64())
        times = np.asarray(utc.fill_null(0).to_numpy())
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind):
        if pa.types.is_floating(kind):
            column = pc.round(column)
            broken = _flags(pc.fill_null(pc.invert(pc.is_finite(column)), True))
            missing = broken if missing is None else missing | broken
            column = pc.if_else(pa.array(broken), None, column.combine_chunks())
        whole = _epoch(np.asarray(column.fill_null(0)))
        times = _milliseconds(whole)
        # As in text: 20200102 is a date, not a second of August 1970.
        days = (whole >= _FIRST_DAY) & (whole <= _LAST_DAY)
        if days.any():
            dates, _, none = text_times(pa.chunked_array([pa.array(whole[days]).cast("string")]))
            times[days] = np.where(none, times[days], dates)
    else:
        raise InputError(
            f"{name}: times must be numbers, ISO dates or timestamps, not {kind}: name another "
            "--timestamp-column, or 'none' to read no times"
        )
    if times.size and (times.min() < 0 or times.max() > latest):
        _mark(wrong, times > latest, "the time is in the future")
        _mark(wrong, times < 0, "the time is before 1970")
    if unread is not None:
        _mark(wrong, unread, "the time cannot be read")
    if missing is not None:
        _mark(wrong, missing, "the time is missing")
    return times


def _epoch(numbers: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Make numbers 64-bit integers; what lies beyond stays far in the future or in the past."""
    if numbers.dtype.kind == "u":
        return np.minimum(numbers.astype(np.uint64), np.uint64(_LAST)).astype(np.int64)
    if numbers.dtype.kind == "f":
        return np.clip(numbers.astype(np.float64), -_LAST, _LAST).astype(np.int64)
    whole = numbers.astype(np.int64, copy=False)
    if whole.min(initial=0) >= -_LAST and whole.max(initial=0) <= _LAST:
        return whole
    return np.clip(whole, -_LAST, _LAST)


def _milliseconds(epoch: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Bring times since 1970 to milliseconds; each value's size tells its unit."""
    largest = max(-int(epoch.min(initial=0)), int(epoch.max(initial=0)))
    if largest < _UNITS[0][0]:
        return epoch * 1_000
    size, result, below = np.abs(epoch), np.empty_like(epoch), 0
    for bound, factor in _UNITS:
        own = (size >= below) & (size < bound)
        result[own] = epoch[own] * int(factor) if factor >= 1 else epoch[own] // round(1 / factor)
        below = bound
    return result


def text_times(
    column: pa.ChunkedArray,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Read times that are text: ISO dates and times, or numbers where some row held none.

    Returns:
        (n,) milliseconds since 1970-01-01 UTC, (n,) where there is none, (n,) where the text is
        no time.
    """
    distinct = column.combine_chunks().dictionary_encode()
    if isinstance(distinct, pa.ChunkedArray):
        distinct = distinct.combine_chunks()
    texts = distinct.dictionary.to_pandas().astype(object).str.strip()
    numbers = pd.to_numeric(texts, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    # 20200102 is a date, not a second of August 1970.
    digits = texts.str.fullmatch(r"(19|20)\d\d(0[1-9]|1[0-2])([0-2]\d|3[01])").to_numpy(dtype=bool)
    numeric = np.isfinite(numbers) & ~digits
    times = np.zeros(len(texts), dtype=np.int64)
    times[numeric] = _milliseconds(_epoch(np.round(numbers[numeric])))
    read = numeric.copy()
    if not numeric.all():
        dates = pd.to_datetime(texts[~numeric], errors="coerce", utc=True, format="ISO8601")
        values = dates.astype("datetime64[ms, UTC]").astype("int64").to_numpy()
        # The parser takes "now" and "today", too, for another time on every day.
        known = dates.notna().to_numpy() & texts[~numeric].str.match(r"\d").to_numpy(dtype=bool)
        times[~numeric] = np.where(known, values, 0)
        read[~numeric] = known
    missing = texts.str.lower().isin(["", "nan", "null", "na", "nat"]).to_numpy(dtype=bool)
    codes = np.asarray(distinct.indices.fill_null(0))
    none = _flags(pc.is_null(distinct.indices))
    if not len(times):
        return np.zeros(len(codes), dtype=np.int64), none, np.zeros(len(codes), dtype=bool)
    absent = missing[codes] | none
    return times[codes], absent, ~read[codes] & ~absent
