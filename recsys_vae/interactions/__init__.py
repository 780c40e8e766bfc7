"""Who did what: ids to numbers and back, and one sparse matrix."""

from recsys_vae.interactions.id_map import IdArray, IdMap
from recsys_vae.interactions.interactions import Interactions
from recsys_vae.interactions.store import load_interactions, save_interactions

__all__ = ["IdArray", "IdMap", "Interactions", "load_interactions", "save_interactions"]
