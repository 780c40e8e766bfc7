"""export: stored interactions become a Parquet file, for other programs and for Spark.

Legend: N stored entries.
"""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet

from recsys_vae.files import atomic_file
from recsys_vae.interactions import Interactions, load_interactions
from recsys_vae.interactions.store import stored_or
from recsys_vae.steps.file_out import check_file_out
from recsys_vae.tracking.runs import step_run

SUFFIXES: Final = (".parquet", ".pq")
_ROWS_AT_ONCE: Final = 1 << 20
"""Rows that are held and written together, unless a single user has more."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written.

    Attributes:
        users: who have a row.
        rows: N.
        columns: names.
    """

    users: int
    rows: int
    columns: tuple[str, ...]


def export(*, data: Path, out: Path) -> Exported:
    """Write stored interactions to one Parquet file: a row each, user after user.

    Columns are `user`, `item`, `rating` unless all are 1, and `timestamp` where times are known.

    Args:
        data: a folder that `ingest` wrote, or the stored interactions in it or in a split.
        out: the file.

    Raises:
        InputError: there are no such data, they are damaged, or `out` is not named as Parquet is.
    """
    check_file_out(out, SUFFIXES)
    with step_run("export") as run:
        interactions = load_interactions(stored_or(data))
        schema = _schema(interactions)
        with (
            atomic_file(out) as temporary,
            pa.parquet.ParquetWriter(temporary, schema) as writer,
        ):
            for first, stop in _some_users(interactions.matrix.indptr):
                writer.write_table(_table(interactions, schema, first, stop))
        run.params("export", {"columns": schema.names})
        run.dataset(interactions, "interactions", "export")
        users = int(np.count_nonzero(np.diff(interactions.matrix.indptr)))
        run.metrics({"users": users, "rows": len(interactions)})
        return Exported(users, len(interactions), tuple(schema.names))


def _schema(interactions: Interactions) -> pa.Schema:
    kinds = [
        ("user", interactions.users.to_arrow().type),
        ("item", interactions.items.to_arrow().type),
    ]
    if (interactions.matrix.data != 1).any():
        kinds.append(("rating", pa.float32()))
    if interactions.times is not None:
        kinds.append(("timestamp", pa.timestamp("ms", "UTC")))
    return pa.schema(kinds)


def _some_users(offsets: npt.NDArray[np.integer]) -> list[tuple[int, int]]:
    """Give ranges of users whose entries are held together."""
    bounds = [0]
    while bounds[-1] < len(offsets) - 1:
        most = int(offsets[bounds[-1]]) + _ROWS_AT_ONCE
        stop = int(np.searchsorted(offsets, most, side="right")) - 1
        bounds.append(max(bounds[-1] + 1, stop))
    return list(pairwise(bounds))


def _table(interactions: Interactions, schema: pa.Schema, first: int, stop: int) -> pa.Table:
    matrix = interactions.matrix
    own = slice(matrix.indptr[first], matrix.indptr[stop])
    users = np.repeat(np.arange(first, stop), np.diff(matrix.indptr[first : stop + 1]))
    columns = {
        "user": interactions.users.to_arrow().take(pa.array(users)),
        "item": interactions.items.to_arrow().take(pa.array(matrix.indices[own])),
        "rating": pa.array(matrix.data[own]),
    }
    if interactions.times is not None:
        columns["timestamp"] = pa.array(interactions.times[own], pa.timestamp("ms", "UTC"))
    return pa.table([columns[name] for name in schema.names], schema=schema)
