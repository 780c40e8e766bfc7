"""Histories in list form: Parquet with a user and a list of items in each row."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from recsys_vae.errors import InputError
from recsys_vae.ingest.columns import find_column
from recsys_vae.ingest.pieces import Piece, pieces_of
from recsys_vae.ingest.reading import UNREADABLE, ReadOptions, unreadable
from recsys_vae.ingest.source import read_through
from recsys_vae.interactions import IdArray

_ROWS_AT_ONCE: Final = 1 << 14


@dataclass(frozen=True, slots=True)
class ListRows:
    """A Parquet file, or a folder of them, whose items come as lists.

    Attributes:
        pieces: the files.
        reading: how their columns are named.
    """

    pieces: tuple[Piece, ...]
    reading: ReadOptions

    @classmethod
    def of(cls, path: Path, reading: ReadOptions) -> Self | None:
        """Take a file if it is in list form; None where it is in long form.

        Raises:
            InputError: it cannot be read, or lacks a column that is needed.
        """
        pieces = pieces_of(path, reading.format, leave_out=reading.leave_out)
        if any(piece.format != "parquet" for piece in pieces):
            return None
        rows = cls(pieces, reading)
        kinds = {rows.lists(piece) for piece in pieces}
        if len(kinds) > 1:
            raise InputError(
                f"{path} holds files with lists of items and files with one item a row: give a "
                "folder of one kind"
            )
        return rows if kinds == {True} else None

    def lists(self, piece: Piece) -> bool:
        """Say whether a file's items come as lists; those that its folder names do not."""
        schema = self.schema(piece)
        present = [*schema.names, *piece.partition]
        item = list_columns(present, self.reading, piece.name)[1]
        return item in schema.names and _is_list(schema.field(item).type)

    def schema(self, piece: Piece) -> pa.Schema:
        """Give a file's columns."""
        try:
            return pa.parquet.read_schema(piece.path)
        except UNREADABLE as error:
            raise unreadable(piece.name, error) from error

    def columns(self, piece: Piece) -> tuple[str, str]:
        """Find the columns of users and items.

        Raises:
            InputError: one is not there.
        """
        return list_columns(self.schema(piece).names, self.reading, piece.name)

    def batches(self) -> Iterator[tuple[IdArray, npt.NDArray[np.int64], pa.Array]]:
        """Give users, how many items each has, and the items of all, some rows at a time.

        Raises:
            InputError: a user or an item is missing, or a file cannot be read.
        """
        for piece in self.pieces:
            user, item = self.columns(piece)
            before = 0
            try:
                with pa.parquet.ParquetFile(piece.path, pre_buffer=False) as file:
                    for batch in file.iter_batches(_ROWS_AT_ONCE, columns=[user, item]):
                        yield _row_by_row(batch.column(user), batch.column(item), piece, before)
                        before += batch.num_rows
            except UNREADABLE as error:
                raise unreadable(piece.name, error) from error


def damaged_histories(path: Path, reading: ReadOptions) -> dict[Path, str]:
    """Read every file of a folder of histories, and give those that cannot be, with the reason.

    Args:
        path: the folder, or a file, in either form.
        reading: what the files do not say about themselves.

    Raises:
        InputError: none can be read.
    """
    damaged: dict[Path, str] = {}
    pieces = pieces_of(path, reading.format, empty_too=True)
    for piece in pieces:
        try:
            if not piece.path.stat().st_size:
                raise InputError(f"{piece.name} is empty")
            rows = ListRows((piece,), reading)
            if piece.format == "parquet" and rows.lists(piece):
                for _ in rows.batches():
                    pass
            else:
                read_through(piece, reading)
        except InputError as error:
            damaged[piece.path] = str(error)
    if damaged and len(damaged) == len(pieces):
        raise InputError(
            f"none of the {len(pieces)} files of {path} can be read; the first: "
            f"{next(iter(damaged.values()))}"
        )
    return damaged


def list_columns(present: list[str], reading: ReadOptions, name: str) -> tuple[str, str]:
    """Find the columns of users and of items, one or a list of them.

    Args:
        present: the columns of the file.
        reading: how they are named.
        name: of the file, for the message.

    Raises:
        InputError: one is not there.
    """
    found = []
    for role, others in (("user", []), ("item", ["items", "history"])):
        named = getattr(reading.columns, role)
        plural = next((one for one in others if one in present), None)
        if named is None and plural is not None:
            found.append(plural)
            continue
        one = find_column(role, named, present, name, required=True)
        assert one is not None  # it is required
        found.append(one)
    return found[0], found[1]


def _is_list(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def _row_by_row(
    users: pa.Array, lists: Any, piece: Piece, before: int
) -> tuple[IdArray, npt.NDArray[np.int64], pa.Array]:
    lengths = np.asarray(pc.list_value_length(lists).fill_null(0), dtype=np.int64)
    found = []
    for what, said, array, per_row in (
        ("user", "the user id", users, np.ones(len(users), dtype=np.int64)),
        ("item", "an item id", pc.list_flatten(lists), lengths),
    ):
        _refuse(array.is_null(), per_row, f"{said} is missing", piece, before)
        kind = array.type
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        if not (_is_text(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind)):
            raise InputError(
                f"{piece.name}: {what} ids must be integers or strings, not {kind}: name another "
                f"--{what}-column or convert it"
            )
        ids = _plain(array)
        if _is_text(ids.type):
            blank = pc.equal(pc.utf8_trim_whitespace(ids), "")
            _refuse(blank, per_row, f"{said} is blank", piece, before)
        found.append(ids)
    return found[0].to_numpy(zero_copy_only=False), lengths, found[1]


def _is_text(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def _refuse(
    wrong: pa.Array, per_row: npt.NDArray[np.int64], why: str, piece: Piece, before: int
) -> None:
    """Refuse the first row with a wrong value, where rows have so many values each."""
    place = pc.index(wrong, True).as_py()
    if place >= 0:
        row = int(np.searchsorted(np.cumsum(per_row), place, "right"))
        raise InputError(f"{piece.name}, row {before + row + 1}: {why}: correct the row")


def _plain(ids: pa.Array) -> pa.Array:
    """Make ids int64 or large_string."""
    kind = ids.type.value_type if pa.types.is_dictionary(ids.type) else ids.type
    if pa.types.is_null(kind):
        return pa.array([], pa.large_string())
    return ids.cast(pa.int64() if pa.types.is_integer(kind) else pa.large_string())
