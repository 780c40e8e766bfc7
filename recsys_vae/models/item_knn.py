"""ItemKNN: items that the same users took, by cosine, TF-IDF or BM25.

Legend: B users in the batch, U training users, I items, J the items of a block that are scored.
"""

from collections.abc import Iterator
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy.sparse import csr_array, diags_array

from recsys_vae.interactions import IdMap, Interactions
from recsys_vae.models.base import FitOptions, FloatMatrix, ModelConfig
from recsys_vae.models.closed_form import ArrayRecommender, Arrays, join_parts, sparse_parts
from recsys_vae.models.item_blocks import item_blocks
from recsys_vae.models.sparse_product import sparse_product

Weighting = Literal["cosine", "tf-idf", "bm25"]


class ItemKNNConfig(ModelConfig):
    """Hyper-parameters of ItemKNN."""

    weighting: Weighting | None = Field(
        default=None,
        description="how an item's users are weighted; whichever of weighting, neighbours, "
        "user_damping and source_share are None are chosen together, the best on validation of "
        "five sets (the first of them where nothing validates)",
    )
    neighbours: int | None = Field(
        default=None, ge=1, le=1_000_000, description="most similar items kept for each scored item"
    )
    user_damping: float | None = Field(
        default=None,
        ge=0,
        le=2,
        description="gamma, a user of n items counts n^-gamma: 0 all alike, 0.5 a history scaled "
        "to length 1, 1 each user the same in total",
    )
    source_share: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="alpha, how much of the scaling by popularity falls on the item taken, the "
        "rest on the item scored: 0.5 is the cosine, more lets popular items score higher; not "
        "used by bm25",
    )
    shrinkage: float = Field(
        default=0,
        ge=0,
        le=1e6,
        description="added to a similarity's denominator: rests it on more common users; not used "
        "by bm25",
    )
    bm25_saturation: float = Field(default=1.2, gt=0, le=1e6, description="k1 of BM25")
    bm25_length: float = Field(default=0.75, ge=0, le=1, description="b of BM25")


class ItemKNN(ArrayRecommender):
    r"""score_uj = sum_i x_ui s_ij over those of u's items i that are among j's most similar.

    s_ij = sum_u n_u^(-gamma) w_ui w_uj / (|w_i|^(2 alpha) |w_j|^(2 (1 - alpha)) + shrinkage), with
    n_u the number of u's items and w_i the weights of the users of item i. Cosine: w_ui = x_ui.
    TF-IDF: w_ui = sqrt(x_ui) idf_u. BM25: w_ui = x_ui (k1 + 1) / (k1 (1 - b + b n_i / mean n) +
    x_ui) idf_u with denominator 1, n_i being the sum of item i. A user's idf_u =
    log(items / (1 + items of u)). gamma = 0, alpha = 1/2 and no shrinkage are the plain cosine of
    two items' weights.

    The most similar items are kept for each item j that is scored, not for each item i that was
    taken: a rare item that is near to few still has its neighbours. j is not among them; of equally
    similar items those with the lowest numbers are kept. Whoever has a history is folded in by it:
    nothing is learned about users.

    Similarities are computed for a block of items at a time; fit and model hold `neighbours`
    entries an item at most, and no more than there are pairs that share a user.

    Of items that score the same, in particular for a user without history, the more popular come
    first (`tie_break`).

    Sources: B. Sarwar et al., Item-Based Collaborative Filtering Recommendation Algorithms, WWW
    2001 (cosine); M. Deshpande and G. Karypis, Item-Based Top-N Recommendation Algorithms, ACM
    TOIS 22(1), 2004 (histories scaled to length 1, so that users of many items count
    less, and a power of the scored item's frequency); F. Aiolli, Efficient Top-N Recommendation
    for Very Large Scale Binary Rated Datasets, RecSys 2013 (alpha); M. Ferrari Dacrema et al., Are
    We Really Making Much Progress?, RecSys 2019 (shrinkage, TF-IDF and BM25 weights).
    """

    name: ClassVar[str] = "item-knn"
    per_item: ClassVar[tuple[str, ...]] = ()
    by_popularity: ClassVar[bool] = True
    candidates: ClassVar[tuple[dict[str, Any], ...]] = (
        {"weighting": "cosine", "neighbours": 1_000, "user_damping": 0.5, "source_share": 0.6},
        {"weighting": "cosine", "neighbours": 2_000, "user_damping": 0.5, "source_share": 0.65},
        {"weighting": "cosine", "neighbours": 100, "user_damping": 0.5, "source_share": 0.5},
        {"weighting": "cosine", "neighbours": 100, "user_damping": 0.0, "source_share": 0.5},
        {"weighting": "tf-idf", "neighbours": 200, "user_damping": 0.0, "source_share": 0.5},
    )

    def __init__(self, config: ItemKNNConfig | None = None) -> None:
        """Describe the model."""
        super().__init__(config or ItemKNNConfig())
        self._similarity_II = csr_array((0, 0), dtype=np.float32)

    def learn(self, train: Interactions, options: FitOptions) -> Arrays:
        """Find each item's most similar items, a block of items at a time."""
        config = ItemKNNConfig.model_validate(self.config.model_dump())
        data, indices, counts = [], [], []
        for block_JI in _similarities(train.matrix, config):
            kept = _largest(block_JI, config.neighbours or len(train.items))
            data.append(block_JI.data[kept].astype(np.float32))
            indices.append(block_JI.indices[kept])
            ends = np.concatenate([[0], np.cumsum(kept)])[block_JI.indptr]
            counts.append(np.diff(ends))
        offsets = np.concatenate([[0], *counts]).cumsum()
        by_target = (np.concatenate(data), np.concatenate(indices), offsets)
        del data, indices
        shape = (len(train.items), len(train.items))
        # Rows stood for the items scored; a history picks rows of the items taken.
        similarity_II = csr_array(csr_array(by_target, shape).T)
        return sparse_parts("similarity_II", similarity_II)

    def forget(self) -> None:
        """Let go of what was learned."""
        super().forget()
        self._similarity_II = csr_array((0, 0), dtype=np.float32)

    def restore(self, items: IdMap, arrays: Arrays) -> Self:
        """Take up the similarities; returns itself, ready to score."""
        self._similarity_II = join_parts("similarity_II", arrays, len(items))
        return super().restore(items, arrays)

    def score(self, given: csr_array) -> FloatMatrix:
        """Add up the similarities of what was taken: scores_BI."""
        self.arrays()  # asked before it was fitted, it says so
        asked = csr_array(given, dtype=np.float32)
        scores: FloatMatrix = sparse_product(asked, self._similarity_II).numpy()
        scores += self.tie_break
        return scores


def _similarities(matrix_UI: csr_array, config: ItemKNNConfig) -> Iterator[csr_array]:
    """Give s for some items j after the other: rows j, columns i, none to itself."""
    weights_UI = _weights(matrix_UI, config)
    weights_IU = csr_array(weights_UI.T)
    norm_I = np.asarray(weights_UI.power(2).sum(axis=0))
    share = config.source_share if config.source_share is not None else 0.5
    if config.weighting == "bm25":
        norm_I = np.ones_like(norm_I)
    lengths_U = np.diff(matrix_UI.indptr)
    damping_U = np.maximum(lengths_U, 1.0) ** -(config.user_damping or 0.0)
    damped_UI = csr_array(diags_array(damping_U) @ weights_UI)
    as_source_I, as_target_I = norm_I**share, norm_I ** (1 - share)
    for start, stop in item_blocks(weights_IU, lengths_U):
        block_JI = csr_array(weights_IU[start:stop] @ damped_UI)
        block_JI.sort_indices()
        target = np.repeat(np.arange(start, stop), np.diff(block_JI.indptr))
        below = as_source_I[block_JI.indices] * as_target_I[target]
        if config.weighting != "bm25":
            below += config.shrinkage
        # A weight of 0 has no direction, and nothing in common: it stays 0.
        block_JI.data /= np.where(below > 0, below, 1)
        block_JI.data[block_JI.indices == target] = 0
        yield block_JI


def _largest(block_JI: csr_array, count: int) -> npt.NDArray[np.bool_]:
    """Mark the largest `count` positive entries of each row, of equal ones the first."""
    kept: npt.NDArray[np.bool_] = block_JI.data > 0
    for row in np.flatnonzero(np.diff(block_JI.indptr) > count):
        own = slice(block_JI.indptr[row], block_JI.indptr[row + 1])
        values = block_JI.data[own]
        least = np.partition(values, -count)[-count]
        chosen = values > least
        chosen[np.flatnonzero(values == least)[: count - np.count_nonzero(chosen)]] = True
        kept[own] &= chosen
    return kept


def _weights(matrix_UI: csr_array, config: ItemKNNConfig) -> csr_array:
    """Weight the interactions: w_UI of float64."""
    weights_UI = matrix_UI.astype(np.float64)
    if config.weighting == "cosine":
        return weights_UI
    lengths_U = np.diff(matrix_UI.indptr)
    idf = np.repeat(np.log(matrix_UI.shape[1] / (1.0 + lengths_U)), lengths_U)
    if config.weighting == "tf-idf":
        weights_UI.data = np.sqrt(weights_UI.data) * idf
        return weights_UI
    total_I = np.asarray(weights_UI.sum(axis=0))
    b, k1 = config.bm25_length, config.bm25_saturation
    length = 1 - b + b * total_I / (total_I.mean() or 1)
    x = weights_UI.data
    weights_UI.data = x * (k1 + 1) / (k1 * length[weights_UI.indices] + x) * idf
    return weights_UI
