"""The sampled likelihood: its estimator, its sparsity, and its optimiser."""

import pytest
import torch
from torch import Tensor

from recsys_vae.nn.likelihoods import multinomial_nll, multinomial_nll_plain
from recsys_vae.nn.row_adam import RowAdam
from recsys_vae.nn.sampled import Negatives, NegativeSampler, sampled_multinomial_nll, take_rows
from recsys_vae.nn.sparse_linear import SparseLinear, row_sparse
from tests.nn.batches import SizeGuard, random_batch

USERS, ITEMS, HIDDEN = 6, 50, 5


def _arguments(items: int = ITEMS) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(USERS, HIDDEN, generator=generator, dtype=torch.float64)
    weight = torch.randn(items, HIDDEN, generator=generator, dtype=torch.float64)
    bias = torch.randn(items, generator=generator, dtype=torch.float64)
    return hidden.requires_grad_(), weight.requires_grad_(), bias.requires_grad_()


def test_each_item_once_with_certainty_is_the_exact_likelihood() -> None:
    batch = random_batch(USERS, ITEMS, dtype=torch.float64)
    arguments = _arguments()
    # Draws that hold every item once, each with q = 1 / S: every weight is 1.
    everyone = Negatives(torch.arange(ITEMS), torch.full((ITEMS,), 1 / ITEMS))
    sampled_B = sampled_multinomial_nll(*arguments, batch, everyone)
    exact_B = multinomial_nll(*arguments, batch)
    torch.testing.assert_close(sampled_B, exact_B, rtol=1e-6, atol=0)  # q is float32
    for ours, plain in zip(
        torch.autograd.grad(sampled_B.sum(), arguments),
        torch.autograd.grad(exact_B.sum(), arguments),
        strict=True,
    ):
        torch.testing.assert_close(
            ours.to_dense() if ours.is_sparse else ours, plain, rtol=1e-5, atol=1e-6
        )


def test_the_normaliser_is_unbiased() -> None:
    batch = random_batch(USERS, ITEMS, longest=4, dtype=torch.float64)
    hidden, weight, bias = (tensor.detach() for tensor in _arguments())
    total_B = batch.row_sums()
    sampler = NegativeSampler(torch.arange(ITEMS).double())
    generator = torch.Generator().manual_seed(3)
    logits_BI = hidden @ weight.t() + bias
    exact_B = logits_BI.exp().sum(1)
    picked_B = total_B * logits_BI.logsumexp(1) - multinomial_nll_plain(logits_BI, batch)
    draws = []
    for _ in range(600):
        loss_B = sampled_multinomial_nll(hidden, weight, bias, batch, sampler.draw(20, generator))
        draws.append(((loss_B + picked_B) / total_B).exp())
    estimates_DB = torch.stack(draws)[:, total_B > 0]
    error_B = estimates_DB.std(0) / len(draws) ** 0.5
    distance_B = (estimates_DB.mean(0) - exact_B[total_B > 0]).abs()
    assert bool((distance_B < 4 * error_B).all())  # four standard errors


def test_no_user_without_history_contributes() -> None:
    batch = random_batch(USERS, ITEMS, dtype=torch.float64)
    drawn = NegativeSampler(torch.ones(ITEMS)).draw(10, torch.Generator().manual_seed(0))
    loss_B = sampled_multinomial_nll(*_arguments(), batch, drawn)
    assert bool((loss_B[batch.row_sums() == 0] == 0).all())


def test_draws_follow_the_proposal() -> None:
    sampler = NegativeSampler(torch.tensor([0.0, 1.0, 16.0]), power=0.5, uniform_share=0.25)
    expected = torch.tensor([0.25 / 3, 0.75 / 5 + 0.25 / 3, 0.75 * 4 / 5 + 0.25 / 3])
    torch.testing.assert_close(sampler.probability_I, expected)
    drawn = sampler.draw(20_000, torch.Generator().manual_seed(0))
    share = torch.bincount(drawn.items_S, minlength=3) / 20_000
    torch.testing.assert_close(share, expected, rtol=0, atol=0.015)  # four standard deviations
    assert torch.equal(drawn.probability_S, sampler.probability_I[drawn.items_S])


def test_refuses_a_bad_proposal() -> None:
    with pytest.raises(ValueError, match="out of range"):
        NegativeSampler(torch.ones(3), uniform_share=0.0)
    with pytest.raises(ValueError, match="counts must be"):
        NegativeSampler(torch.tensor([1.0, -1.0]))


def test_no_dense_pass_over_the_catalogue() -> None:
    items, hidden = 200_000, 8
    batch = random_batch(USERS, items)
    encoder = SparseLinear(items, hidden, sparse_gradient=True)
    weight = torch.nn.Parameter(torch.zeros(items, hidden))
    bias = torch.nn.Parameter(torch.zeros(items))
    sampler = NegativeSampler(torch.ones(items))
    optimizer = RowAdam([encoder.weight_IH, weight, bias])

    def step() -> None:
        drawn = sampler.draw(100)
        hidden_BH = encoder(batch.l2_normalised())
        sampled_multinomial_nll(hidden_BH, weight, bias, batch, drawn).sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    step()  # makes the moments

    class Passes(SizeGuard):
        """Counts only tensors that an operation made, not the parameters that it changed."""

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN204
            if func._schema.name.endswith(("_", "_.default")) or "index_copy_" in str(func):
                return func(*args, **(kwargs or {}))
            if "detach" in str(func) or "view" in str(func) or "alias" in str(func):
                return func(*args, **(kwargs or {}))
            return super().__torch_dispatch__(func, types, args, kwargs)

    with Passes(limit=items * 4 // 4):  # a quarter of one number per item
        step()


def test_row_adam_is_adam_when_every_row_is_touched() -> None:
    start = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
    ours, theirs = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    optimizers = RowAdam([ours], lr=0.01), torch.optim.Adam([theirs], lr=0.01)
    for seed in range(20):
        gradient = torch.randn(7, 3, generator=torch.Generator().manual_seed(seed))
        ours.grad = row_sparse(torch.arange(7), gradient, 7)
        theirs.grad = gradient
        for optimizer in optimizers:
            optimizer.step()
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)  # 20 float32 steps


def test_row_adam_is_adam_on_the_steps_of_each_row() -> None:
    table = torch.nn.Parameter(torch.zeros(5, 2))
    alone = [torch.nn.Parameter(torch.zeros(2)) for _ in range(5)]
    singles = [torch.optim.Adam([row], lr=0.01) for row in alone]
    optimizer = RowAdam([table], lr=0.01)
    generator = torch.Generator().manual_seed(0)
    for _ in range(30):
        rows = torch.randperm(5, generator=generator)[:2].sort().values
        gradient = torch.randn(2, 2, generator=generator)
        table.grad = row_sparse(rows, gradient, 5)
        optimizer.step()
        for row, values in zip(rows.tolist(), gradient, strict=True):
            alone[row].grad = values.clone()
            singles[row].step()
    torch.testing.assert_close(table, torch.stack([*alone]), rtol=1e-5, atol=1e-6)


def test_row_adam_resumes_with_the_same_bits() -> None:
    def run(steps: int, table: Tensor, optimizer: RowAdam, first: int = 0) -> None:
        for seed in range(first, first + steps):
            generator = torch.Generator().manual_seed(seed)
            rows = torch.randperm(9, generator=generator)[:4].sort().values
            table.grad = row_sparse(rows, torch.randn(4, 2, generator=generator), 9)
            optimizer.step()

    unbroken = torch.nn.Parameter(torch.zeros(9, 2))
    run(10, unbroken, RowAdam([unbroken]))
    first = torch.nn.Parameter(torch.zeros(9, 2))
    stopped = RowAdam([first])
    run(6, first, stopped)
    second = torch.nn.Parameter(first.detach().clone())
    resumed = RowAdam([second])
    resumed.load_state_dict(stopped.state_dict())
    run(4, second, resumed, first=6)
    assert torch.equal(unbroken, second)


def test_row_adam_refuses_dense_gradients() -> None:
    table = torch.nn.Parameter(torch.zeros(3, 2))
    table.grad = torch.ones(3, 2)
    with pytest.raises(ValueError, match="row-sparse"):
        RowAdam([table]).step()


def test_take_rows_of_a_vector_and_a_matrix() -> None:
    rows = torch.tensor([0, 2])
    for table in (torch.ones(3, 2), torch.ones(3)):
        parameter = torch.nn.Parameter(table)
        take_rows(parameter, rows).sum().backward()
        assert parameter.grad is not None
        assert parameter.grad.to_dense().reshape(3, -1).sum(1).tolist() == [
            table.numel() / 3, 0.0, table.numel() / 3
        ]  # fmt: skip
