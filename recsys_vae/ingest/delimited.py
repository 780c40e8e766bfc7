"""Delimited text: CSV, TSV, `::` and the like, with a header or without."""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.csv

from recsys_vae.errors import InputError
from recsys_vae.ingest.block import (
    ITEM,
    RATING,
    TIME,
    USER,
    Block,
    Malformed,
    Ticket,
    Tickets,
    empty_table,
)
from recsys_vae.ingest.columns import find_column, positions
from recsys_vae.ingest.pieces import Piece
from recsys_vae.ingest.reading import ReadOptions, printable, unreadable
from recsys_vae.ingest.text import text_blocks

_BY_SUFFIX: Final = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".dat": "::", ".data": "\t"}
_CANDIDATES: Final = (",", "\t", "::", ";", "|", " ")
_SEPARATOR: Final = "\x1f"
"""ASCII's unit separator stands in for a delimiter of several bytes."""
_NUMBER: Final = re.compile(r"\s*[-+]?[0-9]+(\.[0-9]+)?\s*")
_INTEGER: Final = re.compile(r"[-+]?[0-9]{1,18}")
_BLANK_LINES: Final = re.compile(rb"\A(?:[ \t]*[\r\n])+")
_LINE_END: Final = re.compile(rb"\r?\n|\r")
_SAMPLE_LINES: Final = 20
_PLAIN: Final = re.compile("0|[1-9][0-9]{0,17}")
_ID: Final = pa.dictionary(pa.int32(), pa.string())
_BYTES_AT_ONCE: Final = 1 << 18
_GLANCE: Final = 1 << 10


@dataclass(frozen=True, slots=True)
class Layout:
    """How a delimited file is laid out.

    Attributes:
        names: of the columns; "1", "2"... where the file has no header.
        delimiter: between fields.
        quote: around fields; "" for none.
        header: whether the first line names the columns.
        integer_times: whether the first row's time is an integer.
    """

    names: tuple[str, ...]
    delimiter: str
    quote: str
    header: bool
    sample: tuple[str, ...] = ()


def delimited_tickets(piece: Piece, options: ReadOptions, roles: Sequence[str]) -> Tickets:
    """Give the blocks of a delimited text file.

    Args:
        piece: the file.
        options: what it does not say about itself.
        roles: to read, such as "user"; those of ids come as dictionaries of strings.

    Yields:
        Work that gives a block each.

    Raises:
        InputError: the file is no such text, or a column that is needed is not there.
    """
    layout: Layout | None = None
    for data in text_blocks(piece, options):
        if layout is None:
            layout = find_layout(data, piece, options)
            names = (*layout.names, *piece.partition)
            chosen = choose_columns(names, piece, options, roles, header=layout.header)
            if layout.header:
                data = _without_first_line(data, layout.quote)
        yield _ticket(data, layout, chosen, piece)


def _ticket(data: bytes, layout: Layout, chosen: dict[str, int], piece: Piece) -> Ticket:
    return lambda: _parse(data, layout, chosen, piece)


def choose_columns(
    names: Sequence[str],
    piece: Piece,
    options: ReadOptions,
    roles: Sequence[str],
    *,
    header: bool = True,
) -> dict[str, int]:
    """Choose the column of each role that the file has.

    Args:
        names: of the columns.
        piece: for the error sentences.
        options: names given by the user.
        roles: to find; "user", "item" and "title" must be there.
        header: whether the names are the file's own, rather than numbers.

    Returns:
        Column number by role.

    Raises:
        InputError: a column that is needed is not there, or one is chosen for two roles.
    """
    present = list(names)
    by_position = {} if header else positions(len(present), titles="title" in roles)
    given = {getattr(options.columns, role) for role in roles}
    chosen: dict[str, int] = {}
    for role in roles:
        named = getattr(options.columns, role)
        if named is None and not header:
            # A column that is named for one role is not taken for another one by its place.
            if role in by_position and present[by_position[role]] not in given:
                chosen[role] = by_position[role]
            continue
        required = role in (USER, ITEM, "title")
        found = find_column(role, named, present, piece.name, required=required)
        if found is not None:
            chosen[role] = present.index(found)
    for role in (USER, ITEM, "title"):
        if role in roles and role not in chosen:
            needed = "items and titles" if "title" in roles else "users and items"
            raise InputError(
                f"{piece.name} has {len(present)} column(s) and no header: give at least {needed}, "
                f"and name --delimiter and --{role}-column"
            )
    owner: dict[int, str] = {}
    for role, place in chosen.items():
        other = owner.setdefault(place, role)
        if other != role:
            raise InputError(
                f"{piece.name}: column '{present[place]}' would be both {other} and {role}: name "
                f"another --{other}-column or --{role}-column"
            )
    return chosen


def find_layout(data: bytes, piece: Piece, options: ReadOptions) -> Layout:
    """Find out how a file is laid out from its first block.

    Raises:
        InputError: the text is in another encoding, or has fewer than two columns.
    """
    try:
        lines = [line.decode("utf-8") for line in _first_lines(data).splitlines()]
    except UnicodeDecodeError as error:
        raise unreadable(piece.name, error) from error
    lines = [line for line in lines if line.strip()][:_SAMPLE_LINES]
    if not lines:
        raise InputError(f"{piece.name} has no rows: give a file with at least one interaction")
    delimiter = options.delimiter or _guess_delimiter(lines, piece.suffix, options)
    # Titles are full of quotes that quote nothing where the delimiter is `::`.
    quote = "" if _is_replaced(delimiter) else options.quote
    rows = [_fields(line, delimiter, quote) for line in lines]
    header = _has_header(rows, options) if options.header is None else options.header
    names = rows[0] if header else [str(n + 1) for n in range(len(rows[0]))]
    sample = rows[1] if header and len(rows) > 1 else rows[0]
    return Layout(tuple(names), delimiter, quote, header, tuple(sample))


def _first_lines(data: bytes) -> bytes:
    """Give the beginning, up to a line break: a character must not be cut in two."""
    start = data[: 1 << 20]
    if len(start) == len(data):
        return start
    return start[: start.rfind(b"\n") + 1] or start[: start.rfind(b"\r") + 1] or data


def _is_replaced(delimiter: str) -> bool:
    """Say whether a delimiter is more than the one byte that the parser takes."""
    return len(delimiter.encode()) > 1


def _fields(line: str, delimiter: str, quote: str) -> list[str]:
    if _is_replaced(delimiter) or not quote:
        return line.split(delimiter)
    try:
        return next(csv.reader([line], delimiter=delimiter, quotechar=quote))
    except csv.Error:
        return line.split(delimiter)


def _guess_delimiter(lines: list[str], suffix: str, options: ReadOptions) -> str:
    usual = _BY_SUFFIX.get(suffix, "\t")
    best, width = usual, 1
    for candidate in (usual, *_CANDIDATES):
        quote = "" if len(candidate) > 1 else options.quote
        widths = {len(_fields(line, candidate, quote)) for line in lines}
        if min(widths) > width and (len(widths) == 1 or candidate == usual):
            best, width = candidate, min(widths)
            if candidate == usual:
                break
    return best


def _has_header(rows: list[list[str]], options: ReadOptions) -> bool:
    first = [name.strip() for name in rows[0]]
    named = (getattr(options.columns, role) for role in ("user", "item", "rating", "timestamp"))
    given = [name for name in named if name is not None]
    # A number is a position where there is no header, and may well be a value, too.
    if any(name in first for name in given if not name.isdecimal()):
        return True
    if any(_NUMBER.fullmatch(name) for name in first):
        return False
    # Names are not numbers; a row of ids and ratings has at least one, unless ids are words: then
    # positions mean that there is no header.
    places = [int(name) - 1 for name in given if name.isdecimal()]
    return len(places) < len(given) or not given or _numbers_below(rows, places)


def _numbers_below(rows: list[list[str]], places: list[int]) -> bool:
    """Say whether one of these columns holds numbers in all rows but the first."""
    columns = ([row[place].strip() for row in rows[1:] if place < len(row)] for place in places)
    return any(all(map(_NUMBER.fullmatch, column)) for column in columns if column)


def _without_first_line(data: bytes, quote: str) -> bytes:
    data, mark = _BLANK_LINES.sub(b"", data, count=1), quote.encode()
    for found in _LINE_END.finditer(data):
        if not mark or data.count(mark, 0, found.end()) % 2 == 0:
            return data[found.end() :]
    return b""


def _parse(data: bytes, layout: Layout, chosen: dict[str, int], piece: Piece) -> Block:
    if _is_replaced(layout.delimiter):
        data = data.replace(layout.delimiter.encode(), _SEPARATOR.encode())
    types: dict[str, Any] = {USER: _ID, ITEM: _ID, RATING: pa.float64()}
    own = {role: place for role, place in chosen.items() if place < len(layout.names)}
    first = {
        role: layout.sample[place] for role, place in own.items() if place < len(layout.sample)
    }
    types[TIME] = pa.int64() if _INTEGER.fullmatch(first.get(TIME, "")) else pa.string()
    names = [f"c{number}" for number in range(len(layout.names))]
    typed = {names[place]: types.get(role, pa.string()) for role, place in own.items()}
    text = dict.fromkeys(typed, pa.string())
    try:
        # Stripping copies a text; its beginning nearly always shows that something is there.
        if not data[:_GLANCE].strip() and not data.strip():
            return Block(piece.name, empty_table(chosen), text=True)
        # Integers are read faster as such, where their spelling can be told from their value.
        whole = [
            names[own[role]]
            for role in (USER, ITEM)
            if role in own and _PLAIN.fullmatch(first.get(role, ""))
        ]
        read = None
        if whole and _plainly_spelled(data, layout.delimiter, layout.quote):
            read = _read_integers(data, layout, names, typed | dict.fromkeys(whole, pa.int64()))
        try:
            table, malformed = read or _read(data, layout, names, typed)
        except pa.ArrowInvalid:
            # A value is no number: as text, each can be judged by itself.
            table, malformed = _read(data, layout, names, text)
        _refuse_open_quote(data, layout, names, table.num_rows + len(malformed), piece)
    except (pa.ArrowException, UnicodeError) as error:
        raise unreadable(piece.name, error) from error
    # A part of the file's path, as in country=de/part-1.csv, is a column like any other.
    values = list(piece.partition.values())
    columns = {
        role: table[names[place]]
        if role in own
        else pa.array([values[place - len(layout.names)]] * table.num_rows, pa.string())
        for role, place in chosen.items()
    }
    return Block(piece.name, pa.table(columns), tuple(malformed), text=True)


def _plainly_spelled(data: bytes, delimiter: str, quote: str) -> bool:
    """Say whether every integer in a text must be spelled as it is usually written.

    Otherwise 007, -0, 0x7 and 7 with a space would be read as another id's number. Some texts are
    refused that need not be.
    """
    others = {b"-", b" ", b"\t", quote.encode() or b'"'} - {delimiter.encode()}
    if _is_replaced(delimiter) or any(one in data for one in others):
        return False
    # A nought at the very beginning or end would have no neighbour to judge it by.
    if data.startswith(b"0") or data.endswith(b"0"):
        return False
    for start in range(0, len(data) - 2, _BYTES_AT_ONCE):
        codes = np.frombuffer(data, np.uint8, min(len(data) - start, _BYTES_AT_ONCE + 2), start)
        before, here, after = codes[:-2], codes[1:-1], codes[2:]
        # A nought behind what is no digit, and before what is no delimiter or decimal point.
        odd = (before < ord("0")) & (here == ord("0")) & (after > ord("."))
        if delimiter >= "0":
            odd |= (before == ord(delimiter)) & (here == ord("0")) & (after != ord(delimiter))
        # In 3.05 it is no beginning.
        if odd.any() and (before[odd] != ord(".")).any():
            return False
    return True


def _read_integers(
    data: bytes, layout: Layout, names: list[str], types: dict[str, Any]
) -> tuple[pa.Table, list[Malformed]] | None:
    """Read ids as integers; None where one of them is none."""
    try:
        table, malformed = _read(data, layout, names, types)
    except pa.ArrowInvalid:
        return None
    ids = [name for name, kind in types.items() if kind == pa.int64()]
    # As text, "" and "NA" mean different things.
    return None if any(table[name].null_count for name in ids) else (table, malformed)


def _refuse_open_quote(
    data: bytes, layout: Layout, names: list[str], records: int, piece: Piece
) -> None:
    """Refuse a text that ends within quotes: the rows behind the quote were taken for one field."""
    mark = layout.quote.encode()
    # Looking for the first one is much faster than counting them.
    if not mark or mark not in data or data.count(mark) % 2 == 0:
        return
    # Quotes amid a field quote nothing, so that an odd number may be right: one more row tells.
    longer = data + b"\n" + layout.delimiter.encode() * (len(names) - 1) + b"\n"
    table, malformed = _read(longer, layout, names, {names[0]: pa.string()})
    if table.num_rows + len(malformed) == records:
        raise InputError(
            f"{piece.name}: a quote is opened and never closed, so that the rows after it would "
            "be lost: correct it, or pass --quote none if quotes are text"
        )


def _read(
    data: bytes, layout: Layout, names: list[str], types: dict[str, Any]
) -> tuple[pa.Table, list[Malformed]]:
    malformed: list[Malformed] = []

    def note(row: Any) -> str:
        why = f"{row.actual_columns} columns instead of {row.expected_columns}"
        malformed.append(Malformed(row.number - 1, printable(row.text), why))
        return "skip"

    delimiter = _SEPARATOR if _is_replaced(layout.delimiter) else layout.delimiter
    quoted = bool(layout.quote) and layout.quote.encode() in data
    table = pa.csv.read_csv(
        pa.BufferReader(pa.py_buffer(data)),
        read_options=pa.csv.ReadOptions(
            column_names=names, use_threads=False, block_size=len(data) + 1
        ),
        parse_options=pa.csv.ParseOptions(
            delimiter=delimiter,
            quote_char=layout.quote if quoted else False,
            newlines_in_values=quoted,
            invalid_row_handler=note,
        ),
        convert_options=pa.csv.ConvertOptions(
            include_columns=list(types), column_types=types, strings_can_be_null=False
        ),
    )
    return table, malformed
