"""Laws of the sparse first layer."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from recsys_vae.nn.sparse_linear import SparseBatch, SparseLinear, row_sparse
from tests.nn.batches import SizeGuard, dense, random_batch


@given(users=st.integers(0, 7), items=st.integers(1, 9), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_is_the_dense_layer(users: int, items: int, seed: int) -> None:
    batch = random_batch(users, items, seed=seed)
    layer = SparseLinear(items, 3).double()
    upstream_BH = torch.randn(users, 3, dtype=torch.float64)
    weight_IH = layer.weight_IH.detach().clone().requires_grad_()
    expected_BH = dense(batch) @ weight_IH + layer.bias_H.detach()
    expected_BH.backward(upstream_BH)
    result_BH = layer(batch)
    result_BH.backward(upstream_BH)
    # float64 sums of at most 9 terms in another order
    torch.testing.assert_close(result_BH, expected_BH, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(layer.weight_IH.grad, weight_IH.grad, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(layer.bias_H.grad, upstream_BH.sum(0), rtol=1e-12, atol=1e-12)


def test_gradient_against_differences() -> None:
    batch = random_batch(4, 6, dtype=torch.float64)
    layer = SparseLinear(6, 3).double()

    def product(weight_IH: torch.Tensor) -> torch.Tensor:
        result_BH: torch.Tensor = torch.func.functional_call(
            layer, {"weight_IH": weight_IH}, (batch,)
        )
        return result_BH

    assert torch.autograd.gradcheck(product, (layer.weight_IH,))


def test_sparse_gradient_is_the_touched_rows_of_the_dense_one() -> None:
    batch = random_batch(5, 40)
    layer = SparseLinear(40, 3)
    layer(batch).square().sum().backward()
    expected_IH = layer.weight_IH.grad
    assert expected_IH is not None
    layer.weight_IH.grad = None
    layer.sparse_gradient = True
    layer(batch).square().sum().backward()
    gradient = layer.get_parameter("weight_IH").grad
    assert gradient is not None
    assert gradient.is_sparse
    assert gradient._indices()[0].tolist() == sorted(set(batch.items.tolist()))
    assert torch.equal(gradient.to_dense(), expected_IH)  # the same sums in the same order


def test_same_bits_twice() -> None:
    batch = random_batch(200, 300, longest=60)
    layer = SparseLinear(300, 64)
    grads = []
    for _ in range(2):
        layer.zero_grad()
        layer(batch).sin().sum().backward()
        assert layer.weight_IH.grad is not None
        grads.append(layer.weight_IH.grad)
    assert torch.equal(grads[0], grads[1])


def test_nothing_as_wide_as_the_catalogue_per_user() -> None:
    users, items, hidden = 300, 5_000, 8
    batch = random_batch(users, items)
    layer = SparseLinear(items, hidden)
    with SizeGuard(limit=items * hidden * 8):  # the gradient; users x items would be 19 times that
        layer(batch.l2_normalised().dropout(0.5, torch.rand(batch.items.numel()))).sum().backward()


def test_normalises_by_length_and_keeps_the_empty_user_zero() -> None:
    batch = SparseBatch(
        torch.tensor([0, 2, 2, 3]), torch.tensor([0, 1, 2]), torch.tensor([3.0, 4.0, 0.0]), 4
    )
    torch.testing.assert_close(batch.l2_normalised().values, torch.tensor([3 / 5, 4 / 5, 0.0]))
    assert batch.row_sums().tolist() == [7.0, 0.0, 0.0]


def uniform(batch: SparseBatch, seed: int) -> Tensor:
    return torch.rand(batch.items.numel(), generator=torch.Generator().manual_seed(seed))


def test_dropout_keeps_the_mean_and_the_rows() -> None:
    users, items = 100, 200
    batch = random_batch(users, items, longest=150)
    dropped = batch.dropout(0.25, uniform(batch, 1))
    kept = dropped.items.numel()
    expected = 0.75 * batch.items.numel()
    assert abs(kept - expected) < 5 * (expected * 0.25) ** 0.5  # five standard deviations
    matrix, before = dense(dropped), dense(batch)
    torch.testing.assert_close(matrix, torch.where(matrix > 0, before / 0.75, 0.0))


def test_dropout_repeats_itself_for_a_seed() -> None:
    batch = random_batch(20, 30)
    first, second = (batch.dropout(0.5, uniform(batch, 7)) for _ in range(2))
    assert torch.equal(first.items, second.items)
    assert torch.equal(first.offsets, second.offsets)
    assert batch.dropout(0.0, uniform(batch, 7)) is batch


@pytest.mark.parametrize("probability", [-0.1, 1.0, float("nan")])
def test_refuses_an_impossible_dropout(probability: float) -> None:
    batch = random_batch(2, 3)
    with pytest.raises(ValueError, match="dropout probability"):
        batch.dropout(probability, uniform(batch, 1))


def test_refuses_tensors_that_do_not_fit() -> None:
    one = torch.zeros(1)
    with pytest.raises(ValueError, match="offsets"):
        SparseBatch(torch.zeros(0, dtype=torch.int64), one.long(), one, 3)
    with pytest.raises(ValueError, match="items and values"):
        SparseBatch(torch.tensor([0, 1]), one.long(), torch.zeros(2), 3)
    with pytest.raises(ValueError, match="the layer knows 4 items, the batch has 3"):
        SparseLinear(4, 2)(random_batch(2, 3))


def test_row_sparse_of_a_vector() -> None:
    vector = row_sparse(torch.tensor([0, 2]), torch.tensor([1.0, 2.0]), 4)
    assert vector.to_dense().tolist() == [1.0, 0.0, 2.0, 0.0]
