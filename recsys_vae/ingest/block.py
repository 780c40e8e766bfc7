"""What every reader hands on: some rows of a file, under the names of their roles."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

USER: Final = "user"
ITEM: Final = "item"
RATING: Final = "rating"
TIME: Final = "timestamp"
ROLES: Final = (USER, ITEM, RATING, TIME)


@dataclass(frozen=True, slots=True)
class Malformed:
    """A record that is no row: its number within the block, from 0, its text and what is wrong."""

    record: int
    text: str
    reason: str


@dataclass(frozen=True, slots=True)
class Block:
    """Some rows of a file.

    Attributes:
        name: of the file, for messages.
        table: columns by role; ids as strings, dictionaries or integers.
        malformed: records that are no rows, by number.
        text: whether it was read from text, where 7 and "7" are the same.
    """

    name: str
    table: pa.Table
    malformed: tuple[Malformed, ...] = ()
    text: bool = False

    @property
    def records(self) -> int:
        """Count the records, rows and malformed ones."""
        return int(self.table.num_rows) + len(self.malformed)

    def record_numbers(self) -> npt.NDArray[np.int64]:
        """Give each row's number within the block, from 0."""
        numbers = np.arange(self.records)
        return np.delete(numbers, [one.record for one in self.malformed])


def empty_table(roles: Iterable[str]) -> pa.Table:
    """Give no rows of these columns."""
    return pa.table({role: pa.array([], pa.string()) for role in roles})


Ticket = Callable[[], Block]
"""Work put off: parsing a block, in any thread."""
Tickets = Iterator[Ticket]
