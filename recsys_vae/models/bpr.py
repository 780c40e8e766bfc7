"""BPR: factors that rank what a user took above what the user did not."""

import os
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from recsys_vae.interactions import Interactions
from recsys_vae.models.base import FitOptions, ModelConfig
from recsys_vae.models.closed_form import Arrays
from recsys_vae.models.factors import FoldedRecommender, fold_in_map


class BPRConfig(ModelConfig):
    """Hyper-parameters of BPR, in the terms of the `implicit` library."""

    factors: int = Field(default=64, ge=1, le=100_000, description="width of the factors")
    learning_rate: float = Field(default=0.05, gt=0, le=1e3, description="step of the descent")
    regularization: float | None = Field(
        default=None,
        ge=0,
        le=1e9,
        description="ridge on each factor; None: the best on validation among 0.0001, 0.0003, "
        "0.001, 0.003, 0.01 (0.001 where nothing validates)",
    )
    iterations: int = Field(
        default=100, ge=1, le=100_000, description="passes; each draws a pair per interaction"
    )
    popularity: float | None = Field(
        default=None,
        ge=0,
        le=100,
        description="weight of the logarithm of an item's users in its scores: 1 takes back that "
        "negatives are drawn by popularity; None: the best on validation of 1 and 0.5 (1 where "
        "nothing validates)",
    )


class BPR(FoldedRecommender):
    r"""Bayesian personalised ranking by matrix factorisation.

    .. math:: s_{ui} = x_u \cdot y_i + b_i + w \log n_i

    Without its last term s minimises sum -log sigmoid(s_ui - s_uj) + lambda |parameters|^2 over
    items i that u took and items j that u did not, by stochastic gradient steps in one thread (with
    more the same seed gives other factors). The library draws j in proportion to n_j, the number of
    its users, by which the least loss is at s_ui = log p(i|u) - log n_i but for what is the same
    for all items: popular items are placed too low. The last term, with w = 1, takes that back.

    Every user, trained on or not, is scored by x_u as far as the history tells it: by the linear
    map from sum and mean of the factors of the user's items that fits the training users' learned
    factors best (see `factors.fold_in_map`). The learned factors themselves are not kept.

    Source: S. Rendle et al., BPR: Bayesian Personalized Ranking from Implicit Feedback, UAI 2009,
    computed by the `implicit` library; the folding in is ours.
    """

    name: ClassVar[str] = "bpr"
    per_item: ClassVar[tuple[str, ...]] = ("item_factors_IF", "item_bias_I", "item_users_I")
    candidates: ClassVar[tuple[dict[str, Any], ...]] = tuple(
        {"regularization": ridge, "popularity": weight}
        for ridge in (0.001, 0.0001, 0.0003, 0.003, 0.01)
        for weight in (1.0, 0.5)
    )
    scoring: ClassVar[frozenset[str]] = frozenset({"popularity"})

    def __init__(self, config: BPRConfig | None = None) -> None:
        """Describe the model."""
        super().__init__(config or BPRConfig())

    def learn(self, train: Interactions, options: FitOptions) -> Arrays:
        """Descend; then learn to fold in."""
        # implicit warns at import unless OpenBLAS is told to keep to one thread.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        from implicit.cpu.bpr import BayesianPersonalizedRanking

        settings = self.config.model_dump(exclude=set(self.scoring))
        with threadpool_limits(limits=1, user_api="blas"):
            solver = BayesianPersonalizedRanking(
                **settings, num_threads=1, random_state=options.seed
            )
            solver.fit(csr_matrix(train.matrix), show_progress=False)
        # The library draws from the stored entries, whatever their values.
        users_I = np.bincount(train.matrix.indices, minlength=len(train.items))
        # The library keeps an item's bias behind its factors, and 1 behind a user's.
        width = settings["factors"]
        factors_IF = np.ascontiguousarray(solver.item_factors[:, :width])
        return {
            "item_factors_IF": factors_IF,
            "item_bias_I": np.ascontiguousarray(solver.item_factors[:, width]),
            "item_users_I": users_I.astype(np.float32),
            "fold_in_map": fold_in_map(train.matrix, solver.user_factors[:, :width], factors_IF),
        }

    def bias(self) -> npt.NDArray[np.float32]:
        """Give what is added to the scores of an item, (I,): b + w log n, n at least 1."""
        users_I = np.maximum(self.arrays()["item_users_I"], 1)
        weight: float = self.config.model_dump()["popularity"]
        return super().bias() + (weight * np.log(users_I)).astype(np.float32)
