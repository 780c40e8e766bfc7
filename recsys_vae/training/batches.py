"""Batches sliced from CSR, in an order that follows from seed and epoch alone."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from recsys_vae.nn.sparse_linear import SparseBatch


@dataclass(frozen=True, slots=True)
class Batch:
    """Some users' histories, and which rows of the training matrix they are.

    Args:
        history: the rows.
        users: (B,) int64 row numbers.
    """

    history: SparseBatch
    users: Tensor


def sparse_batch(rows: csr_array, device: torch.device) -> SparseBatch:
    """Put CSR rows on a device as a `SparseBatch`."""
    return SparseBatch(
        torch.from_numpy(rows.indptr.astype(np.int64)).to(device),
        torch.from_numpy(rows.indices.astype(np.int64)).to(device),
        torch.from_numpy(rows.data).to(device),
        int(rows.shape[1]),
    )


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """All users in random order, cut into batches.

    Args:
        matrix: (users, items) float32.
        batch_size: users a batch; the last batch of an epoch may be smaller.
        seed: the order follows from seed and epoch.
        device: where batches are put.
    """

    matrix: csr_array
    batch_size: int
    seed: int
    device: torch.device

    @property
    def steps_per_epoch(self) -> int:
        """Batches in one pass."""
        return -(-int(self.matrix.shape[0]) // self.batch_size)

    def epoch(self, number: int) -> Iterator[Batch]:
        """Give the batches of one pass.

        Args:
            number: of the pass; each has its own order.
        """
        order = np.random.default_rng([self.seed, number]).permutation(self.matrix.shape[0])
        for start in range(0, len(order), self.batch_size):
            users = order[start : start + self.batch_size]
            history = sparse_batch(self.matrix[users], self.device)
            yield Batch(history, torch.from_numpy(users).to(self.device))
