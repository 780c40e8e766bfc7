"""Exact top-N lists where scores are a sparse part and an exponential of a product.

Legend: B users in the block, I items, H hidden width, K list length, N entries, that is pairs of a
user and an item.
"""

import math
from dataclasses import dataclass
from typing import Final

import torch
from scipy.sparse import csr_array
from torch import Tensor

from recsys_vae.models.gated_scores import GatedScores
from recsys_vae.models.sparse_product import sparse_product
from recsys_vae.nn.linear_scores import LinearScores
from recsys_vae.ranking.ordering import ordered, products
from recsys_vae.ranking.room import Room
from recsys_vae.ranking.rough import Contenders, Groups, contenders_of
from recsys_vae.ranking.rough_choice import RoughChoice
from recsys_vae.ranking.rough_product import Multiplied, RoughProduct, RoughUsers
from recsys_vae.ranking.seen import Seen
from recsys_vae.ranking.topn import (
    ItemRules,
    TopN,
    check_finite,
    check_length,
    joined,
    rows_from,
)

_HELD: Final = 1 << 24
"""Rough logits that a processor holds at a time: 32 MB."""
_HELD_BY_GPU: Final = 1 << 25
_NEAR: Final = 64
"""Users whose sums are made and searched at once, while they are near the processor."""
_SCORED: Final = 1 << 22
"""Candidates that wait to be scored together, some 100 MB; usual blocks have far fewer.

Those of `_HELD` rough logits come at once: if they all tie, a gigabyte and a half was seen.
"""
_SUMS: Final = 1 << 22
"""Sums that a processor holds at a time, 16 MB, beside as much of their sparse part."""
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
        lists, waiting, first = list[TopN](), list[_Found](), 0
        for start in range(0, n_users, at_once):
            rows = slice(start, min(start + at_once, n_users))
            with rows_from(start):
                waiting += self._some(users.of(rows), given[rows], k)
            # Scored together: the more users, the more of them want the same items' weights.
            if rows.stop == n_users or sum(len(one.path_N) for one in waiting) > _SCORED:
                with rows_from(first):
                    logits = users.of(slice(first, rows.stop)).logits
                    lists.append(self._in_order(logits, users.gate, _Found.joined(waiting), k))
                waiting, first = [], rows.stop
        return joined(lists, k)

    def _some(self, users: GatedScores, given: csr_array, k: int) -> list["_Found"]:
        """Find the candidates of so few users that their rough logits can be held."""

        def found(rough: RoughProduct, most: int | None) -> list[_Found]:
            return self._found(rough, users, given, k, most)

        return self._rough.tried(users.logits.hidden_BH, k, found)

    def _found(
        self, rough: RoughProduct, users: GatedScores, given: csr_array, k: int, most: int | None
    ) -> list["_Found"]:
        rough_users = rough.of(users.logits.hidden_BH)
        ((_, rough_BI),) = rough_users.chunks
        known, largest_B = self._known(rough, rough_users, rough_BI, users, most)
        seen = Seen.of(given, rough_BI.device) if self._rules.mask_seen else None
        near = len(rough_BI)
        if rough_BI.is_cpu:
            near = max(1, min(_NEAR, _SUMS // rough_BI.shape[1]))
        found = list[_Found]()
        for start in range(0, len(rough_BI), near):
            rows = slice(start, min(start + near, len(rough_BI)))
            path_BI = self._path(users, rows)
            if seen is not None:
                own = slice(given.indptr[rows.start], given.indptr[rows.stop])
                taken = Seen(seen.users_N[own] - start, seen.items_N[own], seen.highest)
                taken.mask(path_BI, self._numbers_I)
            with rows_from(start):
                some = self._near(rough_BI[rows], path_BI, known.of(rows), k, most)
            path_N = path_BI[some.users_N, some.items_N]
            found.append(_Found(some, path_N, largest_B[rows]))
            if most is not None:
                most -= len(path_N)  # most groups that were looked into have one
        return found

    def _known(
        self,
        rough: RoughProduct,
        rough_users: RoughUsers,
        rough_BI: Tensor,
        users: GatedScores,
        most: int | None,
    ) -> tuple["_Known", Tensor]:
        """Score what may have the largest logit, and give what follows for the others, and L_B."""
        base_B, heads = rough_users.base_B, list[Tensor]()

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
        room_B = 1e-5 * gate * (1 + highest_B.abs())
        known = _Known(highest_B - added_B, error_B, doubt_B, 2 * little_B + room_B, open_B)
        return known, largest_B

    def _path(self, users: GatedScores, rows: slice) -> Tensor:
        """Give p_BI of some users, -inf for what may stand in nobody's list."""
        n_users, n_items = rows.stop - rows.start, len(self._numbers_I)
        path_BI = self._path_room.of(n_users, n_items)
        if path_BI.is_cpu:
            sparse_product(users.given, users.path_II, path_BI, rows)
        else:
            path_BI.copy_(sparse_product(users.given, users.path_II, rows=rows))
        if self._out_I is not None:
            path_BI.masked_fill_(self._out_I, -torch.inf)
        return path_BI

    def _near(
        self, rough_BI: Tensor, path_BI: Tensor, known: "_Known", k: int, most: int | None
    ) -> Contenders:
        """Find the candidates of so few users that their sums stay near the processor."""
        lowest_B, highest_B = known.least_B + known.error_B, known.least_B - known.error_B

        def lowest(first_B: Tensor, last_B: Tensor) -> Tensor:
            check_finite(first_B[:, None])
            limit_B = last_B - known.doubt_B - known.little_B - 1e-5 * last_B.abs()
            return limit_B.masked_fill(known.open_B, torch.finfo(torch.float32).min)

        def refine(users_N: Tensor, items_N: Tensor) -> Tensor:
            above_N = rough_BI[users_N, items_N].float().sub_(highest_B[users_N]).exp2_()
            return above_N.add_(path_BI[users_N, items_N]).sub_(known.doubt_B[users_N])

        sums_BI = self._near_room.of(*rough_BI.shape).copy_(rough_BI)
        sums_BI.sub_(lowest_B[:, None]).exp2_().add_(path_BI)
        groups = Groups.of(sums_BI, k)
        return contenders_of(iter([(self._numbers_I, groups)]), k, lowest, most, refine)

    def _in_order(self, logits: LinearScores, gate: float, found: "_Found", k: int) -> TopN:
        contenders = found.contenders
        relative_N = self._exact(logits, contenders).double()
        relative_N.sub_(found.largest_B[contenders.users_N])
        scores_N = relative_N.exp_().mul_(gate).float().add_(found.path_N)
        return ordered(scores_N, contenders, len(found.largest_B), k)

    def _largest(self, logits: LinearScores, ahead: Contenders) -> Tensor:
        """Give the largest logit of each user, (B,), in float64."""
        found_N = self._exact(logits, ahead).double()
        nothing_B = found_N.new_full((len(logits.hidden_BH),), -torch.inf)
        return nothing_B.scatter_reduce(0, ahead.users_N, found_N, "amax")

    def _exact(self, logits: LinearScores, found: Contenders) -> Tensor:
        return products(LinearScores(logits.hidden_BH, self._weight_IH, self._bias_I), found)


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of the logits of a block of users, as `GatedShortlist` has it.

    Attributes:
        least_B: in bits: g exp(l_ui - L_u) is 2^(rough_ui - least_u), but for the error.
        error_B: E_u in bits.
        doubt_B: f_u.
        little_B: 2 c_u and what rounding may do.
        open_B: whether so little is known that all are looked at.
    """

    least_B: Tensor
    error_B: Tensor
    doubt_B: Tensor
    little_B: Tensor
    open_B: Tensor

    def of(self, rows: slice) -> "_Known":
        """Give those of some of the users."""
        return _Known(
            self.least_B[rows],
            self.error_B[rows],
            self.doubt_B[rows],
            self.little_B[rows],
            self.open_B[rows],
        )


@dataclass(frozen=True, slots=True)
class _Found:
    """Candidates of a block of users.

    Attributes:
        contenders: in order of users.
        path_N: p_ui of each, float32.
        largest_B: L_u, float64.
    """

    contenders: Contenders
    path_N: Tensor
    largest_B: Tensor

    @classmethod
    def joined(cls, parts: list["_Found"]) -> "_Found":
        """Join what was found for one part of the users after the other."""
        users, start = list[Tensor](), 0
        for part in parts:
            users.append(part.contenders.users_N + start)
            start += len(part.largest_B)
        items_N = torch.cat([part.contenders.items_N for part in parts])
        path_N = torch.cat([part.path_N for part in parts])
        largest_B = torch.cat([part.largest_B for part in parts])
        return cls(Contenders(torch.cat(users), items_N), path_N, largest_B)
