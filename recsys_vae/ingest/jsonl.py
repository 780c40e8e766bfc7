"""JSON lines: one object a line."""

import json
from collections.abc import Iterable, Sequence
from typing import Any, Final

import pyarrow as pa
import pyarrow.json

from recsys_vae.errors import InputError, reason
from recsys_vae.ingest.block import Block, Malformed, Ticket, Tickets, empty_table
from recsys_vae.ingest.delimited import choose_columns
from recsys_vae.ingest.pieces import Piece
from recsys_vae.ingest.reading import ReadOptions, printable, unreadable
from recsys_vae.ingest.text import text_blocks

_SAMPLE_LINES: Final = 100


def jsonl_tickets(piece: Piece, options: ReadOptions, roles: Sequence[str]) -> Tickets:
    """Give the blocks of a file of JSON lines.

    Args:
        piece: the file.
        options: column names, which are the objects' keys.
        roles: to read, such as "user".

    Yields:
        Work that gives a block each.

    Raises:
        InputError: the file is a JSON array or the like, or a key that is needed is not there.
    """
    chosen: dict[str, str] | None = None
    for data in text_blocks(piece, options):
        if chosen is None:
            names = [*_keys(data, piece), *piece.partition]
            places = choose_columns(names, piece, options, roles)
            chosen = {role: names[place] for role, place in places.items()}
        yield _ticket(data, chosen, piece)


def _ticket(data: bytes, chosen: dict[str, str], piece: Piece) -> Ticket:
    return lambda: _parse(data, chosen, piece)


def _keys(data: bytes, piece: Piece) -> list[str]:
    """Collect the keys of the first objects: one may lack what others have."""
    keys: dict[str, None] = {}
    error: Exception | None = None
    for line in data.splitlines()[:_SAMPLE_LINES]:
        try:
            one = json.loads(line) if line.strip() else {}
        except (ValueError, RecursionError) as caught:
            error = caught
            continue
        if isinstance(one, dict):
            keys |= dict.fromkeys(one)
    if keys:
        return list(keys)
    detail = f" ({reason(error)})" if error else ""
    raise InputError(
        f"{piece.name} holds no JSON object on its first lines{detail}: write one object a line"
    )


def _parse(data: bytes, chosen: dict[str, str], piece: Piece) -> Block:
    try:
        table = pa.json.read_json(
            pa.BufferReader(pa.py_buffer(data)),
            read_options=pa.json.ReadOptions(use_threads=False, block_size=len(data) + 1),
        )
    except pa.ArrowException:
        return _parse_slowly(data, chosen, piece)
    except (OSError, UnicodeError) as error:
        raise unreadable(piece.name, error) from error
    columns = {
        role: table[name]
        if name in table.column_names
        else pa.array([piece.partition.get(name)] * table.num_rows, pa.string())
        for role, name in chosen.items()
    }
    if any(pa.types.is_nested(column.type) for column in columns.values()):
        return _parse_slowly(data, chosen, piece)
    return Block(piece.name, pa.table(columns) if columns else empty_table(chosen))


def _parse_slowly(data: bytes, chosen: dict[str, str], piece: Piece) -> Block:
    """Parse line by line, to find those that are no objects and keys of mixed types."""
    columns: dict[str, list[Any]] = {role: [] for role in chosen}
    malformed: list[Malformed] = []
    try:
        # Bytes are split at line breaks only, text also at separators within a value.
        lines = [line.decode("utf-8") for line in data.splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise unreadable(piece.name, error) from error
    for record, line in enumerate(lines):
        try:
            one = json.loads(line)
        except (ValueError, RecursionError):
            malformed.append(Malformed(record, printable(line), "no JSON"))
            continue
        if not isinstance(one, dict):
            malformed.append(Malformed(record, printable(line), "no JSON object"))
            continue
        values = {role: one.get(name, piece.partition.get(name)) for role, name in chosen.items()}
        if any(isinstance(value, dict | list) for value in values.values()):
            malformed.append(Malformed(record, printable(line), "a list or an object as a value"))
            continue
        if not _is_unicode(values.values()):
            malformed.append(Malformed(record, printable(line), "half a character as a value"))
            continue
        for role, value in values.items():
            columns[role].append(value)
    table = pa.table({role: _column(values) for role, values in columns.items()})
    return Block(piece.name, table, tuple(malformed))


def _is_unicode(values: Iterable[Any]) -> bool:
    """Say whether texts can be written: JSON's escapes can name half of a surrogate pair."""
    try:
        "".join(value for value in values if isinstance(value, str)).encode()
    except UnicodeEncodeError:
        return False
    return True


def _column(values: list[Any]) -> pa.Array:
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError):
        return pa.array([None if one is None else str(one) for one in values], pa.string())
