"""A graph filter: co-occurrence, normalised, and an ideal low-pass.

Legend: B users in the batch, U training users, I items, K singular vectors.
"""

from typing import Any, ClassVar, Final, Self

import numpy as np
from pydantic import Field
from scipy.sparse import csr_array, diags_array
from scipy.sparse.linalg import svds

from recsys_vae.interactions import IdMap, Interactions
from recsys_vae.models.base import FitOptions, FloatMatrix, ModelConfig
from recsys_vae.models.closed_form import ArrayRecommender, Arrays, join_parts, sparse_parts
from recsys_vae.models.sparse_product import sparse_product

_NOTHING: Final = 1e-6
"""Singular value, of those within 0 and 1, that is 0 but for rounding."""


class GraphFilterConfig(ModelConfig):
    """Hyper-parameters of the graph filter."""

    rank: int = Field(default=256, ge=0, le=100_000, description="K, width of the low-pass")
    low_pass: float | None = Field(
        default=None,
        ge=0,
        le=1e6,
        description="alpha, weight of the low-pass; None: the best on validation among 0, 0.1, "
        "0.3, 1, 3 (0.3 where nothing validates)",
    )


class GraphFilter(ArrayRecommender):
    r"""GF-CF: score = x R'R + alpha x D^(-1/2) V V' D^(1/2).

    R = E^(-1/2) X D^(-1/2), with E and D the diagonals of the users' and the items' sums of X, and
    V the K right singular vectors of R with the largest singular values. Whoever has a history x is
    folded in by it: nothing is learned about users. R'R is kept sparse; it has at most
    sum_u n_u^2 entries for users with n_u items.

    Of items that score the same, in particular for a user without history, the more popular come
    first (`tie_break`).

    Source: Y. Shen et al., How Powerful is Graph Convolution for Recommendation?, CIKM 2021,
    section 4.
    """

    name: ClassVar[str] = "graph-filter"
    per_item: ClassVar[tuple[str, ...]] = ("basis_IK", "degree_I")
    by_popularity: ClassVar[bool] = True
    candidates: ClassVar[tuple[dict[str, Any], ...]] = tuple(
        {"low_pass": weight} for weight in (0.3, 0.0, 0.1, 1.0, 3.0)
    )
    scoring: ClassVar[frozenset[str]] = frozenset({"low_pass"})

    def __init__(self, config: GraphFilterConfig | None = None) -> None:
        """Describe the model."""
        super().__init__(config or GraphFilterConfig())
        self._gram_II = csr_array((0, 0), dtype=np.float32)

    def learn(self, train: Interactions, options: FitOptions) -> Arrays:
        """Normalise, multiply and take singular vectors."""
        matrix_UI = train.matrix.astype(np.float64)
        degree_U, degree_I = matrix_UI.sum(axis=1), matrix_UI.sum(axis=0)
        # Nobody's item and an empty history have degree 0 and nothing to scale.
        scale_U, scale_I = (np.maximum(degree, 1e-12) ** -0.5 for degree in (degree_U, degree_I))
        normal_UI = csr_array(diags_array(scale_U) @ matrix_UI @ diags_array(scale_I))
        rank = min(self.config.model_dump()["rank"], min(normal_UI.shape) - 1)
        basis_IK = np.zeros((len(train.items), 0))
        if rank > 0 and normal_UI.count_nonzero():
            # The space does not depend on the start of the search for it: no seed is needed.
            start = np.random.default_rng(0).standard_normal(min(normal_UI.shape))
            _, value_K, basis_KI = svds(normal_UI, rank, v0=start, return_singular_vectors="vh")
            # Of the vectors that nothing was found along, any would do, and none says anything.
            basis_IK = basis_KI[value_K > _NOTHING].T
        gram_II = csr_array(normal_UI.T @ normal_UI).astype(np.float32)
        gram_II.sort_indices()
        return {
            **sparse_parts("gram_II", gram_II),
            "basis_IK": np.ascontiguousarray(basis_IK, dtype=np.float32),
            "degree_I": degree_I.astype(np.float32),
        }

    def forget(self) -> None:
        """Let go of what was learned."""
        super().forget()
        self._gram_II = csr_array((0, 0), dtype=np.float32)

    def restore(self, items: IdMap, arrays: Arrays) -> Self:
        """Take up what was learned; returns itself, ready to score."""
        super().restore(items, arrays)
        self._gram_II = join_parts("gram_II", arrays, len(items))
        return self

    def score(self, given: csr_array) -> FloatMatrix:
        """Filter the histories: scores_BI."""
        arrays = self.arrays()
        basis_IK, root_I = arrays["basis_IK"], np.sqrt(arrays["degree_I"])
        weight = np.float32(self.config.model_dump()["low_pass"])
        taken = csr_array(given, dtype=np.float32)
        # What nobody took in training says nothing.
        inverse_I = np.divide(1, root_I, out=np.zeros_like(root_I), where=root_I > 0)
        scaled = csr_array(taken * inverse_I)
        scores: FloatMatrix = (scaled @ basis_IK) @ basis_IK.T
        scores *= weight * root_I
        scores += sparse_product(taken, self._gram_II).numpy()
        scores += self.tie_break
        return scores
