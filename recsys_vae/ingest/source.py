"""One way in for every file: blocks of rows, parsed side by side, handed on in order."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol

import pyarrow as pa

from recsys_vae.errors import InputError
from recsys_vae.ingest.adjacency import adjacency_tickets, netflix_tickets
from recsys_vae.ingest.block import ITEM, ROLES, USER, Block, Tickets
from recsys_vae.ingest.delimited import delimited_tickets
from recsys_vae.ingest.ids import integers_if_canonical
from recsys_vae.ingest.jsonl import jsonl_tickets
from recsys_vae.ingest.parallel import in_order
from recsys_vae.ingest.parquet import parquet_tickets
from recsys_vae.ingest.pieces import Piece, pieces_of
from recsys_vae.ingest.reading import UNREADABLE, ReadOptions, printable, unreadable
from recsys_vae.ingest.text import text_blocks

_PEEK_BYTES: Final = 1 << 16
_NETFLIX: Final = re.compile(rb"\d+:\r?")
_NUMBERS: Final = re.compile(rb"\d+( \d+)* ?\r?")
_ROWS_AT_ONCE: Final = 1 << 19


class Source(Protocol):
    """Where rows come from."""

    @property
    def name(self) -> str:
        """For messages."""
        ...

    def tickets(self, roles: Sequence[str]) -> Tickets:
        """Give the blocks, in order, as work that may be done in any thread."""
        ...


@dataclass(frozen=True, slots=True)
class FileSource:
    """A file, a zip archive or a folder of files.

    Attributes:
        path: what to read.
        options: what the files do not say about themselves.
    """

    path: Path
    options: ReadOptions = ReadOptions()

    @property
    def name(self) -> str:
        """The path, printable."""
        return printable(self.path)

    def tickets(self, roles: Sequence[str] = ROLES) -> Tickets:
        """Give the blocks of all files, in the order of their names.

        Raises:
            InputError: a file cannot be read, or lacks a column that is needed.
        """
        for piece in pieces_of(self.path, self.options.format, leave_out=self.options.leave_out):
            try:
                yield from _reader(piece, self.options)(piece, self.options, roles)
            except UNREADABLE as error:
                raise unreadable(piece.name, error) from error


def read_through(piece: Piece, options: ReadOptions) -> None:
    """Read a file to its end, for nothing but to see whether it can be read.

    Raises:
        InputError: it cannot.
    """
    try:
        for _ in in_order(_reader(piece, options)(piece, options, ROLES)):
            pass
    except UNREADABLE as error:
        raise unreadable(piece.name, error) from error


@dataclass(frozen=True, slots=True)
class TableSource:
    """Rows that are in memory already.

    Attributes:
        table: columns by role.
        name: for messages.
    """

    table: pa.Table
    name: str

    def tickets(self, roles: Sequence[str] = ROLES) -> Tickets:
        """Give the rows in blocks."""
        table = self.table.select([role for role in roles if role in self.table.column_names])
        for batch in table.to_batches(max_chunksize=_ROWS_AT_ONCE):
            yield _given(Block(self.name, pa.Table.from_batches([batch])))


def _given(block: Block) -> Callable[[], Block]:
    return lambda: block


def read_alike(paths: Sequence[Path], options: ReadOptions) -> ReadOptions:
    """Settle the format of files that belong together, where one alone would be misread.

    A list of two items a user looks like rows of user, item and rating.

    Raises:
        InputError: a file cannot be read.
    """
    if options.format != "auto":
        return options
    for path in paths:
        piece = next(iter(pieces_of(path)))
        if _kind(piece, options) == "adjacency":
            return replace(options, format="adjacency")
    return options


def _kind(piece: Piece, options: ReadOptions) -> str:
    known = piece.format in ("parquet", "jsonl") or options.format != "auto"
    return piece.format if known else _look(piece, options)


def _reader(piece: Piece, options: ReadOptions) -> Callable[..., Tickets]:
    readers: dict[str, Callable[..., Tickets]] = {
        "parquet": parquet_tickets,
        "jsonl": jsonl_tickets,
        "adjacency": adjacency_tickets,
        "netflix": netflix_tickets,
    }
    return readers.get(_kind(piece, options), delimited_tickets)


def _look(piece: Piece, options: ReadOptions) -> str:
    """Tell adjacency lists and the Netflix Prize from rows by the first lines of a text file."""
    return kind_of_text(next(text_blocks(piece, options, block_bytes=_PEEK_BYTES), b""), options)


def kind_of_text(start: bytes, options: ReadOptions) -> str:
    """Tell "adjacency", "netflix" and "csv" by how a text file begins."""
    lines = [line for line in start.split(b"\n") if line.strip()]
    if lines and _NETFLIX.fullmatch(lines[0]):
        return "netflix"
    # Rows have equally many fields; lists of numbers have not.
    whole = lines[:-1] or lines
    columns = options.columns
    named = options.header is not None or any((columns.user, columns.item, columns.rating))
    numbers = (
        options.delimiter is None
        and not named
        and bool(whole)
        and all(_NUMBERS.fullmatch(line) for line in whole)
    )
    if numbers and (len({line.count(b" ") for line in whole}) > 1 or whole[0].count(b" ") > 3):
        return "adjacency"
    return "csv"


def read_table(
    path: Path, options: ReadOptions | None = None, roles: Sequence[str] = ROLES
) -> pa.Table:
    """Read a whole file into one table, refusing what is malformed.

    Args:
        path: any file that `FileSource` reads.
        options: what the file does not say about itself.
        roles: which columns; the table has those that the file has, under these names.

    Returns:
        At least one row; ids are strings or integers, from text integers where every one of a
        column is written as one.

    Raises:
        InputError: the file cannot be read, is empty, or a record is malformed.
    """
    options = options or ReadOptions()
    tables, before, name, text = [], 0, "", False
    for block in in_order(FileSource(path, options).tickets(roles)):
        if block.name != name:  # another file of a folder
            before, name = 0, block.name
        if block.malformed:
            first = block.malformed[0]
            raise InputError(
                f"{block.name}, row {before + first.record + 1}: {first.reason}: correct the row"
            )
        before += block.records
        text = text or block.text
        tables.append(_plain(block.table))
    if text:
        tables = _alike(tables)
    if not any(len(table) for table in tables):
        raise InputError(f"{printable(path)} has no rows: give a file with at least one")
    try:
        table = pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        raise unreadable(path, error) from error
    for role in ("user", "item") if text else ():
        if role in table.column_names:
            place = table.column_names.index(role)
            table = table.set_column(place, role, integers_if_canonical(table[role]))
    return table


def _alike(tables: list[pa.Table]) -> list[pa.Table]:
    """Make ids text in every table where they are in one: from text, an integer is its spelling."""
    for role in (USER, ITEM):
        kinds = {one.schema.field(role).type for one in tables if role in one.column_names}
        if len(kinds) > 1:
            tables = [
                one.set_column(
                    one.column_names.index(role), role, one[role].cast(pa.large_string())
                )
                if role in one.column_names
                else one
                for one in tables
            ]
    return tables


def _plain(table: pa.Table) -> pa.Table:
    for place, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            table = table.set_column(place, field.name, table[place].cast(field.type.value_type))
    return table
