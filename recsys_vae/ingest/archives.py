"""Unpack archives that strangers made: nothing leaves the folder, and nothing fills the disk."""

import gzip
import stat
import tarfile
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

from recsys_vae.errors import InputError, reason

_MOST_BYTES: Final = 64 * 2**30
_MOST_TIMES: Final = 100
"""Files may be so many times as large as their archive: texts pack five to ten times smaller."""
_GRACE: Final = 16 * 2**20
_MOST_MEMBERS: Final = 100_000
_BLOCK: Final = 2**20
_LONGEST: Final = 200
_HEADERS: Final = 16 * 2**10
"""Bytes between two files of a tar: a header or three, and what is read ahead (10 KiB)."""
_DAMAGED: Final = (
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    tarfile.TarError,
    zlib.error,
    EOFError,
    NotImplementedError,  # zipfile: a compression that it does not know
    UnicodeError,
)


class DamagedArchiveError(InputError):
    """The archive's own bytes are at fault: it has to be fetched again."""


def is_archive(path: Path) -> bool:
    """Say by its name whether a file is unpacked or left as it is.

    >>> [is_archive(Path(name)) for name in ("a.zip", "a.tar.gz", "a.csv.gz", "a.txt")]
    [True, True, False, False]
    """
    return path.name.lower().endswith((".zip", ".tar.gz", ".tgz"))


def unpack(archive: Path, folder: Path, *, name: str | None = None) -> None:
    """Unpack a .zip or .tar.gz into a folder.

    Only files and folders are made, with ordinary permissions; links and devices are refused.

    Args:
        archive: the file.
        folder: exists, and is cleared by the caller if this raises.
        name: what the archive is called, if its path has another suffix.

    Raises:
        InputError: a member would leave the folder, is no file, comes twice, has an odd name, or
            they are too many or too large together.
        DamagedArchiveError: the archive is cut or damaged.
    """
    called = name or archive.name
    most = min(_MOST_BYTES, _MOST_TIMES * archive.stat().st_size + _GRACE)
    target = _Target(called, folder, most)
    try:
        if called.lower().endswith(".zip"):
            _unzip(archive, target)
        else:
            _untar(archive, target)
    except _DAMAGED as error:
        raise DamagedArchiveError(
            f"{called} is cut or damaged ({reason(error)}): fetch it again"
        ) from error


@dataclass(slots=True)
class _Target:
    """A folder that is being filled, and what may still come into it."""

    archive: str
    folder: Path
    bytes_left: int
    members: int = 0
    taken: dict[str, bool] = field(default_factory=dict)  # path in lower case: is it a folder?

    def refuse(self, what: str) -> InputError:
        return InputError(
            f"{self.archive} {what}, which no data set needs: do not use it, and tell its publisher"
        )

    def place(self, name: str, *, folder: bool) -> Path:
        """Give a member its place, after looking at its name and at what is there."""
        self.members += 1
        if self.members > _MOST_MEMBERS:
            raise self.refuse(f"has more than {_MOST_MEMBERS:,} members")
        parts = [part for part in name.removesuffix("/").split("/") if part != "."]
        odd = not all(
            part and part != ".." and len(part.encode()) <= _LONGEST and part.isprintable()
            for part in parts
        )
        if odd or set(name) & set('\\:*?"<>|') or len(name) > 5 * _LONGEST:
            raise self.refuse(f"holds a member named {name[:_LONGEST]!r}")
        keys = ["/".join(parts[: end + 1]).casefold() for end in range(len(parts))]
        for key in keys[:-1]:
            if not self.taken.setdefault(key, True):
                raise self.refuse(f"holds {name!r} as a file and as a folder")
        if keys and self.taken.setdefault(keys[-1], folder) != folder:
            raise self.refuse(f"holds {name!r} as a file and as a folder")
        path = self.folder.joinpath(*parts)
        (path if folder else path.parent).mkdir(parents=True, exist_ok=True)
        if not folder and (not parts or path.exists()):
            raise self.refuse(f"holds {name!r} twice")
        return path

    def expect(self, size: int) -> None:
        """Refuse a member that says it is too large, before a byte is written."""
        if size > self.bytes_left:
            raise self.refuse("unpacks to far more than its size")

    def write(self, source: IO[bytes], path: Path) -> None:
        """Copy a member; what it said of its size is not believed."""
        with path.open("xb") as file:
            while block := source.read(_BLOCK):
                self.expect(len(block))
                self.bytes_left -= len(block)
                file.write(block)


def _unzip(archive: Path, target: _Target) -> None:
    with zipfile.ZipFile(archive) as opened:
        for member in opened.infolist():
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise target.refuse(f"holds a link or device named {member.filename!r}")
            if member.flag_bits & 1:
                raise target.refuse(f"holds {member.filename!r} under a password")
            path = target.place(member.filename, folder=member.is_dir())
            if not member.is_dir():
                target.expect(member.file_size)
                with opened.open(member) as source:
                    target.write(source, path)


class _Bounded:
    """A stream that ends in an error where there are more headers than any file needs.

    tarfile reads a header of any size into memory and searches it, which takes the square of its
    length in time.
    """

    def __init__(self, source: gzip.GzipFile, target: _Target) -> None:
        self._source, self._target, self.at, self._end = source, target, 0, _HEADERS

    def allow(self, end: int) -> None:
        """Let bytes be read up to `end`, and some for the next header."""
        self._end = end + _HEADERS

    def read(self, size: int) -> bytes:
        block = self._source.read(size)
        self.at += len(block)
        if self.at > self._end:
            raise self._target.refuse("holds a header or padding larger than any file needs")
        return block


def _untar(archive: Path, target: _Target) -> None:
    with gzip.open(archive) as source:
        stream = _Bounded(source, target)
        with tarfile.open(fileobj=stream, mode="r|") as tar:  # type: ignore[call-overload] # reads are all that "r|" needs
            for member in tar:
                if not (member.isreg() or member.isdir()):
                    raise target.refuse(f"holds a link or device named {member.name!r}")
                path = target.place(member.name, folder=member.isdir())
                target.expect(member.size)
                stream.allow(member.offset_data + member.size)
                content = tar.extractfile(member)
                if content is not None:
                    with content:
                        target.write(content, path)
            stream.allow(stream.at + _GRACE)
            while stream.read(_BLOCK):  # to the end: only there is gzip's checksum compared
                pass
