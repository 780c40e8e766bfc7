"""What recommenders without gradient steps share: items and arrays that were learned."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

import numpy.typing as npt

from recsys_vae.interactions import IdMap, Interactions
from recsys_vae.models.base import FitOptions, ModelConfig, NotFittedError


class ArrayRecommender(ABC):
    """Keeps what was learned as named arrays; a model says how to learn and how to score."""

    name: ClassVar[str]
    folds_in: ClassVar[bool] = True
    per_item: ClassVar[tuple[str, ...]]
    """Names of the learned arrays; each has one row an item."""

    def __init__(self, config: ModelConfig) -> None:
        """Describe a model; it can score once fitted or restored."""
        self._config = config
        self._items: IdMap | None = None
        self._arrays: dict[str, npt.NDArray[Any]] = {}

    @abstractmethod
    def learn(self, train: Interactions, options: FitOptions) -> dict[str, npt.NDArray[Any]]:
        """Learn from the training users; give what scoring needs, by name."""

    @property
    def config(self) -> ModelConfig:
        """The hyper-parameters."""
        return self._config

    @property
    def items(self) -> IdMap:
        """The items that the columns of the scores stand for."""
        if self._items is None:
            raise NotFittedError(f"{self.name} has not been fitted")
        return self._items

    def fit(self, train: Interactions, options: FitOptions) -> Self:
        """Learn from the training users; returns itself."""
        return self.restore(train.items, self.learn(train, options))

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Give what was learned, by name."""
        if self._items is None:
            raise NotFittedError(f"{self.name} has not been fitted")
        return self._arrays

    def restore(self, items: IdMap, arrays: dict[str, npt.NDArray[Any]]) -> Self:
        """Take up what was learned; returns itself, ready to score."""
        for name in self.per_item:
            if name not in arrays or len(arrays[name]) != len(items):
                raise ValueError(f"{self.name} needs {name} with one row an item")
        self._items, self._arrays = items, arrays
        return self
