"""Popularity: the same list for everyone, most taken first."""

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from recsys_vae.interactions import Interactions
from recsys_vae.models.base import FitOptions, FloatMatrix, ModelConfig
from recsys_vae.models.closed_form import ArrayRecommender


class PopularityConfig(ModelConfig):
    """Popularity has nothing to choose."""


class Popularity(ArrayRecommender):
    """score_ui = sum_v x_vi over the training users v, whoever u is."""

    name: ClassVar[str] = "popularity"
    per_item: ClassVar[tuple[str, ...]] = ("counts_I",)

    def __init__(self, config: PopularityConfig | None = None) -> None:
        """Describe the model."""
        super().__init__(config or PopularityConfig())

    def learn(self, train: Interactions, options: FitOptions) -> dict[str, npt.NDArray[Any]]:
        """Count."""
        return {"counts_I": np.asarray(train.matrix.sum(axis=0), dtype=np.float32).ravel()}

    def score(self, given: csr_array) -> FloatMatrix:
        """Give everyone the counts: scores_BI."""
        return np.tile(self.arrays()["counts_I"], (int(given.shape[0]), 1))
