"""Parquet, one batch of rows after the other."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from recsys_vae.ingest.block import Block, Ticket, Tickets
from recsys_vae.ingest.delimited import choose_columns
from recsys_vae.ingest.pieces import Piece
from recsys_vae.ingest.reading import ReadOptions

ROWS = 1 << 19


def parquet_tickets(piece: Piece, options: ReadOptions, roles: Sequence[str]) -> Tickets:
    """Give the batches of a Parquet file.

    Args:
        piece: the file.
        options: column names.
        roles: to read, such as "user".

    Yields:
        Work that gives a block each.

    Raises:
        InputError: a column that is needed is not there.
    """
    # Without pre-buffering a row group is read page by page, however large it is.
    with pa.parquet.ParquetFile(piece.path, pre_buffer=False) as file:
        own = file.schema_arrow.names
        chosen = choose_columns((*own, *piece.partition), piece, options, roles)
        values = list(piece.partition.values())
        columns = [own[place] for place in chosen.values() if place < len(own)]
        for batch in file.iter_batches(batch_size=ROWS, columns=columns):
            table = {
                role: batch.column(own[place])
                if place < len(own)
                else pa.array([values[place - len(own)]] * batch.num_rows, pa.string())
                for role, place in chosen.items()
            }
            yield _ticket(piece.name, table)


def _ticket(name: str, columns: dict[str, Any]) -> Ticket:
    return lambda: Block(name, pa.table(columns))
