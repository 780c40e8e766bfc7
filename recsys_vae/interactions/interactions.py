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
    kept = _last_of_pairs(rows, columns, (values,), shape[1])
    return csr_from_sorted(rows[kept], columns[kept], values[kept], shape)


def csr_from_sorted(
    rows: npt.NDArray[np.integer[Any]],
    columns: npt.NDArray[np.integer[Any]],
    values: npt.NDArray[np.float32],
    shape: tuple[int, int],
) -> csr_array:
    """Build a CSR matrix from distinct pairs that are sorted by row and column.

    Args:
        rows: (N,) row numbers, not falling.
        columns: (N,) column numbers, rising within a row.
        values: (N,) values.
        shape: rows and columns of the matrix.

    Returns:
        A canonical `csr_array` with the narrowest indices that suffice.
    """
    counts = np.bincount(rows, minlength=shape[0])
    offsets = np.concatenate([[0], np.cumsum(counts)])
    width = index_width(int(offsets[-1]), shape[1])
    return csr_array((values, columns.astype(width), offsets.astype(width)), shape=shape)


def _last_of_pairs(
    rows: npt.NDArray[np.int64],
    columns: npt.NDArray[np.int64],
    by: tuple[npt.NDArray[Any], ...],
    n_columns: int,
) -> npt.NDArray[np.int64]:
    """Say where the last of each pair stands, in the order of the pairs; `by` as in lexsort."""
    key = rows * n_columns + columns
    order = np.lexsort((*by, key))
    key = key[order]
    last = np.ones(len(key), dtype=bool)
    last[:-1] = key[1:] != key[:-1]
    kept: npt.NDArray[np.int64] = order[last]
    return kept


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
    """Users, items, and a float32 CSR matrix (users, items) of what each user did, and when.

    A stored entry is an interaction; its value is the weight (1 unless said otherwise).

    Raises:
        ValueError: shapes disagree, rows are unsorted or repeat an item, a value is not finite, or
            times are not one int64 a stored entry.

    >>> frame = pd.DataFrame({"user": ["u", "v", "u"], "item": [7, 7, 9]})
    >>> Interactions.from_frame(frame).matrix.toarray()
    array([[1., 1.],
           [1., 0.]], dtype=float32)
    """

    users: IdMap
    items: IdMap
    matrix: csr_array
    n_unknown: int = 0
    """Rows left out by `from_frame` because their item was not among the given items."""
    times: npt.NDArray[np.int64] | None = None
    """(nnz,) milliseconds since 1970-01-01 UTC, aligned with `matrix.data`; None: not known."""

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
        if not np.isfinite(self.matrix.data).all():
            raise ValueError("every stored value must be finite")
        if self.times is not None and (
            self.times.dtype != np.int64 or self.times.shape != self.matrix.data.shape
        ):
            raise ValueError(
                f"times must be one int64 for each of {self.matrix.nnz} stored entries, not "
                f"{self.times.dtype} of shape {self.times.shape}"
            )

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, *, items: IdMap | None = None) -> Self:
        """Number the ids of a long frame and build the matrix.

        Args:
            frame: columns `user`, `item` and optionally `value` and `timestamp` (integers:
                milliseconds since 1970-01-01 UTC). A repeated pair counts once, with its largest
                value, and of equal values with the latest time.
            items: the item numbering to use; rows with other items are left out and counted in
                `n_unknown`. Their users stay, if need be with an empty row.

        Returns:
            The interactions; nothing in them depends on the order of the rows.

        Raises:
            InputError: a column is missing, ids are mixed, or times are no integers.
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
        times = _times(frame["timestamp"]) if "timestamp" in frame.columns else None
        known = np.flatnonzero(columns >= 0)
        by = (values[known],) if times is None else (times[known], values[known])
        kept = known[_last_of_pairs(rows[known], columns[known], by, len(item_map))]
        shape = (len(users), len(item_map))
        matrix = csr_from_sorted(rows[kept], columns[kept], values[kept], shape)
        return cls(
            users,
            item_map,
            matrix,
            n_unknown=len(frame) - len(known),
            times=None if times is None else times[kept],
        )

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

    @property
    def row_numbers(self) -> npt.NDArray[np.int64]:
        """(nnz,) the user number of each stored entry, aligned with `matrix.indices`."""
        return np.repeat(np.arange(len(self.users)), np.diff(self.matrix.indptr))

    def rows(self, numbers: npt.NDArray[np.integer[Any]]) -> Self:
        """Give the interactions of the users with these numbers (distinct), in sorted id order."""
        kept = np.sort(np.asarray(numbers, dtype=np.int64))
        matrix = self.matrix
        times = None
        if self.times is not None:
            lengths = np.diff(matrix.indptr)[kept].astype(np.int64)
            shifts = matrix.indptr[kept] - (np.cumsum(lengths) - lengths)
            times = self.times[np.arange(lengths.sum()) + np.repeat(shifts, lengths)]
        return type(self)(self.users.take(kept), self.items, matrix[kept], times=times)

    def columns(self, numbers: npt.NDArray[np.integer[Any]]) -> Self:
        """Give the interactions with the items of these numbers (distinct); all users stay."""
        kept = np.sort(np.asarray(numbers, dtype=np.int64))
        renumbered = np.full(len(self.items), -1, dtype=np.int64)
        renumbered[kept] = np.arange(len(kept))
        columns = renumbered[self.matrix.indices]
        return self._chosen(columns >= 0, self.items.take(kept), columns)

    def where(self, chosen: npt.NDArray[np.bool_]) -> Self:
        """Give the chosen interactions; all users and items stay.

        Args:
            chosen: (nnz,) aligned with `matrix.data`.
        """
        return self._chosen(chosen, self.items, self.matrix.indices)

    def _chosen(
        self, chosen: npt.NDArray[np.bool_], items: IdMap, columns: npt.NDArray[np.integer[Any]]
    ) -> Self:
        matrix = csr_from_sorted(
            self.row_numbers[chosen],
            columns[chosen],
            self.matrix.data[chosen],
            (len(self.users), len(items)),
        )
        times = None if self.times is None else self.times[chosen]
        return type(self)(self.users, items, matrix, times=times)

    def frame(self) -> pd.DataFrame:
        """Give a long frame `user`, `item`, `value`, and `timestamp` where times are known."""
        columns = {
            "user": self.users.ids(self.row_numbers),
            "item": self.items.ids(self.matrix.indices),
            "value": self.matrix.data,
        }
        if self.times is not None:
            columns["timestamp"] = self.times
        return pd.DataFrame(columns)


def _times(column: pd.Series) -> npt.NDArray[np.int64]:
    # A date would become nanoseconds and a decimal lose its fraction, both without a word.
    integers = pd.api.types.is_integer_dtype(column.dtype) and not column.isna().any()
    if len(column) and not integers:
        raise InputError(
            f"column 'timestamp' must hold integers without gaps, not {column.dtype}: convert it "
            "to milliseconds since 1970-01-01 UTC"
        )
    return column.to_numpy(dtype=np.int64)
