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
    n_columns = values_BI.shape[1]
    n_strides = n_columns // _GROUP
    if n_strides < _WORTH_IT * k:
        return _plainly(values_BI, k)
    table_BGS = values_BI[:, : n_strides * _GROUP].view(-1, _GROUP, n_strides)
    maxima_BS = table_BGS.amax(dim=1)
    # One more than asked for bounds all the others.
    maxima_BK, strides_BK = torch.topk(maxima_BS, k + 1, dim=1)
    offsets_G = torch.arange(_GROUP, device=values_BI.device) * n_strides
    columns_BN = (strides_BK[:, :k, None] + offsets_G).flatten(1)
    if n_columns % _GROUP:
        rest = torch.arange(n_strides * _GROUP, n_columns, device=values_BI.device)
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
