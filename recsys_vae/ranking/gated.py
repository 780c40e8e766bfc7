"""Exact top-N lists where scores are a sparse part and an exponential of a product.

Legend: B users in the block, I items, H hidden width, K list length, N entries, that is pairs of a
user and an item.
"""

from typing import Final

import torch
from scipy.sparse import csr_array
from torch import Tensor

from recsys_vae.models.gated_scores import GatedScores
from recsys_vae.models.sparse_product import sparse_product
from recsys_vae.nn.linear_scores import LinearScores
from recsys_vae.ranking.ordering import ordered, products
from recsys_vae.ranking.room import Room
from recsys_vae.ranking.rough import Contenders, contenders_of
from recsys_vae.ranking.rough_product import RoughProduct
from recsys_vae.ranking.seen import Seen
from recsys_vae.ranking.topn import (
    ItemRules,
    TopN,
    check_finite,
    check_length,
    joined,
    rows_from,
)

_MULTIPLIED: Final = 1 << 25
"""Rough logits that are held at a time."""
_ADDED: Final = 1 << 22
"""Rough scores that are held at a time: so few that they stay near the processor."""
_MOST_USERS: Final = 512
_DEPTH: Final = 10.0
"""Nats below a user's largest logit from which on the logit counts as this: e^-10 is little."""
_LOOSEST: Final = 2.0
"""Largest bound of the error of logits that rules items out; beyond it all are looked at."""


class GatedShortlist:
    r"""Ranks the items of a model with s_ui = p_ui + g exp(l_ui - max_j l_uj), l a product.

    Let E_u bound the error of the rough logits l~ (`RoughProduct`) down to D nats below the largest
    of them, m~_u. Then

        r_ui = p_ui + g exp(max(l~_ui, m~_u - D) - m~_u + 2 E_u)

    is no less than s_ui. Of its second term no more than the share 1 - e^(-4 E_u) is too much, and
    where l~_ui was raised no more than the whole. So the K-th largest r of a user, less that, is no
    more than the K-th largest s, and what has an r below it is not among the K best. All others,
    and all that may have the largest logit, are scored again in float32, and the order is made on
    those.

    Args:
        weight_IH: float32, of all items, of the product l.
        bias_I: float32, of all items, of the product l.
        rules: what may stand in a list.
        precise: whether to do without bfloat16.
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
        self._rough = RoughProduct(weight_IH, bias_I, precise=precise)
        self._numbers_I = torch.arange(len(bias_I), device=bias_I.device)
        device = bias_I.device
        self._rough_room = Room(self._rough.kind, device)
        self._path_room = Room(torch.float32, torch.device("cpu"))
        self._upper_room = Room(torch.float32, device)
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
        at_once = min(_MOST_USERS, max(1, _MULTIPLIED // n_items))
        lists = []
        for start in range(0, n_users, at_once):
            rows = slice(start, min(start + at_once, n_users))
            with rows_from(start):
                lists += self._some(users.of(rows), given[rows], k)
        return joined(lists, k)

    def _some(self, users: GatedScores, given: csr_array, k: int) -> list[TopN]:
        """Rank for so many users that the rough logits of all items can be held."""
        hidden_BH = users.logits.hidden_BH
        n_users, n_items = users.given.shape
        rough_BI = self._rough_room.of(n_users, n_items)
        for numbers_I, part_BI in self._rough.chunks(hidden_BH):
            if len(numbers_I) == n_items:
                rough_BI = part_BI
            else:
                rough_BI[:, int(numbers_I[0]) : int(numbers_I[-1]) + 1] = part_BI
        base_B = self._rough.base(hidden_BH)
        at_once = max(1, _ADDED // n_items)
        lists = []
        for start in range(0, n_users, at_once):
            rows = slice(start, min(start + at_once, n_users))
            own = users.of(rows)
            with rows_from(start):
                lists.append(self._few(own, given[rows], rough_BI[rows], base_B[rows], k))
        return lists

    def _few(
        self, users: GatedScores, given: csr_array, rough_BI: Tensor, base_B: Tensor, k: int
    ) -> TopN:
        """Rank for so few users that their rough scores can be held in float32."""
        shape = tuple(rough_BI.shape)
        path_BI = sparse_product(users.given, users.path_II, self._path_room.of(*shape))
        path_BI = path_BI.to(rough_BI.device)
        check_finite(path_BI)
        errors = list[Tensor]()

        def foremost(first_B: Tensor, _last_B: Tensor) -> Tensor:
            near_B = torch.maximum(first_B.abs(), (first_B - _DEPTH).abs())
            errors.append(self._rough.error(base_B, near_B))
            errors.append(first_B)
            return first_B - 2 * errors[0]

        ahead = contenders_of(iter([(self._numbers_I, rough_BI)]), 1, foremost)
        error_B, highest_B = errors
        check_finite(highest_B[:, None])
        open_B = error_B > _LOOSEST
        error_B = error_B.clamp(max=_LOOSEST)
        gate = users.gate
        upper_BI = self._upper_room.of(*shape).copy_(rough_BI)
        upper_BI.sub_((highest_B - 2 * error_B)[:, None])
        upper_BI.clamp_min_(2 * error_B[:, None] - _DEPTH).exp_().mul_(gate).add_(path_BI)
        if self._rules.mask_seen:
            Seen.of(given, rough_BI.device).mask(upper_BI, self._numbers_I)
        if self._out_I is not None:
            upper_BI.masked_fill_(self._out_I, -torch.inf)
        # How much more than the score itself a rough score may be: what was raised to the depth
        # that counts, and of the rest a share, of the whole score or of the gate's.
        kept_B = torch.exp(-4 * error_B)
        raised_B = gate * torch.exp(2 * error_B - _DEPTH)
        most_B = raised_B + (1 - kept_B) * gate * torch.exp(2 * error_B)
        below_B = path_BI.amin(dim=1).clamp_(max=0.0).neg_()

        def lowest(_first_B: Tensor, last_B: Tensor) -> Tensor:
            share_B = raised_B + (1 - kept_B) * (last_B + below_B)
            rounding_B = 1e-5 * (last_B.abs() + below_B + gate)
            limit_B = last_B - torch.minimum(most_B, share_B) - rounding_B
            return limit_B.masked_fill(open_B, torch.finfo(torch.float32).min)

        found = contenders_of(iter([(self._numbers_I, upper_BI)]), k, lowest)
        largest_B = self._largest(users.logits, ahead)
        logits_N = self._exact(users.logits, found).double()
        relative_N = torch.exp(logits_N - largest_B[found.users_N]).mul_(gate).float()
        scores_N = relative_N.add_(path_BI[found.users_N, found.items_N])
        return ordered(scores_N, found, len(rough_BI), k)

    def _largest(self, logits: LinearScores, ahead: Contenders) -> Tensor:
        """Give the largest logit of each user, (B,), in float64."""
        found_N = self._exact(logits, ahead).double()
        nothing_B = found_N.new_full((len(logits.hidden_BH),), -torch.inf)
        return nothing_B.scatter_reduce(0, ahead.users_N, found_N, "amax")

    def _exact(self, logits: LinearScores, found: Contenders) -> Tensor:
        return products(LinearScores(logits.hidden_BH, self._weight_IH, self._bias_I), found)
