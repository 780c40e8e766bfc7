"""The files that rules refer to: columns of ids, labels, numbers and times, and their digest."""

import csv
import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from recsys_vae.errors import InputError
from recsys_vae.ingest.checks import text_times
from recsys_vae.ingest.columns import find_column
from recsys_vae.ingest.reading import UNREADABLE, unreadable

SEPARATOR: Final = "|"
"""Between several values of one attribute, as in MovieLens genres."""
_IDS: Final = ("user", "item")
_LARGEST_BLOCK: Final = 2**31 - 1
"""Bytes of text that pyarrow takes at once."""
_DELIMITERS: Final = {".csv": ",", ".tsv": "\t"}


@dataclass(frozen=True, slots=True, eq=False)
class RuleTable:
    """A file that a rule file refers to, read.

    Attributes:
        path: of the file, for messages.
        table: its columns; from CSV and TSV all of them text.
        digest: SHA-256 of its bytes.
    """

    path: Path
    table: pa.Table
    digest: str

    def ids(self, column: str) -> pa.Array:
        """Give a column of external ids, int64 or large_string.

        Raises:
            InputError: the column is missing or of no type that ids have, or an id is missing.
        """
        array = self._column(column)
        kind = array.type
        if pa.types.is_null(kind):
            array = array.cast(pa.large_string())
        if not (pa.types.is_integer(array.type) or pa.types.is_large_string(array.type)):
            raise InputError(
                f"{self.path}, column '{column}': ids must be integers or text, not {kind}: "
                "convert them"
            )
        if pa.types.is_integer(array.type):
            empty = pc.is_null(array)
            try:
                array = array.cast(pa.int64())
            except pa.ArrowInvalid as error:
                raise InputError(
                    f"{self.path}, column '{column}': an id is beyond 64-bit integers with sign: "
                    "convert the column to text"
                ) from error
        else:
            empty = pc.equal(pc.utf8_trim_whitespace(array.fill_null("")), "")
        self.refuse_rows(np.asarray(empty), f"the {column} id is missing: fill it in")
        return array

    def times(self, column: str, *, missing: int) -> npt.NDArray[np.int64]:
        """Give a column of times in milliseconds since 1970-01-01 UTC.

        Args:
            column: ISO dates or times (UTC where they name no zone), seconds, milli-, micro- or
                nanoseconds since 1970, or timestamps.
            missing: stands where the column has no time.

        Raises:
            InputError: the column is missing, or a value is no time.
        """
        array = self._column(column)
        kind = array.type
        if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
            zone = kind.tz if pa.types.is_timestamp(kind) else None
            array = array.cast(pa.timestamp("ms", zone), safe=False).cast(pa.int64())
            return np.asarray(array.fill_null(missing), dtype=np.int64)
        if not (_is_number(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind)):
            raise InputError(f"{self.path}, column '{column}': {kind} is no time: write ISO times")
        times, absent, unread = text_times(pa.chunked_array([array.cast(pa.string())]))
        self.refuse_rows(
            unread, f"'{column}' is no time: write it like 2026-01-31T12:00, or leave it empty"
        )
        return np.where(absent, missing, times)

    def numbers(self, column: str) -> npt.NDArray[np.float64]:
        """Give a column of numbers, NaN where there is none.

        Raises:
            InputError: the column is missing, or a value is no finite number.
        """
        array = self._column(column)
        if pa.types.is_null(array.type):
            array = array.cast(pa.float64())
        if pa.types.is_large_string(array.type):
            array = pc.utf8_trim_whitespace(array)
            array = pc.if_else(pc.equal(array, ""), None, array)
        elif not _is_number(array.type):
            raise InputError(
                f"{self.path}, column '{column}': {array.type} is no number: convert it"
            )
        distinct = array.dictionary_encode()
        found = [_number(one) for one in distinct.dictionary.to_pylist()]
        codes = np.asarray(distinct.indices.fill_null(len(found)), dtype=np.int64)
        values: npt.NDArray[np.float64] = np.array([*found, np.nan], dtype=np.float64)[codes]
        self.refuse_rows(np.isinf(values), f"'{column}' is no finite number: correct it")
        return values

    def labels(self, column: str) -> tuple[npt.NDArray[np.int64], list[tuple[str, ...]]]:
        """Give a column of labels, of which a row may have several.

        Args:
            column: text with "|" between several values, lists of text, integers, decimals or
                booleans (which are "true" and "false").

        Returns:
            (n,) a code a row, and the labels that each code stands for, distinct and without the
            empty one.

        Raises:
            InputError: the column is missing, or of a type that cannot be written as labels.
        """
        array = self._column(column)
        kind = array.type
        if pa.types.is_list(kind) or pa.types.is_large_list(kind):
            rows = array.to_pylist()
            joined = [SEPARATOR.join(_label(one) for one in row or []) for row in rows]
            array = pa.array(joined, pa.large_string())
        if pa.types.is_nested(array.type) or pa.types.is_binary(array.type):
            raise InputError(
                f"{self.path}, column '{column}': {kind} is no label: convert it to text"
            )
        distinct = array.dictionary_encode()
        labels = [_labels(one) for one in distinct.dictionary.to_pylist()]
        codes = distinct.indices.fill_null(len(labels))
        return np.asarray(codes, dtype=np.int64), [*labels, ()]

    def refuse_rows(self, wrong: npt.NDArray[np.bool_], why: str) -> None:
        """Refuse the first row of those that are wrong.

        Raises:
            InputError: there is one.
        """
        if wrong.any():
            raise InputError(f"{self.path}, row {int(np.argmax(wrong)) + 1}: {why}")

    def _column(self, name: str) -> pa.Array:
        names = self.table.column_names
        name = _id_column(name, names, self.path)
        if names.count(name) != 1:
            has = "several columns" if name in names else "no column"
            raise InputError(
                f"{self.path} has {has} '{name}' (its columns: {', '.join(names)}): rename one"
            )
        column = self.table[name].combine_chunks()
        if isinstance(column, pa.ChunkedArray):
            column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.nulls(0)
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if pa.types.is_string(column.type) or pa.types.is_string_view(column.type):
            column = column.cast(pa.large_string())
        return column


def read_rule_table(path: Path) -> RuleTable:
    """Read a CSV, TSV or Parquet file; from text, every value stays the text that it is.

    Args:
        path: with the suffix .csv, .tsv or .parquet.

    Raises:
        InputError: the file is missing, of another kind, or cannot be read.
    """
    if path.suffix not in (*_DELIMITERS, ".parquet"):
        raise InputError(f"{path}: its kind is unknown: give a .csv, .tsv or .parquet file")
    try:
        data = path.read_bytes()
        if path.suffix == ".parquet":
            table = pa.parquet.read_table(pa.BufferReader(data))
        else:
            table = _delimited(data, _DELIMITERS[path.suffix], path)
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist: correct the path or make the file") from error
    except UNREADABLE as error:
        raise unreadable(path, error) from error
    return RuleTable(path, table, hashlib.sha256(data).hexdigest())


def _delimited(data: bytes, delimiter: str, path: Path) -> pa.Table:
    text = data.decode("utf-8-sig").lstrip("\r\n")
    if not text.strip() or "\0" in text:
        raise InputError(f"{path} is no table: give a first line that names the columns, then rows")
    # A quote that is never closed would swallow the rows behind it.
    if text.count('"') % 2:
        raise InputError(f"{path}: a quote is opened and never closed: correct it")
    names = next(csv.reader(io.StringIO(text), delimiter=delimiter))
    if len(set(names)) < len(names):
        raise InputError(f"{path} has two columns of the same name: rename one")
    body = text.encode()
    table: pa.Table = pa.csv.read_csv(
        pa.BufferReader(body),
        read_options=pa.csv.ReadOptions(
            use_threads=False, block_size=min(len(body) + 1, _LARGEST_BLOCK)
        ),
        parse_options=pa.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        convert_options=pa.csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.large_string()), strings_can_be_null=False
        ),
    )
    for name in {_id_column(role, names, path) for role in _IDS} & set(names):
        broken = pc.match_substring_regex(table[name], "[\\r\\n]")
        if pc.any(broken).as_py():
            raise InputError(
                f"{path}, row {pc.index(broken, True).as_py() + 1}: '{name}' goes on over a line "
                "break, as where a quote is not closed: correct it"
            )
    return table


def _id_column(name: str, names: list[str], path: Path) -> str:
    """Give what the ids of `user` or `item` are called, such as "movieId"; else the name itself."""
    if name in names or name not in _IDS:
        return name
    return find_column(name, None, names, path, required=False) or name


def _is_number(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    )


def _number(value: Any) -> float:
    """Give a value as a number; infinite where it is none."""
    try:
        return float(value)
    except ValueError:
        return np.inf


def _labels(value: Any) -> tuple[str, ...]:
    parts = (part.strip() for part in _label(value).split(SEPARATOR))
    return tuple(dict.fromkeys(part for part in parts if part))


def _label(value: Any) -> str:
    if value is None or value != value:  # NaN is no value
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def label_of(value: bool | int | float | str) -> str:
    """Write a value of a rule as a label of a column.

    >>> label_of(True), label_of(1995.0), label_of(" Drama ")
    ('true', '1995', 'Drama')
    """
    return _label(value).strip()
