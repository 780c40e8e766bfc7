"""What recommenders without gradient steps share: settings chosen on validation, learned arrays."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Final, Self

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from recsys_vae.interactions import IdMap, Interactions
from recsys_vae.models.base import FitOptions, FloatMatrix, ModelConfig, NotFittedError
from recsys_vae.models.choosing import better, beyond, clearly_better

Arrays = dict[str, npt.NDArray[Any]]
_POPULARITY: Final = "popularity_I"
_DECIDES_TIES: Final = np.float32(1e-6)
"""Of an item's share of users, this much is added to its score: too little to outweigh anything."""


class ArrayRecommender(ABC):
    """Keeps what was learned as named arrays; a model says how to learn and how to score."""

    name: ClassVar[str]
    folds_in: ClassVar[bool] = True
    per_item: ClassVar[tuple[str, ...]]
    """Names of the learned arrays that have one row an item."""
    candidates: ClassVar[tuple[dict[str, Any], ...]] = ({},)
    """Settings to choose among on validation where they are None in the config; the first of them
    holds where nothing validates."""
    scoring: ClassVar[frozenset[str]] = frozenset()
    """Settings on which nothing depends that is learned, but the scores."""

    reluctant: ClassVar[bool] = False
    """Whether the first candidate is left only for what is clearly better than it."""
    widened: ClassVar[str | None] = None
    """A setting that goes on beyond its candidates where the largest of them is chosen."""

    by_popularity: ClassVar[bool] = False
    """Whether among items that nothing else tells apart the popular ones come first; `score` then
    adds `tie_break`."""

    def __init__(self, config: ModelConfig) -> None:
        """Describe a model; it can score once fitted or restored."""
        self._asked = config
        self._config = config
        self._items: IdMap | None = None
        self._arrays: Arrays = {}
        self._tie_break = np.zeros(0, dtype=np.float32)

    @abstractmethod
    def learn(self, train: Interactions, options: FitOptions) -> Arrays:
        """Learn from the training users with the settings in `config`; give what scoring needs."""

    @abstractmethod
    def score(self, given: csr_array) -> FloatMatrix:
        """Score all items for some users: scores_BI."""

    @property
    def config(self) -> ModelConfig:
        """The hyper-parameters, after a fit those that were chosen."""
        return self._config

    @property
    def chooses(self) -> bool:
        """Whether settings are open."""
        return len(self._to_try()) > 1

    def settled(self) -> ModelConfig:
        """Give the hyper-parameters with what was chosen on validation."""
        return self._config

    @property
    def items(self) -> IdMap:
        """The items that the columns of the scores stand for."""
        if self._items is None:
            raise NotFittedError(f"{self.name} has not been fitted")
        return self._items

    def fit(self, train: Interactions, options: FitOptions) -> Self:
        """Learn from the training users, with the settings that validate best; returns itself.

        The best candidate so far is held in memory beside the one that is being judged.
        """
        tried = self._to_try()
        validate = options.validate if len(tried) > 1 else None
        arrays: Arrays = {}
        first = best = -np.inf
        learned: ModelConfig | None = None
        chosen = tried[0], arrays
        for config in tried if validate else tried[:1]:  # it may grow on the way
            # Scoring, and the saved model, need the settings that were fitted with.
            self._config = config
            if learned is None or not self._learn_alike(config, learned):
                # What was learned before may be large: it goes, unless it is the best so far.
                self.forget()
                arrays = {}
                arrays, learned = self.learn(train, options), config
                if self.by_popularity:
                    arrays[_POPULARITY] = _shares(train)
            self.restore(train.items, arrays)
            if validate is None:
                return self
            metric = validate(self)
            if not chosen[1]:
                first = metric
            if not chosen[1] or (
                better(metric, best) and (not self.reluctant or clearly_better(metric, first))
            ):
                best, chosen = metric, (config, arrays)
            if config is tried[-1]:
                tried += self._further(chosen[0], tried)
        self._config, arrays = chosen
        return self.restore(train.items, arrays)

    def forget(self) -> None:
        """Let go of what was learned; whoever keeps more than the arrays lets go of that, too."""
        self._items, self._arrays = None, {}

    def _learn_alike(self, one: ModelConfig, other: ModelConfig) -> bool:
        asked = one.model_dump(exclude=set(self.scoring))
        return asked == other.model_dump(exclude=set(self.scoring))

    def _to_try(self) -> list[ModelConfig]:
        asked = self._asked.model_dump()
        tried: list[ModelConfig] = []
        for candidate in self.candidates:
            free = {name: value for name, value in candidate.items() if asked[name] is None}
            config = self._asked.model_copy(update=free)
            if config not in tried:
                tried.append(config)
        return tried

    def _further(self, chosen: ModelConfig, tried: Sequence[ModelConfig]) -> list[ModelConfig]:
        """Give the next setting to try, if the best so far is the largest of those tried."""
        name = self.widened
        if name is None or getattr(self._asked, name) is not None:
            return []
        value = beyond(getattr(chosen, name), [one[name] for one in self.candidates])
        if value is None:
            return []
        config = self._asked.model_copy(update={name: value})
        return [config] if config not in tried else []

    def arrays(self) -> Arrays:
        """Give what was learned, by name."""
        if self._items is None:
            raise NotFittedError(f"{self.name} has not been fitted")
        return self._arrays

    def restore(self, items: IdMap, arrays: Arrays) -> Self:
        """Take up what was learned; returns itself, ready to score."""
        for name in self.per_item:
            if name not in arrays or len(arrays[name]) != len(items):
                raise ValueError(f"{self.name} needs {name} with one row an item")
        shares_I = arrays.get(_POPULARITY, np.zeros(len(items), dtype=np.float32))
        if len(shares_I) != len(items):
            raise ValueError(f"{self.name} needs {_POPULARITY} with one row an item")
        self._items, self._arrays, self._tie_break = items, arrays, shares_I * _DECIDES_TIES
        return self

    @property
    def tie_break(self) -> npt.NDArray[np.float32]:
        """What the items' popularity adds to their scores, (I,): a millionth of their shares.

        Who has no history, and whose items have nothing in common with any other, is so given the
        most popular items. A model that was saved before there was such a thing has zeros.
        """
        self.arrays()  # asked before it was fitted, it says so
        return self._tie_break


def _shares(train: Interactions) -> npt.NDArray[np.float32]:
    """Give the share of the training users who took each item, (I,)."""
    counts_I = np.bincount(train.matrix.indices, minlength=len(train.items))
    shares_I: npt.NDArray[np.float32] = (counts_I / max(len(train.users), 1)).astype(np.float32)
    return shares_I


def sparse_parts(name: str, matrix: csr_array) -> Arrays:
    """Take a sparse matrix apart into arrays that can be saved; `join_parts` is the way back."""
    return {f"{name}.{part}": getattr(matrix, part) for part in ("data", "indices", "indptr")}


def join_parts(name: str, arrays: Arrays, n_items: int) -> csr_array:
    """Put an (n_items, n_items) matrix together again, with indices as narrow as they can be.

    Raises:
        KeyError: a part is missing.
        ValueError: the parts do not fit together.
    """
    data, indices, indptr = (arrays[f"{name}.{part}"] for part in ("data", "indices", "indptr"))
    if max(n_items, len(indices)) <= np.iinfo(np.int32).max:
        indices, indptr = (part.astype(np.int32, copy=False) for part in (indices, indptr))
    return csr_array((data, indices, indptr), shape=(n_items, n_items))
