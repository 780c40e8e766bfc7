"""What factor models share that learn users' vectors by sampling: how histories become vectors.

Legend: B users in the batch, U training users, I items, F factors.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import csr_array

from recsys_vae.models.base import FloatMatrix
from recsys_vae.models.closed_form import ArrayRecommender
from recsys_vae.nn.linear_scores import LinearScores

_RIDGE: Final = 1e-3
"""Share of the mean square of a regressor: keeps regressors that are alike from cancelling."""


def features(given: csr_array, factors_IF: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Describe histories by the sum and the mean of their items' factors, their length and 1.

    Args:
        given: (B, I) histories.
        factors_IF: of the items.

    Returns:
        (B, 2 F + 2); 0 and 1 for a user without history.
    """
    lengths = np.diff(given.indptr).astype(np.float32)[:, None]
    sums_BF = given @ factors_IF
    means_BF = sums_BF / np.maximum(lengths, 1)
    parts = [sums_BF, means_BF, np.sqrt(lengths), np.ones_like(lengths)]
    return np.concatenate(parts, axis=1, dtype=np.float32)


def fold_in_map(
    train: csr_array, users_UF: npt.NDArray[Any], factors_IF: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Regress the training users' learned factors on their histories.

    Args:
        train: (U, I) histories of the training users.
        users_UF: their learned factors.
        factors_IF: the items' factors.

    Returns:
        (2 F + 2, F), the least-squares map from `features` to a user's factors, with a small ridge.
    """
    known = features(train, factors_IF).astype(np.float64)
    gram = known.T @ known
    gram[np.diag_indices_from(gram)] += _RIDGE * np.maximum(np.diagonal(gram), 1e-12)
    mapping = np.linalg.solve(gram, known.T @ users_UF.astype(np.float64))
    return mapping.astype(np.float32)


class FoldedRecommender(ArrayRecommender):
    """A model of factors whose users are folded in: scores_BI = x_u . y_i + b_i.

    What was learned has `item_factors_IF` (y), `item_bias_I` (b) and `fold_in_map`.
    """

    def linear_scores(self, given: csr_array) -> LinearScores:
        """Fold the users in; the items' side is what was learned."""
        arrays = self.arrays()
        factors_IF = arrays["item_factors_IF"]
        users_BF = features(given, factors_IF) @ arrays["fold_in_map"]
        return LinearScores(
            torch.from_numpy(users_BF),
            torch.from_numpy(factors_IF),
            torch.from_numpy(self.bias()),
        )

    def bias(self) -> npt.NDArray[np.float32]:
        """Give what is added to the scores of an item, (I,)."""
        bias_I: npt.NDArray[np.float32] = self.arrays()["item_bias_I"]
        return bias_I

    def score(self, given: csr_array) -> FloatMatrix:
        """Fold the users in and multiply: scores_BI."""
        scores: FloatMatrix = self.linear_scores(given).scores().numpy()
        return scores
