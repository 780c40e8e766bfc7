"""Random: the floor that every model must beat."""

from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import csr_array

from recsys_vae.interactions import Interactions
from recsys_vae.models.base import FitOptions, FloatMatrix, ModelConfig
from recsys_vae.models.closed_form import ArrayRecommender, Arrays

_Keys = npt.NDArray[np.uint64]


class RandomConfig(ModelConfig):
    """Random has nothing to choose."""


class Random(ArrayRecommender):
    """score_ui = a number in [0, 1) hashed from the seed, the item's id and the history of u.

    There is no generator that would be used up: a user's list is the same in every batch, process
    and order, and two users with the same history get the same list. Every user is folded in.
    """

    name: ClassVar[str] = "random"
    per_item: ClassVar[tuple[str, ...]] = ("keys_I",)

    def __init__(self, config: RandomConfig | None = None) -> None:
        """Describe the model."""
        super().__init__(config or RandomConfig())

    def learn(self, train: Interactions, options: FitOptions) -> Arrays:
        """Hash the ids of the items with the seed."""
        ids = train.items.ids(np.arange(len(train.items)))
        hashed_I = pd.util.hash_array(ids, categorize=False)
        seed = np.array([options.seed % 2**64], dtype=np.uint64)
        return {"keys_I": _mix(hashed_I + _mix(seed)).view(np.int64)}

    def score(self, given: csr_array) -> FloatMatrix:
        """Hash: scores_BI."""
        keys_I = self.arrays()["keys_I"].view(np.uint64)
        # A sum does not depend on the order of the items; integers wrap around.
        sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(keys_I[given.indices])])
        users_B = _mix(sums[given.indptr[1:]] - sums[given.indptr[:-1]])
        bits_BI = _mix(users_B[:, None] ^ keys_I) >> np.uint64(40)
        return bits_BI.astype(np.float32) * np.float32(2.0**-24)


def _mix(value: _Keys) -> _Keys:
    """Scramble 64-bit numbers (the finaliser of SplitMix64: Steele et al., OOPSLA 2014)."""
    value = value + np.uint64(0x9E3779B97F4A7C15)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))
