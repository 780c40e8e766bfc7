"""Rough scores in bfloat16, or in float32 where the processor has no such instructions.

Legend: B users in the block, I items, H hidden width.
"""

from collections.abc import Iterator
from typing import Final

import torch
from torch import Tensor

from recsys_vae.nn.precision import multiplies_bfloat16
from recsys_vae.ranking.room import Room
from recsys_vae.ranking.rough_product import (
    ROUNDING_F32,
    ExactItems,
    Multiplied,
    Prepared,
    RoughProduct,
)

_ROUNDING_BF16: Final = 2.0**-8
"""Relative error of a number in bfloat16, rounded to the nearest."""


class FloatProduct(RoughProduct):
    r"""Products of floating-point numbers; each user's scores are moved by a number of its own.

    With h~, w~ in the rough format s~_ui differs from s_ui by at most

        E_u = |h_u - h~_u| max_i |w_i| + |h~_u| max_i |w_i - w~_i| + rounding

    (Cauchy-Schwarz).

    Args:
        items: what users are multiplied by.
        precise: whether to do without bfloat16.
    """

    def __init__(self, items: Multiplied, *, precise: bool = False) -> None:
        """Prepare the items once."""
        self._device = items.weight_IH.device
        rough = not precise and multiplies_bfloat16(self._device)
        self._kind = torch.bfloat16 if rough else torch.float32
        self._room = Room(self._kind, self._device)
        # (H + 3, I) weights, the bias as a sum of two numbers, and ones.
        self._sample_HI = torch.empty(0)
        self._weights = list[Tensor]()
        self._error = 0.0
        super().__init__(items)

    @property
    def rounding(self) -> float:
        """Relative error of a rough score's own format."""
        return _ROUNDING_BF16 if self._kind == torch.bfloat16 else ROUNDING_F32

    def _prepare_sample(self, items: Iterator[ExactItems], n_items: int) -> None:
        self._sample_HI = self._extended(items, n_items)

    def _prepare(self, items: Iterator[ExactItems], n_items: int) -> None:
        self._weights.append(self._extended(items, n_items))

    def _extended(self, items: Iterator[ExactItems], n_items: int) -> Tensor:
        n_hidden = self._n_hidden
        weight_HI = torch.empty(n_hidden + 3, n_items, dtype=self._kind, device=self._device)
        start = 0
        for exact in items:
            own = slice(start, start + len(exact.bias_I))
            rough_IH, first_I = exact.weight_IH.to(self._kind), exact.bias_I.to(self._kind)
            self._note(exact)
            missing_IH = exact.weight_IH.double() - rough_IH.double()
            errors = torch.linalg.vector_norm(missing_IH, dim=1)
            self._error = max(self._error, float(errors.max()))
            weight_HI[:n_hidden, own] = rough_IH.T
            weight_HI[n_hidden, own] = first_I
            weight_HI[n_hidden + 1, own] = exact.bias_I - first_I.float()
            start = own.stop
        weight_HI[n_hidden + 2] = 1.0
        return weight_HI

    def _users(self, hidden_BH: Tensor) -> Prepared:
        rough_BH = hidden_BH.new_ones(len(hidden_BH), self._n_hidden + 3).to(self._kind)
        rough_BH[:, :-3] = hidden_BH
        rough_BH[:, -1] = 0.0
        highest_B = (rough_BH @ self._sample_HI).amax(dim=1)
        moved_B = torch.nan_to_num(-highest_B, 0.0, 0.0, 0.0)
        rough_BH[:, -1] = moved_B
        error_B = self._bound(hidden_BH.double(), rough_BH[:, :-3].double())
        return Prepared(error_B, moved_B.double(), self._products(rough_BH))

    def _products(self, rough_BH: Tensor) -> Iterator[Tensor]:
        for weight_HI in self._weights:
            buffer_BI = self._room.of(len(rough_BH), weight_HI.shape[1])
            yield torch.mm(rough_BH, weight_HI, out=buffer_BI)

    def _bound(self, exact_BH: Tensor, rough_BH: Tensor) -> Tensor:
        length_B = torch.linalg.vector_norm(rough_BH, dim=1)
        error_B = torch.linalg.vector_norm(exact_BH - rough_BH, dim=1)
        # The last is the bias in two parts.
        in_parts = self.rounding**2 * self._largest_bias
        bound_B: Tensor = error_B * self._longest + length_B * self._error + in_parts
        return bound_B
