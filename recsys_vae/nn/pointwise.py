r"""Likelihoods that judge every item by itself: Bernoulli and Gaussian.

The loss of a user is a *sum over all items* of the catalogue, in nats, those that were not taken
included. It is no mean, and a user without history has a loss, too: everything was left alone.

Shape suffixes: B users in the batch, b users of one slab, I items, C items of one chunk, H hidden
units, N stored entries of the target.
"""

from dataclasses import dataclass, replace
from typing import Any, Protocol, cast

import torch
import torch.nn.functional as F  # noqa: N812 # the customary name
from torch import Tensor

from recsys_vae.nn.chunks import Chunk, ChunkedTarget, Plan, plan_decoder, slabs
from recsys_vae.nn.linear_gradients import LinearGradients
from recsys_vae.nn.precision import Precision
from recsys_vae.nn.sparse_linear import SparseBatch

# The plan knows of one slab of scratch, a quarter of what it is given at most; here a slab of
# losses lies beside it. Chunk and both slabs fit the whole if the plan is given four fifths.
_PLANNED_SHARE = 0.8
# From here on log(1 + e^l) is l to a double's last bit; e^l below it does not overflow a float32.
_SOFTPLUS_IS_LINEAR = 40.0


class Pointwise(Protocol):
    """The negative log-likelihood of one logit, apart for x = 0 and for what x adds to it."""

    def of_none(self, logits: Tensor) -> Tensor:
        """Give the loss of each logit where x = 0, in nats."""
        ...

    def slope_of_none_(self, logits: Tensor) -> Tensor:
        """Turn logits in place into the slope of `of_none`."""
        ...

    def added(self, logits_N: Tensor, values_N: Tensor) -> Tensor:
        """Give the loss where x is as given, less `of_none`."""
        ...

    def slope(self, logits_N: Tensor, values_N: Tensor) -> Tensor:
        """Give the slope of the loss where x is as given."""
        ...


@dataclass(frozen=True, slots=True)
class Bernoulli:
    r"""Taken or not, item by item: a logistic regression per item.

    .. math:: -x_{ui} \log \sigma(l_{ui}) - (1 - x_{ui}) \log(1 - \sigma(l_{ui}))
        = \log(1 + e^{l_{ui}}) - x_{ui} l_{ui}

    x is 1 where something is stored above 0: how often it was taken does not count.

    Source: Liang et al., 2018, arXiv 1802.05814, equation 4.

    >>> Bernoulli().of_none(torch.zeros(1))  # log 2
    tensor([0.6931])
    """

    def of_none(self, logits: Tensor) -> Tensor:
        """log(1 + e^l)."""
        return F.softplus(logits, threshold=_SOFTPLUS_IS_LINEAR)

    def slope_of_none_(self, logits: Tensor) -> Tensor:
        """The chance of the item."""
        return logits.sigmoid_()

    def added(self, logits_N: Tensor, values_N: Tensor) -> Tensor:
        """-l where it was taken."""
        return logits_N * -(values_N > 0).to(logits_N.dtype)

    def slope(self, logits_N: Tensor, values_N: Tensor) -> Tensor:
        """The chance of the item, less 1 where it was taken."""
        return logits_N.sigmoid() - (values_N > 0).to(logits_N.dtype)


@dataclass(frozen=True, slots=True)
class Gaussian:
    r"""Squared distance, weighted by confidence: c_1 where an item was taken, c_0 elsewhere.

    .. math:: \frac{c_{ui}}{2} (x_{ui} - l_{ui})^2,
        \qquad c_{ui} = c_1 \text{ if } x_{ui} > 0 \text{ else } c_0

    The constant of the normal density is left out.

    Source: Liang et al., 2018, arXiv 1802.05814, equation 3; the confidence is that of Hu et al.,
    Collaborative Filtering for Implicit Feedback Datasets, 2008.

    Attributes:
        taken: c_1, above 0.
        untaken: c_0, at least 0.

    >>> Gaussian(taken=1.0, untaken=0.5).of_none(torch.tensor([2.0]))  # 0.5 / 2 * 2^2
    tensor([1.])
    """

    taken: float
    untaken: float

    def of_none(self, logits: Tensor) -> Tensor:
        """c_0 / 2 l^2."""
        return logits.square().mul_(0.5 * self.untaken)

    def slope_of_none_(self, logits: Tensor) -> Tensor:
        """c_0 l."""
        return logits.mul_(self.untaken)

    def added(self, logits_N: Tensor, values_N: Tensor) -> Tensor:
        """C / 2 (x - l)^2, less c_0 / 2 l^2."""
        squares_N = self._confidence(values_N) * (values_N - logits_N).square()
        return 0.5 * (squares_N - self.untaken * logits_N.square())

    def slope(self, logits_N: Tensor, values_N: Tensor) -> Tensor:
        """C (l - x)."""
        return self._confidence(values_N) * (logits_N - values_N)

    def _confidence(self, values_N: Tensor) -> Tensor:
        ones_N = torch.ones_like(values_N)
        return torch.where(values_N > 0, self.taken * ones_N, self.untaken * ones_N)


def pointwise_nll(
    hidden_BH: Tensor,
    weight_IH: Tensor,
    bias_I: Tensor,
    target: SparseBatch,
    likelihood: Pointwise,
    *,
    precision: Precision = "auto",
    max_buffer_mb: float = 256.0,
) -> Tensor:
    r"""Negative log-likelihood of a linear decoder, item by item, without a dense target.

    .. math:: \ell_u = \sum_i \ell(l_{ui}, 0)
        + \sum_{i \in x_u} [\ell(l_{ui}, x_{ui}) - \ell(l_{ui}, 0)], \qquad l_u = W h_u + b

    The first sum runs over all items and knows no target, the second over the stored entries. As
    in :func:`recsys_vae.nn.likelihoods.multinomial_nll` one autograd function makes the logits
    once and turns them in place into their own gradient if one number per user and item fits
    ``max_buffer_mb``; otherwise it goes through the catalogue in chunks, and the backward pass
    makes each chunk's logits again. No two runs differ in a bit.

    Args:
        hidden_BH: (B, H) last hidden layer.
        weight_IH: (I, H) decoder weight, one row per item.
        bias_I: (I,) decoder bias.
        target: Histories x of the same users over the same items, weights not negative. They are
            data and receive no gradient.
        likelihood: Of one item.
        precision: See :func:`recsys_vae.nn.precision.product_dtype`.
        max_buffer_mb: Bound in MiB (2**20 bytes) on what is held per user *and* item. Copies and
            gradients of the arguments come on top.

    Returns:
        (B,) nats per user, summed over all items, at least float32.

    Raises:
        ValueError: If the shapes do not fit, or the buffer cannot hold one item's logits.

    Example:
        >>> x = SparseBatch(torch.tensor([0, 1, 1]), torch.tensor([2]), torch.tensor([1.0]), 4)
        >>> pointwise_nll(  # 4 log 2 either way: every logit is 0
        ...     torch.ones(2, 3), torch.zeros(4, 3), torch.zeros(4), x, Bernoulli()
        ... )
        tensor([2.7726, 2.7726])
    """
    dtype, plan = plan_decoder(
        hidden_BH, weight_IH, bias_I, target, precision, _PLANNED_SHARE * max_buffer_mb
    )
    with torch.autocast(hidden_BH.device.type, enabled=False):
        return cast(
            "Tensor",
            _LinearPointwise.apply(  # type: ignore[no-untyped-call] # torch has no annotation
                hidden_BH, weight_IH, bias_I, target, likelihood, dtype, plan
            ),
        )


class _LinearPointwise(torch.autograd.Function):
    """Forward: losses. Backward: gradients of hidden layer, weight and bias."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_BH: Tensor,
        weight_IH: Tensor,
        bias_I: Tensor,
        batch: SparseBatch,
        likelihood: Pointwise,
        dtype: torch.dtype,
        plan: Plan,
    ) -> Tensor:
        ctx.plan, ctx.likelihood = plan, likelihood
        ctx.inputs = hidden_BH.dtype, weight_IH.dtype, bias_I.dtype
        hidden_c, weight_c = hidden_BH.to(dtype), weight_IH.to(dtype)
        bias = bias_I.to(torch.promote_types(dtype, torch.float32))
        target = ctx.target = ChunkedTarget(batch, plan.chunk_items, bias.dtype)
        whole = len(target.starts) == 1 and any(ctx.needs_input_grad)
        none_B = bias.new_zeros(batch.n_users)
        chosen_N = bias.new_empty(batch.items.numel())
        added_N = torch.empty_like(chosen_N)
        slope_BI = None
        for chunk in target.chunks():
            logits_BC = torch.mm(hidden_c, weight_c[chunk.items].t())
            bias_C, here = bias[chunk.items], chunk.entries
            chosen_N[here] = logits_BC.view(-1)[chunk.flat_N] + bias_C[chunk.columns_N]
            added_N[here] = likelihood.added(chosen_N[here], chunk.values_N)
            for rows, raw, slab in slabs(logits_BC, bias_C, plan.slab_users):
                none_B[rows] += likelihood.of_none(slab).sum(1)
                if whole:
                    likelihood.slope_of_none_(slab)
                    if slab is not raw:
                        raw.copy_(slab)
            if whole:
                slope_BI = _with_target(logits_BC, chunk, chosen_N, likelihood)
            del logits_BC  # before the next chunk is made, so that only one is ever held
        ctx.save_for_backward(hidden_c, weight_c, bias, chosen_N, slope_BI)
        return none_B + replace(batch, values=target.unsorted(added_N)).row_sums()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_B: Tensor) -> tuple[Tensor | None, ...]:
        hidden_c, weight_c, bias, chosen_N, slope_BI = ctx.saved_tensors
        of_hidden, of_weight, of_bias = ctx.inputs
        gradients = LinearGradients(
            hidden_c, weight_c, grad_B.to(bias.dtype), of_weight, ctx.needs_input_grad[:3]
        )
        for chunk in ctx.target.chunks():
            slope_BC = slope_BI
            if slope_BC is None:
                slope_BC = torch.mm(hidden_c, weight_c[chunk.items].t())
                for _, raw, slab in slabs(slope_BC, bias[chunk.items], ctx.plan.slab_users):
                    ctx.likelihood.slope_of_none_(slab)
                    if slab is not raw:
                        raw.copy_(slab)
                _with_target(slope_BC, chunk, chosen_N, ctx.likelihood)
            gradients.add(chunk.items, slope_BC)
            del slope_BC
        return *gradients.of(of_hidden, of_bias), None, None, None, None


def _with_target(slope_BC: Tensor, chunk: Chunk, chosen_N: Tensor, likelihood: Pointwise) -> Tensor:
    """Put the slopes of the stored entries in their places."""
    slope_N = likelihood.slope(chosen_N[chunk.entries], chunk.values_N)
    # An item occurs once per user, so no place is written twice.
    slope_BC.view(-1).index_copy_(0, chunk.flat_N, slope_N.to(slope_BC.dtype))
    return slope_BC
