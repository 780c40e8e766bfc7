"""External ids (strings or integers) and the dense numbers 0..n-1 that stand for them."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from recsys_vae.errors import InputError

_INTEGER = np.dtype(np.int64)
IdArray = npt.NDArray[Any]
"""int64 for integer ids, object (of `str`) for string ids."""
IdKind = Literal["integer", "string"]

_LARGEST = 2**63 - 1
_CANONICAL = re.compile(r"0|-?[1-9][0-9]{0,18}")
UNKNOWN = -1
"""The number that `IdMap.numbers(..., missing="mark")` gives an id that it does not know."""


def as_ids(values: Iterable[Any] | npt.NDArray[Any] | pd.Series) -> IdArray:
    """Bring ids to their canonical type: all int64, or all `str`.

    Args:
        values: ids; booleans, decimals, missing values and integers beyond 64 bits are no ids.

    Returns:
        One array of the same length.

    Raises:
        InputError: ids are mixed, missing or of another type.

    >>> as_ids([3, 1])
    array([3, 1])
    >>> as_ids(["b", "ä"])
    array(['b', 'ä'], dtype=object)
    """
    array = values.to_numpy() if isinstance(values, pd.Series) else np.asarray(values)
    if array.dtype.kind == "i" or (array.dtype.kind == "u" and not (array > _LARGEST).any()):
        return array.astype(np.int64, copy=False)
    if array.size == 0:
        return array.astype(object if array.dtype.kind in "OUT" else np.int64)
    if array.dtype.kind in "UT":
        # asarray turns a mixed list into strings; only genuine strings may pass.
        listed = values if isinstance(values, list | tuple) else array.tolist()
        array = np.asarray(listed, dtype=object)
    if array.dtype.kind == "O":
        kind = pd.api.types.infer_dtype(array, skipna=False)
        if kind == "string":
            return array
        if kind == "integer" and all(-_LARGEST <= one <= _LARGEST for one in array):
            return array.astype(np.int64)
    raise InputError(
        "ids must be all strings or all integers of at most 64 bits with sign, not "
        f"{array.dtype.name}: convert them before, for example {array.flat[0]!r}"
    )


@dataclass(frozen=True, slots=True, eq=False)
class IdMap:
    """External id <-> dense number 0..n-1, for strings and integers alike.

    Ids are kept in sorted order, so the numbers do not depend on the order of the rows that
    the ids were found in.

    >>> map = IdMap.of(["b", "a", "b"])
    >>> map.numbers(["a", "b"])
    array([0, 1])
    >>> map.ids([1])
    array(['b'], dtype=object)
    """

    index: pd.Index
    kind: IdKind

    @classmethod
    def of(cls, values: Iterable[Any] | npt.NDArray[Any] | pd.Series) -> Self:
        """Collect the distinct ids of `values`, sorted.

        Raises:
            InputError: ids are mixed, missing or of another type.
        """
        ids = as_ids(values)
        if ids.dtype == _INTEGER:
            return cls(pd.Index(np.unique(ids)), "integer")
        return cls(pd.Index(sorted(set(ids.tolist())), dtype=object), "string")

    def __len__(self) -> int:
        """Count the ids."""
        return len(self.index)

    def numbers(
        self, ids: Iterable[Any] | IdArray, *, missing: Literal["raise", "mark"] = "raise"
    ) -> npt.NDArray[np.int64]:
        """Look ids up.

        Integer ids written as decimal text are understood, and integers are understood where
        the ids are strings: a command line and JSON know no difference.

        Args:
            ids: external ids.
            missing: "raise" refuses unknown ids, "mark" gives them the number -1.

        Returns:
            One number per id, 0..n-1 or -1.

        Raises:
            InputError: an id is unknown and `missing` is "raise".
        """
        wanted = self._in_my_kind(as_ids(ids))
        found = np.asarray(self.index.get_indexer(pd.Index(wanted)), dtype=np.int64)
        if missing == "raise" and (found < 0).any():
            first = wanted[int(np.argmax(found < 0))]
            raise InputError(
                f"{int((found < 0).sum())} of {len(found)} ids are unknown, the first is {first!r}"
            )
        return found

    def ids(self, numbers: Iterable[int] | npt.NDArray[np.integer[Any]]) -> IdArray:
        """Give the external ids of `numbers` (each within 0..n-1)."""
        wanted = np.asarray(numbers, dtype=np.int64)
        if wanted.size and (wanted.min() < 0 or wanted.max() >= len(self)):
            raise IndexError(f"numbers must lie in 0..{len(self) - 1}")
        return self.index.to_numpy()[wanted]

    def take(self, numbers: npt.NDArray[np.integer[Any]]) -> Self:
        """Keep the ids with these numbers (distinct and sorted), numbered anew from 0.

        >>> IdMap.of(["a", "b", "c"]).take(np.array([0, 2])).numbers(["c"])
        array([1])
        """
        return type(self)(self.index[np.asarray(numbers, dtype=np.int64)], self.kind)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the ids in their order; checked whenever a model meets data."""
        digest = hashlib.sha256(self.kind.encode())
        for buffer in self.to_arrow().buffers()[1:]:
            digest.update(buffer)
        return digest.hexdigest()

    def to_arrow(self) -> pa.Array:
        """Give the ids as one Arrow array (int64 or large_string) with offset 0."""
        kind = pa.int64() if self.kind == "integer" else pa.large_string()
        return pa.array(self.index.to_numpy(), type=kind)

    @classmethod
    def from_arrow(cls, ids: pa.Array) -> Self:
        """Rebuild a map from `to_arrow`'s array; the order is kept."""
        if pa.types.is_integer(ids.type):
            return cls(pd.Index(ids.to_numpy()), "integer")
        return cls(pd.Index(ids.to_numpy(zero_copy_only=False), dtype=object), "string")

    def _in_my_kind(self, ids: IdArray) -> IdArray:
        if self.kind == "integer" and ids.dtype != _INTEGER:
            # Only the canonical spelling is the same id: '007' is not 7.
            return np.asarray([int(i) if _CANONICAL.fullmatch(i) else i for i in ids], dtype=object)
        if self.kind == "string" and ids.dtype == _INTEGER:
            return ids.astype(str).astype(object)
        return ids
