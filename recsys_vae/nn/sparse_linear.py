"""The first layer of an autoencoder over items, on sparse rows.

Shape suffixes: B users in the batch, I items, H hidden units, N stored entries,
R rows of the weight that the batch touches.
"""

from dataclasses import dataclass, replace
from typing import Any, Self, cast

import torch
import torch.nn.functional as F  # noqa: N812 # the customary name
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class SparseBatch:
    """A batch of users as compressed sparse rows.

    User ``b`` has the entries ``offsets[b] .. offsets[b + 1] - 1`` of ``items`` and ``values``;
    an item occurs at most once per user. Slices of a canonical CSR matrix have this form.

    Attributes:
        offsets: (B + 1,) int64, first 0, last N, never decreasing.
        items: (N,) int64, item numbers in ``0 .. n_items - 1``.
        values: (N,) floating, the weight of each entry.
        n_items: Width I of the catalogue.

    Example:
        >>> batch = SparseBatch(
        ...     torch.tensor([0, 2, 2]), torch.tensor([0, 3]), torch.tensor([3.0, 4.0]), n_items=5
        ... )
        >>> batch.n_users, batch.l2_normalised().values.tolist()
        (2, [0.6000000238418579, 0.800000011920929])
    """

    offsets: Tensor
    items: Tensor
    values: Tensor
    n_items: int

    def __post_init__(self) -> None:
        """Check shapes, which costs nothing; the contents are trusted.

        Raises:
            ValueError: If the three tensors cannot belong to one batch.
        """
        if self.offsets.ndim != 1 or self.offsets.numel() < 1:
            raise ValueError(f"offsets must be (B + 1,), got {tuple(self.offsets.shape)}")
        if self.items.ndim != 1 or self.items.shape != self.values.shape:
            raise ValueError(
                "items and values must be (N,) alike, "
                f"got {tuple(self.items.shape)} and {tuple(self.values.shape)}"
            )

    @property
    def n_users(self) -> int:
        """Number of users B, those without history included."""
        return self.offsets.numel() - 1

    def user_numbers(self) -> Tensor:
        """Row of every stored entry, (N,) int64."""
        rows_B = torch.arange(self.n_users, device=self.offsets.device)
        return torch.repeat_interleave(rows_B, self.offsets.diff(), output_size=self.items.numel())

    def row_sums(self) -> Tensor:
        """Sum of the values of each user, (B,); 0 without history."""
        return _sum_rows(self.values, self.offsets)

    def l2_normalised(self) -> Self:
        """Every row divided by its Euclidean length: ``x_u / ||x_u||``.

        A user without history, or with zeros only, stays zero. This is the input scaling of
        Mult-VAE (Liang et al., 2018, arXiv 1802.05814, section 4.3 and the authors' code).
        """
        tiny = torch.finfo(self.values.dtype).tiny
        length_B = _sum_rows(self.values.square(), self.offsets).sqrt_().clamp_min_(tiny)
        return replace(self, values=self.values / length_B[self.user_numbers()])

    def dropout(self, probability: float, uniform_N: Tensor) -> Self:
        """Forget each stored entry with the given probability; scale the rest.

        ``x_ui <- x_ui m_ui / (1 - p)`` with ``m_ui ~ Bernoulli(1 - p)``. Entries that are not
        stored are zero before and after, so the law is that of dropout on the dense row; what is
        forgotten is no longer stored, so the layers behind have less to do.

        Args:
            probability: Share p to forget, in [0, 1).
            uniform_N: (N,) numbers in [0, 1), one per stored entry; those below p are forgotten.

        Raises:
            ValueError: If ``probability`` is outside [0, 1).
        """
        if not 0.0 <= probability < 1.0:
            raise ValueError(f"dropout probability must be in [0, 1), got {probability}")
        if probability == 0.0:
            return self
        kept_N = uniform_N >= probability
        kept_before = F.pad(kept_N.cumsum(0), (1, 0))
        places = kept_N.nonzero().view(-1)
        return replace(
            self,
            offsets=kept_before[self.offsets],
            items=self.items.index_select(0, places),
            values=self.values.index_select(0, places).div_(1.0 - probability),
        )

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Self:
        """The same batch on another device."""
        return replace(
            self,
            offsets=self.offsets.to(device, non_blocking=non_blocking),
            items=self.items.to(device, non_blocking=non_blocking),
            values=self.values.to(device, non_blocking=non_blocking),
        )


class SparseLinear(nn.Module):
    r"""A linear map from items to hidden units that never sees a dense row.

    .. math:: y_u = b + \sum_{i \in x_u} x_{ui} W_i

    The forward pass is one gather-and-sum over the stored entries. The backward pass orders the
    entries by item and gathers again, so each row of the gradient is written once, by one thread,
    in a fixed order: the same bits for the same batch. Cost: N H multiply-adds each way, against
    B I H for a dense layer. The values are data and receive no gradient.

    Args:
        n_items: Number of input columns I.
        n_hidden: Number of output columns H.
        sparse_gradient: Give the weight a sparse COO gradient with the touched rows only. Needs
            an optimiser that accepts one (``recsys_vae.nn.row_adam.RowAdam``). Worth it once a
            dense pass over the weight costs more than the rest of the step.

    Example:
        >>> layer = SparseLinear(5, 2)
        >>> _ = nn.init.ones_(layer.weight_IH)
        >>> batch = SparseBatch(
        ...     torch.tensor([0, 2, 2]), torch.tensor([0, 3]), torch.tensor([1.0, 2.0]), n_items=5
        ... )
        >>> layer(batch).tolist()
        [[3.0, 3.0], [0.0, 0.0]]
    """

    def __init__(self, n_items: int, n_hidden: int, *, sparse_gradient: bool = False) -> None:
        """Make the layer with Glorot-uniform weights and a zero bias."""
        super().__init__()
        self.sparse_gradient = sparse_gradient
        self.weight_IH = nn.Parameter(torch.empty(n_items, n_hidden))
        self.bias_H = nn.Parameter(torch.zeros(n_hidden))
        nn.init.xavier_uniform_(self.weight_IH)

    def forward(self, batch: SparseBatch) -> Tensor:
        """Hidden pre-activations of a batch.

        Args:
            batch: B users over I items.

        Returns:
            (B, H), in the type of the weight.

        Raises:
            ValueError: If the batch has another number of items than the layer.
        """
        if batch.n_items != self.weight_IH.shape[0]:
            raise ValueError(
                f"the layer knows {self.weight_IH.shape[0]} items, the batch has {batch.n_items}"
            )
        product_BH = cast(
            "Tensor",
            _SparseProduct.apply(  # type: ignore[no-untyped-call] # torch has no annotation
                self.weight_IH, batch.offsets, batch.items, batch.values, self.sparse_gradient
            ),
        )
        return product_BH + self.bias_H


class _SparseProduct(torch.autograd.Function):
    """``X @ W`` for X in compressed rows, with a gradient for W."""

    @staticmethod
    def forward(
        ctx: Any,
        weight_IH: Tensor,
        offsets: Tensor,
        items_N: Tensor,
        values_N: Tensor,
        sparse_gradient: bool,
    ) -> Tensor:
        values_N = values_N.to(weight_IH.dtype)
        ctx.save_for_backward(offsets, items_N, values_N)
        ctx.n_items = weight_IH.shape[0]
        ctx.sparse_gradient = sparse_gradient
        return _sum_weighted_rows(weight_IH, items_N, values_N, offsets)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_BH: Tensor) -> tuple[Tensor | None, ...]:
        offsets, items_N, values_N = ctx.saved_tensors
        counts_B = offsets.diff()
        rows_B = torch.arange(counts_B.numel(), device=offsets.device)
        users_N = torch.repeat_interleave(rows_B, counts_B, output_size=items_N.numel())
        sorted_N, order_N = torch.sort(items_N, stable=True)
        users_N, values_N = users_N[order_N], values_N[order_N]
        grad_BH = grad_BH.contiguous()
        if not ctx.sparse_gradient:
            bounds = torch.arange(ctx.n_items + 1, device=items_N.device)
            ends = torch.searchsorted(sorted_N, bounds)
            return _sum_weighted_rows(grad_BH, users_N, values_N, ends), None, None, None, None
        touched_R, counts_R = torch.unique_consecutive(sorted_N, return_counts=True)
        ends = F.pad(counts_R.cumsum(0), (1, 0))
        rows_RH = _sum_weighted_rows(grad_BH, users_N, values_N, ends)
        return row_sparse(touched_R, rows_RH, ctx.n_items), None, None, None, None


def row_sparse(rows_R: Tensor, values_RH: Tensor, n_rows: int) -> Tensor:
    """A coalesced sparse tensor with a few whole rows.

    Args:
        rows_R: (R,) int64 row numbers, ascending, each once.
        values_RH: (R, ...) the rows.
        n_rows: Number of rows of the result.

    Returns:
        Sparse COO tensor (n_rows, ...).

    Example:
        >>> row_sparse(torch.tensor([1]), torch.tensor([[2.0, 3.0]]), 3).to_dense().tolist()
        [[0.0, 0.0], [2.0, 3.0], [0.0, 0.0]]
    """
    return torch.sparse_coo_tensor(
        rows_R[None], values_RH, (n_rows, *values_RH.shape[1:]), is_coalesced=True,
        check_invariants=False,
    )  # fmt: skip


def _sum_weighted_rows(table: Tensor, rows_N: Tensor, weights_N: Tensor, ends: Tensor) -> Tensor:
    """Sum ``weights_N * table[rows_N]`` over each range of ``ends``."""
    if rows_N.numel() == 0:
        return table.new_zeros(ends.numel() - 1, table.shape[1])
    return F.embedding_bag(
        rows_N, table, ends, mode="sum", per_sample_weights=weights_N, include_last_offset=True
    )


def _sum_rows(values_N: Tensor, offsets: Tensor) -> Tensor:
    """Sum (N,) values over each range of ``offsets``, one after the other in each range."""
    if values_N.numel() == 0:
        return values_N.new_zeros(offsets.numel() - 1)
    return torch.segment_reduce(values_N, "sum", offsets=offsets, unsafe=True)
