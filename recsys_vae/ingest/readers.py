"""Read CSV, TSV and Parquet files through pyarrow into frames with canonical columns."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from recsys_vae.errors import InputError, reason
from recsys_vae.ingest.columns import ColumnNames, find_column
from recsys_vae.interactions import IdArray

_DELIMITERS: Final = {".csv": ",", ".tsv": "\t", ".txt": "\t"}
_PARQUET_SUFFIXES: Final = (".parquet", ".pq")


UNREADABLE: Final = (pa.ArrowException, OSError, UnicodeError)
"""What pyarrow raises for files that it cannot read."""


def unreadable(path: Path, error: Exception) -> InputError:
    """Give the sentence for a file that cannot be read."""
    remedy = "repair or export it again"
    if isinstance(error, UnicodeError) or "UTF8" in str(error):
        remedy = "export it as UTF-8"
    if isinstance(error, PermissionError):
        remedy = "ask for permission to read it"
    return InputError(f"{ascii_safe(path)} cannot be read ({reason(error)}): {remedy}")


def ascii_safe(path: Path) -> str:
    """Give a path as text that any terminal can show."""
    return str(path).encode("utf-8", "replace").decode("utf-8")


def check_file(path: Path) -> str | None:
    """Check that a file is there and of a known format.

    Returns:
        The suffix of a text format (".csv"...), or None for Parquet.

    Raises:
        InputError: the file is missing, empty, a folder, or of an unknown format.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist: check the path")
    if path.is_dir():
        raise InputError(f"{path} is a folder: give the file in it")
    if not path.is_file():
        raise InputError(f"{path} is no regular file: write the data to one first")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty: give a file with a header and at least one row")
    lower = Path(path.name.lower())
    suffix = (lower.with_suffix("") if lower.suffix == ".gz" else lower).suffix
    if suffix in _PARQUET_SUFFIXES:
        return None
    if suffix in _DELIMITERS:
        return suffix
    raise InputError(
        f"{path} has the unknown suffix '{suffix}': give .csv, .tsv (also .gz) or .parquet"
    )


def text_options(
    path: Path, suffix: str, names: ColumnNames, ids: Sequence[str], *, streamed: bool = False
) -> dict[str, Any]:
    """Give pyarrow's options for a text file; ids are read as text, so that 007 stays 007.

    Args:
        path: the file.
        suffix: of its format.
        names: column names, found by convention where None.
        ids: roles of the id columns, "user" or "item".
        streamed: whether types must be fixed beforehand; then only ids and ratings are read.
    """
    parse = pa.csv.ParseOptions(delimiter=_DELIMITERS[suffix])
    with pa.csv.open_csv(path, parse_options=parse) as reader:
        present = reader.schema.names
    types = {}
    for role in ids:
        name = find_column(role, getattr(names, role), present, path, required=False)
        if name is not None:
            types[name] = pa.string()
    options: dict[str, Any] = {"column_types": types}
    if streamed:
        rating = find_column("rating", names.rating, present, path, required=False)
        ratings = {} if rating is None else {rating: pa.float64()}
        options = {"column_types": types | ratings, "include_columns": [*types, *ratings]}
    return {"parse_options": parse, "convert_options": pa.csv.ConvertOptions(**options)}


def is_canonical(texts: pa.Array | pa.ChunkedArray) -> bool:
    """Say whether every text is how its 64-bit integer is written: "7", not "007" or ""."""
    try:
        again = texts.cast(pa.int64()).cast(pa.string())
    except pa.ArrowInvalid:
        return False
    return bool(pc.all(pc.equal(again, texts), skip_nulls=False).as_py())


def integers_if_canonical(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Turn texts into integers where no spelling is lost by it."""
    return texts.cast(pa.int64()) if is_canonical(texts) else texts


def read_table(path: Path, names: ColumnNames, ids: Sequence[str] = ("user", "item")) -> pa.Table:
    """Read a whole CSV, TSV or Parquet file.

    Args:
        path: the file; `.csv` and `.tsv` (also with `.gz`) have a header line.
        names: column names, found by convention where None; id columns of a text file are
            integers if every id is written as one, otherwise strings.
        ids: roles of the id columns, "user" or "item".

    Returns:
        An Arrow table with at least one row.

    Raises:
        InputError: the file is missing, empty, damaged or of an unknown format.
    """
    suffix = check_file(path)
    try:
        if suffix is None:
            table = pa.parquet.read_table(path)
        else:
            options = text_options(path, suffix, names, ids)
            table = pa.csv.read_csv(path, **options)
            for name in options["convert_options"].column_types:
                place = table.column_names.index(name)
                table = table.set_column(place, name, integers_if_canonical(table[name]))
    except UNREADABLE as error:
        raise unreadable(path, error) from error
    if table.num_rows == 0:
        raise InputError(f"{path} has no rows: give a file with at least one interaction")
    return table


def read_interactions(path: Path, names: ColumnNames) -> pd.DataFrame:
    """Read a file of interactions.

    Args:
        path: a CSV, TSV or Parquet file, one interaction a row.
        names: column names, found by convention where None.

    Returns:
        What `canonical_rows` gives.

    Raises:
        InputError: the file cannot be read, a column is missing, an id is missing or of another
            type, or a rating is no number.
    """
    return canonical_rows(read_table(path, names), names, path)


def canonical_rows(
    table: pa.Table, names: ColumnNames, path: Path, *, rows_before: int = 0
) -> pd.DataFrame:
    """Pick the columns that matter out of a table and bring them to their types.

    Args:
        table: rows of a file.
        names: column names, found by convention where None.
        path: of the file, for error sentences.
        rows_before: data rows of the file before this table.

    Returns:
        Columns `row` (from 1, counting data rows), `user`, `item`, and `rating` and `timestamp`
        where the file has them. Ids are int64 or `str`; ratings float64, NaN where absent.

    Raises:
        InputError: a column is missing, an id is missing or of another type, or a rating is no
            number.
    """
    present = table.column_names
    first = rows_before + 1
    columns: dict[str, Any] = {"row": range(first, first + table.num_rows)}
    for role in ("user", "item"):
        name = find_column(role, getattr(names, role), present, path, required=True)
        assert name is not None  # find_column raised otherwise
        columns[role] = id_array(table[name], name, path, rows_before=rows_before)
    rating = find_column("rating", names.rating, present, path, required=False)
    if rating is not None:
        columns["rating"] = _numbers(table[rating], rating, path, rows_before)
    timestamp = find_column("timestamp", names.timestamp, present, path, required=False)
    if timestamp is not None:
        columns["timestamp"] = table[timestamp].to_pandas().to_numpy()
    return pd.DataFrame(columns)


def id_array(column: pa.ChunkedArray, name: str, path: Path, *, rows_before: int = 0) -> IdArray:
    """Bring an id column to int64 or `str`.

    Raises:
        InputError: an id is missing, or the column is of another type.
    """
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    textual = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    if not (textual or pa.types.is_integer(kind)):
        raise InputError(
            f"{path}, column '{name}': ids must be integers or strings, not {kind}: "
            "choose another column or convert it"
        )
    missing = pc.is_null(column)
    if textual:
        missing = pc.or_(missing, pc.fill_null(pc.equal(column, ""), True))
    first = pc.index(missing, pa.scalar(True)).as_py()
    if first >= 0:
        raise InputError(
            f"{path}, row {rows_before + first + 1}, column '{name}': the id is missing: "
            f"fill it in or delete the row ({pc.sum(missing).as_py()} rows are like it)"
        )
    if textual:
        try:
            return np.asarray(column.to_pylist(), dtype=object)
        except UnicodeError as error:
            raise unreadable(path, error) from error
    try:
        return np.asarray(column.cast(pa.int64()).to_numpy())
    except pa.ArrowInvalid as error:
        raise InputError(
            f"{path}, column '{name}': an id is beyond 64-bit integers with sign: convert the "
            "column to strings"
        ) from error


def _numbers(column: pa.ChunkedArray, name: str, path: Path, rows_before: int) -> Any:
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        text = column.to_pandas()
        numbers = pd.to_numeric(text, errors="coerce")
        wrong = (numbers.isna() & text.notna() & ~text.isin(["", "nan", "NaN"])).to_numpy()
        if wrong.any():
            first = int(wrong.argmax())
            raise InputError(
                f"{path}, row {rows_before + first + 1}, column '{name}': "
                f"'{text.iloc[first]}' is no number: correct it or name another --rating-column"
            )
        return numbers.to_numpy(dtype=np.float64)
    try:
        return column.cast(pa.float64()).to_numpy()
    except pa.ArrowException as error:
        raise InputError(
            f"{path}, column '{name}': ratings must be numbers, not {column.type}: "
            "name another --rating-column"
        ) from error
