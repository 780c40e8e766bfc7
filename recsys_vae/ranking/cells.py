"""Items in cells of neighbours, of which only the most promising are looked into.

The only file that imports faiss.

Legend: B users in the block, I items, H hidden width, W = H + 2 width of the cells, P cells that
are looked into, C items that are found.
"""

import math
import warnings
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from recsys_vae.errors import InputError

_SEED: Final = 20_130
_EXAMPLES_OF_A_CELL: Final = 40
"""Items for each cell from which the cells are learned."""
_ITEMS_AT_ONCE: Final = 1 << 16
_USERS_AT_ONCE: Final = 16
"""faiss multiplies fewer than 20 vectors one by one, each sum in one order whatever the block."""


def load_faiss() -> Any:
    """Give the library.

    Raises:
        InputError: it is not installed.
    """
    try:
        with warnings.catch_warnings():
            # Of its generated wrappers, under newer versions of Python.
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            import faiss
    except ImportError as error:
        raise InputError(
            "--approximate needs faiss, which is not installed: install it with `pip install "
            "faiss-cpu`, or leave out --approximate for exact lists"
        ) from error
    return faiss


@dataclass(frozen=True, slots=True)
class Found:
    """The items with the largest scores in the cells of each user.

    Attributes:
        items_BC: int64, -1 where the cells hold no more.
        scores_BC: float32, but for rounding and a number a user those of the model; in descending
            order, lowest where there is no item.
    """

    items_BC: npt.NDArray[np.int64]
    scores_BC: npt.NDArray[np.float32]


class Cells:
    r"""Items whose scores are a product, s_ui = h_u . w_i + b_i, in cells of like direction.

    The largest product is the nearest direction among the vectors

        x_i = (w_i - w, b_i - b, sqrt(M^2 - |w_i - w|^2 - (b_i - b)^2)),   q_u = (h_u, 1, 0)

    with w, b the means over the items, which change nobody's order, and M the largest length, which
    all x_i then have (Bachrach et al., Speeding Up the Xbox Recommender System Using a Euclidean
    Transformation for Inner-Product Spaces, RecSys 2014). Spherical k-means makes some 4 sqrt(I)
    cells of them (faiss's `IndexIVFFlat`). Of a user's items only those of the P cells are scored
    whose centres have the largest product with q_u.

    The cells follow from the items alone; faiss takes as many threads as torch has.

    Args:
        weight_IH: float32, finite, of all items.
        bias_I: float32, finite, of all items.
        numbers_I: ascending, of the items that may be found.
        probes: P; more than there are cells means all of them.

    Raises:
        InputError: faiss is not installed.
    """

    def __init__(self, weight_IH: Tensor, bias_I: Tensor, numbers_I: Tensor, probes: int) -> None:
        """Learn the cells and fill them."""
        faiss = load_faiss()
        faiss.omp_set_num_threads(torch.get_num_threads())
        self._factors = (weight_IH, bias_I)
        self._mean_H = weight_IH[numbers_I].double().mean(dim=0)
        self._mean = float(bias_I[numbers_I].double().mean())
        self.longest = 0.0
        for part in numbers_I.split(_ITEMS_AT_ONCE):
            lengths = torch.linalg.vector_norm(self._centred(part), dim=1)
            self.longest = max(self.longest, float(lengths.max()))
        n_items, self._width = len(numbers_I), weight_IH.shape[1] + 2
        cells = max(1, min(int(4 * math.sqrt(n_items)), n_items // _EXAMPLES_OF_A_CELL))
        self._centres = faiss.IndexFlatIP(self._width)
        self._index = faiss.IndexIVFFlat(
            self._centres, self._width, cells, faiss.METRIC_INNER_PRODUCT
        )
        self._index.cp.seed = _SEED
        self._index.cp.spherical = True
        self._index.cp.min_points_per_centroid = 1
        self._index.nprobe = min(probes, cells)
        wanted = min(n_items, _EXAMPLES_OF_A_CELL * cells)
        examples = np.random.default_rng(_SEED).choice(n_items, wanted, replace=False)
        self._index.train(self._vectors(numbers_I[torch.from_numpy(np.sort(examples))]))
        for part in numbers_I.split(_ITEMS_AT_ONCE):
            self._index.add_with_ids(self._vectors(part), part.numpy(force=True))

    def _centred(self, numbers_I: Tensor) -> Tensor:
        weight_IH, bias_I = self._factors
        weights = weight_IH[numbers_I].double() - self._mean_H
        biases = bias_I[numbers_I].double() - self._mean
        return torch.cat([weights, biases[:, None]], dim=1)

    def _vectors(self, numbers_I: Tensor) -> npt.NDArray[np.float32]:
        centred = self._centred(numbers_I)
        missing = self.longest**2 - centred.square().sum(dim=1)
        vectors = torch.cat([centred, missing.clamp(min=0).sqrt()[:, None]], dim=1)
        found: npt.NDArray[np.float32] = vectors.float().numpy(force=True)
        return found

    def search(self, hidden_BH: Tensor, count: int) -> Found:
        """Find the items with the largest scores in the cells of each user.

        Args:
            hidden_BH: float32, finite, of the users.
            count: C, so many a user.
        """
        queries_BW = np.zeros((len(hidden_BH), self._width), dtype=np.float32)
        queries_BW[:, :-2] = hidden_BH.numpy(force=True)
        queries_BW[:, -2] = 1.0
        products, chosen = list[Any](), list[Any]()
        for start in range(0, len(queries_BW), _USERS_AT_ONCE):
            some = queries_BW[start : start + _USERS_AT_ONCE]
            products_BP, cells_BP = self._centres.search(some, self._index.nprobe)
            products.append(products_BP)
            chosen.append(cells_BP)
        scores_BC, items_BC = self._index.search_preassigned(
            queries_BW, count, np.concatenate(chosen), np.concatenate(products)
        )
        return Found(items_BC, scores_BC)
