"""Synthetic interactions with the sizes and the long tail of public data sets.

Shape suffixes: B users in the batch, U users, I items, N stored entries.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from recsys_vae.nn.sparse_linear import SparseBatch


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """Sizes of a data set and of the model trained on it."""

    users: int
    items: int
    mean_history: float
    hidden: int = 600
    latent: int = 200


SHAPES = {
    "ml-1m": Shape(users=6_040, items=3_706, mean_history=95),
    "ml-20m": Shape(users=116_677, items=20_108, mean_history=73),
    "gowalla": Shape(users=29_858, items=40_981, mean_history=27),
    "million-items": Shape(users=200_000, items=1_000_000, mean_history=50, hidden=256, latent=64),
}


@dataclass(frozen=True, slots=True)
class Rows:
    """All interactions as compressed sparse rows, each row sorted, each value 1."""

    offsets: Tensor
    items: Tensor
    n_items: int

    def take(self, users_B: Tensor) -> SparseBatch:
        """The given users as a batch, without a loop."""
        begin_B = self.offsets[users_B]
        count_B = self.offsets[users_B + 1] - begin_B
        offsets = torch.nn.functional.pad(count_B.cumsum(0), (1, 0))
        total = int(offsets[-1])
        shift_N = torch.repeat_interleave(begin_B - offsets[:-1], count_B, output_size=total)
        places_N = shift_N + torch.arange(total, device=users_B.device)
        items_N = self.items[places_N].to(torch.int64)
        return SparseBatch(offsets, items_N, torch.ones_like(items_N, dtype=torch.float32),
                           self.n_items)  # fmt: skip


def synthetic_rows(shape: Shape, seed: int = 0) -> Rows:
    """Draw a data set: log-normal history lengths, Zipf-like popularity, no repeats.

    Args:
        shape: The sizes; the mean history is met within a few per cent.
        seed: Seed of the draw.
    """
    generator = np.random.default_rng(seed)
    spread = 1.0
    lengths = generator.lognormal(np.log(shape.mean_history) - spread**2 / 2, spread, shape.users)
    lengths = np.clip(np.rint(lengths), 5, shape.items // 4).astype(np.int64)
    popularity = 1.0 / (np.arange(shape.items) + 20.0) ** 0.9
    cumulative = np.cumsum(popularity / popularity.sum())
    # The most popular item gets a random number, as in a real catalogue.
    names = generator.permutation(shape.items)

    def draw(counts: np.ndarray) -> np.ndarray:
        users_N = np.repeat(np.arange(shape.users), counts)
        ranks_N = np.searchsorted(cumulative, generator.random(users_N.size))
        return users_N * shape.items + names[np.minimum(ranks_N, shape.items - 1)]

    codes = _distinct(draw(lengths))
    for _ in range(4):  # make up for items drawn twice by the same user
        missing = lengths - np.bincount(codes // shape.items, minlength=shape.users)
        codes = _distinct(np.concatenate([codes, draw(np.maximum(missing, 0))]))
    counts = np.bincount(codes // shape.items, minlength=shape.users)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    items = (codes % shape.items).astype(np.int32)
    return Rows(torch.from_numpy(offsets), torch.from_numpy(items), shape.items)


def _distinct(codes: np.ndarray) -> np.ndarray:
    """The codes in order, each once."""
    ordered: np.ndarray = np.sort(codes)
    fresh = np.concatenate([[True], ordered[1:] != ordered[:-1]])
    return np.compress(fresh, ordered)
