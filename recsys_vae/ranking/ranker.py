"""Lists from a model, by the way that suits its scores."""

import torch
from scipy.sparse import csr_array

from recsys_vae.models.base import LinearRecommender, Recommender
from recsys_vae.ranking.shortlist import Shortlist
from recsys_vae.ranking.topn import ItemRules, TopN, rank


class Ranker:
    """Makes the lists of one model under the same rules for everybody.

    Where the scores are a product, no user's scores are all computed in full precision; the lists
    are the same, but for scores that float rounding alone tells apart.

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
        users = self.model.linear_scores(given)
        if self._shortlist is None:
            self._shortlist = Shortlist(users.weight_IH, users.bias_I, self.rules)
        return self._shortlist.rank(users, given, self.k)
