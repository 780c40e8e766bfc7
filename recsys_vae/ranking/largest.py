"""The largest numbers of each row, faster than by looking at all of them for each.

Legend: B rows, I columns, K wanted, S strides (columns of a row's table), G rows of that table.
"""

from typing import Final

import torch
from torch import Tensor

_GROUP: Final = 16
"""Columns that share one maximum: as many strides of a row are compared at once."""
_WORTH_IT: Final = 4
"""Strides for each wanted number below which a plain selection costs no more."""


def strided(values_BI: Tensor, k: int) -> Tensor:
    """Cut rows into strides of columns (c, c + S, c + 2 S...): a view of the first G S of them.

    Args:
        values_BI: some numbers.
        k: how many of a row's largest are wanted.

    Returns:
        table_BGS, G = 1 where there are too few columns for more to be worth while.
    """
    n_rows, n_columns = values_BI.shape
    n_strides = n_columns // _GROUP
    if n_strides < _WORTH_IT * k:
        return values_BI.view(n_rows, 1, n_columns)
    return values_BI[:, : n_strides * _GROUP].view(n_rows, _GROUP, n_strides)


def halved(maxima_BS: Tensor, k: int) -> list[Tensor]:
    """Give tables of which the k largest are no more than those of the maxima, and cost half.

    Two strides share a maximum where that leaves enough of them that few of the k best meet.
    """
    half = maxima_BS.shape[1] // 2
    if half < _WORTH_IT * k:
        return [maxima_BS]
    first_BS, second_BS = maxima_BS[:, :half], maxima_BS[:, half : 2 * half]
    return [torch.maximum(first_BS, second_BS), maxima_BS[:, 2 * half :]]


def largest(values_BI: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """Give the k largest numbers of each row, and a bound of what was left out.

    A row is cut into S strides of G columns (c, c + S, c + 2 S...). Whatever is among the k largest
    stands in one of the k strides with the largest maxima, so only those are looked at.

    Args:
        values_BI: without NaN.
        k: 1..I.

    Returns:
        values_BK in falling order; columns_BK; and (B,) the largest value that may have been left
        out, -inf where nothing was. Where it equals the last of a row's values, which of the equal
        ones stand there is left open.
    """
    table_BGS = strided(values_BI, k)
    group, n_strides = table_BGS.shape[1:]
    if group == 1:
        return _plainly(values_BI, k)
    n_columns = values_BI.shape[1]
    maxima_BS = table_BGS.amax(dim=1)
    # One more than asked for bounds all the others.
    maxima_BK, strides_BK = torch.topk(maxima_BS, k + 1, dim=1)
    offsets_G = torch.arange(group, device=values_BI.device) * n_strides
    columns_BN = (strides_BK[:, :k, None] + offsets_G).flatten(1)
    if group * n_strides < n_columns:
        rest = torch.arange(group * n_strides, n_columns, device=values_BI.device)
        columns_BN = torch.cat([columns_BN, rest.expand(len(values_BI), -1)], dim=1)
    candidates_BN = torch.gather(values_BI, 1, columns_BN)
    values_BK, places_BK, left_out_B = _plainly(candidates_BN, k)
    left_out_B = torch.maximum(left_out_B, maxima_BK[:, k])
    return values_BK, torch.gather(columns_BN, 1, places_BK), left_out_B


def _plainly(values_BI: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    wanted = min(k + 1, values_BI.shape[1])
    values_BK, columns_BK = torch.topk(values_BI, wanted, dim=1)
    if wanted == k:
        return values_BK, columns_BK, values_BI.new_full((len(values_BI),), -torch.inf)
    return values_BK[:, :k], columns_BK[:, :k], values_BK[:, k]
