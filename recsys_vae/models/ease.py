"""EASE: the best linear item-to-item model, in closed form.

Legend: B users in the batch, I items.
"""

from typing import Any, ClassVar, Final

import numpy as np
import torch
from pydantic import Field
from scipy.sparse import csc_array, csr_array

from recsys_vae.errors import UnusableSettingsError
from recsys_vae.interactions import Interactions
from recsys_vae.models.base import FitOptions, FloatMatrix, ModelConfig
from recsys_vae.models.closed_form import ArrayRecommender, Arrays

_COLUMNS_AT_ONCE: Final = 512


class EASEConfig(ModelConfig):
    """Hyper-parameters of EASE."""

    ridge: float | None = Field(
        default=None,
        gt=0,
        le=1e9,
        description="lambda, added to every item's count; None: the best on validation among 20, "
        "80, 200, 500, 1200, and beyond if that is best (200 where nothing validates)",
    )


class EASE(ArrayRecommender):
    r"""Embarrassingly shallow autoencoder: score = x B.

    B minimises |X - X B|^2 + lambda |B|^2 with zeros on its diagonal. With P the inverse of
    X'X + lambda 1, it is B_ij = -P_ij / P_jj for i != j. Whoever has a history is folded in by it:
    nothing is learned about users.

    Of items that score the same, in particular for a user without history, the more popular come
    first (`tie_break`).

    The inverse is taken in place: fit and model hold one I x I matrix of float32 (6.7 GB for
    41,000 items), and about I^3 multiplications are made. The choice of lambda holds two.

    Source: H. Steck, Embarrassingly Shallow Autoencoders for Sparse Data, WWW 2019, equation 8.
    """

    name: ClassVar[str] = "ease"
    per_item: ClassVar[tuple[str, ...]] = ("weights_II",)
    by_popularity: ClassVar[bool] = True
    candidates: ClassVar[tuple[dict[str, Any], ...]] = tuple(
        {"ridge": ridge} for ridge in (200.0, 20.0, 80.0, 500.0, 1200.0)
    )
    widened: ClassVar[str | None] = "ridge"

    def __init__(self, config: EASEConfig | None = None) -> None:
        """Describe the model."""
        super().__init__(config or EASEConfig())

    def learn(self, train: Interactions, options: FitOptions) -> Arrays:
        """Invert the ridged Gram matrix."""
        ridge: float = self.config.model_dump()["ridge"]
        gram_II = _lower_gram(train.matrix)
        gram_II.ravel(order="K")[:: len(gram_II) + 1] += ridge
        return {"weights_II": _weights(_inverse(gram_II, ridge))}

    def score(self, given: csr_array) -> FloatMatrix:
        """Add the rows of what was taken: scores_BI."""
        scores: FloatMatrix = np.asarray(given @ self.arrays()["weights_II"], dtype=np.float32)
        scores += self.tie_break
        return scores


def _lower_gram(matrix_UI: csr_array) -> FloatMatrix:
    """Compute the lower triangle of X'X, in the column order that LAPACK works on in place."""
    n_items = int(matrix_UI.shape[1])
    users_by_item = csr_array(matrix_UI.T)
    items_by_user = csc_array(matrix_UI)
    gram_II = np.zeros((n_items, n_items), dtype=np.float32, order="F")
    for start in range(0, n_items, _COLUMNS_AT_ONCE):
        columns = slice(start, start + _COLUMNS_AT_ONCE)
        block = users_by_item[start:] @ items_by_user[:, columns]
        gram_II[start:, columns] = block.toarray()
    return gram_II


def _inverse(gram_II: FloatMatrix, ridge: float) -> FloatMatrix:
    """Invert a positive definite matrix, given by its lower triangle, where it stands.

    With torch's LAPACK: the one that comes with SciPy (1.17) ended the process with a segmentation
    fault at 41,000 items on an AMD processor.
    """
    matrix_II = torch.from_numpy(gram_II.T).mT  # the same memory, in LAPACK's order of columns
    failed = torch.empty((), dtype=torch.int32)
    torch.linalg.cholesky_ex(matrix_II, out=(matrix_II, failed))
    if int(failed):
        raise UnusableSettingsError(
            f"model 'ease', setting 'ridge': {ridge} is too small for these data (the matrix "
            "cannot be inverted in float32): give a larger one"
        )
    torch.cholesky_inverse(matrix_II, out=matrix_II)
    return gram_II


def _weights(inverse_II: FloatMatrix) -> FloatMatrix:
    """Turn P into B, where it stands, one row an item."""
    # P is symmetric: its transpose is the same matrix, in the order that rows are read in.
    weights_II: FloatMatrix = inverse_II.T
    weights_II /= -np.diagonal(inverse_II).copy()
    np.fill_diagonal(weights_II, 0)
    return weights_II
