r"""Likelihoods of an interaction history given the decoder's last hidden layer.

Shape suffixes: B users in the batch, I items, C items of one chunk, H hidden units, N stored
entries of the target.
"""

from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor

from recsys_vae.nn.chunks import Chunk, ChunkedTarget, Plan, plan_decoder, slabs
from recsys_vae.nn.linear_gradients import LinearGradients
from recsys_vae.nn.precision import Precision
from recsys_vae.nn.sparse_linear import SparseBatch


def multinomial_nll_plain(logits_BI: Tensor, target: SparseBatch) -> Tensor:
    r"""Multinomial negative log-likelihood, straight from the formula.

    .. math:: -\sum_i x_{ui} \log \mathrm{softmax}_i(l_u)

    Liang et al., 2018, arXiv 1802.05814, equation 2, without the constant of the counts. The
    oracle for :func:`multinomial_nll`, and fit for small catalogues.

    Args:
        logits_BI: (B, I) logits.
        target: Histories x of the same users, weights not negative.

    Returns:
        (B,) nats per user; 0 without history.

    Example:
        >>> x = SparseBatch(torch.tensor([0, 1, 1]), torch.tensor([2]), torch.tensor([1.0]), 4)
        >>> multinomial_nll_plain(torch.zeros(2, 4), x)  # log 4, and nothing
        tensor([1.3863, 0.0000])
    """
    users_N = target.user_numbers()
    log_p_N = logits_BI.log_softmax(-1)[users_N, target.items]
    values_N = target.values.to(logits_BI.dtype)
    return logits_BI.new_zeros(target.n_users).index_add(0, users_N, -values_N * log_p_N)


def multinomial_nll(
    hidden_BH: Tensor,
    weight_IH: Tensor,
    bias_I: Tensor,
    target: SparseBatch,
    *,
    precision: Precision = "auto",
    max_buffer_mb: float = 256.0,
) -> Tensor:
    r"""Multinomial negative log-likelihood of a linear decoder, without its log-softmax.

    .. math::
        \ell_u = n_u \log \sum_i e^{l_{ui}} - \sum_i x_{ui} l_{ui}, \qquad
        l_u = W h_u + b, \qquad n_u = \sum_i x_{ui}

        \partial \ell_u / \partial l_{ui} = n_u \, \mathrm{softmax}_i(l_u) - x_{ui}

    Liang et al., 2018, arXiv 1802.05814, equation 2. One autograd function takes the product, the
    log-sum-exp and the gradient. If one number per user and item fits ``max_buffer_mb``, the
    logits are made once and turned in place into their own gradient, slab by slab of users; the
    backward pass is two products. Otherwise the catalogue is cut in chunks, the log-sum-exp is
    carried from chunk to chunk, and the backward pass makes each chunk of logits again: four
    products instead of three (compare Wijmans et al., 2024, Cut Your Losses in Large-Vocabulary
    Language Models, arXiv 2411.09009). Either way the incoming gradient may differ from user to
    user, and no two runs differ in a bit.

    With bfloat16 the factors, the logits before the bias, and the stored gradient are rounded to
    8 bits; sums, softmax, bias and loss are float32. With
    ``a_u = max_i sum_h |h_uh W_ih|`` the logits are off by at most ``3 * 2**-9 a_u`` and the loss
    by ``2 n_u`` times that (to first order; the errors are of both signs and mostly cancel).

    Args:
        hidden_BH: (B, H) last hidden layer.
        weight_IH: (I, H) decoder weight, one row per item.
        bias_I: (I,) decoder bias.
        target: Histories x of the same users over the same items, weights not negative. They are
            data and receive no gradient.
        precision: See :func:`recsys_vae.nn.precision.product_dtype`.
        max_buffer_mb: Bound in MiB (2**20 bytes) on what is held per user *and* item. Copies and
            gradients of the arguments come on top.

    Returns:
        (B,) nats per user, at least float32; exactly 0 without history.

    Raises:
        ValueError: If the shapes do not fit, or the buffer cannot hold one item's logits.

    Example:
        >>> x = SparseBatch(torch.tensor([0, 1, 1]), torch.tensor([2]), torch.tensor([1.0]), 4)
        >>> multinomial_nll(torch.ones(2, 3), torch.zeros(4, 3), torch.zeros(4), x)
        tensor([1.3863, 0.0000])
    """
    dtype, plan = plan_decoder(hidden_BH, weight_IH, bias_I, target, precision, max_buffer_mb)
    with torch.autocast(hidden_BH.device.type, enabled=False):
        return cast(
            "Tensor",
            _LinearMultinomial.apply(  # type: ignore[no-untyped-call] # torch has no annotation
                hidden_BH, weight_IH, bias_I, target, dtype, plan
            ),
        )


class _LinearMultinomial(torch.autograd.Function):
    """Forward: losses. Backward: gradients of hidden layer, weight and bias."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_BH: Tensor,
        weight_IH: Tensor,
        bias_I: Tensor,
        batch: SparseBatch,
        dtype: torch.dtype,
        plan: Plan,
    ) -> Tensor:
        ctx.plan, ctx.inputs = plan, (hidden_BH.dtype, weight_IH.dtype, bias_I.dtype)
        hidden_c, weight_c = hidden_BH.to(dtype), weight_IH.to(dtype)
        bias = bias_I.to(torch.promote_types(dtype, torch.float32))
        target = ctx.target = ChunkedTarget(batch, plan.chunk_items, bias.dtype)
        total_B = replace(batch, values=batch.values.to(bias.dtype)).row_sums()
        whole = len(target.starts) == 1 and any(ctx.needs_input_grad)
        top_B = torch.full_like(total_B, -torch.inf)
        mass_B = torch.zeros_like(total_B)
        chosen_N = bias.new_empty(batch.items.numel())
        slope_BI = None
        for chunk in target.chunks():
            logits_BC = torch.mm(hidden_c, weight_c[chunk.items].t())
            bias_C = bias[chunk.items]
            chosen_N[chunk.entries] = logits_BC.view(-1)[chunk.flat_N] + bias_C[chunk.columns_N]
            _softmax_and_carry(logits_BC, bias_C, top_B, mass_B, plan.slab_users, keep=whole)
            if whole:
                slope_BI = _minus_target(logits_BC, chunk, total_B)
            del logits_BC  # before the next chunk is made, so that only one is ever held
        ctx.save_for_backward(hidden_c, weight_c, bias, total_B, top_B, mass_B, slope_BI)
        lse_B = top_B + mass_B.log()
        log_p_N = target.unsorted(chosen_N) - lse_B[batch.user_numbers()]
        return replace(batch, values=-log_p_N * batch.values.to(bias.dtype)).row_sums()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_B: Tensor) -> tuple[Tensor | None, ...]:
        hidden_c, weight_c, bias, total_B, top_B, mass_B, slope_BI = ctx.saved_tensors
        of_hidden, of_weight, of_bias = ctx.inputs
        gradients = LinearGradients(
            hidden_c, weight_c, grad_B * total_B, of_weight, ctx.needs_input_grad[:3]
        )
        for chunk in ctx.target.chunks():
            slope_BC = slope_BI
            if slope_BC is None:
                slope_BC = torch.mm(hidden_c, weight_c[chunk.items].t())
                _softmax_again(slope_BC, bias[chunk.items], top_B, mass_B, ctx.plan.slab_users)
                _minus_target(slope_BC, chunk, total_B)
            gradients.add(chunk.items, slope_BC)
            del slope_BC
        return *gradients.of(of_hidden, of_bias), None, None, None


def _softmax_and_carry(
    logits_BC: Tensor, bias_C: Tensor, top_B: Tensor, mass_B: Tensor, users: int, *, keep: bool
) -> None:
    """Carry the running maximum and the sum of ``e^(l - maximum)`` on by one chunk.

    Uses the logits up: afterwards they hold the softmax over the chunk if ``keep``, else nothing.
    """
    for rows, raw, slab in slabs(logits_BC, bias_C, users):
        here_b, before_b = slab.amax(1), top_B[rows]
        if slab is raw:
            mass_b = slab.sub_(here_b[:, None]).exp_().sum(1)
            if keep:
                slab.div_(mass_b[:, None])
        else:
            # One pass for maximum, exponential and sum; its exponential is good to 2**-17, far
            # inside what the narrow product leaves. The likeliest item has probability 1 / mass.
            torch.softmax(slab, 1, out=slab)
            mass_b = slab.amax(1).reciprocal_()
            if keep:
                raw.copy_(slab)
        top_b = torch.maximum(before_b, here_b)
        mass_b *= (here_b - top_b).exp_()
        mass_B[rows] = mass_B[rows] * (before_b - top_b).exp_() + mass_b
        top_B[rows] = top_b


def _softmax_again(
    logits_BC: Tensor, bias_C: Tensor, top_B: Tensor, mass_B: Tensor, users: int
) -> None:
    """Turn logits without bias into probabilities, with maximum and mass over all chunks."""
    for rows, raw, slab in slabs(logits_BC, bias_C, users):
        slab.sub_(top_B[rows, None]).exp_().div_(mass_B[rows, None])
        if slab is not raw:
            raw.copy_(slab)


def _minus_target(share_BC: Tensor, chunk: Chunk, total_B: Tensor) -> Tensor:
    """Subtract ``x / n`` from probabilities: the slope of the loss, up to the factor ``n``."""
    flat, flat_N = share_BC.view(-1), chunk.flat_N
    target_N = chunk.values_N / total_B[chunk.users_N].clamp_min(torch.finfo(total_B.dtype).tiny)
    # An item occurs once per user, so no place is written twice.
    flat.index_copy_(0, flat_N, (flat[flat_N] - target_N).to(flat.dtype))
    return share_BC
