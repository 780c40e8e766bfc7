"""Interactions: users, items and one sparse matrix, checked once and never changed."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import csr_array

from recsys_vae.errors import InputError
from recsys_vae.interactions.id_map import IdMap


def csr_from_pairs(
    rows: npt.NDArray[np.int64],
    columns: npt.NDArray[np.int64],
    values: npt.NDArray[np.float32],
    shape: tuple[int, int],
) -> csr_array:
    """Build a CSR matrix with sorted rows from (row, column, value); of equal pairs the largest.

    Args:
        rows: (N,) row numbers.
        columns: (N,) column numbers.
        values: (N,) values.
        shape: rows and columns of the matrix.

    Returns:
        A canonical `csr_array` of float32; the result does not depend on the order of the pairs.
    """
    key = rows * shape[1] + columns
    order = np.lexsort((values, key))
    key = key[order]
    last = np.ones(len(key), dtype=bool)
    last[:-1] = key[1:] != key[:-1]
    kept = order[last]
    counts = np.bincount(rows[kept], minlength=shape[0])
    offsets = np.concatenate([[0], np.cumsum(counts)])
    width = index_width(int(offsets[-1]), shape[1])
    parts = (values[kept], columns[kept].astype(width), offsets.astype(width))
    return csr_array(parts, shape=shape)


def index_width(count: int, n_items: int) -> type[np.int32] | type[np.int64]:
    """Choose 32-bit indices where they suffice: half the memory traffic of every batch."""
    return np.int32 if max(count, n_items) < 2**31 else np.int64


def fingerprint_of(users: IdMap, items: IdMap, sums: Mapping[str, str]) -> str:
    """Make the fingerprint from those of the parts.

    Args:
        users: one id a row.
        items: one id a column.
        sums: SHA-256 of the bytes of `indptr`, `indices`, `data` and, where there are, `times`.
    """
    parts = [users.fingerprint, items.fingerprint]
    parts += [f"{name}:{sums[name]}" for name in sorted(sums)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class Interactions:
    """Users, items, and a float32 CSR matrix (users, items) of what each user did.

    A stored entry is an interaction; its value is the weight (1 unless said otherwise).

    Raises:
        ValueError: shapes disagree, rows are unsorted or repeat an item, or a value is not finite.

    >>> frame = pd.DataFrame({"user": ["u", "v", "u"], "item": [7, 7, 9]})
    >>> Interactions.from_frame(frame).matrix.toarray()
    array([[1., 1.],
           [1., 0.]], dtype=float32)
    """

    users: IdMap
    items: IdMap
    matrix: csr_array
    times: npt.NDArray[np.int64] | None = None
    """Milliseconds since 1970-01-01 UTC of each stored entry, in the matrix's order, if known."""
    n_unknown: int = 0
    """Rows left out by `from_frame` because their item was not among the given items."""

    def __post_init__(self) -> None:
        """Check once what everything downstream relies on."""
        if self.matrix.shape != (len(self.users), len(self.items)):
            raise ValueError(
                f"matrix {self.matrix.shape} does not fit {len(self.users)} users "
                f"and {len(self.items)} items"
            )
        if self.matrix.dtype != np.float32:
            raise ValueError(f"the matrix must be float32, not {self.matrix.dtype}")
        if not self.matrix.has_canonical_format:
            raise ValueError("rows must be sorted by item, without repeats")
        if self.times is not None and self.times.shape != self.matrix.data.shape:
            raise ValueError("there must be one time per stored entry")
        if not np.isfinite(self.matrix.data).all():
            raise ValueError("every stored value must be finite")

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, *, items: IdMap | None = None) -> Self:
        """Number the ids of a long frame and build the matrix.

        Args:
            frame: columns `user`, `item` and optionally `value`. A repeated pair counts once,
                with its largest value.
            items: the item numbering to use; rows with other items are left out and counted in
                `n_unknown`. Their users stay, if need be with an empty row.

        Returns:
            The interactions; nothing in them depends on the order of the rows.

        Raises:
            InputError: a column is missing, or ids are mixed.
        """
        for column in ("user", "item"):
            if column not in frame.columns:
                raise InputError(
                    f"there is no column '{column}' among {', '.join(map(str, frame.columns))}"
                )
        users = IdMap.of(frame["user"])
        item_map = IdMap.of(frame["item"]) if items is None else items
        rows = users.numbers(frame["user"].to_numpy())
        columns = item_map.numbers(frame["item"].to_numpy(), missing="mark")
        if "value" in frame.columns:
            values = frame["value"].to_numpy(dtype=np.float32)
        else:
            values = np.ones(len(frame), dtype=np.float32)
        known = columns >= 0
        matrix = csr_from_pairs(
            rows[known], columns[known], values[known], (len(users), len(item_map))
        )
        return cls(users, item_map, matrix, n_unknown=int((~known).sum()))

    def __len__(self) -> int:
        """Count the stored interactions."""
        return int(self.matrix.nnz)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of ids, matrix and times; equal exactly when everything is equal."""
        width = index_width(len(self), len(self.items))
        arrays = {
            "indptr": self.matrix.indptr.astype(width, copy=False),
            "indices": self.matrix.indices.astype(width, copy=False),
            "data": self.matrix.data,
        }
        if self.times is not None:
            arrays["times"] = self.times
        sums = {
            name: hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()
            for name, array in arrays.items()
        }
        return fingerprint_of(self.users, self.items, sums)

    def rows(self, numbers: npt.NDArray[np.integer[Any]]) -> Self:
        """Give the interactions of the users with these numbers (distinct), in sorted id order."""
        kept = np.sort(np.asarray(numbers, dtype=np.int64))
        users = self.users.take(kept)
        return type(self)(users, self.items, self.matrix[kept])

    def frame(self) -> pd.DataFrame:
        """Give the interactions as a long frame `user`, `item`, `value`."""
        rows = np.repeat(np.arange(len(self.users)), np.diff(self.matrix.indptr))
        return pd.DataFrame(
            {
                "user": self.users.ids(rows),
                "item": self.items.ids(self.matrix.indices),
                "value": self.matrix.data,
            }
        )
