"""Batches sliced from CSR, in an order that follows from seed and epoch alone."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import csr_array
from torch import Tensor

from recsys_vae.nn.sparse_linear import SparseBatch
from recsys_vae.training.distributed import World


@dataclass(frozen=True, slots=True)
class Batch:
    """Some users' histories, and which rows of the training matrix they are.

    Attributes:
        history: the rows of this process's share.
        users: (B,) int64 row numbers.
        n_global: users of the whole batch, over all processes.
    """

    history: SparseBatch
    users: Tensor
    n_global: int


def sparse_batch(rows: csr_array, device: torch.device) -> SparseBatch:
    """Put CSR rows on a device as a `SparseBatch`."""
    return SparseBatch(
        torch.from_numpy(rows.indptr.astype(np.int64)).to(device),
        torch.from_numpy(rows.indices.astype(np.int64)).to(device),
        torch.from_numpy(np.asarray(rows.data, dtype=np.float32)).to(device),
        int(rows.shape[1]),
    )


class BatchPlan:
    """All users in random order, cut into batches.

    The interactions live on the device, in compressed rows; a batch is gathered from them there,
    without a loop over users and without leaving the device.

    Args:
        matrix: (users, items) float32.
        batch_size: users a batch over all processes; the last of an epoch may be smaller.
        seed: the order follows from seed and pass.
        device: where batches are made.
        world: every process makes the same batches and takes its share of each.
    """

    def __init__(
        self,
        matrix: csr_array,
        batch_size: int,
        seed: int,
        device: torch.device,
        world: World | None = None,
    ) -> None:
        """Move the matrix to the device."""
        self.n_users, self.n_items = (int(size) for size in matrix.shape)
        self.batch_size = batch_size
        self.seed = seed
        self.world = world or World()
        self.device = device
        self._offsets = np.asarray(matrix.indptr, dtype=np.int64)
        # int32 halves what stays resident; a batch is widened when it is gathered.
        self._items = torch.from_numpy(np.asarray(matrix.indices, dtype=np.int32)).to(device)
        # Implicit feedback is all ones: nothing to keep, nothing to gather.
        self._values: Tensor | None = None
        if not (matrix.data == 1).all():
            self._values = torch.from_numpy(np.asarray(matrix.data, dtype=np.float32)).to(device)

    @property
    def steps_per_pass(self) -> int:
        """Batches in one pass over all users."""
        return -(-self.n_users // self.batch_size)

    def take(self, users: npt.NDArray[np.int64], n_global: int | None = None) -> Batch:
        """Gather the rows of some users."""
        starts, ends = self._offsets[users], self._offsets[users + 1]
        offsets = np.concatenate([[0], np.cumsum(ends - starts)])
        places = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], ends - starts)
        places_N = torch.from_numpy(places).to(self.device)
        history = SparseBatch(
            torch.from_numpy(offsets).to(self.device),
            self._items.index_select(0, places_N).long(),
            self._values_at(places_N),
            self.n_items,
        )
        rows = torch.from_numpy(users).to(self.device)
        return Batch(history, rows, len(users) if n_global is None else n_global)

    def _values_at(self, places_N: Tensor) -> Tensor:
        if self._values is None:
            return torch.ones(len(places_N), dtype=torch.float32, device=places_N.device)
        return self._values.index_select(0, places_N)

    def one_pass(self, number: int) -> Iterator[Batch]:
        """Give the batches of one pass over all users; the next is made while one is used.

        Args:
            number: of the pass; each has its own order.
        """
        order = np.random.default_rng([self.seed, number]).permutation(self.n_users)

        def made(start: int) -> Batch:
            users = order[start : start + self.batch_size]
            return self.take(users[self.world.share(len(users))], len(users))

        starts = range(0, self.n_users, self.batch_size)
        with ThreadPoolExecutor(1, thread_name_prefix="batches") as ahead:
            coming = ahead.submit(made, 0)
            for start in starts[1:]:
                ready = coming.result()
                coming = ahead.submit(made, start)
                yield ready
            yield coming.result()
