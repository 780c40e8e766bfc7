"""Batches of sparse rows, and a first layer that never makes them dense.

Legend: B users in the batch, I items, H hidden width, N stored entries of the batch.
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class SparseBatch:
    """The rows of some users in compressed form, on one device.

    Args:
        offsets: (B+1,) int64; user b's entries are offsets[b]..offsets[b+1].
        items: (N,) int64 item numbers.
        values: (N,) float32 weights.
        n_items: I.

    >>> offsets, items = torch.tensor([0, 2, 2]), torch.tensor([0, 3])
    >>> batch = SparseBatch(offsets, items, torch.tensor([3.0, 4.0]), 5)
    >>> batch.l2_normalised().values
    tensor([0.6000, 0.8000])
    """

    offsets: Tensor
    items: Tensor
    values: Tensor
    n_items: int

    @property
    def n_users(self) -> int:
        """B."""
        return self.offsets.shape[0] - 1

    @property
    def rows(self) -> Tensor:
        """The row (0..B-1) of every stored entry, (N,)."""
        lengths = self.offsets.diff()
        rows = torch.arange(self.n_users, device=self.offsets.device)
        return rows.repeat_interleave(lengths, output_size=self.items.shape[0])

    def row_sums(self) -> Tensor:
        """Sum the values of each user, (B,)."""
        return self.values.new_zeros(self.n_users).index_add_(0, self.rows, self.values)

    def with_values(self, values: Tensor) -> Self:
        """Give the same entries other values."""
        return type(self)(self.offsets, self.items, values, self.n_items)

    def l2_normalised(self) -> Self:
        """Divide each row by its Euclidean norm; a user without history stays zero."""
        squares = self.values.new_zeros(self.n_users)
        squares = squares.index_add_(0, self.rows, self.values.square())
        scale = squares.clamp_min(torch.finfo(squares.dtype).tiny).rsqrt()
        return self.with_values(self.values * scale[self.rows])

    def dropout(self, probability: float, uniform: Tensor) -> Self:
        """Drop stored entries, scaling the others by 1 / (1 - probability).

        Args:
            probability: of dropping an entry, within [0, 1).
            uniform: (N,) numbers in [0, 1), one per stored entry.
        """
        kept = (uniform >= probability).to(self.values.dtype)
        return self.with_values(self.values * kept / (1.0 - probability))


class SparseLinear(nn.Module):
    """A linear layer y = x W + b whose input is a `SparseBatch`.

    Args:
        n_items: I, the width of the input.
        width: H, the width of the output.
    """

    def __init__(self, n_items: int, width: int) -> None:
        """Make the weights; the caller initialises them."""
        super().__init__()
        self.weight_IH = nn.Parameter(torch.empty(n_items, width))
        self.bias_H = nn.Parameter(torch.zeros(width))

    def forward(self, batch: SparseBatch) -> Tensor:
        """Give y_BH; a user without history gets the bias."""
        product_BH = nn.functional.embedding_bag(
            batch.items,
            self.weight_IH,
            batch.offsets,
            mode="sum",
            per_sample_weights=batch.values,
            include_last_offset=True,
        )
        return product_BH + self.bias_H
