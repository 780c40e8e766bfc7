"""External ids (strings or integers) and the dense numbers 0..n-1 that stand for them."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

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


@dataclass(frozen=True, eq=False)
class IdMap:
    """External id <-> dense number 0..n-1, for strings and integers alike.

    Ids are kept in sorted order, so the numbers do not depend on the order of the rows that
    the ids were found in. They live in one Arrow array, which may be mapped from a file: ten
    million string ids cost no Python object until somebody looks at them.

    Attributes:
        array: the ids by number, distinct, without nulls: int64 or large_string.

    >>> map = IdMap.of(["b", "a", "b"])
    >>> map.numbers(["a", "b"])
    array([0, 1])
    >>> map.ids([1])
    array(['b'], dtype=object)
    """

    array: pa.Array

    @classmethod
    def of(cls, values: Iterable[Any] | npt.NDArray[Any] | pd.Series) -> Self:
        """Collect the distinct ids of `values`, sorted.

        Raises:
            InputError: ids are mixed, missing or of another type.
        """
        ids = as_ids(values)
        if ids.dtype == _INTEGER:
            return cls(pa.array(np.unique(ids)))
        return cls(pa.array(sorted(set(ids.tolist())), type=pa.large_string()))

    def __len__(self) -> int:
        """Count the ids."""
        return len(self.array)

    @property
    def kind(self) -> IdKind:
        """Whether the ids are integers or strings."""
        return "integer" if pa.types.is_integer(self.array.type) else "string"

    @cached_property
    def index(self) -> "pd.Index[Any]":
        """The ids as a pandas index, made when first asked for."""
        values: IdArray = self.array.to_numpy(zero_copy_only=False)
        return pd.Index(values, dtype=values.dtype)

    def numbers(
        self,
        ids: Iterable[Any] | IdArray | pa.Array,
        *,
        missing: Literal["raise", "mark"] = "raise",
    ) -> npt.NDArray[np.int64]:
        """Look ids up.

        Integer ids written as decimal text are understood, and integers are understood where
        the ids are strings: a command line and JSON know no difference.

        Args:
            ids: external ids; an Arrow array of integers or strings is the quick way for many.
            missing: "raise" refuses unknown ids, "mark" gives them the number -1.

        Returns:
            One number per id, 0..n-1 or -1.

        Raises:
            InputError: an id is unknown and `missing` is "raise".
        """
        if isinstance(ids, pa.Array):
            found = self._found(self._arrow_in_my_kind(ids))
        else:
            wanted = self._in_my_kind(as_ids(ids))
            found = np.asarray(self.index.get_indexer(pd.Index(wanted)), dtype=np.int64)
        if missing == "raise" and (found < 0).any():
            first = (ids.to_pylist() if isinstance(ids, pa.Array) else wanted)[
                int(np.argmax(found < 0))
            ]
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
        """Keep the ids with these numbers (distinct), in their order, numbered anew from 0.

        >>> IdMap.of(["a", "b", "c"]).take(np.array([0, 2])).numbers(["c"])
        array([1])
        """
        return type(self)(self.array.take(pa.array(np.asarray(numbers, dtype=np.int64))))

    def texts(self) -> pa.Array:
        """Give the ids as text (large_string), integers in decimal."""
        return self.array.cast(pa.large_string())

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the ids in their order; checked whenever a model meets data."""
        digest = hashlib.sha256(self.kind.encode())
        if self.kind == "integer":
            digest.update(np.ascontiguousarray(self.array.to_numpy()).data)
        elif len(self):
            # Buffers may be longer than the array, as after a slice or in a file.
            _, offsets, texts = self.array.buffers()
            first = self.array.offset
            ends = np.frombuffer(offsets, dtype=np.int64)[first : first + len(self) + 1]
            digest.update((ends - ends[0]).data)
            digest.update(memoryview(texts)[ends[0] : ends[-1]] if texts is not None else b"")
        return digest.hexdigest()

    def to_arrow(self) -> pa.Array:
        """Give the ids as one Arrow array (int64 or large_string)."""
        return self.array

    @classmethod
    def from_arrow(cls, ids: pa.Array) -> Self:
        """Make a map of distinct ids without nulls; their order is kept."""
        wide = pa.int64() if pa.types.is_integer(ids.type) else pa.large_string()
        return cls(ids.cast(wide))

    def _found(self, wanted: pa.Array) -> npt.NDArray[np.int64]:
        numbers = pc.index_in(wanted, value_set=self.array)
        return np.asarray(numbers.fill_null(UNKNOWN).to_numpy(), dtype=np.int64)

    def _arrow_in_my_kind(self, ids: pa.Array) -> pa.Array:
        textual = not pa.types.is_integer(ids.type)
        if self.kind == "string":
            return ids.cast(pa.large_string())
        if not textual:
            return ids.cast(pa.int64())
        # Only the canonical spelling is the same id: '007' is not 7.
        known = pc.index_in(ids.cast(pa.large_string()), value_set=self.texts())
        return self.array.take(known)

    def _in_my_kind(self, ids: IdArray) -> IdArray:
        if self.kind == "integer" and ids.dtype != _INTEGER:
            # Only the canonical spelling is the same id: '007' is not 7.
            return np.asarray([int(i) if _CANONICAL.fullmatch(i) else i for i in ids], dtype=object)
        if self.kind == "string" and ids.dtype == _INTEGER:
            return ids.astype(str).astype(object)
        return ids
