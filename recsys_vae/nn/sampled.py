r"""The multinomial likelihood for catalogues too large to be summed over.

Shape suffixes: B users in the batch, I items, C candidate items, S draws, H hidden units,
N stored entries of the target, R rows.
"""

from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor

from recsys_vae.nn.likelihoods import multinomial_nll
from recsys_vae.nn.precision import Precision
from recsys_vae.nn.sparse_linear import SparseBatch, row_sparse


@dataclass(frozen=True, slots=True)
class Negatives:
    """Items drawn with replacement, shared by the users of a batch.

    Attributes:
        items_S: (S,) int64 the draws, repeats included.
        probability_S: (S,) float32 the chance q of each drawn item in one draw, above 0.
    """

    items_S: Tensor
    probability_S: Tensor


class NegativeSampler:
    r"""Draws items from a mixture of powered popularity and the uniform law.

    .. math:: q_i = (1 - u) \frac{c_i^a}{\sum_j c_j^a} + \frac{u}{I}

    Popular items carry most of the softmax's mass, so they are drawn more often; the uniform part
    keeps every weight ``1 / q_i`` below ``I / u``, and with it the variance. The power is that of
    word2vec (Mikolov et al., 2013, arXiv 1310.4546, section 2.2). A draw is a search in a
    cumulative sum made once: S log I, no pass over the catalogue.

    Args:
        counts_I: (I,) interactions of each item, none negative.
        power: Exponent a in [0, 1].
        uniform_share: Weight u in (0, 1].

    Raises:
        ValueError: If an argument is outside its range.

    Example:
        >>> sampler = NegativeSampler(torch.tensor([8.0, 0.0]), power=1.0, uniform_share=0.5)
        >>> sampler.probability_I
        tensor([0.7500, 0.2500])
    """

    def __init__(
        self, counts_I: Tensor, *, power: float = 0.75, uniform_share: float = 0.2
    ) -> None:
        """Make the cumulative sum, in float64."""
        if not 0.0 <= power <= 1.0 or not 0.0 < uniform_share <= 1.0:
            raise ValueError(f"power {power} or uniform_share {uniform_share} out of range")
        if counts_I.ndim != 1 or counts_I.numel() == 0 or bool((counts_I < 0).any()):
            raise ValueError("counts must be a vector of numbers >= 0, at least one")
        powered_I = counts_I.double().pow(power) * (counts_I > 0)
        powered_I /= powered_I.sum().clamp_min(torch.finfo(torch.float64).tiny)
        share_I = (1.0 - uniform_share) * powered_I + uniform_share / counts_I.numel()
        share_I /= share_I.sum()
        self.probability_I = share_I.float()
        self._cumulative_I = share_I.cumsum(0)

    def draw(self, number: int, generator: torch.Generator | None = None) -> Negatives:
        """Draw with replacement.

        Args:
            number: Draws S.
            generator: Source of the draws, on the device of the counts.
        """
        device = self._cumulative_I.device
        point_S = torch.rand(number, dtype=torch.float64, generator=generator, device=device)
        items_S = torch.searchsorted(self._cumulative_I, point_S, right=True)
        items_S.clamp_max_(self._cumulative_I.numel() - 1)
        return Negatives(items_S, self.probability_I[items_S])


def sampled_multinomial_nll(
    hidden_BH: Tensor,
    weight_IH: Tensor,
    bias_I: Tensor,
    target: SparseBatch,
    negatives: Negatives,
    *,
    precision: Precision = "auto",
    max_buffer_mb: float = 256.0,
) -> Tensor:
    r"""Multinomial negative log-likelihood with an estimated normaliser.

    The items P of all histories in the batch are summed exactly; the rest of the catalogue is
    estimated from S draws, those that fell into P left out:

    .. math::
        \hat Z_u = \sum_{i \in P} e^{l_{ui}}
            + \frac{1}{S} \sum_{s : i_s \notin P} \frac{e^{l_{u i_s}}}{q_{i_s}}, \qquad
        \ell_u = n_u \log \hat Z_u - \sum_i x_{ui} l_{ui}

    For a given batch :math:`E[\hat Z_u] = Z_u` exactly, for every proposal q > 0. The logarithm
    makes the loss too small by about ``Var(Z^) / (2 Z^2)``, which falls as 1/S. The correction by
    log q is that of Jean et al., 2015, arXiv 1412.2007, section 3; taking the other users'
    items as certain candidates removes it where the mass is.

    Weight and bias receive row-sparse gradients: C rows of each, C at most N + S, whatever I is.

    Args:
        hidden_BH: (B, H) last hidden layer.
        weight_IH: (I, H) decoder weight.
        bias_I: (I,) decoder bias.
        target: Histories x of the same users.
        negatives: The draws.
        precision: As in :func:`recsys_vae.nn.likelihoods.multinomial_nll`.
        max_buffer_mb: As there, in MiB, on what is held per user and candidate.

    Returns:
        (B,) nats per user; exactly 0 without history.

    Raises:
        ValueError: If the shapes do not fit.

    Example:
        >>> x = SparseBatch(torch.tensor([0, 1]), torch.tensor([2]), torch.tensor([1.0]), 4)
        >>> drawn = Negatives(torch.tensor([0, 2]), torch.tensor([0.25, 0.25]))
        >>> sampled_multinomial_nll(  # log(1 + 1 / (2 * 0.25)): the draw of item 2 is left out
        ...     torch.ones(1, 3), torch.zeros(4, 3), torch.zeros(4), x, drawn, precision="float32"
        ... )
        tensor([1.0986])
    """
    if weight_IH.shape[0] != target.n_items or bias_I.shape != (target.n_items,):
        raise ValueError(
            f"weight {tuple(weight_IH.shape)} and bias {tuple(bias_I.shape)} do not fit a target "
            f"over {target.n_items} items"
        )
    items_C, log_weight_C = _candidates(target.items, negatives)
    columns_N = torch.searchsorted(items_C, target.items)
    return multinomial_nll(
        hidden_BH,
        take_rows(weight_IH, items_C),
        take_rows(bias_I, items_C) + log_weight_C.to(bias_I.dtype),
        replace(target, items=columns_N, n_items=items_C.numel()),
        precision=precision,
        max_buffer_mb=max_buffer_mb,
    )


def take_rows(table: Tensor, rows_R: Tensor) -> Tensor:
    """Rows of a parameter, whose gradient is sparse in its turn.

    Args:
        table: (I, ...) parameter.
        rows_R: (R,) int64 row numbers, ascending, each once.

    Returns:
        (R, ...) copies of the rows.

    Example:
        >>> table = torch.ones(3, requires_grad=True)
        >>> take_rows(table, torch.tensor([1])).sum().backward()
        >>> table.grad.is_sparse, table.grad.to_dense().tolist()
        (True, [0.0, 1.0, 0.0])
    """
    return cast("Tensor", _TakeRows.apply(table, rows_R))  # type: ignore[no-untyped-call] # torch has no annotation


class _TakeRows(torch.autograd.Function):
    """``table[rows]`` with a coalesced sparse gradient."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, rows_R: Tensor) -> Tensor:
        ctx.save_for_backward(rows_R)
        ctx.n_rows = table.shape[0]
        return table.index_select(0, rows_R)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (rows_R,) = ctx.saved_tensors
        return row_sparse(rows_R, grad, ctx.n_rows), None


def _candidates(positive_N: Tensor, negatives: Negatives) -> tuple[Tensor, Tensor]:
    """Candidate items in ascending order, and the logarithm of each one's weight.

    Weight 1 for an item of the batch; (times drawn) / (S q) for any other.
    """
    positive = torch.unique(positive_N)
    drawn, place_S, times = torch.unique(negatives.items_S, return_inverse=True, return_counts=True)
    share = torch.empty_like(drawn, dtype=torch.float32)
    share[place_S] = negatives.probability_S  # the same value from every repeat
    weight = times / (share * max(1, negatives.items_S.numel()))
    outside = ~torch.isin(drawn, positive, assume_unique=True)
    items = torch.cat([positive, drawn[outside]])
    log_weight = torch.cat([torch.zeros_like(positive, dtype=torch.float32), weight[outside].log()])
    items_C, order_C = torch.sort(items)
    return items_C, log_weight[order_C]
