"""The gradients of a linear decoder, added up chunk by chunk of the loss's slopes.

Shape suffixes: B users in the batch, C items of one chunk, H hidden units.
"""

import torch
from torch import Tensor

# Widest block of the transposed product that oneDNN multiplies at full speed (5/8 of it above).
_CPU_GRADIENT_ROWS = 2048


class LinearGradients:
    """Gradients of a loss of logits ``W h + b`` whose slope is ``factor_u slope_ui``.

    Every chunk of items must be added once; the products are taken in the type of the factors.

    Args:
        hidden_BH: the hidden layer as it was multiplied.
        weight_IH: the weight as it was multiplied.
        factor_B: factor of each user's slopes, in the wide type, in which sums are kept.
        weight_dtype: of the weight's gradient.
        asked: which gradients are asked for: hidden layer's, weight's, bias's. The others are no
            work and None.
    """

    def __init__(
        self,
        hidden_BH: Tensor,
        weight_IH: Tensor,
        factor_B: Tensor,
        weight_dtype: torch.dtype,
        asked: tuple[bool, bool, bool],
    ) -> None:
        """Make room for the gradients."""
        dtype, wide = hidden_BH.dtype, factor_B.dtype
        for_hidden, for_weight, for_bias = asked
        self._weight_IH, self._factor_B = weight_IH, factor_B
        self._narrow_B = factor_B.to(dtype)
        self._scaled_BH = (hidden_BH * factor_B[:, None]).to(dtype)
        self._of_hidden_BH = torch.zeros_like(hidden_BH, dtype=wide) if for_hidden else None
        self._of_weight_IH = torch.empty_like(weight_IH, dtype=weight_dtype) if for_weight else None
        self._of_bias_I = factor_B.new_empty(len(weight_IH)) if for_bias else None

    def add(self, items: slice, slope_BC: Tensor) -> None:
        """Take in the slopes of a range of items, without the users' factors."""
        if self._of_hidden_BH is not None:
            self._of_hidden_BH += torch.mm(slope_BC, self._weight_IH[items])
        if self._of_bias_I is not None:
            self._of_bias_I[items] = torch.mm(self._narrow_B[None], slope_BC)[0]
        if self._of_weight_IH is not None:
            _transposed_product(slope_BC, self._scaled_BH, self._of_weight_IH[items])

    def of(
        self, hidden_dtype: torch.dtype, bias_dtype: torch.dtype
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Give the gradients of hidden layer, weight and bias that were asked for."""
        of_hidden_BH, of_bias_I = self._of_hidden_BH, self._of_bias_I
        if of_hidden_BH is not None:
            of_hidden_BH = of_hidden_BH.mul_(self._factor_B[:, None]).to(hidden_dtype)
        if of_bias_I is not None:
            of_bias_I = of_bias_I.to(bias_dtype)
        return of_hidden_BH, self._of_weight_IH, of_bias_I


def _transposed_product(slope_BC: Tensor, scaled_BH: Tensor, out_CH: Tensor) -> None:
    """``out = slope^T scaled``, in blocks on a CPU, where one wide product is 1.6 times slower."""
    step = _CPU_GRADIENT_ROWS if slope_BC.device.type == "cpu" else max(1, len(out_CH))
    for start in range(0, len(out_CH), step):
        block = slice(start, start + step)
        if out_CH.dtype == slope_BC.dtype:
            torch.mm(slope_BC[:, block].t(), scaled_BH, out=out_CH[block])
        else:
            out_CH[block] = torch.mm(slope_BC[:, block].t(), scaled_BH)
