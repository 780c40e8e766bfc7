"""Sparse EASE: every item regressed on its nearest items.

Legend: B users in the batch, I items.
"""

from typing import Any, ClassVar, Self

import numpy as np
from pydantic import Field
from scipy.sparse import csr_array

from recsys_vae.interactions import IdMap, Interactions
from recsys_vae.models.base import FitOptions, FloatMatrix, ModelConfig
from recsys_vae.models.closed_form import ArrayRecommender, Arrays, join_parts, sparse_parts
from recsys_vae.models.item_ridge import item_ridge
from recsys_vae.models.sparse_product import sparse_product


class SparseEASEConfig(ModelConfig):
    """Hyper-parameters of sparse EASE."""

    ridge: float | None = Field(
        default=None,
        gt=0,
        le=1e9,
        description="lambda, added to all counts, in users of median activity; None: 60, or "
        "what is clearly better on validation among 20, 180, 540, and beyond if that is best",
    )
    neighbours: int = Field(default=128, ge=1, le=4096, description="K, features of a regression")
    damping: float = Field(
        default=0.3, ge=0, le=2, description="gamma, a user of n items counts n^-gamma"
    )
    source_damping: float = Field(
        default=0.2,
        ge=0,
        le=2,
        description="alpha, what an item of n users says counts n^-alpha",
    )


class SparseEASE(ArrayRecommender):
    r"""score = x B, with B_.j the ridge regression of item j on its K nearest items.

    What `item_ridge` says holds. Against EASE, whose matrix is full, it takes I K^2 numbers of
    work and I K of memory where that takes I^3 and I^2, so that catalogues of a million items are
    within reach; fit and model hold the sparse X'X and at most K weights an item.

    Of items that score the same, in particular for a user without history, the more popular come
    first (`tie_break`).

    Sources: H. Steck, Embarrassingly Shallow Autoencoders for Sparse Data, WWW 2019; X. Ning,
    G. Karypis, SLIM, ICDM 2011, section IV.C.

    >>> SparseEASE(SparseEASEConfig(neighbours=64)).name
    'sparse-ease'
    """

    name: ClassVar[str] = "sparse-ease"
    per_item: ClassVar[tuple[str, ...]] = ()
    by_popularity: ClassVar[bool] = True
    candidates: ClassVar[tuple[dict[str, Any], ...]] = tuple(
        {"ridge": ridge} for ridge in (60.0, 20.0, 180.0, 540.0)
    )
    reluctant: ClassVar[bool] = True
    widened: ClassVar[str | None] = "ridge"

    def __init__(self, config: SparseEASEConfig | None = None) -> None:
        """Describe the model."""
        super().__init__(config or SparseEASEConfig())
        self._weights_II = csr_array((0, 0), dtype=np.float32)

    def learn(self, train: Interactions, options: FitOptions) -> Arrays:
        """Solve the regressions."""
        weights_II = item_ridge(train.matrix, **self.config.model_dump())
        return sparse_parts("weights_II", weights_II)

    def forget(self) -> None:
        """Let go of what was learned."""
        super().forget()
        self._weights_II = csr_array((0, 0), dtype=np.float32)

    def restore(self, items: IdMap, arrays: Arrays) -> Self:
        """Take up what was learned; returns itself, ready to score."""
        super().restore(items, arrays)
        self._weights_II = join_parts("weights_II", arrays, len(items))
        return self

    @property
    def weights(self) -> csr_array:
        """What taking an item adds to the score of every item: a sparse matrix, a row an item."""
        self.arrays()  # asked before it was fitted, it says so
        return self._weights_II

    def score(self, given: csr_array) -> FloatMatrix:
        """Add the rows of what was taken: scores_BI."""
        asked = csr_array(given, dtype=np.float32)
        scores: FloatMatrix = sparse_product(asked, self.weights).numpy()
        scores += self.tie_break
        return scores
