"""What a served model answers, as lists or as numbers alone.

Legend: U users of a block, K places of a list.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import csr_array

from recsys_vae.errors import InputError
from recsys_vae.interactions import IdMap
from recsys_vae.ranking import Ranker, TopN
from recsys_vae.tracking.given import Given

_EXACT: Final = 2**53
"""Up to here float64 holds every integer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The lists of a block of users.

    Attributes:
        top: the lists.
        known_U: how many items of each history the model knows.
    """

    top: TopN
    known_U: npt.NDArray[np.int64]

    @classmethod
    def of(
        cls, ranker: Ranker, histories: list[Any], first: int, rated: list[Any] | None = None
    ) -> Self:
        """Rank.

        Args:
            ranker: with its model.
            histories: lists of ids.
            first: number of the first history, for messages.
            rated: lists of further ids that are left out where those of the histories are.

        Raises:
            InputError: a history is no list, or holds something that is no id.
        """
        items = ranker.model.items
        asked = Given.of(histories, items, first)
        given = asked.matrix(len(items))
        seen = given
        if rated is not None:
            further = Given.of(rated, items, first, name="rated")
            seen = csr_array(given + further.matrix(len(items)))
        return cls(ranker.lists(given, seen), asked.known_U)

    def lists(self, items: IdMap) -> pd.DataFrame:
        """Give columns `items`, `scores` and `known`, a row a user."""
        kept = self.top.items_BK >= 0
        ends = np.cumsum(self.top.lengths)[:-1]
        return pd.DataFrame(
            {
                "items": _split(items.ids(self.top.items_BK[kept]), ends),
                "scores": _split(self.top.scores_BK[kept].astype(float), ends),
                "known": self.known_U,
            }
        )


def can_be_numbers(items: IdMap) -> bool:
    """Say whether float64 holds every id."""
    if items.kind != "integer":
        return False
    first, last = items.ids([0, len(items) - 1])  # ids are kept in ascending order
    return bool(first >= -_EXACT and last <= _EXACT)


def numbers_of(answers: Sequence[Answer], items: IdMap, k: int) -> npt.NDArray[np.float64]:
    """Give (U, 2 + 2 K) numbers: known, length, K items and K scores, 0 behind the list's end.

    Whoever makes a Python object of each value, as Spark does, makes them of one array of float64
    in a quarter of the time.

    Raises:
        InputError: float64 does not hold all ids of the model.
    """
    if not can_be_numbers(items):
        raise InputError(
            "as_numbers: the model's item ids are no integers within 2^53: leave it out"
        )
    if not answers:
        return np.empty((0, 2 + 2 * k))
    return np.concatenate([_numbers(one, items) for one in answers])


def _numbers(answer: Answer, items: IdMap) -> npt.NDArray[np.float64]:
    top = answer.top
    users, k = top.items_BK.shape
    kept = top.items_BK >= 0
    numbers = np.zeros((users, 2 + 2 * k))
    numbers[:, 0], numbers[:, 1] = answer.known_U, top.lengths
    numbers[:, 2 : 2 + k][kept] = items.ids(top.items_BK[kept])
    numbers[:, 2 + k :][kept] = top.scores_BK[kept]
    return numbers


def _split(values: Any, ends: Any) -> list[list[Any]]:
    return [one.tolist() for one in np.split(values, ends)]
