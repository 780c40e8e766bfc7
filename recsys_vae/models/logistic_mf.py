"""Logistic matrix factorisation: the probability that a user takes an item."""

import os
from typing import Any, ClassVar

import numpy as np
from pydantic import Field
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from recsys_vae.interactions import Interactions
from recsys_vae.models.base import FitOptions, ModelConfig
from recsys_vae.models.closed_form import Arrays
from recsys_vae.models.factors import FoldedRecommender, fold_in_map


class LogisticMFConfig(ModelConfig):
    """Hyper-parameters of logistic matrix factorisation, in the terms of the `implicit` library."""

    factors: int = Field(default=64, ge=1, le=100_000, description="width of the factors")
    learning_rate: float = Field(default=1.0, gt=0, le=1e3, description="step of AdaGrad")
    regularization: float | None = Field(
        default=None,
        ge=0,
        le=1e9,
        description="ridge on each factor; None: the best on validation among 0.3, 0.6, 1, 2, 4 "
        "(1 where nothing validates)",
    )
    iterations: int = Field(default=30, ge=1, le=100_000, description="alternations")
    neg_prop: int = Field(
        default=5, ge=1, le=100_000, description="items not taken, drawn for each one taken"
    )


class LogisticMF(FoldedRecommender):
    r"""Logistic matrix factorisation: score_ui = x_u . y_i + b_i, a log-odds.

    Minimises sum -log sigmoid(score_ui) over what was taken + sum -log sigmoid(-score_uj) over what
    was not (a sample) + lambda / 2 |parameters|^2 by alternating gradient steps on users and items.
    The bias that the source also gives a user is left out of the scores: it moves no rank.

    Every user, trained on or not, is scored by x_u as far as the history tells it: by the linear
    map from sum and mean of the factors of the user's items that fits the training users' learned
    factors best (see `factors.fold_in_map`). The learned factors themselves are not kept.

    Source: C. Johnson, Logistic Matrix Factorization for Implicit Feedback Data, NeurIPS workshop
    2014, computed by the `implicit` library; the folding in is ours.
    """

    name: ClassVar[str] = "logistic-mf"
    per_item: ClassVar[tuple[str, ...]] = ("item_factors_IF", "item_bias_I")
    candidates: ClassVar[tuple[dict[str, Any], ...]] = tuple(
        {"regularization": ridge} for ridge in (1.0, 0.3, 0.6, 2.0, 4.0)
    )

    def __init__(self, config: LogisticMFConfig | None = None) -> None:
        """Describe the model."""
        super().__init__(config or LogisticMFConfig())

    def learn(self, train: Interactions, options: FitOptions) -> Arrays:
        """Descend in one thread, so that the same seed gives the same bits; learn to fold in."""
        # implicit warns at import unless OpenBLAS is told to keep to one thread.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        from implicit.cpu.lmf import LogisticMatrixFactorization

        settings = self.config.model_dump()
        with threadpool_limits(limits=1, user_api="blas"):
            solver = LogisticMatrixFactorization(
                **settings, num_threads=1, random_state=options.seed
            )
            solver.fit(csr_matrix(train.matrix), show_progress=False)
        # The library keeps an item's bias behind its factors.
        width = settings["factors"]
        factors_IF = np.ascontiguousarray(solver.item_factors[:, :width])
        return {
            "item_factors_IF": factors_IF,
            "item_bias_I": np.ascontiguousarray(solver.item_factors[:, width]),
            "fold_in_map": fold_in_map(train.matrix, solver.user_factors[:, :width], factors_IF),
        }
