"""The fused multinomial likelihood against the formula."""

from typing import Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from recsys_vae.nn.likelihoods import multinomial_nll, multinomial_nll_plain
from recsys_vae.nn.precision import multiplies_bfloat16, product_dtype
from recsys_vae.nn.sparse_linear import SparseBatch
from tests.nn.batches import SizeGuard, random_batch

USERS, ITEMS, HIDDEN = 40, 700, 24
# Every logit at once, ten chunks of items, and about a hundred.
BUFFERS_MB = (256.0, 0.02, 0.002)


def _arguments(
    dtype: torch.dtype, users: int = USERS, items: int = ITEMS, hidden: int = HIDDEN, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """Hidden layer, weight and bias whose logits spread over about +-10."""
    generator = torch.Generator().manual_seed(seed)
    sizes = ((users, hidden), (items, hidden), (items,))
    drawn = [torch.randn(size, generator=generator, dtype=torch.float64) for size in sizes]
    drawn[0] = drawn[0].tanh()
    first, second, third = (tensor.to(dtype).requires_grad_() for tensor in drawn)
    return first, second, third


def _oracle(batch: SparseBatch, upstream_B: Tensor, seed: int = 0) -> tuple[Tensor, ...]:
    hidden, weight, bias = _arguments(torch.float64, batch.n_users, batch.n_items, seed=seed)
    loss_B = multinomial_nll_plain(hidden @ weight.t() + bias, batch)
    return loss_B.detach(), *torch.autograd.grad(loss_B, (hidden, weight, bias), upstream_B)


def _fused(
    batch: SparseBatch,
    upstream_B: Tensor,
    dtype: torch.dtype,
    precision: Literal["float32", "bfloat16"],
    buffer_mb: float = 256.0,
    seed: int = 0,
) -> tuple[Tensor, ...]:
    arguments = _arguments(dtype, batch.n_users, batch.n_items, seed=seed)
    loss_B = multinomial_nll(*arguments, batch, precision=precision, max_buffer_mb=buffer_mb)
    return loss_B.detach(), *torch.autograd.grad(loss_B, arguments, upstream_B.to(loss_B.dtype))


def _relative(result: Tensor, expected: Tensor) -> float:
    return float((result.double() - expected).norm() / expected.norm())


@pytest.mark.parametrize("buffer_mb", BUFFERS_MB)
@pytest.mark.parametrize(
    ("dtype", "bound"),
    # a few units in the last place of either type, sums included
    [(torch.float32, 1e-6), (torch.float64, 1e-14)],
)
def test_is_the_formula(dtype: torch.dtype, bound: float, buffer_mb: float) -> None:
    batch = random_batch(USERS, ITEMS)
    upstream_B = torch.rand(USERS, dtype=torch.float64)  # another one for each user
    expected = _oracle(batch, upstream_B)
    result = _fused(batch, upstream_B, dtype, "float32", buffer_mb)
    for ours, exact in zip(result, expected, strict=True):
        assert _relative(ours, exact) < bound


@pytest.mark.parametrize("buffer_mb", BUFFERS_MB)
def test_bfloat16_stays_within_the_stated_bound(buffer_mb: float) -> None:
    batch = random_batch(USERS, ITEMS)
    upstream_B = torch.rand(USERS, dtype=torch.float64)
    expected = _oracle(batch, upstream_B)
    result = _fused(batch, upstream_B, torch.float32, "bfloat16", buffer_mb)
    hidden, weight, _ = _arguments(torch.float64)
    reach_B = (hidden.abs() @ weight.abs().t()).amax(1).detach()
    bound_B = 2 * batch.row_sums().double() * 3 * 2**-9 * reach_B
    assert bool(((result[0] - expected[0]).abs() <= bound_B).all())
    for ours, exact in zip(result[1:], expected[1:], strict=True):
        assert _relative(ours, exact) < 2**-6  # logits of +-10 are off by 2**-6 at most


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_chunks_change_rounding_only(precision: Literal["float32", "bfloat16"]) -> None:
    batch = random_batch(USERS, ITEMS)
    whole = _fused(batch, torch.ones(USERS), torch.float32, precision)
    # bfloat16 probabilities are rounded after another normalisation: half a unit of 2**-8
    bound = 1e-6 if precision == "float32" else 2**-8
    for buffer_mb in BUFFERS_MB[1:]:
        cut = _fused(batch, torch.ones(USERS), torch.float32, precision, buffer_mb)
        for ours, other in zip(cut, whole, strict=True):
            assert _relative(ours, other.double()) < bound


@given(
    users=st.integers(1, 6),
    items=st.integers(1, 12),
    seed=st.integers(0, 99),
    buffer_mb=st.sampled_from([64.0, 1e-3, 3e-4]),
)
@settings(max_examples=40, deadline=None)
def test_small_and_empty_batches(users: int, items: int, seed: int, buffer_mb: float) -> None:
    batch = random_batch(users, items, seed=seed)
    expected = _oracle(batch, torch.ones(users, dtype=torch.float64), seed)
    result = _fused(batch, torch.ones(users), torch.float64, "float32", buffer_mb, seed)
    for ours, exact in zip(result, expected, strict=True):
        torch.testing.assert_close(ours, exact, rtol=1e-10, atol=1e-10)  # float64, few terms


@pytest.mark.parametrize("buffer_mb", [1.0, 0.0008])
def test_gradients_against_differences(buffer_mb: float) -> None:
    batch = random_batch(4, 9, dtype=torch.float64)
    arguments = _arguments(torch.float64, 4, 9, 3)

    def loss(hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return multinomial_nll(hidden, weight, bias, batch, max_buffer_mb=buffer_mb)

    assert torch.autograd.gradcheck(loss, arguments)


def test_a_user_without_history_contributes_exactly_nothing() -> None:
    batch = random_batch(6, 30)
    silent = batch.row_sums() == 0
    assert bool(silent[1])
    result = _fused(batch, torch.ones(6), torch.float32, "float32")
    assert bool((result[0][silent] == 0).all())
    assert bool((result[1][silent] == 0).all())
    assert all(bool(tensor.isfinite().all()) for tensor in result)


def test_shifted_logits_do_not_overflow() -> None:
    batch = random_batch(5, 30)
    hidden, weight, bias = _arguments(torch.float32, 5, 30)
    near = multinomial_nll(hidden, weight, bias, batch, precision="float32")
    far = multinomial_nll(hidden, weight, bias + 1e4, batch, precision="float32")
    torch.testing.assert_close(near, far, rtol=0, atol=0.02)  # 1e4 leaves float32 steps of 1e-3


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("buffer_mb", BUFFERS_MB[:2])
def test_same_bits_twice(precision: Literal["float32", "bfloat16"], buffer_mb: float) -> None:
    batch = random_batch(USERS, ITEMS)
    first, second = (
        _fused(batch, torch.ones(USERS), torch.float32, precision, buffer_mb) for _ in range(2)
    )
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def test_backward_twice_gives_the_same() -> None:
    batch = random_batch(USERS, ITEMS)
    arguments = _arguments(torch.float32)
    loss = multinomial_nll(*arguments, batch).sum()
    first = torch.autograd.grad(loss, arguments, retain_graph=True)
    second = torch.autograd.grad(loss, arguments)
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_buffer_is_bounded(precision: Literal["float32", "bfloat16"]) -> None:
    users, items, hidden = 256, 20_000, 4
    batch = random_batch(users, items)
    arguments = _arguments(torch.float32, users, items, hidden)
    weights = items * hidden * 4
    # One batch x items in float32 would be 20 MB.
    with SizeGuard(limit=2**20 + weights) as guard:
        loss_B = multinomial_nll(*arguments, batch, precision=precision, max_buffer_mb=1.0)
        loss_B.sum().backward()
    assert guard.largest > 2**18  # the guard saw the chunks


def test_evaluation_holds_no_gradient_and_agrees() -> None:
    batch = random_batch(USERS, ITEMS)
    arguments = _arguments(torch.float32)
    with torch.no_grad():
        quiet = multinomial_nll(*arguments, batch)
    assert torch.equal(quiet, multinomial_nll(*arguments, batch).detach())


def test_autocast_outside_changes_nothing() -> None:
    batch = random_batch(USERS, ITEMS)
    arguments = _arguments(torch.float32)
    plain = multinomial_nll(*arguments, batch, precision="float32")
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(plain, multinomial_nll(*arguments, batch, precision="float32"))


def test_refuses_what_does_not_fit() -> None:
    batch = random_batch(3, 10)
    hidden, weight, bias = _arguments(torch.float32, 3, 10)
    with pytest.raises(ValueError, match="2 hidden rows for 3 users"):
        multinomial_nll(hidden[:2], weight, bias, batch)
    with pytest.raises(ValueError, match="do not fit a target over 10 items"):
        multinomial_nll(hidden, weight[:9], bias, batch)
    with pytest.raises(ValueError, match="max_buffer_mb is too small"):
        multinomial_nll(hidden, weight, bias, batch, max_buffer_mb=1e-6)
    with pytest.raises(ValueError, match="precision must be"):
        multinomial_nll(hidden, weight, bias, batch, precision="half")  # type: ignore[arg-type] # wrong on purpose


def test_auto_takes_bfloat16_only_where_it_is_multiplied() -> None:
    cpu = torch.device("cpu")
    fast = torch.bfloat16 if multiplies_bfloat16(cpu) else torch.float32
    assert product_dtype("auto", torch.float32, cpu) == fast
    assert product_dtype("auto", torch.float64, cpu) == torch.float64
    assert product_dtype("bfloat16", torch.float32, cpu) == torch.bfloat16
    assert product_dtype("float32", torch.float32, cpu) == torch.float32
