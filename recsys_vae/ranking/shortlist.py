"""Exact top-N lists where scores are a product: a rough product finds whom to look at closely.

Legend: B users in the block, I items, H hidden width, K list length, C candidates, N stored
entries of the histories.
"""

import math
import warnings
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import csr_array
from torch import Tensor

from recsys_vae.errors import InputError
from recsys_vae.nn.linear_scores import LinearScores
from recsys_vae.nn.precision import multiplies_bfloat16
from recsys_vae.ranking.largest import largest
from recsys_vae.ranking.topn import PAD, ItemRules, TopN, refuse_not_finite

_ITEMS_AT_ONCE: Final = 1 << 15
"""Columns of the rough product that are held for a block; never the whole of a large catalogue."""
_ROUNDING_BF16: Final = 2.0**-8
"""Relative error of a number in bfloat16: twice what rounding to the nearest can do."""
_ROUNDING_F32: Final = 2.0**-23


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Some of the items, as the rough product needs them.

    Attributes:
        numbers_I: of the items, ascending.
        weight_HI: (H + 2, I) weights, and the bias as a sum of two numbers.
    """

    numbers_I: Tensor
    weight_HI: Tensor


class Shortlist:
    r"""Ranks the items of a model whose scores are a product, s_ui = h_u . w_i + b_i.

    With bfloat16 numbers h~, w~ the rough score s~_ui differs from s_ui by at most

        E_u = |h_u - h~_u| max_i |w_i| + |h~_u| max_i |w_i - w~_i| + rounding

    (Cauchy-Schwarz). If t is the K-th largest rough score of the user, none of the K best items has
    a rough score below t - 2 E_u. All that are above it are scored again in float32, and the order
    is made on those. So the lists are those of float32 scores. Where the processor has no bfloat16
    products, the rough ones are float32, and the same holds with a smaller E_u.

    Args:
        weight_IH: float32, of all items.
        bias_I: float32, of all items; what is added to a score for whatever reason belongs here.
        rules: what may stand in a list.
        precise: whether to do without bfloat16.

    >>> items = torch.tensor([[1.0], [3.0], [2.0]])
    >>> users = LinearScores(torch.ones(1, 1), items, torch.zeros(3))
    >>> Shortlist(items, torch.zeros(3)).rank(users, csr_array((1, 3)), k=2).items_BK
    array([[1, 2]], dtype=int32)
    """

    def __init__(
        self,
        weight_IH: Tensor,
        bias_I: Tensor,
        rules: ItemRules | None = None,
        *,
        precise: bool = False,
    ) -> None:
        """Prepare the items once."""
        self._weight_IH, self._bias_I = weight_IH, bias_I
        self._rules = rules or ItemRules()
        rough = not precise and multiplies_bfloat16(weight_IH.device)
        self._kind = torch.bfloat16 if rough else torch.float32
        self._rounding = _ROUNDING_BF16 if rough else _ROUNDING_F32
        self._spare = 64
        refuse_not_finite(weight_IH)
        refuse_not_finite(bias_I[None])
        numbers_I = torch.arange(len(bias_I), device=bias_I.device)
        if self._rules.permitted_I is not None:
            permitted_I = torch.from_numpy(self._rules.permitted_I)
            numbers_I = numbers_I[permitted_I.to(numbers_I.device)]
        self.n_permitted = len(numbers_I)
        self._longest = self._error = self._largest_bias = 0.0
        self._chunks = [self._prepare(part) for part in numbers_I.split(_ITEMS_AT_ONCE)]

    def _prepare(self, numbers_I: Tensor) -> _Chunk:
        weight_IH, bias_I = self._weight_IH[numbers_I], self._bias_I[numbers_I]
        rough_IH = weight_IH.to(self._kind)
        first_I = bias_I.to(self._kind)
        second_I = (bias_I - first_I.float()).to(self._kind)
        # Lengths in float64, so that nothing but their own error is bounded here.
        lengths = torch.linalg.vector_norm(weight_IH.double(), dim=1)
        errors = torch.linalg.vector_norm(weight_IH.double() - rough_IH.double(), dim=1)
        self._longest = max(self._longest, float(lengths.max()))
        self._error = max(self._error, float(errors.max()))
        self._largest_bias = max(self._largest_bias, float(bias_I.abs().max()))
        weight_HI = torch.cat([rough_IH.T, first_I[None], second_I[None]]).contiguous()
        return _Chunk(numbers_I, weight_HI)

    def rank(self, users: LinearScores, given: csr_array, k: int) -> TopN:
        """Rank the items for a block of users.

        Args:
            users: what is known of each; the items' side is that of the constructor.
            given: (B, I) histories.
            k: list length, 1..I.

        Returns:
            The lists; a user with fewer than k permitted items gets a short one, padded.

        Raises:
            InputError: k is out of range.
            NotFiniteError: what is known of a user is NaN or infinite.
        """
        n_items = len(self._bias_I)
        if not 1 <= k <= n_items:
            raise InputError(f"k = {k} is out of range: choose 1 to {n_items}, the number of items")
        refuse_not_finite(users.hidden_BH)
        lists = TopN(
            np.full((given.shape[0], k), PAD, np.int32),
            np.full((given.shape[0], k), -np.inf, np.float32),
        )
        rows, n_candidates = np.arange(given.shape[0]), k + self._spare
        while len(rows):
            part = given[rows] if len(rows) < given.shape[0] else given
            hidden_BH = users.hidden_BH[torch.from_numpy(rows).to(users.hidden_BH.device)]
            certain = self._rank_some(hidden_BH, part, k, n_candidates, lists, rows)
            rows, n_candidates = rows[~certain], 4 * n_candidates
            if len(rows) > given.shape[0] // 20:
                # Whoever follows is probably alike; how many are looked at changes no list.
                self._spare = min(2 * self._spare, self.n_permitted)
        return lists

    def _rank_some(
        self,
        hidden_BH: Tensor,
        given: csr_array,
        k: int,
        n_candidates: int,
        lists: TopN,
        rows: npt.NDArray[np.intp],
    ) -> npt.NDArray[np.bool_]:
        """Rank for some users where that many candidates are certainly enough; say where."""
        seen = _Seen.of(given, hidden_BH.device) if self._rules.mask_seen else None
        rough_BC, items_BC, left_out_B = self._candidates(hidden_BH, seen, n_candidates)
        wanted = min(k, rough_BC.shape[1])
        ends_B2 = rough_BC[:, [0, wanted - 1]]
        near_B = ends_B2.masked_fill(torch.isneginf(ends_B2), 0.0).abs().amax(dim=1)
        # A list that is short anyway leaves nothing out but what may not stand in it.
        certain_B = torch.isneginf(left_out_B)
        certain_B |= left_out_B < ends_B2[:, 1] - 2 * self._bound(hidden_BH, near_B)
        certain = certain_B.cpu().numpy()
        if not certain.all():
            rough_BC, items_BC = rough_BC[certain_B], items_BC[certain_B]
            hidden_BH, rows = hidden_BH[certain_B], rows[certain]
        if len(rows):
            items_BK, scores_BK = self._ordered(hidden_BH, rough_BC, items_BC, wanted)
            lists.items_BK[rows, :wanted] = items_BK
            lists.scores_BK[rows, :wanted] = scores_BK
        return certain

    def _bound(self, hidden_BH: Tensor, near_B: Tensor) -> Tensor:
        hidden_BH = hidden_BH.double()
        rough_BH = hidden_BH.to(self._kind).double()
        length_B = torch.linalg.vector_norm(rough_BH, dim=1)
        error_B = torch.linalg.vector_norm(hidden_BH - rough_BH, dim=1)
        bound_B = error_B * self._longest + length_B * self._error
        # Sums in float32, of any order; the bias in two parts; and the result's own rounding.
        summed = (hidden_BH.shape[1] + 4) * _ROUNDING_F32
        bound_B += summed * (length_B * (self._longest + self._error) + self._largest_bias)
        bound_B += self._rounding**2 * self._largest_bias
        # A hundredth more than is due, for the rounding of this very sum.
        safe_B: Tensor = 1.01 * (bound_B + self._rounding * (near_B + bound_B))
        return safe_B.float()

    def _candidates(
        self, hidden_BH: Tensor, seen: "_Seen | None", n_candidates: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Give the best by rough scores, falling, and the best that was left out."""
        ones_B2 = hidden_BH.new_ones(len(hidden_BH), 2)
        rough_BH = torch.cat([hidden_BH, ones_B2], dim=1).to(self._kind)
        best: tuple[Tensor, Tensor] | None = None
        left_out_B = hidden_BH.new_full((len(hidden_BH),), -math.inf, dtype=self._kind)
        for chunk in self._chunks:
            rough_BI = rough_BH @ chunk.weight_HI
            if seen is not None:
                seen.mask(rough_BI, chunk.numbers_I)
            few = min(n_candidates, rough_BI.shape[1])
            values_BC, columns_BC, bound_B = largest(rough_BI, few)
            items_BC = chunk.numbers_I[columns_BC]
            left_out_B = torch.maximum(left_out_B, bound_B)
            if best is not None:
                values_BC = torch.cat([best[0], values_BC], dim=1)
                items_BC = torch.cat([best[1], items_BC], dim=1)
                few = min(n_candidates, values_BC.shape[1])
                values_BC, places_BC, bound_B = largest(values_BC, few)
                items_BC = torch.gather(items_BC, 1, places_BC)
                left_out_B = torch.maximum(left_out_B, bound_B)
            best = values_BC, items_BC
        assert best is not None  # rules leave at least one item
        return best[0].float(), best[1], left_out_B.float()

    def _ordered(
        self, hidden_BH: Tensor, rough_BC: Tensor, items_BC: Tensor, k: int
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
        """Score the candidates in float32 and order them, equal scores by the item's number."""
        scores_BC = _products(hidden_BH, self._weight_IH, items_BC)
        scores_BC += self._bias_I[items_BC]
        scores_BC.masked_fill_(torch.isneginf(rough_BC), -math.inf)
        values_BK, places_BK = torch.topk(scores_BC, min(k + 1, scores_BC.shape[1]), dim=1)
        items_BK = items_BC.gather(1, places_BK[:, :k])
        tied_B = (values_BK[:, 1:] == values_BK[:, :-1]).any(dim=1)
        if tied_B.any():
            by_number_BC, order_BC = items_BC[tied_B].sort(dim=1)
            again_BC = scores_BC[tied_B].gather(1, order_BC)
            places_BC = again_BC.sort(dim=1, descending=True, stable=True).indices
            items_BK[tied_B] = by_number_BC.gather(1, places_BC[:, :k])
        scores_BK = values_BK[:, :k]
        items_BK.masked_fill_(torch.isneginf(scores_BK), PAD)
        return items_BK.int().cpu().numpy(), scores_BK.cpu().numpy()


def _products(hidden_BH: Tensor, weight_IH: Tensor, items_BC: Tensor) -> Tensor:
    """Give h_u . w_i for the named items, each by the same loop over H, whatever the block."""
    n_users, n_candidates = items_BC.shape
    offsets = torch.arange(0, items_BC.numel() + 1, n_candidates, device=items_BC.device)
    zeros = hidden_BH.new_zeros(items_BC.numel())
    with warnings.catch_warnings():
        # PyTorch calls all of its CSR tensors a beta version.
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support")
        pattern = torch.sparse_csr_tensor(
            offsets,
            items_BC.flatten(),
            zeros,
            size=(n_users, len(weight_IH)),
            check_invariants=False,
        )
        found: Tensor = torch.sparse.sampled_addmm(pattern, hidden_BH, weight_IH.T, beta=0.0)
    values: Tensor = found.values()
    return values.view(n_users, n_candidates)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What each user has taken, entry by entry.

    Attributes:
        users_N: rows, ascending.
        items_N: item numbers.
    """

    users_N: Tensor
    items_N: Tensor

    @classmethod
    def of(cls, given: csr_array, device: torch.device) -> "_Seen":
        rows = np.repeat(np.arange(given.shape[0]), np.diff(given.indptr))
        items = torch.from_numpy(given.indices.astype(np.int64))
        return cls(torch.from_numpy(rows).to(device), items.to(device))

    def mask(self, scores_BI: Tensor, numbers_I: Tensor) -> None:
        """Mask what lies among the items with these numbers, which are ascending."""
        places_N = torch.searchsorted(numbers_I, self.items_N).clamp_(max=len(numbers_I) - 1)
        here_N = numbers_I[places_N] == self.items_N
        scores_BI[self.users_N[here_N], places_N[here_N]] = -math.inf
