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
from recsys_vae.ingest.reading import UNREADABLE, ReadOptions, unreadable
from recsys_vae.ingest.source import read_table
from recsys_vae.interactions.id_map import as_ids

_ROLES = ("item", "title", "genres")


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

    def known(self, ids: Iterable[Any]) -> int:
        """Count the items of which the file says something."""
        known = set(map(str, self.frame.index))
        return sum(str(one) in known for one in ids)

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


def read_catalogue(path: Path, options: ReadOptions | None = None) -> Catalogue:
    """Read item titles (and genres) from any file that `FileSource` reads.

    Args:
        path: one item a row; genres may be lists.
        options: what the file does not say about itself; an item column that it does not have is
            taken for the other file's, and looked for by convention.

    Returns:
        The catalogue; of a repeated item the first row counts.

    Raises:
        InputError: the file cannot be read or has no item or title column.
    """
    options = options or ReadOptions()
    # The item column may be the name that it has in the other file only.
    known = replace(options, columns=replace(options.columns, item=None))
    try:
        table = read_table(path, options, _ROLES)
    except InputError as own:
        if options.columns.item is None:
            raise
        try:
            table = read_table(path, known, _ROLES)
        except InputError as by_convention:
            other = "--item-column" in str(by_convention)
            raise (own if other and "--title-column" in str(own) else by_convention) from None
    column = table["item"]
    if not (pa.types.is_integer(column.type) or pa.types.is_string(column.type)):
        column = column.cast(pa.string())
    listed = column.to_pylist()
    missing = next((n for n, one in enumerate(listed) if one is None or one == ""), None)
    if missing is not None:
        raise InputError(
            f"{path}, row {missing + 1}: the item id is missing: fill it in or delete the row"
        )
    ids = as_ids(listed)
    genres = table["genres"] if "genres" in table.column_names else None
    frame = pd.DataFrame(
        {
            "title": _texts(table["title"], "title", path),
            "genres": "" if genres is None else _texts(genres, "genres", path),
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
