"""Exact top-N lists where scores are a product: a rough product finds whom to look at closely.

Legend: B users in the block, I items, H hidden width, K list length, N entries, that is pairs of a
user and an item.
"""

import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from recsys_vae.nn.linear_scores import LinearScores
from recsys_vae.nn.precision import multiplies_bfloat16
from recsys_vae.ranking.ordering import empty_lists, ordered
from recsys_vae.ranking.rough import Contenders, contenders_of
from recsys_vae.ranking.topn import ItemRules, TopN, check_finite, check_length

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
    a rough score below t - 2 E_u. All others are scored again in float32, and the order is made on
    those. So the lists are those of float32 scores. Where the processor has no bfloat16
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
        self._own = threading.local()
        rough = not precise and multiplies_bfloat16(weight_IH.device)
        self._kind = torch.bfloat16 if rough else torch.float32
        self._rounding = _ROUNDING_BF16 if rough else _ROUNDING_F32
        check_finite(weight_IH)
        check_finite(bias_I[None])
        numbers_I = torch.arange(len(bias_I), device=bias_I.device)
        if self._rules.permitted_I is not None:
            permitted_I = torch.from_numpy(self._rules.permitted_I)
            numbers_I = numbers_I[permitted_I.to(numbers_I.device)]
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
        check_length(k, len(self._bias_I))
        hidden_BH = users.hidden_BH
        check_finite(hidden_BH)
        if not len(hidden_BH):
            return empty_lists(0, k)
        found = self._candidates(hidden_BH, given, k)
        return ordered(LinearScores(hidden_BH, self._weight_IH, self._bias_I), found, k)

    def _candidates(self, hidden_BH: Tensor, given: csr_array, k: int) -> Contenders:
        """Find everything that may be among the k best of a user."""
        ones_B2 = hidden_BH.new_ones(len(hidden_BH), 2)
        rough_BH = torch.cat([hidden_BH, ones_B2], dim=1).to(self._kind)
        seen = _Seen.of(given, hidden_BH.device) if self._rules.mask_seen else None
        base_B = self._base(hidden_BH)

        def slack(near_B: Tensor) -> Tensor:
            # A hundredth more than is due, for the rounding of this very sum.
            error_B: Tensor = 1.01 * (base_B + self._rounding * (near_B + base_B))
            return 2 * error_B

        def rough_scores() -> Iterator[tuple[Tensor, Tensor]]:
            for chunk in self._chunks:
                buffer_BI = self._buffer(len(rough_BH), len(chunk.numbers_I))
                rough_BI = torch.mm(rough_BH, chunk.weight_HI, out=buffer_BI)
                if seen is not None:
                    seen.mask(rough_BI, chunk.numbers_I)
                yield chunk.numbers_I, rough_BI

        return contenders_of(rough_scores(), k, slack)

    def _buffer(self, n_users: int, n_items: int) -> Tensor:
        """Give room for a rough product: new memory costs as much as a good part of it."""
        size = n_users * n_items
        room: Tensor | None = getattr(self._own, "room", None)
        if room is None or room.numel() < size:
            room = torch.empty(size, dtype=self._kind, device=self._bias_I.device)
            self._own.room = room
        return room[:size].view(n_users, n_items)

    def _base(self, hidden_BH: Tensor) -> Tensor:
        """Give the error of rough scores but for their own rounding, (B,)."""
        hidden_BH = hidden_BH.double()
        rough_BH = hidden_BH.to(self._kind).double()
        length_B = torch.linalg.vector_norm(rough_BH, dim=1)
        error_B = torch.linalg.vector_norm(hidden_BH - rough_BH, dim=1)
        bound_B = error_B * self._longest + length_B * self._error
        # Sums in float32, of any order; and the bias in two parts.
        summed = (hidden_BH.shape[1] + 4) * _ROUNDING_F32
        bound_B += summed * (length_B * (self._longest + self._error) + self._largest_bias)
        bound_B += self._rounding**2 * self._largest_bias
        base_B: Tensor = bound_B.float()
        return base_B


@dataclass(frozen=True, slots=True)
class _Seen:
    """What each user has taken, entry by entry.

    Attributes:
        users_N: rows, ascending.
        items_N: item numbers.
        highest: of them.
    """

    users_N: Tensor
    items_N: Tensor
    highest: int

    @classmethod
    def of(cls, given: csr_array, device: torch.device) -> "_Seen":
        rows = np.repeat(np.arange(given.shape[0]), np.diff(given.indptr))
        items = torch.from_numpy(given.indices.astype(np.int64))
        highest = int(given.indices.max(initial=0))
        return cls(torch.from_numpy(rows).to(device), items.to(device), highest)

    def mask(self, scores_BI: Tensor, numbers_I: Tensor) -> None:
        """Mask what lies among the items with these numbers, which are ascending."""
        first, last = int(numbers_I[0]), int(numbers_I[-1])
        if last - first + 1 == len(numbers_I):
            users_N, places_N = self.users_N, self.items_N - first
            if first or last < self.highest:
                here_N = (places_N >= 0) & (places_N < len(numbers_I))
                users_N, places_N = users_N[here_N], places_N[here_N]
        else:
            places_N = torch.searchsorted(numbers_I, self.items_N).clamp_(max=len(numbers_I) - 1)
            here_N = numbers_I[places_N] == self.items_N
            users_N, places_N = self.users_N[here_N], places_N[here_N]
        scores_BI[users_N, places_N] = -math.inf
