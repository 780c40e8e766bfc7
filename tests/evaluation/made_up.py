"""Made-up lists, histories and held-out items for tests of measures."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from recsys_vae.evaluation.catalogue import Catalogue
from recsys_vae.interactions import IdMap, Interactions
from recsys_vae.ranking import TopN, rank
from recsys_vae.splitting import FoldIn


def interactions(dense: npt.NDArray[np.bool_]) -> Interactions:
    users, items = IdMap.of(range(dense.shape[0])), IdMap.of(range(dense.shape[1]))
    return Interactions(users, items, csr_array(dense.astype(np.float32)))


@dataclass(frozen=True, slots=True)
class Case:
    """Users with histories and held-out items, and lists of what was not in the histories."""

    train: Interactions
    fold: FoldIn
    lists: TopN
    catalogue: Catalogue


def case(users: int = 60, items: int = 150, longest: int = 100, seed: int = 0) -> Case:
    rng = np.random.default_rng(seed)
    liking = rng.random(items) ** 3
    taken = rng.random((users, items)) < 0.05 + 0.5 * liking
    held = taken & (rng.random(taken.shape) < 0.3)
    given = taken & ~held
    given[:, 0] |= ~given.any(axis=1)
    held &= ~given
    held[3] = False  # nothing to find
    train = interactions(rng.random((400, items)) < liking)
    fold = FoldIn(interactions(given), interactions(held))
    scores = rng.random((users, items)).astype(np.float32) + liking.astype(np.float32)
    lists = rank(scores, fold.given.matrix, longest)
    return Case(train, fold, lists, Catalogue.of(train))
