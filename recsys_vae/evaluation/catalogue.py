"""What is known of the items from training, as far as judging lists needs it.

Legend: I items, D width of an item's description.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from recsys_vae.interactions import Interactions

GROUPS: Final = ("head", "middle", "tail")
"""Items by popularity: those that make the first 20 % of all interactions, the rest, the last 20 %.

Source: H. Abdollahpouri et al., User-centered Evaluation of Popularity Bias in Recommender
Systems, UMAP 2021, section 4.
"""
_HEAD, _TAIL = 0.2, 0.8
_WIDTH: Final = 256
_USERS_AT_ONCE: Final = 1 << 16


@dataclass(frozen=True)
class Catalogue:
    """The items, as the training users took them.

    Attributes:
        counts_I: how many training users took each item.
        train_UI: what they took.
        features_IF: (I, F) features of the items, such as genres, to tell similar items by; None:
            by the training users they have in common.

    Raises:
        ValueError: the parts do not fit together.
    """

    counts_I: npt.NDArray[np.int64]
    train_UI: csr_array
    features_IF: csr_array | None = None

    def __post_init__(self) -> None:
        """Check the shapes."""
        if self.features_IF is not None and self.features_IF.shape[0] != len(self.counts_I):
            raise ValueError("the items must have one count and one row of features each")

    @classmethod
    def of(cls, train: Interactions, features_IF: csr_array | None = None) -> Self:
        """Describe the items of the training interactions, what models learned from."""
        matrix_UI = train.matrix
        counts_I = np.bincount(matrix_UI.indices, minlength=matrix_UI.shape[1]).astype(np.int64)
        return cls(counts_I, matrix_UI, features_IF)

    @property
    def n_users(self) -> int:
        """How many training users there are."""
        return int(self.train_UI.shape[0])

    @cached_property
    def vectors_ID(self) -> npt.NDArray[np.float32]:  # noqa: N802 # shape suffix
        """Unit vectors (0 for items nobody took) whose products are the similarities of items.

        Similarity by common users is the cosine of the items' columns, computed from 256 random
        signs a user: each product lies within about 1/16 (one standard deviation) of the cosine,
        means over lists much closer. With at most 256 training users it is exact.

        They are made when they are first asked for: few measures need them, and of a million items
        they take 1 GB.

        Source: D. Achlioptas, Database-friendly Random Projections, JCSS 66(4), 2003.
        """
        if self.features_IF is not None:
            vectors_ID: npt.NDArray[np.float32] = self.features_IF.toarray().astype(np.float32)
        else:
            vectors_ID = _sketch(self.train_UI)
        norms = np.linalg.norm(vectors_ID, axis=1, keepdims=True)
        vectors_ID /= np.where(norms > 0, norms, 1)
        return vectors_ID

    @cached_property
    def share_I(self) -> npt.NDArray[np.float64]:  # noqa: N802 # shape suffix
        """(I + 1,) share of the training users who took each item; 0 at the end, for padding."""
        return np.append(self.counts_I / max(self.n_users, 1), 0.0)

    @cached_property
    def surprise_I(self) -> npt.NDArray[np.float64]:  # noqa: N802 # shape suffix
        """(I + 1,) -log2 of that share, of one user where nobody took it; 0 at the end."""
        share = np.maximum(self.counts_I, 1) / max(self.n_users, 1)
        return np.append(-np.log2(share), 0.0)

    @cached_property
    def rank_I(self) -> npt.NDArray[np.int64]:  # noqa: N802 # shape suffix
        """(I,) place of each item in the list of the most popular, from 0; ties by number."""
        rank = np.empty(len(self.counts_I), dtype=np.int64)
        rank[np.argsort(-self.counts_I, kind="stable")] = np.arange(len(rank))
        return rank

    @cached_property
    def group_I(self) -> npt.NDArray[np.int8]:  # noqa: N802 # shape suffix
        """(I,) which of `GROUPS` each item belongs to."""
        order = np.argsort(-self.counts_I, kind="stable")
        before = np.cumsum(self.counts_I[order]) - self.counts_I[order]
        share = before / max(int(self.counts_I.sum()), 1)
        group = np.empty(len(order), dtype=np.int8)
        # An item belongs where the interactions of the items before it end.
        group[order] = (share >= _HEAD).astype(np.int8) + (share >= _TAIL)
        return group


def _sketch(matrix_UI: csr_array) -> npt.NDArray[np.float32]:
    ones = np.ones(matrix_UI.nnz, dtype=np.float32)
    binary_UI = csr_array((ones, matrix_UI.indices, matrix_UI.indptr), shape=matrix_UI.shape)
    n_users, n_items = binary_UI.shape
    if n_users <= _WIDTH:
        exact: npt.NDArray[np.float32] = np.ascontiguousarray(binary_UI.toarray().T)
        return exact
    sums = np.zeros((n_items, _WIDTH), dtype=np.float32)
    for number, start in enumerate(range(0, n_users, _USERS_AT_ONCE)):
        part = binary_UI[start : start + _USERS_AT_ONCE]
        # Of a seed of their own: the signs of a user depend on nobody else.
        rng = np.random.default_rng([256, number])
        signs: npt.NDArray[Any] = rng.integers(0, 2, (part.shape[0], _WIDTH), dtype=np.int8)
        sums += csr_array(part.T) @ (signs.astype(np.float32) * 2 - 1)
    return sums
