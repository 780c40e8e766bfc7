"""A model of another catalogue, asked about this one.

Legend: B users in the batch, I items of this catalogue.
"""

from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from recsys_vae.errors import InputError
from recsys_vae.interactions import IdMap, Interactions
from recsys_vae.models.base import FitOptions, FloatMatrix, ModelConfig, Recommender


def translated(model: Recommender, items: IdMap) -> "Translated":
    """Make a model of another catalogue answer about this one.

    Args:
        model: fitted.
        items: of this catalogue.

    Raises:
        InputError: the two catalogues have nothing in common.
    """
    named = type("Translated", (Translated,), {"name": model.name, "folds_in": model.folds_in})
    made = named(model, items)
    assert isinstance(made, Translated)
    return made


class Translated:
    """Scores the items of a catalogue by a fitted model that was trained on another one.

    Of a history it sees the items that it knows. Items that it does not know come after all that it
    knows, in the order of their numbers: who never heard of an item does not recommend it.
    `translated` makes one.

    Attributes:
        model: the fitted one.
        known: items of this catalogue that it knows.
    """

    name: ClassVar[str] = "translated"
    folds_in: ClassVar[bool] = True

    def __init__(self, model: Recommender, items: IdMap) -> None:
        """Look the items up."""
        self.model, self._items = model, items
        own_I = model.items.numbers(items.to_arrow(), missing="mark")
        self._known_I = np.flatnonzero(own_I >= 0)
        self._own_K = own_I[self._known_I]
        if not len(self._known_I):
            raise InputError(
                f"model '{model.name}' knows none of the {len(items):,} items: give the data that "
                "it was made for"
            )
        ones = np.ones(len(self._known_I), dtype=np.float32)
        shape = (len(items), len(model.items))
        self.known = len(self._known_I)
        self._words = csr_array((ones, (self._known_I, self._own_K)), shape=shape)

    @property
    def config(self) -> ModelConfig:
        """The model's."""
        return self.model.config

    @property
    def items(self) -> IdMap:
        """Those of this catalogue."""
        return self._items

    @property
    def chooses(self) -> bool:
        """The model's."""
        return self.model.chooses

    def fit(self, train: Interactions, options: FitOptions) -> Self:
        """Refuse: it is fitted."""
        raise TypeError("a translated model is fitted already")

    def settled(self) -> ModelConfig:
        """Give the model's."""
        return self.model.settled()

    def in_its_words(self, given: csr_array) -> csr_array:
        """Give histories as the model itself takes them."""
        own = csr_array(csr_array(given, dtype=np.float32) @ self._words)
        own.sort_indices()
        return own

    def score(self, given: csr_array) -> FloatMatrix:
        """Score the items of this catalogue: scores_BI."""
        own = self.model.score(self.in_its_words(given))
        lowest = own.min(axis=1, keepdims=True) if own.shape[1] else np.zeros((len(own), 1))
        below = np.nextafter(np.float32(lowest), np.float32(-np.inf))
        scores: FloatMatrix = np.repeat(below, len(self._items), axis=1)
        scores[:, self._known_I] = own[:, self._own_K]
        return scores

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Give the model's."""
        return self.model.arrays()

    def restore(self, items: IdMap, arrays: dict[str, npt.NDArray[Any]]) -> Self:
        """Refuse: it is fitted."""
        raise TypeError("a translated model is fitted already")
