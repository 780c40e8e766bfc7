"""Which items may be among a user's best, as far as rough scores can tell.

Legend: B users in the block, I items, K list length, S strides of G items that share a maximum, N
entries, that is pairs of a user and an item.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from recsys_vae.ranking.largest import halved, strided


@dataclass(frozen=True, slots=True)
class Contenders:
    """Pairs of a user and an item, user by user.

    Attributes:
        users_N: rows of the block, ascending.
        items_N: item numbers.
    """

    users_N: Tensor
    items_N: Tensor


class TooManyError(Exception):
    """More may be among the best than is worth looking at."""


def contenders_of(
    chunks: Iterator[tuple[Tensor, "Groups"]],
    k: int,
    lowest: Callable[[Tensor, Tensor], Tensor],
    most: int | None = None,
    refine: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Contenders:
    """Find the items whose rough score is not certainly below the k-th best.

    The maximum of G items is at most a score: the k-th largest of such maxima is at most the k-th
    largest score. Only groups whose maximum is not below what follows from that are looked into.

    Args:
        chunks: item numbers (I,) and rough scores (B, I) of some items at a time, -inf where one
            may not stand in a list; a chunk's memory may be used for the next.
        k: list length.
        lowest: given the largest and the k-th largest of rough scores, (B,) each, gives the least
            rough score that one of the k best may have.
        most: groups that are looked into for all users together; None: as many as it takes.
        refine: given users and items, (N,) each, whose rough score is not below that, gives scores
            that are held against it once more.

    Raises:
        TooManyError: more groups than `most` would have to be looked into; nothing was.
    """
    best_BK: Tensor | None = None
    limit_B = torch.empty(0)
    users, items, values = list[Tensor](), list[Tensor](), list[Tensor]()
    for numbers_I, groups in chunks:
        known = [] if best_BK is None else [best_BK]
        all_BS = torch.cat([*known, *halved(groups.maxima_BS, k), groups.rest_BI], dim=1)
        best_BK = _highest(all_BS, k)
        limit_B = _limit(best_BK, k, lowest)
        if most is not None and int((groups.maxima_BS >= limit_B[:, None]).sum()) > most:
            raise TooManyError
        for users_N, columns_N, values_N in groups.not_below(limit_B):
            users.append(users_N)
            items.append(numbers_I[columns_N])
            values.append(values_N)
    users_N, items_N = torch.cat(users), torch.cat(items)
    # The limit has risen since the first of them were found.
    values_N = torch.cat(values) if refine is None else refine(users_N, items_N)
    kept_N = (values_N >= limit_B[users_N]).nonzero().flatten()
    kept_N = kept_N[torch.argsort(users_N[kept_N], stable=True)]
    return Contenders(users_N[kept_N], items_N[kept_N])


def _highest(values_BS: Tensor, k: int) -> Tensor:
    """Give the k largest of each row, in any order, or all where there are fewer."""
    if k == 1:
        return values_BS.amax(dim=1, keepdim=True)
    return torch.topk(values_BS, min(k, values_BS.shape[1]), dim=1, sorted=False).values


def _limit(best_BK: Tensor, k: int, lowest: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Give the least rough score of a candidate, (B,): more than -inf, which is for no place."""
    first_B = best_BK.amax(dim=1)
    whole = best_BK.shape[1] == k
    last_B = best_BK.amin(dim=1) if whole else torch.full_like(first_B, -math.inf)
    known = [one_B.masked_fill(torch.isneginf(one_B), 0.0) for one_B in (first_B, last_B)]
    limit_B = lowest(known[0], known[1]).masked_fill(torch.isneginf(last_B), -math.inf)
    # Where numbers leave float32 nothing is known, and everything may be among the best.
    least = torch.finfo(torch.float32).min
    return limit_B.nan_to_num_(nan=least, posinf=math.inf, neginf=-math.inf).clamp_(min=least)


def _members(table_BGS: Tensor, users_M: Tensor, strides_M: Tensor) -> Tensor:
    """Give the scores (M, G) of some users' groups, float32."""
    return table_BGS.transpose(1, 2)[users_M, strides_M].float()


@dataclass(frozen=True, slots=True)
class Groups:
    """The maxima of groups of rough scores, and how to look into a group.

    Item c, c + S, c + 2 S... share a maximum; those that are left over stand by themselves.

    Attributes:
        maxima_BS: over G, float32.
        rest_BI: the scores of what is left over, float32.
        look: gives the scores (M, G) of the groups of M users and as many strides.
    """

    maxima_BS: Tensor
    rest_BI: Tensor
    look: Callable[[Tensor, Tensor], Tensor]

    @classmethod
    def of(cls, rough_BI: Tensor, k: int) -> "Groups":
        """Group rough scores (B, I) of which the k largest are wanted."""
        table_BGS = strided(rough_BI, k)
        n_grouped = table_BGS.shape[1] * table_BGS.shape[2]
        rest_BI = rough_BI[:, n_grouped:].to(torch.float32, copy=True)
        look = partial(_members, table_BGS)
        return cls(table_BGS.amax(dim=1).float(), rest_BI, look)

    def not_below(self, limit_B: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Give users, columns and values of the scores that are not below a user's limit."""
        n_strides = self.maxima_BS.shape[1]
        users_M, strides_M = (self.maxima_BS >= limit_B[:, None]).nonzero(as_tuple=True)
        values_MG = self.look(users_M, strides_M)
        rows_N, groups_N = (values_MG >= limit_B[users_M, None]).nonzero(as_tuple=True)
        columns_N = strides_M[rows_N] + n_strides * groups_N
        yield users_M[rows_N], columns_N, values_MG[rows_N, groups_N]
        users_N, places_N = (self.rest_BI >= limit_B[:, None]).nonzero(as_tuple=True)
        yield users_N, places_N + n_strides * values_MG.shape[1], self.rest_BI[users_N, places_N]
