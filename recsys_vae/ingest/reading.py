"""How a file of interactions is to be read, and the sentence for one that cannot be."""

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import pyarrow as pa

from recsys_vae.errors import InputError, reason
from recsys_vae.ingest.columns import ColumnNames

Format = Literal["auto", "csv", "parquet", "jsonl", "adjacency", "netflix"]
FORMATS: Final[tuple[Format, ...]] = (
    "auto", "csv", "parquet", "jsonl", "adjacency", "netflix"
)  # fmt: skip
UNREADABLE: Final = (
    pa.ArrowException, OSError, EOFError, UnicodeError, zipfile.BadZipFile, zlib.error,
    NotImplementedError, RuntimeError,
)  # fmt: skip
"""What pyarrow, the decompressors and the decoders raise for files that they cannot read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """What a file does not say about itself; what is left out is found out.

    Attributes:
        columns: which column plays which role.
        format: "csv" (any delimiter), "parquet", "jsonl" (one JSON object a line), "adjacency"
            (`user item item ...` a line), "netflix" (`item:` above its `user,rating,date` lines),
            or "auto": by suffix, and by the first lines.
        delimiter: of text, one or more characters; None: found out.
        header: whether the first line of text names the columns; None: found out.
        quote: the character around fields that hold delimiters; "" for none.
        encoding: of text, by Python's name for it.
        leave_out: files of a folder that are passed over.
        max_rejected: the largest share of rows that may be no interactions and are passed over,
            where rows are not set aside by `ingest`; 0: the first such row is refused.
    """

    columns: ColumnNames = ColumnNames()
    format: Format = "auto"
    delimiter: str | None = None
    header: bool | None = None
    quote: str = '"'
    encoding: str = "utf-8"
    leave_out: frozenset[Path] = frozenset()
    max_rejected: float = 0.0

    def __post_init__(self) -> None:
        """Refuse characters that no parser could tell apart, and a share that is none."""
        if not 0.0 <= self.max_rejected <= 1.0:
            raise InputError(
                f"--max-rejected {self.max_rejected} must lie between 0 and 1: give a share"
            )
        if self.quote and (not self.quote.isascii() or len(self.quote) > 1 or self.quote in "\r\n"):
            raise InputError(
                f"--quote {printable(self.quote)} must be one ASCII character, or 'none'"
            )
        if self.delimiter is None:
            return
        if not self.delimiter or set(self.delimiter) & set("\r\n\0"):
            raise InputError(
                f"--delimiter {printable(self.delimiter)!r} must be text without line breaks: give "
                "one such as ',' or 'tab'"
            )
        if self.delimiter == self.quote:
            raise InputError(
                f"--delimiter {self.delimiter} is the --quote, too: give another, or --quote none"
            )


def unreadable(name: str | Path, error: Exception) -> InputError:
    """Give the sentence for a file that cannot be read."""
    remedy = "repair or export it again"
    if isinstance(error, UnicodeError) or "UTF8" in str(error):
        remedy = "export it as UTF-8 or name its --encoding"
    if isinstance(error, PermissionError):
        remedy = "ask for permission to read it"
    return InputError(f"{printable(name)} cannot be read ({reason(error)}): {remedy}")


def printable(name: object) -> str:
    """Give a name or a value as one line that any terminal can show."""
    text = str(name).encode("utf-8", "replace").decode("utf-8")
    return "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text
    )
