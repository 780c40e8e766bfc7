"""How the (B, I) logits of a batch are cut so that they fit a buffer.

Shape suffixes: B users in the batch, I items, C items of one chunk, N stored entries.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from recsys_vae.nn.precision import Precision, product_dtype
from recsys_vae.nn.sparse_linear import SparseBatch

_MEGABYTE = 2**20
# Scratch of a slab: about the second-level caches of a CPU; large launches on a GPU.
_CPU_SLAB_BYTES = 8 * _MEGABYTE
_GPU_SLAB_BYTES = 256 * _MEGABYTE


class Plan(NamedTuple):
    """How the (B, I) logits are cut: chunks of items, then slabs of users for the softmax."""

    chunk_items: int
    slab_users: int


def plan_chunks(users: int, items: int, dtype: torch.dtype, limit: float, slab_bytes: int) -> Plan:
    """The fewest chunks that keep a chunk of logits and one slab of scratch within the limit.

    Args:
        users: B.
        items: I.
        dtype: Type of the logits.
        limit: Bytes for logits and scratch together.
        slab_bytes: Bytes of scratch that suit the device; at most a quarter of ``limit`` is taken.

    Raises:
        ValueError: If the limit cannot hold one logit of each user.

    Example:
        >>> plan_chunks(500, 20_108, torch.bfloat16, 2**28, 2**23)
        Plan(chunk_items=20108, slab_users=104)
    """
    wide_size = torch.promote_types(dtype, torch.float32).itemsize
    slab_bytes = int(min(slab_bytes, limit / 4))
    chunk_items = min(
        items,
        int((limit - slab_bytes) // (dtype.itemsize * max(users, 1))),
        slab_bytes // wide_size,
    )
    if chunk_items < min(items, 1):
        raise ValueError(f"max_buffer_mb is too small for one logit of each of {users} users")
    return Plan(chunk_items, max(1, slab_bytes // (wide_size * max(chunk_items, 1))))


def plan_decoder(
    hidden_BH: Tensor,
    weight_IH: Tensor,
    bias_I: Tensor,
    target: SparseBatch,
    precision: Precision,
    limit_mb: float,
) -> tuple[torch.dtype, Plan]:
    """Check that a linear decoder fits its target; say in which type and pieces to multiply.

    Args:
        hidden_BH: (B, H) last hidden layer.
        weight_IH: (I, H) decoder weight.
        bias_I: (I,) decoder bias.
        target: Histories of the same users over the same items.
        precision: Of the product.
        limit_mb: MiB for logits and one slab of scratch together.

    Raises:
        ValueError: If the shapes do not fit, or the limit cannot hold one item's logits.
    """
    n_users, n_items = target.n_users, target.n_items
    if hidden_BH.shape[0] != n_users:
        raise ValueError(f"{hidden_BH.shape[0]} hidden rows for {n_users} users")
    if weight_IH.shape != (n_items, hidden_BH.shape[1]) or bias_I.shape != (n_items,):
        raise ValueError(
            f"hidden {tuple(hidden_BH.shape)}, weight {tuple(weight_IH.shape)} and bias "
            f"{tuple(bias_I.shape)} do not fit a target over {n_items} items"
        )
    dtype = product_dtype(precision, weight_IH.dtype, weight_IH.device)
    slab_bytes = _GPU_SLAB_BYTES if hidden_BH.is_cuda else _CPU_SLAB_BYTES
    return dtype, plan_chunks(n_users, n_items, dtype, limit_mb * _MEGABYTE, slab_bytes)


class Chunk(NamedTuple):
    """A range of items with the target entries that lie in it."""

    items: slice
    entries: slice
    users_N: Tensor
    columns_N: Tensor
    values_N: Tensor

    @property
    def flat_N(self) -> Tensor:  # noqa: N802 # shape suffix
        """Places of the entries in the chunk's logits, laid out row by row."""
        width: int = self.items.stop - self.items.start
        return self.users_N * width + self.columns_N


class ChunkedTarget:
    """The target's entries, in item order if the catalogue is cut."""

    def __init__(self, batch: SparseBatch, chunk_items: int, dtype: torch.dtype) -> None:
        """Sort the entries by item if there is more than one chunk."""
        users_N, items_N, values_N = batch.user_numbers(), batch.items, batch.values.to(dtype)
        self.starts = list(range(0, batch.n_items, max(chunk_items, 1)))
        self.ends = [*self.starts[1:], batch.n_items]
        self.bounds = [0, items_N.numel()]
        self.order_N: Tensor | None = None
        if len(self.starts) > 1:
            items_N, self.order_N = torch.sort(items_N, stable=True)
            users_N, values_N = users_N[self.order_N], values_N[self.order_N]
            edges = torch.tensor([0, *self.ends], device=items_N.device)
            self.bounds = torch.searchsorted(items_N, edges).tolist()
        self.entries = users_N, items_N, values_N

    def chunks(self) -> Iterator[Chunk]:
        """Every range of items once, in order."""
        users_N, items_N, values_N = self.entries
        for number, (start, end) in enumerate(zip(self.starts, self.ends, strict=True)):
            of = slice(self.bounds[number], self.bounds[number + 1])
            columns_N = items_N[of] - start
            yield Chunk(slice(start, end), of, users_N[of], columns_N, values_N[of])

    def unsorted(self, chosen_N: Tensor) -> Tensor:
        """Numbers of the entries, back in the order of the batch."""
        if self.order_N is None:
            return chosen_N
        return torch.empty_like(chosen_N).index_copy_(0, self.order_N, chosen_N)


def slabs(logits_BC: Tensor, bias_C: Tensor, users: int) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Slabs of users: their rows, their logits, and the same with bias in the wide type.

    The second is the first's own memory where the types agree, else one scratch for all slabs.
    """
    in_place = logits_BC.dtype == bias_C.dtype
    scratch = bias_C.new_empty(0 if in_place else min(users, len(logits_BC)), bias_C.numel())
    for start in range(0, len(logits_BC), users):
        rows = slice(start, min(start + users, len(logits_BC)))
        raw = logits_BC[rows]
        slab = raw if in_place else scratch[: len(raw)].copy_(raw)
        yield rows, raw, slab.add_(bias_C)
