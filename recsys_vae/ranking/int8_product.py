"""Rough scores from products of whole numbers of eight bits, where the processor has such.

Legend: B users in the block, I items, H hidden width.
"""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from recsys_vae.ranking.rough_product import ExactItems, Multiplied, Prepared, RoughProduct

_ROUNDING: Final = 2.0**-8
"""Relative error of a score in bfloat16, rounded to the nearest."""
_MOST: Final = 126.5
"""Of a step: with a shift of half a step its code is 127 at most."""
_ZERO: Final = 128
"""The code of 0 in an unsigned number."""
_SIGMAS: Final = 9.0
"""A sub-Gaussian error is larger with a probability below 2 exp(-81 / 2) = 6e-18."""
_SEED: Final = 20_131
_UNIT: Final = 64
"""Of the number that each user's codes are corrected by."""
_LEAST_STEP: Final = 1e-18
"""Smaller numbers count as 0; the product of two such steps is still a normal number."""
_ALIKE: Final = 2.0
"""Users share a step whose largest numbers lie within so many powers of two."""
_LARGEST: Final = 1e30
"""Size of scores beyond which a sum of unsigned codes might leave float32."""
_WIDEST: Final = 1 << 15
"""Hidden units beyond which a sum of products of codes might leave 32 bits."""


def multiplies_int8(device: torch.device, n_hidden: int) -> bool:
    """Whether the device has instructions for products of eight-bit numbers, and torch the means.

    Emulation does not count: it is slower than any other product.

    Args:
        device: a CPU; any other kind answers no.
        n_hidden: H; sums over more than 32,768 are not taken.
    """
    known = device.type == "cpu" and hasattr(torch.ops.onednn, "qlinear_prepack")
    restricted = "ONEDNN_MAX_CPU_ISA" in os.environ
    usable = known and not restricted and n_hidden <= _WIDEST
    return usable and bool(torch.backends.mkldnn.is_available() and torch.cpu._is_vnni_supported())


@dataclass(frozen=True, slots=True)
class _Items:
    """Some items in whole numbers.

    Attributes:
        weight: codes (I, H + 1) as the product wants them, the last of each being `_UNIT`.
        step_I: what a code of 1 means.
        zero_I: the code of 0.
        bias_I: float32.
        shift_I: product of the codes, less the items' shift, and the users' shift.
    """

    weight: Any
    step_I: Tensor
    zero_I: Tensor
    bias_I: Tensor
    shift_I: Tensor


@dataclass(frozen=True, slots=True)
class _Users:
    """Users that share a step, in whole numbers.

    Attributes:
        rows: which of the block's.
        code_BH: (B, H + 1) unsigned codes; the last corrects for the items' shift.
        step: what a code of 1 means.
        wrong_B: by how many products of two codes the correction is wrong.
    """

    rows: Tensor
    code_BH: Tensor
    step: float
    wrong_B: Tensor


class Int8Product(RoughProduct):
    r"""Products of codes of eight bits, with an error that is known by chance, and almost surely.

    With numbers d_j and e_j drawn once from between -1/2 and 1/2 (subtractive dither), and whole
    c, q,

        c_ij = round(w_ij / s_i + d_j),   w~_ij = s_i (c_ij - d_j)
        q_uj = round(h_uj / t + e_j),     h~_uj = t (q_uj - e_j)

    where s_i is the item's largest weight over 126.5, t the largest number over that of those users
    of the block whose own largest lies within a factor of four. Then
    w_ij - w~_ij is uniform between -s_i / 2 and s_i / 2, whatever w is, and independent of the
    others of the item, and likewise h - h~ (Schuchman, Dither Signals and Their Effect on
    Quantization Noise, IEEE Transactions on Communication Technology 1964). So s_ui - s~_ui is
    sub-Gaussian with a variance of at most

        v_u = t^2 max_i |w_i|^2 / 12 + max_i s_i^2 (|h_u| + t sqrt(H) / 2)^2 / 12

    and larger than E_u = 9 sqrt(v_u) with a probability below 6e-18. By Cauchy-Schwarz, which
    draws on no chance, E_u would be some three times as large. What the shifts d and e add to a
    product of codes is a number of each item, which goes into its bias, and a number of each user
    times s_i, for which there is one more column.

    Twice as fast as bfloat16, and about as exact. Users that share a step have their scores moved
    by the same number.
    """

    def __init__(self, items: Multiplied) -> None:
        """Prepare the items once."""
        generator = torch.Generator().manual_seed(_SEED)
        drawn = (
            torch.rand(2, items.weight_IH.shape[1], generator=generator, dtype=torch.float64) - 0.5
        )
        self._item_shift_H, self._user_shift_H = drawn.float()
        self._largest_step = 0.0
        self._sample: _Items | None = None
        self._items = list[_Items]()
        super().__init__(items)

    @property
    def rounding(self) -> float:
        """Relative error of a rough score's own format."""
        return _ROUNDING

    def _prepare_sample(self, items: Iterator[ExactItems], n_items: int) -> None:
        self._sample = self._coded(items, n_items)

    def _prepare(self, items: Iterator[ExactItems], n_items: int) -> None:
        self._items.append(self._coded(items, n_items))

    def _coded(self, items: Iterator[ExactItems], n_items: int) -> _Items:
        code_IH = torch.full((n_items, self._n_hidden + 1), _UNIT, dtype=torch.int8)
        step_I, bias_I, shift_I = torch.empty(3, n_items)
        start = 0
        for exact in items:
            own = slice(start, start + len(exact.bias_I))
            step_I[own] = _step(exact.weight_IH.abs().amax(dim=1))
            bias_I[own] = exact.bias_I
            exact_IH = exact.weight_IH / step_I[own, None]
            code_IH[own, :-1] = exact_IH.add_(self._item_shift_H).round_().to(torch.int8)
            shifted_IH = code_IH[own, :-1].float() - self._item_shift_H
            shift_I[own] = shifted_IH @ self._user_shift_H
            self._note(exact)
            start = own.stop
        self._largest_step = max(self._largest_step, float(step_I.max()))
        packed = torch.ops.onednn.qlinear_prepack(code_IH, None)
        zero_I = torch.zeros(n_items, dtype=torch.int32)
        return _Items(packed, step_I, zero_I, bias_I, shift_I)

    def fits(self, hidden_BH: Tensor) -> bool:
        """Whether products with these users stay within float32, however they are coded."""
        largest = float(hidden_BH.abs().amax()) * math.sqrt(self._n_hidden) * self._longest
        return largest + self._largest_bias < _LARGEST

    def _coded_users(self, hidden_BH: Tensor) -> Iterator[_Users]:
        largest_B = hidden_BH.abs().amax(dim=1).clamp(min=_LEAST_STEP)
        below_B = ((largest_B.amax() / largest_B).log2() / _ALIKE).floor()
        for below in below_B.unique():
            rows = (below_B == below).nonzero().flatten()
            own_BH = hidden_BH[rows]
            step = float(_step(own_BH.abs().amax()))
            code_BH = (own_BH / step).add_(self._user_shift_H).round_()
            wanted_B = -(code_BH @ self._item_shift_H)
            found_B = (wanted_B / _UNIT).round_().clamp_(-_ZERO, _ZERO - 1)
            all_BH = torch.cat([code_BH, found_B[:, None]], dim=1).add_(_ZERO).to(torch.uint8)
            yield _Users(rows, all_BH, step, (wanted_B - _UNIT * found_B).abs())

    def _users(self, hidden_BH: Tensor) -> Prepared:
        assert self._sample is not None
        groups, moved = list(self._coded_users(hidden_BH)), list[float]()
        moved_B = torch.empty(len(hidden_BH), dtype=torch.float64)
        for users in groups:
            highest_B = _product(users, self._sample, 0.0, torch.float32).amax(dim=1)
            moved.append(-float(torch.nan_to_num(highest_B.mean(), 0.0, 0.0, 0.0)))
            moved_B[users.rows] = moved[-1]
        products = self._products(len(hidden_BH), list(zip(groups, moved, strict=True)))
        return Prepared(self._bound(hidden_BH, groups), moved_B, products)

    def _products(self, n_users: int, groups: list[tuple[_Users, float]]) -> Iterator[Tensor]:
        for items in self._items:
            found = [_product(users, items, by, torch.bfloat16) for users, by in groups]
            if len(found) == 1:
                yield found[0]
            else:
                rough_BI = torch.empty(n_users, len(items.bias_I), dtype=torch.bfloat16)
                for (users, _), own_BI in zip(groups, found, strict=True):
                    rough_BI[users.rows] = own_BI
                yield rough_BI

    def _bound(self, hidden_BH: Tensor, groups: list[_Users]) -> Tensor:
        root, length_B = math.sqrt(self._n_hidden), torch.linalg.vector_norm(hidden_BH, dim=1)
        step_B, wrong_B = torch.empty(2, len(hidden_BH), dtype=torch.float64)
        for users in groups:
            step_B[users.rows] = users.step
            wrong_B[users.rows] = users.wrong_B.double()
        rough_B = length_B.double() + step_B * root / 2
        both_B = torch.hypot(self._largest_step * rough_B, self._longest * step_B)
        # The correction's error, and the rounding of sums of unsigned codes and of their shifts.
        unsigned_B = step_B * 2 * _ZERO * root * (self._longest + self._largest_step * root)
        corrected_B = step_B * self._largest_step * wrong_B
        bound_B: Tensor = _SIGMAS / math.sqrt(12) * both_B + corrected_B + 2.0**-21 * unsigned_B
        return bound_B


def _step(largest: Tensor) -> Tensor:
    """Give the size of a step of which the largest number has 126.5."""
    return (largest / _MOST).clamp(min=_LEAST_STEP)


def _product(users: _Users, items: _Items, moved: float, kind: torch.dtype) -> Tensor:
    bias_I = items.bias_I - users.step * items.step_I * items.shift_I + moved
    scores_BI: Tensor = torch.ops.onednn.qlinear_pointwise(
        users.code_BH,
        users.step,
        _ZERO,
        items.weight,
        items.step_I,
        items.zero_I,
        bias_I,
        1.0,
        0,
        kind,
        "none",
        [],
        "",
    )
    return scores_BI
