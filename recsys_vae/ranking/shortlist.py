"""Exact top-N lists where scores are a product: a rough product finds whom to look at closely.

Legend: B users in the block, I items, H hidden width, K list length, N entries, that is pairs of a
user and an item.
"""

from collections.abc import Iterator
from typing import Final

import torch
from scipy.sparse import csr_array
from torch import Tensor

from recsys_vae.nn.linear_scores import LinearScores
from recsys_vae.ranking.ordering import ordered, products
from recsys_vae.ranking.rough import Contenders, Groups, contenders_of
from recsys_vae.ranking.rough_choice import RoughChoice
from recsys_vae.ranking.rough_product import ITEMS_AT_ONCE, Multiplied, RoughProduct
from recsys_vae.ranking.seen import Seen
from recsys_vae.ranking.topn import ItemRules, TopN, check_finite, check_length, joined, rows_from

_HELD: Final = 1 << 23
"""Rough scores that a processor holds at once: 16 MB, which the allocator does not give back."""


class Shortlist:
    r"""Ranks the items of a model whose scores are a product, s_ui = h_u . w_i + b_i.

    With E_u the bound of a rough score's error (`RoughProduct`), and t the K-th largest rough score
    of the user, none of the K best items has a rough score below t - 2 E_u. All others are scored
    again in float32, and the order is made on those. So the lists are those of float32 scores.

    Args:
        weight_IH: float32, of all items.
        bias_I: float32, of all items; what is added to a score for whatever reason belongs here.
        rules: what may stand in a list.
        precise: whether to do without bfloat16 and whole numbers of eight bits.

    >>> items = torch.tensor([[1.0], [3.0], [2.0]])
    >>> users = LinearScores(torch.ones(1, 1), items, torch.zeros(3))
    >>> Shortlist(items, torch.zeros(3)).rank(users, csr_array((1, 3)), k=2).items_BK
    array([[1, 2]], dtype=int32)
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
        numbers_I = None
        if self._rules.permitted_I is not None:
            permitted_I = torch.from_numpy(self._rules.permitted_I)
            numbers_I = permitted_I.nonzero().flatten().to(bias_I.device)
        self._rough = RoughChoice(Multiplied(weight_IH, bias_I, numbers_I), precise=precise)

    def rank(self, users: LinearScores, given: csr_array, k: int) -> TopN:
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
        check_length(k, len(self._bias_I))
        hidden_BH = users.hidden_BH
        check_finite(hidden_BH)
        at_once = len(hidden_BH)
        if hidden_BH.is_cpu:
            at_once = max(1, _HELD // min(len(self._bias_I), ITEMS_AT_ONCE))
        lists = []
        for start in range(0, len(hidden_BH), at_once):
            rows = slice(start, min(start + at_once, len(hidden_BH)))
            with rows_from(start):
                lists.append(self._some(hidden_BH[rows], given[rows], k))
        return joined(lists, k)

    def _some(self, hidden_BH: Tensor, given: csr_array, k: int) -> TopN:
        """Rank for so few users that their rough scores can be held."""

        def candidates(rough: RoughProduct, most: int | None) -> Contenders:
            return self._candidates(rough, hidden_BH, given, k, most)

        found = self._rough.tried(hidden_BH, k, candidates)
        users = LinearScores(hidden_BH, self._weight_IH, self._bias_I)
        return ordered(products(users, found), found, len(hidden_BH), k)

    def _candidates(
        self, rough: RoughProduct, hidden_BH: Tensor, given: csr_array, k: int, most: int | None
    ) -> Contenders:
        """Find everything that may be among the k best of a user."""
        seen = Seen.of(given, hidden_BH.device) if self._rules.mask_seen else None
        rough_users = rough.of(hidden_BH)

        def lowest(first_B: Tensor, last_B: Tensor) -> Tensor:
            near_B = torch.maximum(first_B.abs(), last_B.abs())
            return last_B - 2 * rough.error(rough_users.base_B, near_B)

        def masked() -> Iterator[tuple[Tensor, Groups]]:
            for numbers_I, rough_BI in rough_users.chunks:
                if seen is not None:
                    seen.mask(rough_BI, numbers_I)
                yield numbers_I, Groups.of(rough_BI, k)

        return contenders_of(masked(), k, lowest, most)
