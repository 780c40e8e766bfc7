"""Histories as callers of a served model give them: lists of ids, of whatever type.

JSON, Spark and pandas each have their own idea of a list and of nothing.

Legend: U users, N ids of all histories, I items.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import csr_array

from recsys_vae.errors import InputError
from recsys_vae.interactions import IdArray, IdMap
from recsys_vae.interactions.interactions import csr_from_pairs

_SHOWN: Final = 40
_LARGEST: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Given:
    """The histories of some users, one after another.

    Attributes:
        rows_N: which of the users each id belongs to, ascending.
        numbers_N: of the items in the model; -1 for ids that it does not know.
        users: how many users there are.

    >>> Given.of([["a", "x"], None, []], IdMap.of(["a", "b"])).numbers_N
    array([ 0, -1])
    """

    rows_N: npt.NDArray[np.int64]
    numbers_N: npt.NDArray[np.int64]
    users: int

    @classmethod
    def of(
        cls, histories: Sequence[Any], items: IdMap, first: int = 0, *, name: str = "history"
    ) -> Self:
        """Look the ids up.

        Args:
            histories: lists or arrays of strings or integers, also mixed; None is an empty one.
            items: of the model.
            first: number of the first history, for messages.
            name: what a history is called in messages.

        Raises:
            InputError: a history is no list, or holds something that is no id.
        """
        filled = [_listed(one, f"{name} {first + row}") for row, one in enumerate(histories)]
        lengths = np.fromiter(map(len, filled), dtype=np.int64, count=len(filled))
        rows = np.repeat(np.arange(len(filled)), lengths)
        try:
            numbers = items.numbers(_joined(filled, first, name), missing="mark")
        except UnicodeError as error:
            raise InputError(
                f"a {name} holds an id that is no text (half of a surrogate pair): give ids in "
                "UTF-8"
            ) from error
        return cls(rows, numbers, len(filled))

    @property
    def known_U(self) -> npt.NDArray[np.int64]:  # noqa: N802 # shape suffix
        """How many ids of each history the model knows, (U,)."""
        return np.bincount(self.rows_N[self.numbers_N >= 0], minlength=self.users)

    def matrix(self, n_items: int) -> csr_array:
        """Give (U, I) histories as models take them: what is known, each item once."""
        known = self.numbers_N >= 0
        rows, numbers = self.rows_N[known], self.numbers_N[known]
        ones = np.ones(len(rows), dtype=np.float32)
        return csr_from_pairs(rows, numbers, ones, (self.users, n_items))


def _listed(history: Any, name: str) -> Any:
    if isinstance(history, list | tuple):
        return history
    if isinstance(history, np.ndarray) and history.ndim == 1:
        return history
    missing = history is None or history is pd.NA
    if missing or (isinstance(history, float | np.floating) and np.isnan(history)):
        return ()
    raise InputError(
        f"{name}, counted from 0, is {_shown(history)} and not a list of item ids: give one "
        "such as [1, 2], or an empty one"
    )


def _joined(histories: list[Any], first: int, name: str) -> IdArray | list[Any]:
    """Put histories together; ids of two types become text, which an `IdMap` understands."""
    filled = [one for one in histories if len(one)]
    if filled and all(isinstance(one, np.ndarray) and one.dtype.kind == "i" for one in filled):
        joined: IdArray = np.concatenate(filled)
        return joined
    ids = [item for one in filled for item in _values(one)]
    kinds = set(map(type, ids))
    if kinds == {str} or (kinds == {int} and -_LARGEST <= min(ids) <= max(ids) <= _LARGEST):
        return ids
    for kind in kinds:
        if kind is bool or not issubclass(kind, int | str | np.integer):
            row, wrong = next(
                (row, item)
                for row, one in enumerate(histories, first)
                for item in _values(one)
                if type(item) is kind
            )
            raise InputError(
                f"{name} {row}, counted from 0, holds {_shown(wrong)}, which is no item id: give "
                "integers or strings"
            )
    return [str(one) for one in ids]


def _values(history: Any) -> Any:
    return history.tolist() if isinstance(history, np.ndarray) else history


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
