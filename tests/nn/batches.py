"""Random batches, and a guard against large tensors, for the tests of this folder."""

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from recsys_vae.nn.sparse_linear import SparseBatch


def random_batch(
    users: int, items: int, *, longest: int = 12, seed: int = 0, dtype: torch.dtype = torch.float32
) -> SparseBatch:
    """Histories of 0 to ``longest`` items; the second user has none."""
    generator = torch.Generator().manual_seed(seed)
    counts = torch.randint(0, min(longest, items) + 1, (users,), generator=generator)
    counts[1:2] = 0
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
    rows = [torch.randperm(items, generator=generator)[:count].sort().values for count in counts]
    chosen = torch.cat([torch.zeros(0, dtype=torch.int64), *rows])
    values = torch.rand(len(chosen), generator=generator, dtype=dtype) + 0.5
    return SparseBatch(offsets, chosen, values, items)


def dense(batch: SparseBatch) -> Tensor:
    """The batch as a (B, I) matrix in float64."""
    matrix_BI = torch.zeros(batch.n_users, batch.n_items, dtype=torch.float64)
    matrix_BI[batch.user_numbers(), batch.items] = batch.values.double()
    return matrix_BI


class SizeGuard(TorchDispatchMode):
    """Fails when an operation makes a dense tensor of more bytes than allowed."""

    def __init__(self, limit: int) -> None:
        """Remember the limit in bytes; ``largest`` keeps the largest storage seen."""
        super().__init__()  # type: ignore[no-untyped-call] # torch has no annotation
        self.limit, self.largest = limit, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation and look at what it made."""
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(tensor, Tensor) and tensor.layout == torch.strided:
                size = tensor.untyped_storage().nbytes()
                self.largest = max(self.largest, size)
                assert size <= self.limit, f"{func} made a tensor of {size} bytes"
        return result
