"""What the items are called: titles and genres, for people who read the lists."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import pandas as pd
import pyarrow as pa
import pyarrow.parquet

from recsys_vae.errors import InputError
from recsys_vae.files import atomic_file
from recsys_vae.ingest.columns import ColumnNames, find_column
from recsys_vae.ingest.readers import UNREADABLE, id_array, read_table, unreadable


@dataclass(frozen=True, slots=True, eq=False)
class Catalogue:
    """Titles and genres by item id (columns `title` and `genres`, both text).

    >>> frame = pd.DataFrame({"title": ["Alien"], "genres": ["Horror"]}, index=[7])
    >>> Catalogue(frame).titles([7, 8])
    ['Alien', '8']
    """

    frame: pd.DataFrame

    @classmethod
    def empty(cls) -> Self:
        """Give a catalogue that knows no titles; ids stand for themselves."""
        return cls(pd.DataFrame({"title": [], "genres": []}, dtype=object))

    def titles(self, ids: Iterable[Any]) -> list[str]:
        """Give each item's title, or its id as text where no title is known."""
        return self._column("title", ids, unknown=str)

    def genres(self, ids: Iterable[Any]) -> list[str]:
        """Give each item's genres, or an empty text."""
        return self._column("genres", ids, unknown=lambda _: "")

    def _column(self, name: str, ids: Iterable[Any], unknown: Any) -> list[str]:
        # By text: a titles file may hold one odd id that turns all of them into strings.
        known = dict(zip(map(str, self.frame.index), self.frame[name], strict=True))
        return [known[str(i)] if str(i) in known else unknown(i) for i in ids]

    def save(self, path: Path) -> None:
        """Write the catalogue as Parquet, atomically."""
        table = pa.table(
            {
                "item": pa.array(self.frame.index.to_numpy()),
                "title": pa.array(self.frame["title"].to_numpy(), type=pa.string()),
                "genres": pa.array(self.frame["genres"].to_numpy(), type=pa.string()),
            }
        )
        with atomic_file(path) as temporary:
            pa.parquet.write_table(table, temporary)


def read_catalogue(path: Path, names: ColumnNames | None = None) -> Catalogue:
    """Read item titles (and genres) from a CSV, TSV or Parquet file.

    Args:
        path: one item a row; genres may be lists.
        names: column names, found by convention where None; an item column that this file does
            not have is taken for the other file's, and looked for by convention.

    Returns:
        The catalogue; of a repeated item the first row counts.

    Raises:
        InputError: the file cannot be read or has no item or title column.
    """
    names = names or ColumnNames()
    own = replace(names, item=None)
    table = read_table(path, own, ids=("item",))
    present = table.column_names
    if names.item in present:
        own = names
        table = read_table(path, own, ids=("item",))
    item = find_column("item", own.item, present, path, required=True)
    title = find_column("title", own.title, present, path, required=True)
    genres = find_column("genres", own.genres, present, path, required=False)
    assert item is not None and title is not None  # noqa: PT018 # find_column raised otherwise
    ids = id_array(table[item], item, path)
    frame = pd.DataFrame(
        {
            "title": _texts(table[title], title, path),
            "genres": "" if genres is None else _texts(table[genres], genres, path),
        },
        index=pd.Index(ids),
        dtype=object,
    )
    return Catalogue(frame[~frame.index.duplicated()])


def _texts(column: pa.ChunkedArray, name: str, path: Path) -> list[str]:
    """Give a column as texts, lists joined with "|", missing values empty."""
    kind = column.type
    try:
        if pa.types.is_list(kind) or pa.types.is_large_list(kind):
            rows = column.to_pylist()
            return ["|".join(str(one) for one in row or [] if one is not None) for row in rows]
        texts: list[str] = column.cast(pa.string()).fill_null("").to_pylist()
    except pa.ArrowNotImplementedError as error:
        raise InputError(
            f"{path}, column '{name}': {kind} is no text: convert it to strings"
        ) from error
    except UNREADABLE as error:
        raise unreadable(path, error) from error
    return texts
