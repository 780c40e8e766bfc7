"""The Bernoulli and Gaussian likelihoods against dense formulas of torch's own."""

import math
from typing import Final, Literal

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 # the customary name
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from recsys_vae.nn.chunks import plan_decoder
from recsys_vae.nn.pointwise import (
    _PLANNED_SHARE,
    Bernoulli,
    Gaussian,
    Pointwise,
    pointwise_nll,
)
from recsys_vae.nn.sparse_linear import SparseBatch
from tests.nn.batches import SizeGuard, dense, random_batch

_USERS, _ITEMS, _HIDDEN = 40, 700, 24
# Every logit at once, some chunks of items, and about a hundred.
_BUFFERS_MB: Final = (256.0, 0.03, 0.002)
_LIKELIHOODS: Final = (Bernoulli(), Gaussian(2.0, 0.25), Gaussian(1.0, 0.0))
_each = pytest.mark.parametrize("likelihood", _LIKELIHOODS, ids=["bernoulli", "gaussian", "c0=0"])


def _arguments(
    dtype: torch.dtype,
    users: int = _USERS,
    items: int = _ITEMS,
    seed: int = 0,
    hidden: int = _HIDDEN,
) -> tuple[Tensor, Tensor, Tensor]:
    """Hidden layer, weight and bias whose logits spread over about +-10."""
    generator = torch.Generator().manual_seed(seed)
    sizes = ((users, hidden), (items, hidden), (items,))
    drawn = [torch.randn(size, generator=generator, dtype=torch.float64) for size in sizes]
    drawn[0] = drawn[0].tanh()
    first, second, third = (tensor.to(dtype).requires_grad_() for tensor in drawn)
    return first, second, third


def _dense_nll(logits_BI: Tensor, batch: SparseBatch, likelihood: Pointwise) -> Tensor:
    x_BI = dense(batch)
    taken_BI = x_BI > 0
    if isinstance(likelihood, Gaussian):
        c_BI = torch.where(taken_BI, likelihood.taken, likelihood.untaken)
        return (0.5 * c_BI * (x_BI - logits_BI).square()).sum(1)
    terms_BI = F.binary_cross_entropy_with_logits(logits_BI, taken_BI.double(), reduction="none")
    return terms_BI.sum(1)


def _oracle(
    batch: SparseBatch, likelihood: Pointwise, upstream_B: Tensor, seed: int = 0
) -> tuple[Tensor, ...]:
    hidden, weight, bias = _arguments(torch.float64, batch.n_users, batch.n_items, seed)
    loss_B = _dense_nll(hidden @ weight.t() + bias, batch, likelihood)
    return loss_B.detach(), *torch.autograd.grad(loss_B, (hidden, weight, bias), upstream_B)


def _chunked(
    batch: SparseBatch,
    likelihood: Pointwise,
    upstream_B: Tensor,
    dtype: torch.dtype,
    precision: Literal["float32", "bfloat16"] = "float32",
    buffer_mb: float = 256.0,
    seed: int = 0,
) -> tuple[Tensor, ...]:
    arguments = _arguments(dtype, batch.n_users, batch.n_items, seed)
    loss_B = pointwise_nll(
        *arguments, batch, likelihood, precision=precision, max_buffer_mb=buffer_mb
    )
    return loss_B.detach(), *torch.autograd.grad(loss_B, arguments, upstream_B.to(loss_B.dtype))


def _relative(result: Tensor, expected: Tensor) -> float:
    return float((result.double() - expected).norm() / expected.norm())


@_each
@pytest.mark.parametrize("buffer_mb", _BUFFERS_MB)
@pytest.mark.parametrize(
    ("dtype", "bound"),
    # a few units in the last place of either type, sums included
    [(torch.float32, 1e-6), (torch.float64, 1e-14)],
)
def test_is_the_formula(
    likelihood: Pointwise, dtype: torch.dtype, bound: float, buffer_mb: float
) -> None:
    batch = random_batch(_USERS, _ITEMS)
    upstream_B = torch.rand(_USERS, dtype=torch.float64)  # another one for each user
    expected = _oracle(batch, likelihood, upstream_B)
    result = _chunked(batch, likelihood, upstream_B, dtype, buffer_mb=buffer_mb)
    for ours, exact in zip(result, expected, strict=True):
        assert _relative(ours, exact) < bound


@_each
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_chunks_change_rounding_only(
    likelihood: Pointwise, precision: Literal["float32", "bfloat16"]
) -> None:
    batch = random_batch(_USERS, _ITEMS)
    whole, *cuts = (
        _chunked(batch, likelihood, torch.ones(_USERS), torch.float32, precision, buffer_mb)
        for buffer_mb in _BUFFERS_MB
    )
    # Slopes are rounded to bfloat16 alike in every chunk, and summed in float32. The logits may
    # come out a unit of their last place, 2**-8, apart where products are cut elsewhere.
    bound = 1e-6 if precision == "float32" else 2**-8
    for cut in cuts:
        for ours, other in zip(cut, whole, strict=True):
            assert _relative(ours, other.double()) < bound


@_each
@pytest.mark.parametrize("buffer_mb", _BUFFERS_MB)
def test_bfloat16_is_near_the_formula(likelihood: Pointwise, buffer_mb: float) -> None:
    batch = random_batch(_USERS, _ITEMS)
    expected = _oracle(batch, likelihood, torch.ones(_USERS, dtype=torch.float64))
    ones_B = torch.ones(_USERS)
    result = _chunked(batch, likelihood, ones_B, torch.float32, "bfloat16", buffer_mb)
    for ours, exact in zip(result, expected, strict=True):
        assert _relative(ours, exact) < 2**-6  # logits of +-10 are off by 2**-6 at most


@given(
    users=st.integers(1, 6),
    items=st.integers(1, 12),
    seed=st.integers(0, 99),
    buffer_mb=st.sampled_from([64.0, 1e-3, 4e-4]),
    likelihood=st.sampled_from(_LIKELIHOODS),
)
@settings(max_examples=40, deadline=None)
def test_small_and_empty_batches(
    users: int, items: int, seed: int, buffer_mb: float, likelihood: Pointwise
) -> None:
    batch = random_batch(users, items, seed=seed)
    ones_B = torch.ones(users, dtype=torch.float64)
    expected = _oracle(batch, likelihood, ones_B, seed)
    result = _chunked(batch, likelihood, ones_B, torch.float64, buffer_mb=buffer_mb, seed=seed)
    for ours, exact in zip(result, expected, strict=True):
        torch.testing.assert_close(ours, exact, rtol=1e-10, atol=1e-10)  # float64, few terms


@_each
@pytest.mark.parametrize("buffer_mb", [1.0, 0.001])
def test_gradients_against_differences(likelihood: Pointwise, buffer_mb: float) -> None:
    batch = random_batch(4, 9, dtype=torch.float64)

    def loss(hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return pointwise_nll(hidden, weight, bias, batch, likelihood, max_buffer_mb=buffer_mb)

    assert torch.autograd.gradcheck(loss, _arguments(torch.float64, 4, 9))


def test_three_items_by_hand() -> None:
    # One user took item 0 twice and item 2 once; the logits are 1, -2 and 0.
    x = SparseBatch(torch.tensor([0, 2]), torch.tensor([0, 2]), torch.tensor([2.0, 1.0]), 3)
    logits = (torch.ones(1, 1), torch.tensor([[1.0], [-2.0], [0.0]]), torch.zeros(3))
    bernoulli = pointwise_nll(*logits, x, Bernoulli(), precision="float32")
    # log(1 + e^1) - 1, log(1 + e^-2), log(1 + e^0) - 0
    by_hand = math.log(1 + math.e) - 1 + math.log(1 + math.exp(-2)) + math.log(2)
    assert bernoulli.item() == pytest.approx(by_hand, rel=1e-6)  # float32
    gaussian = pointwise_nll(*logits, x, Gaussian(4.0, 0.5), precision="float32")
    # 4/2 (2 - 1)^2 + 0.5/2 (0 + 2)^2 + 4/2 (1 - 0)^2 = 2 + 1 + 2
    assert gaussian.item() == 5.0


@_each
def test_a_stored_zero_was_not_taken(likelihood: Pointwise) -> None:
    arguments = _arguments(torch.float64, 1, 5)
    stored = SparseBatch(torch.tensor([0, 1]), torch.tensor([3]), torch.zeros(1), 5)
    absent = SparseBatch(torch.tensor([0, 0]), torch.zeros(0, dtype=torch.int64), torch.zeros(0), 5)
    for one, other in zip(
        *(
            torch.autograd.grad(pointwise_nll(*arguments, batch, likelihood).sum(), arguments)
            for batch in (stored, absent)
        ),
        strict=True,
    ):
        assert torch.equal(one, other)


@_each
def test_a_user_without_history_left_everything_alone(likelihood: Pointwise) -> None:
    batch = random_batch(6, 30)
    assert batch.row_sums()[1] == 0
    arguments = _arguments(torch.float64, 6, 30)
    hidden, weight, bias = arguments
    losses_B = pointwise_nll(*arguments, batch, likelihood)
    nothing_BI = likelihood.of_none(hidden @ weight.t() + bias)
    assert losses_B[1].item() == pytest.approx(nothing_BI[1].sum().item(), rel=1e-12)  # doubles
    assert all(bool(one.isfinite().all()) for one in torch.autograd.grad(losses_B.sum(), arguments))


def test_logits_far_out_stay_finite_and_exact() -> None:
    # 39 and 41 lie on both sides of where log(1 + e^l) is taken for l.
    logits = torch.tensor([-1e4, -41.0, -39.0, 39.0, 41.0, 1e4])
    bias = logits.requires_grad_()
    x = SparseBatch(torch.tensor([0, 1]), torch.tensor([5]), torch.ones(1), 6)
    loss = pointwise_nll(torch.zeros(1, 1), torch.zeros(6, 1), bias, x, Bernoulli())
    # Item 5 was taken and is certain: log(1 + e^l) - l = 0. The others: 0, 0, 0, 39 and 41.
    assert loss.item() == pytest.approx(39 + 41, abs=1e-3)  # 1e4 leaves float32 steps of 1e-3
    (slope,) = torch.autograd.grad(loss, bias)
    assert slope[[0, 3, 4, 5]].tolist() == [0.0, 1.0, 1.0, 0.0]


@_each
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("buffer_mb", _BUFFERS_MB[:2])
def test_same_bits_twice(
    likelihood: Pointwise, precision: Literal["float32", "bfloat16"], buffer_mb: float
) -> None:
    batch = random_batch(_USERS, _ITEMS)
    first, second = (
        _chunked(batch, likelihood, torch.ones(_USERS), torch.float32, precision, buffer_mb)
        for _ in range(2)
    )
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


@_each
def test_backward_twice_gives_the_same(likelihood: Pointwise) -> None:
    arguments = _arguments(torch.float32)
    loss = pointwise_nll(*arguments, random_batch(_USERS, _ITEMS), likelihood).sum()
    first = torch.autograd.grad(loss, arguments, retain_graph=True)
    second = torch.autograd.grad(loss, arguments)
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


@_each
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_buffer_is_bounded(
    likelihood: Pointwise, precision: Literal["float32", "bfloat16"]
) -> None:
    users, items, hidden = 256, 20_000, 4
    arguments = _arguments(torch.float32, users, items, hidden=hidden)
    weights = items * hidden * 4
    # One batch x items in float32 would be 20 MB.
    with SizeGuard(limit=2**20 + weights) as guard:
        loss_B = pointwise_nll(
            *arguments, random_batch(users, items), likelihood, precision=precision,
            max_buffer_mb=1.0,
        )  # fmt: skip
        loss_B.sum().backward()
    assert guard.largest > 2**18  # the guard saw the chunks


@given(
    users=st.integers(1, 3_000),
    items=st.integers(1, 10**6),
    limit_mb=st.floats(0.1, 300),
    precision=st.sampled_from(["float32", "bfloat16"]),
)
def test_a_chunk_and_two_slabs_fit_the_buffer_together(
    users: int, items: int, limit_mb: float, precision: Literal["float32", "bfloat16"]
) -> None:
    hidden, weight, bias = (
        torch.empty(size, device="meta") for size in ((users, 2), (items, 2), (items,))
    )
    offsets, nothing = torch.zeros(users + 1, dtype=torch.int64), torch.zeros(0)
    batch = SparseBatch(offsets, nothing.long(), nothing, items)
    dtype, plan = plan_decoder(hidden, weight, bias, batch, precision, _PLANNED_SHARE * limit_mb)
    chunk = users * plan.chunk_items * dtype.itemsize
    slab = min(users, plan.slab_users) * plan.chunk_items * 4
    assert chunk + 2 * slab <= limit_mb * 2**20


@_each
def test_evaluation_holds_no_gradient_and_agrees(likelihood: Pointwise) -> None:
    batch, arguments = random_batch(_USERS, _ITEMS), _arguments(torch.float32)
    with torch.no_grad():
        quiet = pointwise_nll(*arguments, batch, likelihood)
    assert torch.equal(quiet, pointwise_nll(*arguments, batch, likelihood).detach())


@_each
def test_autocast_outside_changes_nothing(likelihood: Pointwise) -> None:
    batch, arguments = random_batch(_USERS, _ITEMS), _arguments(torch.float32)
    plain = pointwise_nll(*arguments, batch, likelihood, precision="float32")
    with torch.autocast("cpu", torch.bfloat16):
        inside = pointwise_nll(*arguments, batch, likelihood, precision="float32")
    assert torch.equal(plain, inside)


def test_refuses_what_does_not_fit() -> None:
    batch = random_batch(3, 10)
    hidden, weight, bias = _arguments(torch.float32, 3, 10)
    with pytest.raises(ValueError, match="2 hidden rows for 3 users"):
        pointwise_nll(hidden[:2], weight, bias, batch, Bernoulli())
    with pytest.raises(ValueError, match="do not fit a target over 10 items"):
        pointwise_nll(hidden, weight[:9], bias, batch, Bernoulli())
    with pytest.raises(ValueError, match="max_buffer_mb is too small"):
        pointwise_nll(hidden, weight, bias, batch, Bernoulli(), max_buffer_mb=1e-6)
