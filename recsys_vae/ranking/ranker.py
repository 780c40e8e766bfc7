"""Lists from a model, by the way that suits its scores."""

from typing import Final

import numpy as np
import torch
from scipy.sparse import csr_array

from recsys_vae.models.base import LinearRecommender, Recommender
from recsys_vae.nn.linear_scores import LinearScores
from recsys_vae.ranking.shortlist import Shortlist
from recsys_vae.ranking.topn import ItemRules, TopN, rank

_ENCODED_AT_ONCE: Final = 256


class Ranker:
    """Makes the lists of one model under the same rules for everybody.

    Where the scores are a product, no user's scores are all computed in full precision; the lists
    are the same, but for scores that float rounding alone tells apart. They do not depend on who is
    in the block, to the last bit.

    Args:
        model: fitted.
        k: list length, 1..I.
        rules: what may stand in a list.
    """

    def __init__(self, model: Recommender, k: int, rules: ItemRules | None = None) -> None:
        """Prepare nothing yet: the first block does."""
        self.model, self.k, self.rules = model, k, rules or ItemRules()
        self._shortlist: Shortlist | None = None

    @torch.inference_mode()
    def lists(self, given: csr_array) -> TopN:
        """Rank items for a block of users.

        Args:
            given: (B, I) histories.

        Raises:
            InputError: k is out of range.
            NotFiniteError: a score is NaN or infinite.
        """
        if not isinstance(self.model, LinearRecommender):
            return rank(self.model.score(given), given, self.k, self.rules)
        parts = [
            _linear_scores(self.model, given[start : start + _ENCODED_AT_ONCE])
            for start in range(0, max(1, given.shape[0]), _ENCODED_AT_ONCE)
        ]
        hidden_BH = torch.cat([one.hidden_BH for one in parts])
        users = LinearScores(hidden_BH, parts[0].weight_IH, parts[0].bias_I)
        if self._shortlist is None:
            self._shortlist = Shortlist(users.weight_IH, users.bias_I, self.rules)
        return self._shortlist.rank(users, given, self.k)


def _linear_scores(model: LinearRecommender, given: csr_array) -> LinearScores:
    """Ask for always as many users, of whom the last may have no history and are not wanted.

    A product of another shape may round in another way.
    """
    n_users, n_items = given.shape
    indptr = np.pad(given.indptr, (0, _ENCODED_AT_ONCE - n_users), mode="edge")
    shape = (_ENCODED_AT_ONCE, n_items)
    users = model.linear_scores(csr_array((given.data, given.indices, indptr), shape=shape))
    return LinearScores(users.hidden_BH[:n_users], users.weight_IH, users.bias_I)
