"""Interactions at random, for oracles."""

import numpy as np
from scipy.sparse import csr_array

from recsys_vae.interactions import IdMap, Interactions


def made_up(n_users: int, n_items: int, density: float, seed: int) -> Interactions:
    """Let every user take every item with the same probability."""
    taken = np.random.default_rng(seed).random((n_users, n_items)) < density
    users, items = IdMap.of(np.arange(n_users)), IdMap.of(np.arange(n_items))
    return Interactions(users, items, csr_array(taken.astype(np.float32)))
