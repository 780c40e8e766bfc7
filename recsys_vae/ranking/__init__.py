"""From scores to lists."""

from recsys_vae.ranking.topn import ItemRules, TopN, rank

__all__ = ["ItemRules", "TopN", "rank"]
