"""From scores to lists."""

from recsys_vae.ranking.ranker import Made, Making, Ranker
from recsys_vae.ranking.rule_file import RuleFile, read_rules
from recsys_vae.ranking.rules import Rules
from recsys_vae.ranking.selection import Selected
from recsys_vae.ranking.topn import ItemRules, NotFiniteError, TopN, rank

__all__ = [
    "ItemRules",
    "Made",
    "Making",
    "NotFiniteError",
    "Ranker",
    "RuleFile",
    "Rules",
    "Selected",
    "TopN",
    "rank",
    "read_rules",
]
