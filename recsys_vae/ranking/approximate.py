"""Approximate top-N lists for very large catalogues, where scores are a product.

Legend: B users in the block, I items, H hidden width, K list length, C candidates of a user, N
entries, that is pairs of a user and an item.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import csr_array
from torch import Tensor

from recsys_vae.nn.linear_scores import LinearScores
from recsys_vae.ranking.cells import Cells
from recsys_vae.ranking.ordering import ordered, products
from recsys_vae.ranking.rough import Contenders
from recsys_vae.ranking.shortlist import Shortlist
from recsys_vae.ranking.topn import ItemRules, TopN, check_finite, check_length

_SPARE: Final = 16
"""Candidates beyond the list and the history: rounding alone leaves the last of them open."""
_MOST_SPARE: Final = 1 << 11
_ROUNDING: Final = 2.0**-23


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the users may not be given because they have it.

    Attributes:
        keys_N: row times I plus item, ascending.
        counts_B: how many items of the history count here.
        left_B: permitted items that are none of them.
    """

    keys_N: npt.NDArray[np.int64]
    counts_B: npt.NDArray[np.int64]
    left_B: npt.NDArray[np.int64]

    @classmethod
    def of(cls, given: csr_array, rules: ItemRules) -> "_Seen":
        n_users, n_items = given.shape
        permitted_I = rules.permitted_I
        n_permitted = n_items if permitted_I is None else int(permitted_I.sum())
        rows_N = np.repeat(np.arange(n_users), np.diff(given.indptr))
        items_N = given.indices.astype(np.int64)
        if not rules.mask_seen:
            rows_N, items_N = rows_N[:0], items_N[:0]
        if permitted_I is not None:
            rows_N, items_N = rows_N[permitted_I[items_N]], items_N[permitted_I[items_N]]
        counts_B = np.bincount(rows_N, minlength=n_users)
        return cls(np.sort(rows_N * n_items + items_N), counts_B, n_permitted - counts_B)

    def among(
        self, rows: npt.NDArray[np.intp], items_BC: npt.NDArray[np.int64], n_items: int
    ) -> npt.NDArray[np.bool_]:
        """Say which of the items that were found for some rows are seen."""
        keys_BC = rows[:, None] * n_items + items_BC
        if not len(self.keys_N):
            return np.zeros(keys_BC.shape, dtype=bool)
        places_BC = np.searchsorted(self.keys_N, keys_BC).clip(max=len(self.keys_N) - 1)
        seen_BC: npt.NDArray[np.bool_] = self.keys_N[places_BC] == keys_BC
        return seen_BC


class ApproximateSearch:
    """Ranks the items that lie in the most promising cells of each user.

    Of these items the lists hold the best K, scored and ordered as in exact lists; the others are
    not looked at. Where that does not fill a list that more items could fill, or rounding leaves
    open which items come last, the user's list is the exact one. A list does not depend on the
    block that the user is in.

    Args:
        weight_IH: float32, of all items.
        bias_I: float32, of all items.
        rules: what may stand in a list.
        probes: cells that are looked into for a user; more than there are: the lists are exact.
        exact: makes exact lists of the same items by the same rules.

    Raises:
        InputError: faiss is not installed.
        NotFiniteError: a weight or bias is NaN or infinite.
    """

    def __init__(
        self, weight_IH: Tensor, bias_I: Tensor, rules: ItemRules, probes: int, exact: Shortlist
    ) -> None:
        """Put the permitted items into cells."""
        check_finite(weight_IH)
        check_finite(bias_I[None])
        self._weight_IH, self._bias_I = weight_IH, bias_I
        self._rules, self._exact = rules, exact
        numbers_I = torch.arange(len(bias_I), device=bias_I.device)
        if rules.permitted_I is not None:
            numbers_I = numbers_I[torch.from_numpy(rules.permitted_I).to(numbers_I.device)]
        self._cells = Cells(weight_IH, bias_I, numbers_I, probes)
        self._n_permitted = len(numbers_I)
        self._longest = float(torch.linalg.vector_norm(weight_IH, dim=1).max())
        self._largest_bias = float(bias_I.abs().max())

    def rank(self, users: LinearScores, given: csr_array, k: int) -> TopN:
        """Rank items for a block of users.

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
        seen = _Seen.of(given, self._rules)
        # As many as the user's own history asks for, whoever else is in the block.
        spare_B = 2 ** np.ceil(np.log2(seen.counts_B + _SPARE)).astype(np.int64)
        spare_B = spare_B.clip(max=_MOST_SPARE)
        parts, open_rows = list[tuple[Tensor, Tensor]](), list[int]()
        for spare in np.unique(spare_B):
            rows = np.flatnonzero(spare_B == spare)
            rows_N, items_N, unclear = self._candidates(hidden_BH, rows, seen, k, int(spare))
            parts.append((torch.from_numpy(rows_N), torch.from_numpy(items_N)))
            open_rows += unclear.tolist()
        found = _by_user(parts, hidden_BH.device)
        scores_N = products(LinearScores(hidden_BH, self._weight_IH, self._bias_I), found)
        lists = ordered(scores_N, found, len(hidden_BH), k)
        if open_rows:
            rows = np.array(open_rows)
            some_BH = hidden_BH[torch.from_numpy(rows).to(hidden_BH.device)]
            own = LinearScores(some_BH, self._weight_IH, self._bias_I)
            exact = self._exact.rank(own, given[rows], k)
            lists.items_BK[rows], lists.scores_BK[rows] = exact.items_BK, exact.scores_BK
        return lists

    def _candidates(
        self, hidden_BH: Tensor, rows: npt.NDArray[np.intp], seen: _Seen, k: int, spare: int
    ) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.int64], npt.NDArray[np.intp]]:
        """Give rows and items of what may be among the best of some users, and who is unclear."""
        own_BH = hidden_BH[torch.from_numpy(rows).to(hidden_BH.device)]
        # One more than there are, so that the end shows where all were found.
        found = self._cells.search(own_BH, min(k + spare, self._n_permitted + 1))
        usable_BC = found.items_BC >= 0
        usable_BC &= ~seen.among(rows, found.items_BC, len(self._bias_I))
        last_B = np.where(found.items_BC[:, -1] < 0, -np.inf, found.scores_BC[:, -1])
        # What was not found lies, but for rounding, at or below the last that was.
        above_BC = found.scores_BC > (last_B + self._slack(own_BH))[:, None]
        certain_B = (usable_BC & above_BC).sum(axis=1) >= np.minimum(k, seen.left_B[rows])
        usable_BC &= certain_B[:, None]
        places_N, columns_N = usable_BC.nonzero()
        return rows[places_N], found.items_BC[places_N, columns_N], rows[~certain_B]

    def _slack(self, hidden_BH: Tensor) -> npt.NDArray[np.float64]:
        """Give twice what rounding can do to the difference of two scores here and there, (B,)."""
        lengths_B = torch.linalg.vector_norm(hidden_BH.double(), dim=1).numpy(force=True)
        size_B = (lengths_B + 1) * self._cells.longest
        size_B = size_B + lengths_B * self._longest + self._largest_bias
        slack_B: npt.NDArray[np.float64] = 2 * (hidden_BH.shape[1] + 8) * _ROUNDING * size_B
        return slack_B


def _by_user(parts: list[tuple[Tensor, Tensor]], device: torch.device) -> Contenders:
    if not parts:
        nothing = torch.zeros(0, dtype=torch.int64, device=device)
        return Contenders(nothing, nothing)
    users_N = torch.cat([users for users, _ in parts])
    order_N = torch.argsort(users_N, stable=True)
    items_N = torch.cat([items for _, items in parts])
    return Contenders(users_N[order_N].to(device), items_N[order_N].to(device))
