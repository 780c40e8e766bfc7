"""What the items are called: titles and genres, for people who read the lists."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pandas as pd
import pyarrow as pa
import pyarrow.parquet

from recsys_vae.files import atomic_file
from recsys_vae.ingest.columns import ColumnNames, find_column
from recsys_vae.ingest.readers import id_array, read_table


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
        known = self.frame[name].to_dict()
        return [known[i] if i in known else unknown(i) for i in ids]

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
        path: one item a row.
        names: column names, found by convention where None.

    Returns:
        The catalogue; of a repeated item the first row counts.

    Raises:
        InputError: the file cannot be read or has no item or title column.
    """
    names = names or ColumnNames()
    table = read_table(path, names)
    present = table.column_names
    item = find_column("item", names.item, present, path, required=True)
    title = find_column("title", names.title, present, path, required=True)
    genres = find_column("genres", names.genres, present, path, required=False)
    assert item is not None  # find_column raised otherwise
    ids = id_array(table[item], item, path)
    frame = pd.DataFrame(
        {
            "title": table[title].cast(pa.string()).fill_null("").to_numpy(),
            "genres": table[genres].cast(pa.string()).fill_null("").to_numpy() if genres else "",
        },
        index=pd.Index(ids),
        dtype=object,
    )
    return Catalogue(frame[~frame.index.duplicated()])
