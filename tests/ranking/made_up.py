"""Pools, vectors, shares and histories at random, and methods to re-rank by.

Legend: B users, I items, P places of a pool, D width of vectors.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from recsys_vae.ranking import TopN
from recsys_vae.ranking.calibrate import Calibration, ItemShares
from recsys_vae.ranking.dpp import DPP
from recsys_vae.ranking.item_vectors import ItemVectors
from recsys_vae.ranking.mmr import MMR
from recsys_vae.ranking.rerank import Reranking, rerank

N_ITEMS, WIDTH = 30, 16
NEUTRAL: list[Reranking] = [MMR(1.0), DPP(math.inf), Calibration(0.0)]
SOME: list[Reranking] = [
    MMR(0.0), MMR(0.4), MMR(0.8), DPP(0.0), DPP(0.3), DPP(2.0),
    Calibration(0.3), Calibration(1.0),
]  # fmt: skip


def floats(rows: list[Any]) -> npt.NDArray[np.float32]:
    return np.array(rows, dtype=np.float32)


def numbers(rows: list[Any]) -> npt.NDArray[np.int32]:
    return np.array(rows, dtype=np.int32)


def made_up_pool(seed: int, *, n_users: int = 4, places: int = 9, tied: bool = False) -> TopN:
    """Pools of different lengths, one of them full; scores fall along each."""
    rng = np.random.default_rng(seed)
    items = np.stack([rng.permutation(N_ITEMS)[:places] for _ in range(n_users)]).astype(np.int32)
    drawn = rng.integers(3, size=items.shape) if tied else rng.normal(size=items.shape)
    scores = -np.sort(-drawn.astype(np.float32), axis=1)
    lengths = rng.integers(0, places + 1, size=n_users)
    lengths[0] = places
    ended = np.arange(places) >= lengths[:, None]
    items[ended], scores[ended] = -1, -np.inf
    return TopN(items, scores)


def made_up_rows(seed: int) -> npt.NDArray[np.float32]:
    """Vectors of more numbers than a list has places: any list spans a volume."""
    rng = np.random.default_rng([seed, 1])
    return rng.normal(size=(N_ITEMS, WIDTH)).astype(np.float32)


def made_up_shares(seed: int) -> ItemShares:
    rng = np.random.default_rng([seed, 2])
    return ItemShares.of(csr_array(rng.random((N_ITEMS, 4)) * (rng.random((N_ITEMS, 4)) < 0.5)))


def made_up_given(seed: int, n_users: int = 4) -> csr_array:
    """Weighted histories; the last user has none."""
    rng = np.random.default_rng([seed, 3])
    taken = rng.integers(1, 4, size=(n_users, N_ITEMS)) * (rng.random((n_users, N_ITEMS)) < 0.2)
    taken[-1] = 0
    return csr_array(taken.astype(np.float32))


def changed(pool: TopN, k: int, how: Reranking, seed: int) -> TopN:
    return rerank(
        pool,
        k,
        how,
        given=made_up_given(seed, len(pool.items_BK)),
        vectors=ItemVectors.of(made_up_rows(seed)),
        shares=made_up_shares(seed),
    )
