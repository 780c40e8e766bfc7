"""Two text formats that are not one row a line: adjacency lists and the Netflix Prize."""

import re
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from recsys_vae.errors import InputError
from recsys_vae.ingest.block import ITEM, ROLES, USER, Block, Malformed, Ticket, Tickets
from recsys_vae.ingest.pieces import Piece
from recsys_vae.ingest.reading import ReadOptions, printable, unreadable
from recsys_vae.ingest.text import text_blocks

_NO_DELIMITER: Final = "\x1f"
_ITEM_LINES: Final = re.compile(rb"^(\d+):[ \t]*\r?$", re.MULTILINE)
_ITEM_LINE: Final = re.compile(rb"^(\d+):\r?$", re.MULTILINE)


def adjacency_tickets(piece: Piece, options: ReadOptions, _roles: Sequence[str]) -> Tickets:
    """Give the blocks of an adjacency list: a line `user item item ...` for each user.

    A user without items is a line of one id; it has no rows. This is the text that
    graph-recommendation papers share (X. He et al., LightGCN, SIGIR 2020).

    Args:
        piece: the file.
        options: encoding, and the delimiter if it is not white space.
        _roles: whatever is asked for, "user" and "item" are what is there.

    Yields:
        Work that gives a block each.
    """
    for data in text_blocks(piece, options):
        yield _adjacency_ticket(data, piece, options.delimiter)


def _adjacency_ticket(data: bytes, piece: Piece, delimiter: str | None) -> Ticket:
    return lambda: _parse_adjacency(data, piece, delimiter)


def _parse_adjacency(data: bytes, piece: Piece, delimiter: str | None) -> Block:
    try:
        lines = pa.csv.read_csv(
            pa.BufferReader(pa.py_buffer(data)),
            read_options=pa.csv.ReadOptions(
                column_names=["line"], use_threads=False, block_size=len(data) + 1
            ),
            parse_options=pa.csv.ParseOptions(delimiter=_NO_DELIMITER, quote_char=False),
            convert_options=pa.csv.ConvertOptions(column_types={"line": pa.string()}),
        )["line"].combine_chunks()
    except (pa.ArrowException, UnicodeError) as error:
        raise unreadable(piece.name, error) from error
    trimmed = pc.utf8_trim_whitespace(lines)
    if delimiter is None:
        tokens = pc.utf8_split_whitespace(trimmed)
    else:
        tokens = pc.split_pattern(trimmed, delimiter)
    values = tokens.flatten()
    ends = np.cumsum(np.asarray(pc.list_value_length(tokens)))
    lengths = np.diff(ends, prepend=0)
    first = np.zeros(len(values), dtype=bool)
    first[(ends - lengths)[lengths > 0]] = True
    users = values.filter(pa.array(first)).take(
        pa.array(np.repeat(np.arange(int((lengths > 0).sum())), lengths[lengths > 0] - 1))
    )
    items = values.filter(pa.array(~first))
    table = pa.table({USER: users.dictionary_encode(), ITEM: items.dictionary_encode()})
    return Block(piece.name, table, text=True)


def netflix_tickets(piece: Piece, options: ReadOptions, roles: Sequence[str]) -> Tickets:
    """Give the blocks of a Netflix Prize file: a line `item:` above its `user,rating,date` lines.

    Args:
        piece: `mv_0000001.txt`, `combined_data_1.txt` or the like.
        options: encoding.
        roles: to read, such as "user".

    Yields:
        Work that gives a block each.

    Raises:
        InputError: the file does not begin with an item.
    """
    for data, item in _with_items(text_blocks(piece, options), piece):
        yield _netflix_ticket(data, item, piece, [role for role in ROLES if role in roles])


def _with_items(blocks: Iterator[bytes], piece: Piece) -> Iterator[tuple[bytes, bytes]]:
    """Say under which item each block begins."""
    item = b""
    for number, data in enumerate(blocks):
        if number == 0 and _ITEM_LINE.match(data.lstrip(b"\r\n")) is None:
            raise InputError(
                f"{piece.name} does not begin with a line such as '1:': give a file of the Netflix "
                "Prize, or name another --format"
            )
        yield data, item
        lines = _ITEM_LINES.findall(data)
        item = lines[-1] if lines else item


def _netflix_ticket(data: bytes, item: bytes, piece: Piece, roles: list[str]) -> Ticket:
    return lambda: _parse_netflix(data, item, piece, roles)


def _parse_netflix(data: bytes, item: bytes, piece: Piece, roles: list[str]) -> Block:
    items, starts, malformed = [item.decode()], [0], list[Malformed]()
    skipped = 0

    def note(row: pa.csv.InvalidRow) -> str:
        nonlocal skipped
        if row.actual_columns == 1 and row.text.rstrip().endswith(":"):
            items.append(row.text.rstrip()[:-1])
            starts.append(row.number - 1 - skipped)
        else:
            why = f"{row.actual_columns} columns instead of {row.expected_columns}"
            record = row.number - 1 - (len(items) - 1)
            malformed.append(Malformed(record, printable(row.text), why))
        skipped += 1
        return "skip"

    names = ["user", "rating", "timestamp"]
    try:
        table = pa.csv.read_csv(
            pa.BufferReader(pa.py_buffer(data)),
            read_options=pa.csv.ReadOptions(
                column_names=names, use_threads=False, block_size=len(data) + 1
            ),
            parse_options=pa.csv.ParseOptions(quote_char=False, invalid_row_handler=note),
            convert_options=pa.csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
            ),
        )
    except (pa.ArrowException, UnicodeError) as error:
        raise unreadable(piece.name, error) from error
    lengths = np.diff([*starts, table.num_rows])
    codes = np.repeat(np.arange(len(items), dtype=np.int32), lengths)
    columns = {name: table[name] for name in names}
    # Encoded anew: an item without rows must not stand in the dictionary.
    columns[ITEM] = pa.array(items, pa.string()).take(pa.array(codes)).dictionary_encode()
    return Block(
        piece.name, pa.table({role: columns[role] for role in roles}), tuple(malformed), True
    )
