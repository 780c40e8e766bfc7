"""Lists from a model: by the way that suits its scores, under rules, re-ranked, explained.

Legend: B users in the block, I items, K list length.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from scipy.sparse import csr_array

from recsys_vae.errors import InputError
from recsys_vae.interactions import IdArray
from recsys_vae.models.base import FloatMatrix, GatedRecommender, LinearRecommender, Recommender
from recsys_vae.models.gated_scores import GatedScores
from recsys_vae.nn.linear_scores import LinearScores
from recsys_vae.ranking.approximate import ApproximateSearch
from recsys_vae.ranking.approximation import Approximation, Recall
from recsys_vae.ranking.because import because
from recsys_vae.ranking.calibrate import Calibration, ItemShares
from recsys_vae.ranking.cells import load_faiss
from recsys_vae.ranking.explain import explain
from recsys_vae.ranking.explore import sampled_scores, user_keys
from recsys_vae.ranking.gated import GatedShortlist
from recsys_vae.ranking.item_vectors import ItemVectors, model_vectors
from recsys_vae.ranking.rerank import Reranking, rerank
from recsys_vae.ranking.rules import Rules
from recsys_vae.ranking.shortlist import Shortlist
from recsys_vae.ranking.topn import ItemRules, NotFiniteError, TopN, best, check_finite, rank

_SCORED_AT_ONCE: Final = 512
_POOL: Final = 10
"""Candidates for each place of a re-ranked list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Making:
    """How lists are made beyond the order of the scores.

    Attributes:
        rules: what may stand in a list.
        reranking: how lists are chosen from a pool of ten times their length; None: they are its
            beginning.
        shares: attributes of the items, which re-ranking by calibration needs.
        explore: seed of draws from what the model believes of each user; None: its mean.
        explained: items of the history that are named as the reason of each place; 0: none.
        approximate: how the search among the items may be approximate; None: it is exact.
    """

    rules: ItemRules | Rules = field(default_factory=ItemRules)
    reranking: Reranking | None = None
    shares: ItemShares | None = None
    explore: int | None = None
    explained: int = 0
    approximate: Approximation | None = None

    def __post_init__(self) -> None:
        """Refuse what does not go together.

        Raises:
            InputError: two wishes contradict each other, or one lacks what it needs.
        """
        rules = self.rules if isinstance(self.rules, Rules) else None
        placed = rules is not None and (rules.lists.binding or rules.pins is not None)
        if self.reranking is not None and rules is not None and placed:
            raise InputError(
                f"rules {rules.path} have caps, quotas or pins, which re-ranking would undo: leave "
                "out --rerank or those rules"
            )
        if isinstance(self.reranking, Calibration) and self.shares is None:
            raise InputError(
                "--rerank calibrate compares genres of the items and there are none: give a file "
                "with them as --items, or re-rank by mmr"
            )
        if self.explained and self.explore is not None:
            raise InputError(
                "--explain explains the scores at the mean, not those of a draw: leave out "
                "--explain or --explore"
            )
        if self.approximate is not None and not self.plain:
            others = {
                "--rules": rules is not None,
                "--rerank": self.reranking is not None,
                "--explore": self.explore is not None,
            }
            named = " and ".join(name for name, given in others.items() if given)
            raise InputError(
                f"--approximate looks at some of the items only, and {named} at the scores of all: "
                f"leave out --approximate or {named}"
            )

    @property
    def plain(self) -> bool:
        """Whether lists are the beginnings of the order of the scores, under the same rules."""
        return isinstance(self.rules, ItemRules) and self.reranking is None and self.explore is None


@dataclass(frozen=True, slots=True)
class Made:
    """The lists of a block of users.

    Attributes:
        lists: of these users.
        relaxed: by rule, for how many of them it could not be kept.
        because: list<list<struct<item, share>>>, a list a user; None: not asked for.
        recall: how much of the exact lists approximate ones hold; None: not compared.
    """

    lists: TopN
    relaxed: dict[str, int] = field(default_factory=dict)
    because: pa.Array | None = None
    recall: Recall | None = None


class Ranker:
    """Makes the lists of one model.

    Where the scores are a product, alone or behind a gate, no user's scores are all computed in
    full precision; the lists are the same, but for scores that float rounding alone tells apart,
    unless they may be approximate. They do not depend on who is in the block, to the last bit.

    Args:
        model: fitted.
        k: list length, 1..I.
        making: how lists are made beyond the order of the scores.

    Raises:
        InputError: lists are to be approximate, and the model's scores are no product or faiss is
            not installed; or the rules cannot be kept in lists of k.
    """

    def __init__(self, model: Recommender, k: int, making: Making | None = None) -> None:
        """Prepare nothing yet: the first block does."""
        self.model, self.k, self.making = model, k, making or Making()
        self._shortlist: Shortlist | None = None
        self._gated: GatedShortlist | None = None
        self._search: ApproximateSearch | None = None
        self._vectors: ItemVectors | None = None
        if isinstance(self.making.rules, Rules):
            self.making.rules.pool(k)  # refuses lists of k that cannot keep to the rules
        if self.making.approximate is not None:
            load_faiss()
            if not isinstance(model, LinearRecommender):
                raise InputError(
                    f"--approximate is for models whose scores are a product, and those of "
                    f"'{model.name}' are not: leave out --approximate"
                )

    def make(
        self,
        users: IdArray,
        given: csr_array,
        seen: csr_array | None = None,
        *,
        compared: bool = False,
    ) -> Made:
        """Make the lists of a block of users.

        Args:
            users: (B,) external ids.
            given: (B, I) histories.
            seen: (B, I) what is left out where the rules leave out seen items; None: `given`.
            compared: whether approximate lists are compared with the exact ones.

        Raises:
            InputError: k is out of range, the model cannot do what was asked for, or approximate
                lists hold too little of the exact ones.
            NotFiniteError: a score is NaN or infinite.
        """
        try:
            seen = given if seen is None else seen
            made = self._made(users, given, seen)
            if not compared or self.making.approximate is None:
                return made
            recall = Recall.of(made.lists, self._exact(given, seen))
            self.making.approximate.check(recall)
            return replace(made, recall=recall)
        except NotFiniteError as error:
            raise NotFiniteError(repr(users.tolist()[error.row]), error.row) from error

    def _made(self, users: IdArray, given: csr_array, seen: csr_array) -> Made:
        relaxed: dict[str, int] = {}
        if self.making.plain:
            lists = self.lists(given, seen)
        elif isinstance(self.making.rules, Rules) and self.making.reranking is None:
            made = self.making.rules.apply(self._scores(users, given), users, seen, self.k)
            lists, relaxed = made.lists, made.relaxed()
        else:
            lists = self._from_pool(users, given, seen)
        reasons = None
        if self.making.explained:
            found = explain(self.model, given, self._scored(lists), top=self.making.explained)
            reasons = because(lists, found, self.model.items)
        return Made(lists, relaxed, reasons)

    @torch.inference_mode()
    def lists(self, given: csr_array, seen: csr_array | None = None) -> TopN:
        """Rank items for a block of users, under rules that are the same for everybody.

        Args:
            given: (B, I) histories.
            seen: (B, I) what is left out where the rules leave out seen items; None: `given`.

        Raises:
            InputError: k is out of range.
            NotFiniteError: a score is NaN or infinite.
        """
        rules = self.making.rules
        assert isinstance(rules, ItemRules)  # others need to know the users
        model, seen = self.model, given if seen is None else seen
        if isinstance(model, GatedRecommender):
            return self._gated_lists(model, given, seen, rules)
        if not isinstance(model, LinearRecommender):
            return rank(self._in_pieces(given, model.score), seen, self.k, rules)
        users = self._factors(model.linear_scores, given)
        shortlist = self._prepared(users, rules)
        if self.making.approximate is None:
            return shortlist.rank(users, seen, self.k)
        if self._search is None:
            probes = self.making.approximate.probes
            items = (users.weight_IH, users.bias_I)
            self._search = ApproximateSearch(*items, rules, probes, shortlist)
        return self._search.rank(users, seen, self.k)

    def _gated_lists(
        self, model: GatedRecommender, given: csr_array, seen: csr_array, rules: ItemRules
    ) -> TopN:
        made: list[GatedScores] = []

        def logits(part: csr_array) -> LinearScores:
            made.append(model.gated_scores(part))
            return made[-1].logits

        product = self._factors(logits, given)
        if self._gated is None:
            self._gated = GatedShortlist(product.weight_IH, product.bias_I, rules)
        own = csr_array(given, dtype=np.float32)
        users = GatedScores(product, own, made[0].path_II, made[0].gate)
        return self._gated.rank(users, seen, self.k)

    def _factors(
        self, factors: Callable[[csr_array], LinearScores], given: csr_array
    ) -> LinearScores:
        item_side: list[LinearScores] = []

        def hidden(part: csr_array) -> FloatMatrix:
            item_side.append(factors(part))
            known: FloatMatrix = item_side[-1].hidden_BH.numpy(force=True)
            return known

        hidden_BH = torch.from_numpy(self._in_pieces(given, hidden))
        side = item_side[0]
        return LinearScores(hidden_BH.to(side.weight_IH.device), side.weight_IH, side.bias_I)

    def _prepared(self, users: LinearScores, rules: ItemRules) -> Shortlist:
        if self._shortlist is None:
            self._shortlist = Shortlist(users.weight_IH, users.bias_I, rules)
        return self._shortlist

    @torch.inference_mode()
    def _exact(self, given: csr_array, seen: csr_array) -> TopN:
        """Give the exact lists where `lists` are approximate."""
        assert isinstance(self.model, LinearRecommender)
        assert self._shortlist is not None
        return self._shortlist.rank(self._factors(self.model.linear_scores, given), seen, self.k)

    def _scores(self, users: IdArray, given: csr_array) -> FloatMatrix:
        if self.making.explore is None:
            return self._in_pieces(given, self.model.score)
        keys, seed = user_keys(users), self.making.explore
        parts = []
        for start in range(0, max(1, len(users)), _SCORED_AT_ONCE):
            own = np.zeros(_SCORED_AT_ONCE, dtype=np.int64)
            part = keys[start : start + _SCORED_AT_ONCE]
            own[: len(part)] = part
            filled = _filled(given[start : start + _SCORED_AT_ONCE])
            parts.append(sampled_scores(self.model, filled, own, seed)[: len(part)])
        return np.concatenate(parts)

    def _from_pool(self, users: IdArray, given: csr_array, seen: csr_array) -> TopN:
        scores_BI, rules = self._scores(users, given), self.making.rules
        wanted = self.k if self.making.reranking is None else _POOL * self.k
        size = min(wanted, scores_BI.shape[1])
        if isinstance(rules, Rules):
            check_finite(scores_BI)
            rules.mask(scores_BI, users, seen)
            pool = best(scores_BI, size)
        else:
            pool = rank(scores_BI, seen, size, rules)
        if self.making.reranking is None:
            return pool
        if self._vectors is None and not isinstance(self.making.reranking, Calibration):
            self._vectors = model_vectors(self.model)
        return rerank(
            pool,
            self.k,
            self.making.reranking,
            given=given,
            vectors=self._vectors,
            shares=self.making.shares,
        )

    def _scored(self, lists: TopN) -> TopN:
        """Give lists with the scores as the model gave them, without what popular items lose."""
        rules = self.making.rules
        if not isinstance(rules, Rules) or rules.discount_I is None:
            return lists
        # A padded place has item -1, and its score stays minus infinity.
        return replace(lists, scores_BK=lists.scores_BK + rules.discount_I[lists.items_BK])

    @staticmethod
    def _in_pieces(given: csr_array, score: Callable[[csr_array], FloatMatrix]) -> FloatMatrix:
        """Ask for always as many users, of whom the last may have no history and are not wanted.

        A product of another shape may round in another way.
        """
        parts: list[npt.NDArray[np.float32]] = []
        for start in range(0, max(1, given.shape[0]), _SCORED_AT_ONCE):
            part = given[start : start + _SCORED_AT_ONCE]
            parts.append(score(_filled(part))[: part.shape[0]])
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _filled(given: csr_array) -> csr_array:
    """Add users without history up to the number that is scored at once."""
    n_users, n_items = given.shape
    indptr = np.pad(given.indptr, (0, _SCORED_AT_ONCE - n_users), mode="edge")
    return csr_array((given.data, given.indices, indptr), shape=(_SCORED_AT_ONCE, n_items))
