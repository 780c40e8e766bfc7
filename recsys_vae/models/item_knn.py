"""ItemKNN: items that the same users took, by cosine, TF-IDF or BM25.

Legend: B users in the batch, I items.
"""

import os
from typing import Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field
from scipy.sparse import coo_matrix, csr_array, csr_matrix

from recsys_vae.interactions import IdMap, Interactions
from recsys_vae.models.base import FitOptions, FloatMatrix, ModelConfig
from recsys_vae.models.closed_form import ArrayRecommender, Arrays, join_parts, sparse_parts

Weighting = Literal["cosine", "tf-idf", "bm25"]


class ItemKNNConfig(ModelConfig):
    """Hyper-parameters of ItemKNN."""

    weighting: Weighting | None = Field(
        default=None,
        description="how an item's users are weighted; None: with the neighbours the best on "
        "validation of tf-idf with 100, 500, 2000, cosine with 500, bm25 with 100 (tf-idf with 500 "
        "where nothing validates)",
    )
    neighbours: int | None = Field(
        default=None, ge=1, le=100_000, description="most similar items kept for each item"
    )
    bm25_saturation: float = Field(default=1.2, gt=0, le=1e6, description="k1 of BM25")
    bm25_length: float = Field(default=0.75, ge=0, le=1, description="b of BM25")


class ItemKNN(ArrayRecommender):
    r"""score_uj = sum_i x_ui s_ij over the items i whose most similar items include j.

    s_ij = w_i . w_j, with w_i the weights of the users of item i. Cosine: w_ui = x_ui, scaled to
    |w_i| = 1. TF-IDF: w_ui = sqrt(x_ui) idf_u, scaled likewise. BM25: w_ui =
    x_ui (k1 + 1) / (k1 (1 - b + b n_i / mean n) + x_ui) idf_u, not scaled, with n_i the sum of
    item i. A user's idf_u = log(items / (1 + items of u)). Whoever has a history is folded in by
    it: nothing is learned about users.

    Source: B. Sarwar et al., Item-Based Collaborative Filtering Recommendation Algorithms, WWW
    2001; weights and neighbours are computed by the `implicit` library.
    """

    name: ClassVar[str] = "item-knn"
    per_item: ClassVar[tuple[str, ...]] = ()
    candidates: ClassVar[tuple[dict[str, Any], ...]] = (
        {"weighting": "tf-idf", "neighbours": 500},
        {"weighting": "tf-idf", "neighbours": 100},
        {"weighting": "tf-idf", "neighbours": 2_000},
        {"weighting": "cosine", "neighbours": 500},
        {"weighting": "bm25", "neighbours": 100},
    )

    def __init__(self, config: ItemKNNConfig | None = None) -> None:
        """Describe the model."""
        super().__init__(config or ItemKNNConfig())
        self._similarity_II: csr_array

    def learn(self, train: Interactions, options: FitOptions) -> Arrays:
        """Find each item's neighbours."""
        # implicit warns at import unless OpenBLAS is told to keep to one thread.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        from implicit.nearest_neighbours import ItemItemRecommender

        config = ItemKNNConfig.model_validate(self.config.model_dump())
        n_items = len(train.items)
        library = ItemItemRecommender(K=min(config.neighbours or n_items, n_items))
        library.fit(_weighted(train.matrix, config), show_progress=False)
        similarity_II = csr_array(library.similarity, dtype=np.float32)
        similarity_II.eliminate_zeros()
        similarity_II.sort_indices()
        return sparse_parts("similarity_II", similarity_II)

    def restore(self, items: IdMap, arrays: Arrays) -> Self:
        """Take up the similarities; returns itself, ready to score."""
        self._similarity_II = join_parts("similarity_II", arrays, len(items))
        return super().restore(items, arrays)

    def score(self, given: csr_array) -> FloatMatrix:
        """Add up the similarities of what was taken: scores_BI, 0 where there is none."""
        self.arrays()
        scores: FloatMatrix = (given @ self._similarity_II).toarray()
        return scores


def _weighted(matrix_UI: csr_array, config: ItemKNNConfig) -> csr_matrix:
    """Weight the interactions: (U, I) of float64, which the library asks for."""
    from implicit.nearest_neighbours import bm25_weight, normalize, tfidf_weight

    items_by_user = coo_matrix(matrix_UI.T, dtype=np.float64)
    if config.weighting == "bm25":
        weighted = bm25_weight(items_by_user, config.bm25_saturation, config.bm25_length)
        return csr_matrix(weighted.T)
    if config.weighting == "tf-idf":
        items_by_user = tfidf_weight(items_by_user)
        # A user with all items but one weighs nothing; an item of nobody else has no direction.
        items_by_user.eliminate_zeros()
    return csr_matrix(normalize(items_by_user).T)
