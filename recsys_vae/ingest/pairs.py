"""Numbered rows between the two passes: in memory while they fit, then on disk."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

IN_MEMORY: Final = 1 << 30
"""Beyond so many bytes rows are written beside the result and read again from there."""
LOW_IN_MEMORY: Final = 1 << 28
"""The same for rows that are only kept to be left out of lists."""
_KINDS: Final = {"user": np.int32, "item": np.int32, "rating": np.float64, "time": np.int64}


@dataclass(frozen=True, slots=True)
class Pairs:
    """Some rows: who took what, perhaps how much and when.

    Attributes:
        user: (n,) numbers.
        item: (n,) numbers.
        rating: (n,) or None.
        time: (n,) milliseconds since 1970, or None.
    """

    user: npt.NDArray[np.int32]
    item: npt.NDArray[np.int32]
    rating: npt.NDArray[np.float64] | None = None
    time: npt.NDArray[np.int64] | None = None

    def __len__(self) -> int:
        """Count the rows."""
        return len(self.user)

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """Give the columns that are there by name."""
        named = {"user": self.user, "item": self.item, "rating": self.rating, "time": self.time}
        return {name: column for name, column in named.items() if column is not None}

    def take(self, chosen: npt.NDArray[Any] | slice) -> "Pairs":
        """Give some of the rows, by numbers, flags or a slice."""
        return Pairs(**{name: column[chosen] for name, column in self.columns().items()})

    @classmethod
    def joined(cls, parts: "list[Pairs]") -> Self:
        """Put rows together, in order."""
        if len(parts) == 1:
            return cls(**parts[0].columns())
        if not parts:
            return cls(np.empty(0, np.int32), np.empty(0, np.int32))
        return cls(
            **{
                name: np.concatenate([getattr(part, name) for part in parts])
                for name in parts[0].columns()
            }
        )


@dataclass(slots=True)
class PairStore:
    """Rows in the order they came, appended to once and read as often as one likes.

    Attributes:
        folder: for the files, if it comes to that; whoever owns it clears it away.
        in_memory: so many bytes are held back before anything is written.
    """

    folder: Path
    in_memory: int = IN_MEMORY
    _parts: list[Pairs] = field(default_factory=list)
    _bytes: int = 0
    _lengths: list[int] = field(default_factory=list)
    _names: tuple[str, ...] = ()

    def append(self, pairs: Pairs) -> None:
        """Add rows; all have the same columns."""
        if not len(pairs):
            return
        self._names = self._names or tuple(pairs.columns())
        self._parts.append(pairs)
        self._bytes += sum(column.nbytes for column in pairs.columns().values())
        if self._bytes > self.in_memory:
            self._spill()

    def __len__(self) -> int:
        """Count the rows."""
        return sum(self._lengths) + sum(map(len, self._parts))

    @property
    def spilled(self) -> bool:
        """Whether rows lie on disk."""
        return bool(self._lengths)

    def _spill(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in self._names:
            with (self.folder / f"{name}.bin").open("ab") as file:
                for part in self._parts:
                    getattr(part, name).tofile(file)
        self._lengths += [len(part) for part in self._parts]
        self._parts, self._bytes = [], 0

    def parts(self) -> Iterator[Pairs]:
        """Give the rows again, part by part, in the same order."""
        start = 0
        for length in self._lengths:
            columns = {
                name: np.fromfile(
                    self.folder / f"{name}.bin",
                    dtype=_KINDS[name],
                    count=length,
                    offset=start * np.dtype(_KINDS[name]).itemsize,
                )
                for name in self._names
            }
            start += length
            yield Pairs(**columns)
        yield from self._parts

    def clear(self) -> None:
        """Forget the rows and remove the files."""
        for name in _KINDS:
            (self.folder / f"{name}.bin").unlink(missing_ok=True)
        self._parts, self._lengths, self._bytes = [], [], 0
