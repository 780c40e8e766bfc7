"""A recommender for tests: scores depend on the user, and many are equal."""

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from recsys_vae.interactions import Interactions
from recsys_vae.models.base import FitOptions, FloatMatrix
from recsys_vae.models.closed_form import ArrayRecommender
from recsys_vae.models.popularity import PopularityConfig


class Neighbours(ArrayRecommender):
    """score = x W for a random W of few levels: depends on the user, with ties."""

    name: ClassVar[str] = "neighbours"
    per_item: ClassVar[tuple[str, ...]] = ("weights_II",)

    def __init__(self) -> None:
        super().__init__(PopularityConfig())

    def learn(self, train: Interactions, options: FitOptions) -> dict[str, npt.NDArray[Any]]:
        n_items = len(train.items)
        weights = np.random.default_rng(options.seed).integers(3, size=(n_items, n_items))
        return {"weights_II": weights.astype(np.float32)}

    def score(self, given: csr_array) -> FloatMatrix:
        return np.asarray(given @ self._arrays["weights_II"], dtype=np.float32)
