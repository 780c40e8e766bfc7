"""From scores to lists."""

from recsys_vae.ranking.ranker import Ranker
from recsys_vae.ranking.topn import ItemRules, NotFiniteError, TopN, rank

__all__ = ["ItemRules", "NotFiniteError", "Ranker", "TopN", "rank"]
