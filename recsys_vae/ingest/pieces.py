"""Which files lie behind a path: one file, a member of a zip archive, or a folder of parts."""

import os
import zipfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final, cast
from urllib.parse import unquote

import pyarrow as pa

from recsys_vae.errors import InputError
from recsys_vae.ingest.reading import UNREADABLE, Format, printable, unreadable

_COMPRESSED: Final = {".gz": "gzip", ".zst": "zstd", ".zstd": "zstd", ".bz2": "bz2"}
_SUFFIXES: Final[dict[str, Format]] = {
    ".csv": "csv", ".tsv": "csv", ".tab": "csv", ".txt": "csv", ".dat": "csv", ".data": "csv",
    ".inter": "csv", ".item": "csv", ".parquet": "parquet", ".pq": "parquet", ".jsonl": "jsonl",
    ".ndjson": "jsonl", ".json": "jsonl",
}  # fmt: skip
_LISTED: Final = 10
_PASSED_OVER: Final = (".", "_")
_NO_VALUE: Final = "__HIVE_DEFAULT_PARTITION__"
"""Hive's and Spark's name for the folder of rows that have no value."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One file of interactions.

    Attributes:
        path: of the file, or of the zip archive it lies in.
        format: "csv" stands for any text that is no JSON until its first lines were seen.
        suffix: in lower case, without that of the compression.
        member: name within the zip archive.
        partition: values of hive-like folders (`country=de/`), which are columns.
    """

    path: Path
    format: Format
    suffix: str
    member: str | None = None
    partition: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """For messages."""
        return printable(self.path if self.member is None else self.path / self.member)

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Open the decompressed bytes."""
        if self.member is not None:
            with zipfile.ZipFile(self.path) as archive, archive.open(self.member) as file:
                yield _decompressed(cast("BinaryIO", file), self.member)
        else:
            with self.path.open("rb") as file:
                yield _decompressed(file, self.path.name)


def _decompressed(file: BinaryIO, name: str) -> BinaryIO:
    kind = _COMPRESSED.get(Path(name.lower()).suffix)
    if kind is None:
        return file
    opened: BinaryIO = pa.CompressedInputStream(pa.PythonFile(file, mode="r"), kind)
    return opened


def pieces_of(
    path: Path,
    format_: Format = "auto",
    *,
    leave_out: Collection[Path] = (),
    empty_too: bool = False,
) -> tuple[Piece, ...]:
    """Find the files behind a path.

    Args:
        path: a file; a zip archive with one file of data; `archive.zip/name` for one of several;
            or a folder of files of one format, hive-partitioned or not. Names that begin with
            "_" or "." are passed over.
        format_: of the files; "auto" goes by the suffix.
        leave_out: files of a folder that are passed over.
        empty_too: whether to give files of 0 bytes, too, instead of refusing them.

    Returns:
        The files, sorted by name.

    Raises:
        InputError: there is none, an empty one, or one of an unknown or another format.
    """
    try:
        pieces = tuple(one for one in _found(path, format_) if one.path not in leave_out)
        for piece in () if empty_too else pieces:
            if piece.member is None and not piece.path.stat().st_size:
                raise InputError(
                    f"{piece.name} is empty: give a file with a header and at least one row"
                )
    except UNREADABLE as error:
        raise unreadable(path, error) from error
    formats = sorted({piece.format for piece in pieces})
    if len(formats) > 1:
        raise InputError(
            f"{printable(path)} holds files of several formats ({', '.join(formats)}): "
            "give a folder of one format, or one file"
        )
    return pieces


def _found(path: Path, format_: Format) -> Iterator[Piece]:
    if path.is_dir():
        yield from _in_folder(path, format_)
    elif path.is_file():
        if path.suffix.lower() == ".zip":
            _refuse_no_archive(path)
            yield _only_member(path, format_)
        else:
            yield _piece(path, path.name, format_)
    elif path.exists():
        raise InputError(f"{printable(path)} is no regular file: write the data to one first")
    else:
        archive = next((one for one in path.parents if one.is_file()), None)
        if archive is not None and archive.suffix.lower() == ".zip":
            _refuse_no_archive(archive)
        if archive is None or not zipfile.is_zipfile(archive):
            raise InputError(f"{printable(path)} does not exist: check the path")
        member = path.relative_to(archive).as_posix()
        if member not in zipfile.ZipFile(archive).namelist():
            raise InputError(
                f"{printable(archive)} holds no {member!r} (it holds {_members(archive)}): "
                "correct the name"
            )
        yield _piece(archive, member, format_, member)


def _refuse_no_archive(path: Path) -> None:
    if not zipfile.is_zipfile(path):
        raise InputError(
            f"{printable(path)} is no zip archive, or one that was cut off: fetch or pack it again"
        )


def _bare_suffix(name: str) -> str:
    """Give the suffix in lower case, without that of the compression."""
    lower = Path(name.lower())
    return (lower.with_suffix("") if lower.suffix in _COMPRESSED else lower).suffix


def _piece(path: Path, name: str, format_: Format, member: str | None = None) -> Piece:
    lower = Path(name.lower())
    suffix = _bare_suffix(name)
    known = _SUFFIXES.get(suffix) if format_ == "auto" else format_
    if known is None:
        raise InputError(
            f"{printable(path / member if member else path)} has the unknown suffix '{suffix}': "
            "name its --format, or give .csv, .tsv, .txt, .dat, .jsonl (also .gz, .zst or .zip) "
            "or .parquet"
        )
    if known == "parquet" and (lower.suffix in _COMPRESSED or member is not None):
        raise InputError(
            f"{printable(path / member if member else path)} is Parquet in another archive: "
            "unpack it first"
        )
    return Piece(path, known, suffix, member)


def _only_member(path: Path, format_: Format) -> Piece:
    with zipfile.ZipFile(path) as archive:
        usable = [one.filename for one in archive.infolist() if one.file_size and not one.is_dir()]
    fitting = [
        name for name in usable
        if format_ != "auto" or _bare_suffix(name) in _SUFFIXES
    ]  # fmt: skip
    fitting = [name for name in fitting if not Path(name).name.startswith(_PASSED_OVER)]
    if len(fitting) != 1:
        raise InputError(
            f"{printable(path)} holds {len(fitting)} files of data ({_members(path)}): give one as "
            f"{printable(path)}/NAME"
        )
    return _piece(path, fitting[0], format_, fitting[0])


def _members(path: Path) -> str:
    with zipfile.ZipFile(path) as archive:
        names = [printable(name) for name in archive.namelist() if not name.endswith("/")]
    return ", ".join(names[:_LISTED] or ["none"]) + (", ..." if len(names) > _LISTED else "")


def _in_folder(path: Path, format_: Format) -> Iterator[Piece]:
    relative = sorted(file.relative_to(path) for file in _files_below(path))
    if not relative:
        raise InputError(f"{printable(path)} is a folder without files: give one with data in it")
    for one in relative:
        piece = _piece(path / one, one.name, format_)
        keys = [part.split("=", 1) for part in one.parts[:-1] if "=" in part]
        partition = {key: "" if value == _NO_VALUE else unquote(value) for key, value in keys}
        yield Piece(piece.path, piece.format, piece.suffix, None, partition)


def _files_below(folder: Path) -> Iterator[Path]:
    """Give the files in a folder and its folders; what cannot be read must not go unnoticed."""

    def refuse(error: OSError) -> None:
        raise error

    for place, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(_PASSED_OVER)]
        linked = [name for name in folders if (Path(place) / name).is_symlink()]
        for name in (*linked, *names):
            file = Path(place) / name
            if name.startswith(_PASSED_OVER):
                continue
            if not file.is_file():
                raise InputError(
                    f"{printable(file)} is no regular file and would be left out: put the data "
                    "themselves there, or remove it"
                )
            yield file
