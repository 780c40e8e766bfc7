"""ALS: implicit matrix factorisation, with unseen users folded in."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Self

import numpy as np
import torch
from pydantic import Field
from scipy.sparse import csr_array, csr_matrix
from threadpoolctl import threadpool_limits

from recsys_vae.errors import UnusableSettingsError, reason
from recsys_vae.interactions import IdMap, Interactions
from recsys_vae.models.base import FitOptions, FloatMatrix, ModelConfig
from recsys_vae.models.closed_form import ArrayRecommender, Arrays
from recsys_vae.nn.linear_scores import LinearScores


class ALSConfig(ModelConfig):
    """Hyper-parameters of ALS, in the terms of the `implicit` library."""

    factors: int = Field(default=64, ge=1, le=100_000, description="width of the factors")
    regularization: float | None = Field(
        default=None,
        ge=0,
        le=1e9,
        description="ridge on each factor; None: the best on validation among 0.1, 1, 5, 20, 50 "
        "(5 where nothing validates)",
    )
    alpha: float = Field(default=5.0, gt=0, le=1e9, description="confidence of a stored entry")
    iterations: int = Field(default=15, ge=1, le=100_000, description="alternations")


class ALS(ArrayRecommender):
    r"""Alternating least squares on implicit feedback.

    Minimises sum_ui c_ui (p_ui - x_u . y_i)^2 + lambda (sum_u |x_u|^2 + sum_i |y_i|^2), with
    p_ui = 1 and c_ui = alpha on stored entries, 0 and 1 elsewhere. A user, trained on or not,
    is scored by solving for x_u from the given items with all y_i fixed.

    Of items that score the same, in particular for a user without history, the more popular come
    first (`tie_break`).

    Source: Y. Hu, Y. Koren, C. Volinsky, Collaborative Filtering for Implicit Feedback Datasets,
    ICDM 2008, computed by the `implicit` library.
    """

    name: ClassVar[str] = "als"
    per_item: ClassVar[tuple[str, ...]] = ("item_factors_IF",)
    by_popularity: ClassVar[bool] = True
    candidates: ClassVar[tuple[dict[str, Any], ...]] = tuple(
        {"regularization": ridge} for ridge in (5.0, 0.1, 1.0, 20.0, 50.0)
    )

    def __init__(self, config: ALSConfig | None = None) -> None:
        """Describe the model."""
        super().__init__(config or ALSConfig())
        self._solver: Any = None

    def learn(self, train: Interactions, options: FitOptions) -> Arrays:
        """Alternate; the items' factors are kept, the training users' are not needed."""
        solver = self._new_solver(options.seed)
        with threadpool_limits(limits=1, user_api="blas"), _solvable():
            solver.fit(csr_matrix(train.matrix), show_progress=False)
            # What scoring will do, with the factors that are final.
            some = np.flatnonzero(np.diff(train.matrix.indptr))[:1]
            solver.recalculate_user(np.arange(len(some)), csr_matrix(train.matrix[some]))
        return {"item_factors_IF": np.ascontiguousarray(solver.item_factors)}

    def restore(self, items: IdMap, arrays: Arrays) -> Self:
        """Take up the items' factors; returns itself, ready to score."""
        super().restore(items, arrays)
        self._solver = self._new_solver(seed=0)
        self._solver.item_factors = arrays["item_factors_IF"]
        return self

    def _new_solver(self, seed: int) -> Any:
        # implicit warns at import and construction unless OpenBLAS is told to keep to one thread.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        from implicit.cpu.als import AlternatingLeastSquares

        with threadpool_limits(limits=1, user_api="blas"):
            return AlternatingLeastSquares(**self._config.model_dump(), random_state=seed)

    def linear_scores(self, given: csr_array) -> LinearScores:
        """Fold the users in; a user without history is all zeros and is given what is popular."""
        factors_IF = self.arrays()["item_factors_IF"]
        with threadpool_limits(limits=1, user_api="blas"), _solvable():
            histories = csr_matrix(given, dtype=np.float32)
            factors_BF = self._solver.recalculate_user(np.arange(given.shape[0]), histories)
        return LinearScores(
            torch.from_numpy(factors_BF),
            torch.from_numpy(factors_IF),
            torch.from_numpy(self.tie_break),
        )

    def score(self, given: csr_array) -> FloatMatrix:
        """Fold the users in and multiply: scores_BI."""
        scores: FloatMatrix = self.linear_scores(given).scores().numpy()
        return scores


@contextmanager
def _solvable() -> Iterator[None]:
    """Turn the library's error of equations that have no solution into a sentence.

    Raises:
        UnusableSettingsError: there is no ridge, and more factors than the data tell apart.
    """
    try:
        yield
    except ValueError as error:
        raise UnusableSettingsError(
            f"model 'als', setting 'regularization': it is too small for these data "
            f"({reason(error)}): give a larger one, or fewer factors"
        ) from error
