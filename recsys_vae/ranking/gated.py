"""Exact top-N lists where scores are a sparse part and an exponential of a product.

Legend: B users in the block, I items, H hidden width, K list length, N entries, that is pairs of a
user and an item.
"""

import math
from typing import Final

import torch
from scipy.sparse import csr_array
from torch import Tensor

from recsys_vae.models.gated_scores import GatedScores
from recsys_vae.models.sparse_product import sparse_product
from recsys_vae.nn.linear_scores import LinearScores
from recsys_vae.ranking.ordering import ordered, products
from recsys_vae.ranking.room import Room
from recsys_vae.ranking.rough import Contenders, Groups, contenders_of, maxima_of, members
from recsys_vae.ranking.rough_choice import RoughChoice
from recsys_vae.ranking.rough_product import Multiplied, RoughProduct
from recsys_vae.ranking.seen import Seen
from recsys_vae.ranking.topn import (
    ItemRules,
    TopN,
    check_finite,
    check_length,
    joined,
    rows_from,
)

_HELD: Final = 1 << 23
"""Scores that a processor holds at a time, some 80 MB with the rough ones and parts of a sum."""
_HELD_BY_GPU: Final = 1 << 25
_NEAR: Final = 128
"""Users whose sums are made at once."""
_BITS: Final = math.log2(math.e)
_PEAK: Final = 0.37
"""d exp(-d) is at most 1 / exp(1), with e d more in the exponent little more."""
_LOOSEST: Final = 2.0
"""Largest bound of the error of logits that rules items out; beyond it all are looked at."""


class GatedShortlist:
    r"""Ranks the items of a model with s_ui = p_ui + g exp(l_ui - max_j l_uj), l a product.

    With E_u the bound of the error of the largest rough logit m~_u, and e the growth of that bound
    with the size of a logit (`RoughProduct`), l_ui is within E_u + e d_ui of l~_ui where d_ui is
    how far l~_ui lies below m~_u. What may have the largest logit is scored in float32 first, one
    or two items of a user mostly, so that L_u = max_j l_uj is known. Let

        a_ui = p_ui + g exp(l~_ui - E_u - L_u),    r_ui = p_ui + g exp(l~_ui + E_u - L_u)

    As d exp(-d) is at most 1 / exp(1), s_ui is at least a_ui - c_u and at most r_ui + c_u, with
    q_u = g exp(m~_u + E_u - L_u) and c_u = e q_u exp(-1). So the K-th largest a of a user, less
    c_u, is no more than the K-th largest s, and what has an r lower by more than another c_u is not
    among the K best. As r_ui - a_ui is at most f_u = (1 - exp(-2 E_u)) q_u, it is enough to look at
    groups whose largest a lies by no more than f_u below that. All others are scored again in
    float32, and the order is made on those.

    Args:
        weight_IH: float32, of all items, of the product l.
        bias_I: float32, of all items, of the product l.
        rules: what may stand in a list.
        precise: whether to do without bfloat16 and whole numbers of eight bits.
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
        # Of all items: what may not stand in a list may still have the largest logit.
        # In bits, because 2^x costs a third of e^x.
        items = Multiplied(weight_IH, bias_I, at_once=len(bias_I), factor=_BITS)
        self._rough = RoughChoice(items, precise=precise)
        self._numbers_I = torch.arange(len(bias_I), device=bias_I.device)
        device = bias_I.device
        self._path_room, self._near_room = Room(torch.float32, device), Room(torch.float32, device)
        self._out_I: Tensor | None = None
        if self._rules.permitted_I is not None:
            self._out_I = torch.from_numpy(~self._rules.permitted_I).to(bias_I.device)

    def rank(self, users: GatedScores, given: csr_array, k: int) -> TopN:
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
        n_users, n_items = users.given.shape
        check_length(k, n_items)
        check_finite(users.logits.hidden_BH)
        held = _HELD if users.logits.hidden_BH.is_cpu else _HELD_BY_GPU
        parts = max(1, math.ceil(n_users * n_items / held))
        at_once = max(1, math.ceil(n_users / parts))
        lists = []
        for start in range(0, n_users, at_once):
            rows = slice(start, min(start + at_once, n_users))
            with rows_from(start):
                lists.append(self._some(users.of(rows), given[rows], k))
        return joined(lists, k)

    def _some(self, users: GatedScores, given: csr_array, k: int) -> TopN:
        """Rank for so few users that their scores can be held."""

        def ranked(rough: RoughProduct, most: int | None) -> TopN:
            return self._ranked(rough, users, given, k, most)

        return self._rough.tried(users.logits.hidden_BH, k, ranked)

    def _ranked(
        self, rough: RoughProduct, users: GatedScores, given: csr_array, k: int, most: int | None
    ) -> TopN:
        rough_users = rough.of(users.logits.hidden_BH)
        base_B = rough_users.base_B
        ((_, rough_BI),) = rough_users.chunks
        heads = list[Tensor]()

        def foremost(first_B: Tensor, _last_B: Tensor) -> Tensor:
            heads.append(first_B)
            # What lies d below errs by e d more.
            return first_B - 2.01 * rough.error(base_B, first_B.abs())

        whole = iter([(self._numbers_I, Groups.of(rough_BI, 1))])
        ahead = contenders_of(whole, 1, foremost, most)
        highest_B = heads[0]
        check_finite(highest_B[:, None])
        error_B = rough.error(base_B, highest_B.abs())
        open_B = error_B > _LOOSEST
        error_B = error_B.clamp(max=_LOOSEST)
        gate = users.gate
        largest_B = self._largest(users.logits, ahead)
        above_B = highest_B - (_BITS * largest_B + rough_users.moved_B).float()
        above_B.clamp_(-_LOOSEST, _LOOSEST)  # it is, but for what is open
        added_B = above_B + math.log2(gate) if gate else above_B - math.inf
        # What the gate can add, how much of that may be too much, and too little.
        most_B = torch.exp2(added_B + error_B)
        doubt_B = -torch.expm1(-2 / _BITS * error_B) * most_B
        little_B = _PEAK * rough.growth * most_B
        least_B = highest_B - added_B
        path_BI, maxima_BS, rest_BI = self._sums(users, given, rough_BI, least_B + error_B, k)

        def lowest(first_B: Tensor, last_B: Tensor) -> Tensor:
            check_finite(first_B[:, None])
            rounding_B = 1e-5 * (last_B.abs() + gate * (1 + highest_B.abs()))
            limit_B = last_B - doubt_B - 2 * little_B - rounding_B
            return limit_B.masked_fill(open_B, torch.finfo(torch.float32).min)

        def look(users_M: Tensor, strides_M: Tensor) -> Tensor:
            above_MG = members(rough_BI, k, users_M, strides_M)
            above_MG.sub_((least_B - error_B)[users_M, None]).exp2_()
            above_MG.add_(members(path_BI, k, users_M, strides_M))
            return above_MG.sub_(doubt_B[users_M, None])

        groups = Groups(maxima_BS, rest_BI, look)

        found = contenders_of(iter([(self._numbers_I, groups)]), k, lowest, most)
        logits_N = self._exact(users.logits, found).double()
        relative_N = torch.exp(logits_N - largest_B[found.users_N]).mul_(gate).float()
        scores_N = relative_N.add_(path_BI[found.users_N, found.items_N])
        return ordered(scores_N, found, len(rough_BI), k)

    def _sums(
        self, users: GatedScores, given: csr_array, rough_BI: Tensor, least_B: Tensor, k: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Give p_BI, -inf for what may not stand in a list, and maxima and rest of a sum.

        Those are of p_BI + 2^(rough_BI - least_B), made of few users at a time, so that they stay
        near the processor.
        """
        path_BI = self._path_room.of(*rough_BI.shape)
        maxima, rests = list[Tensor](), list[Tensor]()
        for start in range(0, len(rough_BI), _NEAR):
            rows = slice(start, start + _NEAR)
            part_BI = path_BI[rows]
            if part_BI.is_cpu:
                sparse_product(users.given[rows], users.path_II, part_BI)
            else:
                part_BI.copy_(sparse_product(users.given[rows], users.path_II))
            if self._rules.mask_seen:
                Seen.of(given[rows], part_BI.device).mask(part_BI, self._numbers_I)
            if self._out_I is not None:
                part_BI.masked_fill_(self._out_I, -torch.inf)
            sums_BI = self._near_room.of(*part_BI.shape).copy_(rough_BI[rows])
            sums_BI.sub_(least_B[rows, None]).exp2_().add_(part_BI)
            for found, one in zip(maxima_of(sums_BI, k), (maxima, rests), strict=True):
                one.append(found)

        return path_BI, torch.cat(maxima), torch.cat(rests)

    def _largest(self, logits: LinearScores, ahead: Contenders) -> Tensor:
        """Give the largest logit of each user, (B,), in float64."""
        found_N = self._exact(logits, ahead).double()
        nothing_B = found_N.new_full((len(logits.hidden_BH),), -torch.inf)
        return nothing_B.scatter_reduce(0, ahead.users_N, found_N, "amax")

    def _exact(self, logits: LinearScores, found: Contenders) -> Tensor:
        return products(LinearScores(logits.hidden_BH, self._weight_IH, self._bias_I), found)
