"""Text in blocks of whole records: decompressed, decoded to UTF-8, cut where a record ends."""

import codecs
import io
from collections.abc import Iterator
from typing import BinaryIO, Final

from recsys_vae.errors import InputError
from recsys_vae.ingest.pieces import Piece
from recsys_vae.ingest.reading import ReadOptions

BLOCK_BYTES = 8 << 20
"""Large enough that the parser's start-up does not show, small enough to stay near the caches."""
_LONGEST_RECORD: Final = 64 << 20
_WINDOW: Final = 1 << 12
_WIDE: Final = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


def text_blocks(
    piece: Piece, options: ReadOptions, *, block_bytes: int | None = None
) -> Iterator[bytes]:
    """Read a text file in blocks that end where a record ends.

    Args:
        piece: the file.
        options: encoding and quote character.
        block_bytes: about so many bytes a block; None: as many as suit the caches.

    Yields:
        UTF-8 (not yet validated where the encoding is UTF-8), without a byte order mark.

    Raises:
        InputError: the file holds NUL bytes, or a record does not end.
    """
    quote, block_bytes = options.quote.encode(), block_bytes or BLOCK_BYTES
    with piece.open() as file:
        stream = _decoded(file, options)
        # A plain file goes back to where the record ended, which costs less than joining pieces.
        plain = stream is file and piece.member is None and file.seekable()
        rest, first, size = b"", True, block_bytes
        while True:
            size = _to_line_end(file, size) if plain else size
            fresh = stream.read(size)
            data = rest + fresh if rest else fresh
            if first:
                _refuse_wide(data, piece)
                data, first = data.removeprefix(codecs.BOM_UTF8), False
            _refuse_nul(fresh, piece)
            if len(fresh) < size and (plain or not fresh):
                if data.strip():
                    yield data
                return
            cut = _last_end(data, quote)
            if cut == 0 and len(data) > _LONGEST_RECORD:
                raise InputError(
                    f"{piece.name} has a record of more than {_LONGEST_RECORD >> 20} MB, as if a "
                    "quote were never closed: repair it, or pass --quote none if quotes are text"
                )
            if plain:
                file.seek(cut - len(data), io.SEEK_CUR)
                # A record longer than a block is read again, with more room.
                size = block_bytes if cut else 2 * size
                rest = b""
            else:
                rest = data[cut:]
            if cut:
                yield data[:cut]


def _to_line_end(file: BinaryIO, size: int) -> int:
    """Make a block end with a line, if one ends near there: what is read so need not be cut."""
    start, window = file.tell(), min(size, _WINDOW)
    file.seek(start + size - window)
    end = file.read(window)
    file.seek(start)
    place = end.rfind(b"\n")
    return size if len(end) < window or place < 0 else size - window + place + 1


def _decoded(file: BinaryIO, options: ReadOptions) -> BinaryIO:
    try:
        codec = codecs.lookup(options.encoding)
        "".encode(options.encoding)  # base64 and the like are codecs, but not of text
    except LookupError as error:
        raise InputError(
            f"--encoding {options.encoding} is unknown: give one such as utf-8, latin-1 or utf-16"
        ) from error
    if codec.name in ("utf-8", "ascii"):
        return file  # pyarrow validates it
    return _Recoded(file, codec)


class _Recoded(io.RawIOBase, BinaryIO):
    """Gives the bytes of another encoding as UTF-8."""

    def __init__(self, file: BinaryIO, codec: codecs.CodecInfo) -> None:
        self._file = file
        assert codec.incrementaldecoder is not None  # every text codec of Python has one
        self._decoder = codec.incrementaldecoder("strict")

    def read(self, size: int = -1) -> bytes:
        raw = self._file.read(size)
        text = self._decoder.decode(raw, final=not raw)
        while raw and not text:
            raw = self._file.read(size)
            text = self._decoder.decode(raw, final=not raw)
        return text.encode("utf-8")


def _refuse_wide(data: bytes, piece: Piece) -> None:
    for mark, name in _WIDE.items():
        if data.startswith(mark):
            raise InputError(f"{piece.name} is {name.upper()}: pass --encoding {name}")


def _refuse_nul(data: bytes, piece: Piece) -> None:
    if b"\0" in data:
        raise InputError(
            f"{piece.name} holds NUL bytes, which no text does: export it again (a copy may have "
            "been cut off by a crash), or name its --encoding"
        )


def _last_end(data: bytes, quote: bytes) -> int:
    """Find where the last whole record ends: a line break outside of quotes."""
    end = b"\n" if b"\n" in data else b"\r"
    place = data.rfind(end)
    if not quote or quote not in data:
        return place + 1
    quotes = data.count(quote, 0, place + 1)
    while place >= 0 and quotes % 2:
        before = data.rfind(end, 0, place)
        quotes -= data.count(quote, before + 1, place + 1)
        place = before
    return place + 1
