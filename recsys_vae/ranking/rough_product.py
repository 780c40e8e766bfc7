"""Scores by a rough product, and how far from the exact ones they may be.

Legend: B users in the block, I items, H hidden width.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

import torch
from torch import Tensor

from recsys_vae.nn.precision import multiplies_bfloat16
from recsys_vae.ranking.room import Room
from recsys_vae.ranking.topn import check_finite

_ITEMS_AT_ONCE: Final = 1 << 15
"""Columns of the rough product that are held for a block where the user of it does not say."""
_ROUNDING_BF16: Final = 2.0**-8
"""Relative error of a number in bfloat16: twice what rounding to the nearest can do."""
_ROUNDING_F32: Final = 2.0**-23
_SAMPLE: Final = 256
"""Items by which a user's largest score is guessed: those of the largest bias."""


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Some of the items, as the rough product needs them.

    Attributes:
        numbers_I: of the items, ascending.
        weight_HI: (H + 3, I) weights, the bias as a sum of two numbers, and ones.
    """

    numbers_I: Tensor
    weight_HI: Tensor


class RoughProduct:
    r"""Products s_ui = h_u . w_i + b_i in bfloat16, in float32 where the processor has no such.

    With bfloat16 numbers h~, w~ the rough score s~_ui differs from s_ui by at most

        E_u = |h_u - h~_u| max_i |w_i| + |h~_u| max_i |w_i - w~_i| + rounding

    (Cauchy-Schwarz). The rounding of s~_ui itself grows with its size; so each user's scores are
    moved by a number that brings the largest near 0, which changes the order of nobody's items.

    Args:
        weight_IH: float32, of all items.
        bias_I: float32, of all items.
        numbers_I: of the items that are multiplied, ascending; None: all.
        precise: whether to do without bfloat16.
        at_once: items that are multiplied at a time.
        factor: what weights and bias are multiplied with first.

    Attributes:
        kind: of the rough scores.
    """

    def __init__(
        self,
        weight_IH: Tensor,
        bias_I: Tensor,
        numbers_I: Tensor | None = None,
        *,
        precise: bool = False,
        at_once: int | None = None,
        factor: float = 1.0,
    ) -> None:
        """Prepare the items once."""
        check_finite(weight_IH)
        check_finite(bias_I[None])
        rough = not precise and multiplies_bfloat16(weight_IH.device)
        self.kind = torch.bfloat16 if rough else torch.float32
        self._room = Room(self.kind, weight_IH.device)
        self._rounding = _ROUNDING_BF16 if rough else _ROUNDING_F32
        if numbers_I is None:
            numbers_I = torch.arange(len(bias_I), device=bias_I.device)
        at_once = at_once or _ITEMS_AT_ONCE
        self._longest = self._error = self._largest_bias = 0.0
        # Nothing but the rough weights is kept: exact ones are large.
        prepare = partial(self._prepare, weight_IH, bias_I, factor)
        self._chunks = [prepare(part) for part in numbers_I.split(at_once)]
        foremost_S = torch.topk(bias_I[numbers_I], min(_SAMPLE, len(numbers_I))).indices
        self._sample = prepare(numbers_I[foremost_S])

    def _prepare(
        self, weight_IH: Tensor, bias_I: Tensor, factor: float, numbers_I: Tensor
    ) -> _Chunk:
        n_hidden = weight_IH.shape[1]
        size = n_hidden + 3, len(numbers_I)
        weight_HI = torch.empty(size, dtype=self.kind, device=weight_IH.device)
        # Some at a time: lengths are taken in float64, so that nothing but their own error is
        # bounded here.
        for start in range(0, len(numbers_I), _ITEMS_AT_ONCE):
            own = slice(start, start + _ITEMS_AT_ONCE)
            exact_IH, exact_I = (one[numbers_I[own]] * factor for one in (weight_IH, bias_I))
            rough_IH, first_I = exact_IH.to(self.kind), exact_I.to(self.kind)
            lengths = torch.linalg.vector_norm(exact_IH.double(), dim=1)
            errors = torch.linalg.vector_norm(exact_IH.double() - rough_IH.double(), dim=1)
            self._longest = max(self._longest, float(lengths.max()))
            self._error = max(self._error, float(errors.max()))
            self._largest_bias = max(self._largest_bias, float(exact_I.abs().max()))
            weight_HI[:n_hidden, own] = rough_IH.T
            weight_HI[n_hidden, own] = first_I
            weight_HI[n_hidden + 1, own] = exact_I - first_I.float()
        weight_HI[n_hidden + 2] = 1.0
        return _Chunk(numbers_I, weight_HI)

    def chunks(self, hidden_BH: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Multiply some items at a time.

        Args:
            hidden_BH: float32, of the users.

        Yields:
            The numbers (I,) of some items, and their rough scores (B, I), moved by a number of
            each user's; their memory is used again for the next.
        """
        rough_BH = hidden_BH.new_ones(len(hidden_BH), hidden_BH.shape[1] + 3).to(self.kind)
        rough_BH[:, :-3] = hidden_BH
        rough_BH[:, -1] = 0.0
        highest_B = (rough_BH @ self._sample.weight_HI).amax(dim=1)
        rough_BH[:, -1] = torch.nan_to_num(-highest_B, 0.0, 0.0, 0.0)
        for chunk in self._chunks:
            buffer_BI = self._room.of(len(rough_BH), len(chunk.numbers_I))
            yield chunk.numbers_I, torch.mm(rough_BH, chunk.weight_HI, out=buffer_BI)

    @property
    def growth(self) -> float:
        """By how much the bound of the error grows with the size of a rough score."""
        return 1.01 * self._rounding

    def error(self, base_B: Tensor, near_B: Tensor) -> Tensor:
        """Bound the error of rough scores.

        Args:
            base_B: what `base` gave for the users.
            near_B: the size of the rough scores, (B,); smaller ones err less.
        """
        # A hundredth more than is due, for the rounding of this very sum.
        error_B: Tensor = 1.01 * (base_B + self._rounding * (near_B + base_B))
        return error_B

    def base(self, hidden_BH: Tensor) -> Tensor:
        """Give the error of rough scores but for their own rounding, (B,)."""
        hidden_BH = hidden_BH.double()
        rough_BH = hidden_BH.to(self.kind).double()
        length_B = torch.linalg.vector_norm(rough_BH, dim=1)
        error_B = torch.linalg.vector_norm(hidden_BH - rough_BH, dim=1)
        bound_B = error_B * self._longest + length_B * self._error
        # Sums in float32, of any order, of terms that add up to a score, and less one that is as
        # large at most; and the bias in two parts.
        summed = 2.02 * (hidden_BH.shape[1] + 5) * _ROUNDING_F32
        bound_B += summed * (length_B * (self._longest + self._error) + self._largest_bias)
        bound_B += self._rounding**2 * self._largest_bias
        base_B: Tensor = bound_B.float()
        return base_B
