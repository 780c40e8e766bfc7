"""Histories as a frame of Spark's: a row a user, the items as an array.

What is refused is refused where the row is met, by Spark's `raise_error`: nothing is looked at
twice for it. The sentence is found again by `session.explained`.
"""

import codecs
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from recsys_vae.errors import InputError
from recsys_vae.ingest.block import ITEM, RATING, USER
from recsys_vae.ingest.delimited import Layout, choose_columns, find_layout
from recsys_vae.ingest.pieces import Piece
from recsys_vae.ingest.reading import ReadOptions, printable
from recsys_vae.ingest.source import kind_of_text
from recsys_vae.interactions.id_map import IdKind
from recsys_vae.scoring.list_form import list_columns
from recsys_vae.scoring.spark.storage import Storage, StoredFile

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession
    from pyspark.sql.types import StructType

_ROLES: Final = (USER, ITEM, RATING)
_NUMBER: Final = r"(?i)^[+-]?(([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?|inf(inity)?|nan)$"
"""Java also takes 5f and 5d for numbers."""
_ENCODINGS: Final = {
    "ascii": "US-ASCII", "iso8859-1": "ISO-8859-1", "utf-8": "UTF-8", "utf-8-sig": "UTF-8",
    "utf-16": "UTF-16", "utf-16-be": "UTF-16BE", "utf-16-le": "UTF-16LE", "utf-32": "UTF-32",
}  # fmt: skip
"""What Spark reads, by Python's names."""
_WILDCARDS: Final = "[]{}*?\\"
_INTEGER: Final = "^(0|-?[1-9][0-9]{0,18})$"
_BLANK: Final = ("", "nan", "null", "na")
_PARQUET: Final = (".parquet", ".pq")
_OTHERS: Final = (".jsonl", ".ndjson", ".json", ".zip")
_SAMPLE_LINES: Final = 40
_GARBLED: Final = (
    "an id is not text of the encoding that was read (its bytes are no UTF-8, say): name its "
    "--encoding, or correct the row"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SparkHistories:
    """Files of histories: one interaction a row, or Parquet with a list of items in each row.

    The rows of a user may stand anywhere.

    Attributes:
        storage: where they lie.
        files: what was found there.
        reading: what they do not say about themselves.
        threshold: where there are ratings, only those above it count; None: all count.
        rated: whether to tell of the items of other ratings, too.
    """

    storage: Storage
    files: tuple[StoredFile, ...]
    reading: ReadOptions
    threshold: float | None
    rated: bool = True

    @classmethod
    def of(
        cls,
        session: "SparkSession",
        path: str,
        reading: ReadOptions,
        threshold: float | None,
        *,
        rated: bool = True,
    ) -> "SparkHistories":
        """Look for the files.

        Raises:
            InputError: there is none, or Spark would look for others.
        """
        special = next((one for one in path if one in _WILDCARDS), None)
        if special is not None:
            raise InputError(
                f"{path}: Spark takes the {special} in it for a wildcard: rename it, or use "
                "--engine local"
            )
        storage = Storage.of(session, path)
        files = tuple(storage.files())
        return cls(storage=storage, files=files, reading=reading, threshold=threshold, rated=rated)

    def by_user(self, items: IdKind) -> "DataFrame":
        """Give columns `user`, `history`, `below` and `misspelt`, a row a user.

        `history` is an array of item ids of the model's kind, as often as they stand in the file;
        where there are ratings, a column `rated` holds those of the rows that `below` counts;
        `below` counts rows whose rating is not above the threshold, `misspelt` items that cannot be
        ids of that kind and are in no history.

        Args:
            items: the kind of the model's ids.

        Raises:
            InputError: the files cannot be read by Spark, or a column is missing.
        """
        if self._format() == "parquet":
            frame, columns = self._parquet()
            # The names of folders are text, too.
            text = any(f"{columns[USER]}=" in one.name for one in self.files)
        else:
            frame, columns, text = *self._text(), True
        return self._grouped(frame, columns, items, text=text)

    def _format(self) -> Literal["csv", "parquet"]:
        names = {Path(one.name).suffix.lower() for one in self.files}
        asked = self.reading.format
        if asked == "parquet" or (asked == "auto" and names <= set(_PARQUET)):
            return "parquet"
        if asked in ("csv", "auto") and not names & {*_PARQUET, *_OTHERS}:
            return "csv"
        raise InputError(
            f"{self.storage.path}: --engine spark reads Parquet and delimited text, all files of "
            "one kind: convert the data, or use --engine local"
        )

    def _parquet(self) -> tuple["DataFrame", dict[str, str]]:
        frame = self.storage.session.read.parquet(self.storage.path)
        present, name = frame.columns, printable(self.storage.path)
        user, item = list_columns(present, self.reading, name)
        if _is_list(frame, item):
            return frame, {USER: user, ITEM: item}
        chosen = choose_columns(present, self._piece(), self.reading, _ROLES)
        return frame, {role: present[place] for role, place in chosen.items()}

    def _text(self) -> tuple["DataFrame", dict[str, str]]:
        layout = self._layout()
        chosen = choose_columns(
            layout.names, self._piece(), self.reading, _ROLES, header=layout.header
        )
        names = [f"c{number}" for number in range(len(layout.names))]
        encoding = self._encoding()
        # The names are compared with the first line of every file.
        compared = layout.header and (encoding == "UTF-8" or "".join(layout.names).isascii())
        frame = (
            self.storage.session.read.schema(_all_text(layout.names if compared else names))
            .option("enforceSchema", str(not compared).lower())
            .option("sep", layout.delimiter)
            .option("header", str(layout.header).lower())
            .option("quote", layout.quote)
            .option("escape", layout.quote or "\0")
            .option("encoding", encoding)
            # A row with another number of fields is refused, also where they are not needed.
            .option("mode", "FAILFAST")
            .option("columnPruning", "false")
            .csv(self.storage.path)
            .toDF(*names)
        )
        return frame, {role: names[place] for role, place in chosen.items()}

    def _encoding(self) -> str:
        try:
            return _ENCODINGS[codecs.lookup(self.reading.encoding).name]
        except (LookupError, KeyError) as error:
            raise InputError(
                f"--encoding {self.reading.encoding} is none that Spark reads: give one of "
                f"{', '.join(_ENCODINGS)}, or use --engine local"
            ) from error

    def _layout(self) -> Layout:
        lines = self.storage.session.read.text(self.storage.path).limit(_SAMPLE_LINES).collect()
        start = "\n".join(row[0] for row in lines).encode("utf-8", "replace")
        asked = self.reading.format
        kind = kind_of_text(start, self.reading) if asked == "auto" else str(asked)
        if kind != "csv":
            raise InputError(
                f"{self.storage.path} holds {kind} text, which --engine spark does not read: use "
                "--engine local, or name --format csv if it is delimited"
            )
        return find_layout(start, self._piece(), self.reading)

    def _piece(self) -> Piece:
        """Give what stands for the files in messages, and their suffix."""
        name = Path(self.files[0].name.lower())
        packed = name.suffix in (".gz", ".bz2", ".zst")
        suffix = (name.with_suffix("") if packed else name).suffix
        return Piece(Path(self.storage.path), "csv", suffix)

    def _grouped(
        self, frame: "DataFrame", columns: dict[str, str], items: IdKind, *, text: bool
    ) -> "DataFrame":
        from pyspark.sql import functions as f

        name = printable(self.storage.path)
        kinds = {role: _checked_kind(frame, one, role, name) for role, one in columns.items()}
        user, item = _quoted(columns[USER]), _quoted(columns[ITEM])
        textual = kinds[USER] == "string"
        who = _there(user, f"{name}: a user id is missing: correct the row or delete it", textual)
        # Text says only as a whole whether its ids are integers.
        if not textual or (text and _all_integers(frame, user)):
            who = who.cast("bigint")
        textual = kinds[ITEM] == "string"
        missing = f.concat(
            f.lit(f"{name}: an item id is missing (user "),
            user.cast("string"),
            f.lit("): correct the row or delete it"),
        )

        def taken(one: "Column") -> "Column":
            return _as_kind(_there(one, missing, textual), items, textual)

        if _is_list(frame, columns[ITEM]):
            every = f.transform(f.coalesce(item, f.array()), taken)
            rows = frame.select(who.alias("user"), every.alias("all")).select(
                "user", "all", f.filter("all", lambda one: one.isNotNull()).alias("kept")
            )
            return rows.groupBy("user").agg(
                f.flatten(f.collect_list("kept")).alias("history"),
                f.lit(0).alias("below"),
                f.sum(f.size("all") - f.size("kept")).alias("misspelt"),
            )
        # What cannot happen is not counted: each sum is paid for at every row.
        one, none = taken(item).alias("item"), f.lit(0)
        further: list[Column] = []
        if RATING in columns:
            above = self._above(columns[RATING], name, text=kinds[RATING] == "string")
            rows = frame.select(who.alias("user"), one, above.alias("above"))
            below = f.sum((~f.col("above")).cast("int"))
            misspelt = f.col("above") & f.col("item").isNull()
            history = f.when(f.col("above"), f.col("item"))
            if self.rated and self.threshold is not None:
                low = f.when(~f.col("above"), f.col("item"))
                further.append(f.collect_list(low).alias("rated"))
        else:
            rows, below = frame.select(who.alias("user"), one), none
            misspelt, history = f.col("item").isNull(), f.col("item")
        can_be = textual and items != "string"
        misspelt = f.sum(misspelt.cast("int")) if can_be else none
        return rows.groupBy("user").agg(
            f.collect_list(history).alias("history"),
            below.alias("below"),
            misspelt.alias("misspelt"),
            *further,
        )

    def _above(self, rating: str, name: str, *, text: bool) -> "Column":
        from pyspark.sql import functions as f

        column = _quoted(rating)
        number = column.try_cast("double")
        if text:
            blank = f.lower(f.trim(column)).isin(*_BLANK)
            number = f.when(f.trim(column).rlike(_NUMBER), number)
            number = f.when(
                column.isNotNull() & ~blank & number.isNull(),
                _refusal(f.lit(f"{name}: a rating is no number: correct the row or delete it")),
            ).otherwise(number)
        if self.threshold is None:
            # Always true, which Spark cannot know: what is no number is refused all the same.
            return f.coalesce(number >= float("-inf"), f.lit(True))
        # Neither NaN nor infinity is a rating above the threshold; to Spark, NaN is the largest.
        above = (number > self.threshold) & (number < float("inf"))
        return f.coalesce(above, f.lit(False))


def _all_text(names: Sequence[str]) -> "StructType":
    from pyspark.sql.types import StringType, StructField, StructType

    return StructType([StructField(name, StringType()) for name in names])


def _quoted(column: str) -> "Column":
    from pyspark.sql import functions as f

    return f.col("`" + column.replace("`", "``") + "`")


def _refusal(sentence: "Column") -> "Column":
    from pyspark.sql import functions as f

    return f.raise_error(f.concat(f.lit("[recsys_vae: "), sentence, f.lit("]")))


def _there(ids: "Column", sentence: "Column | str", textual: bool) -> "Column":
    """Refuse an id that is missing or blank."""
    from pyspark.sql import functions as f

    missing = ids.isNull()
    if textual:
        missing |= f.trim(ids) == ""
    said = f.lit(sentence) if isinstance(sentence, str) else sentence
    found = f.when(missing, _refusal(said))
    if textual:
        found = found.when(ids.contains("\ufffd"), _refusal(f.lit(_GARBLED)))
    return found.otherwise(ids)


def _as_kind(ids: "Column", kind: IdKind, textual: bool) -> "Column":
    """Give ids as the model's kind; null where no id of that kind is spelt so."""
    from pyspark.sql import functions as f

    if kind == "string":
        return ids.cast("string")
    if not textual:
        return ids.cast("bigint")
    return f.when(ids.rlike(_INTEGER), ids.try_cast("bigint"))  # 007 is not 7


def _all_integers(frame: "DataFrame", user: "Column") -> bool:
    from pyspark.sql import functions as f

    spelt = f.when(user.rlike(_INTEGER), user.try_cast("bigint")).isNotNull()
    found = frame.select(f.min(spelt)).first()
    return bool(found is not None and found[0])


def _is_list(frame: "DataFrame", column: str) -> bool:
    from pyspark.sql.types import ArrayType

    return isinstance(frame.schema[column].dataType, ArrayType)


def _checked_kind(frame: "DataFrame", column: str, role: str, name: str) -> str:
    """Give the type of a column, or of what its lists hold, by Spark's name.

    Raises:
        InputError: it cannot play its role.
    """
    from pyspark.sql import types as t

    kind = frame.schema[column].dataType
    if isinstance(kind, t.ArrayType) and role == ITEM:
        kind = kind.elementType
    if role == RATING:
        if not isinstance(kind, t.NumericType | t.StringType):
            raise InputError(
                f"{name}: ratings must be numbers, not {kind.simpleString()}: name another "
                "--rating-column, or 'none' to read no ratings"
            )
    elif not isinstance(kind, t.IntegralType | t.StringType):
        raise InputError(
            f"{name}: {role} ids must be integers or strings, not {kind.simpleString()}: name "
            f"another --{role}-column or convert it"
        )
    text: str = kind.simpleString()
    return text
