"""How alike items are: cosines of vectors that describe them.

Legend: B users in the block, I items, P places of a pool, D width of an item's vector.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array, diags_array

from recsys_vae.errors import InputError
from recsys_vae.models.autoencoder import NeuralRecommender
from recsys_vae.models.base import Recommender
from recsys_vae.nn.towers import ItemDecoder


@dataclass(frozen=True, slots=True, eq=False)
class ItemVectors:
    """A vector of length 1 for each item, or of zeros: such an item is like no other.

    Attributes:
        unit_ID: float32, dense or sparse rows; made by `of`.
    """

    unit_ID: npt.NDArray[np.float32] | csr_array

    @classmethod
    def of(cls, rows_ID: npt.NDArray[Any] | csr_array) -> Self:
        """Scale rows to length 1.

        Args:
            rows_ID: one row an item: learned factors, features such as genres, or a similarity to
                every item (items are then alike if they are similar to the same items).

        Raises:
            ValueError: a value is not finite.

        >>> ItemVectors.of(np.float32([[3, 4], [0, 0]])).unit_ID.tolist()
        [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
        """
        is_sparse = not isinstance(rows_ID, np.ndarray)
        if not np.isfinite(rows_ID.data if is_sparse else rows_ID).all():
            raise ValueError("the items' vectors must be finite")
        wide = csr_array(rows_ID, dtype=np.float64) if is_sparse else rows_ID.astype(np.float64)
        lengths_I = np.sqrt(np.asarray((wide * wide).sum(axis=1)))
        scale_I = 1 / np.where(lengths_I > 0, lengths_I, 1)
        if is_sparse:
            return cls(csr_array(diags_array(scale_I) @ wide).astype(np.float32))
        return cls((wide * scale_I[:, None]).astype(np.float32))

    @property
    def width(self) -> int:
        """D."""
        return int(self.unit_ID.shape[1])

    def cosines(self, items_BP: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.float64]:
        """Compare each user's items with each other.

        Args:
            items_BP: item numbers; what stands at padded places means nothing.

        Returns:
            cosines_BPP, symmetric, 1 on the diagonal. Those of a user do not depend on the block.

        Raises:
            ValueError: an item has no vector.
        """
        n_users, places = items_BP.shape
        if items_BP.size and items_BP.max() >= self.unit_ID.shape[0]:
            raise ValueError(
                f"there are vectors of {self.unit_ID.shape[0]} items, none of item {items_BP.max()}"
            )
        items = np.maximum(items_BP, 0)
        if isinstance(self.unit_ID, np.ndarray):
            vectors_BPD = self.unit_ID[items].astype(np.float64)
            cosines_BPP = vectors_BPD @ vectors_BPD.transpose(0, 2, 1)
        else:
            cosines_BPP = _sparse_products(self.unit_ID[items.ravel()], n_users, places)
        diagonal = np.arange(places)
        cosines_BPP[:, diagonal, diagonal] = 1.0
        result: npt.NDArray[np.float64] = cosines_BPP
        return result


def model_vectors(model: Recommender) -> ItemVectors:
    """Take the vectors that a model has learned for its items.

    Those of an autoencoder are the rows of the decoder's last layer, those of a factor model its
    item factors: items are alike if the model's scores for them rise and fall together.

    Raises:
        InputError: the model has none.
    """
    if isinstance(model, NeuralRecommender):
        for module in model.network.modules():
            if isinstance(module, ItemDecoder):
                return ItemVectors.of(module.weight_IH.detach().float().cpu().numpy())
    factors_IF = model.arrays().get("item_factors_IF")
    if factors_IF is None:
        raise InputError(
            f"model '{model.name}' has no vectors of items to compare them by: give features of "
            "the items, or re-rank lists of an autoencoder or a factor model"
        )
    return ItemVectors.of(factors_IF)


def _sparse_products(rows: csr_array, n_users: int, places: int) -> npt.NDArray[np.float64]:
    """Multiply the rows of each user with each other: (B, P, P)."""
    # Each user's columns are moved to a stretch of their own, so that one product does for all.
    width = rows.shape[1]
    owner = np.arange(n_users, dtype=np.int64).repeat(places)
    columns = rows.indices + (owner * width).repeat(np.diff(rows.indptr))
    apart = csr_array(
        (rows.data.astype(np.float64), columns, rows.indptr.astype(np.int64)),
        shape=(n_users * places, max(n_users * width, 1)),
    )
    products = csr_array(apart @ apart.T)
    row = np.arange(n_users * places).repeat(np.diff(products.indptr))
    dense = np.zeros((n_users * places, places))
    dense[row, products.indices % places] = products.data
    return dense.reshape(n_users, places, places)
