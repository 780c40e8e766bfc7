"""Batches: everybody once a pass, in an order that follows from seed and pass alone."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

from recsys_vae.training.batches import Batch, BatchPlan, sparse_batch
from recsys_vae.training.config import TrainingConfig

_CPU = torch.device("cpu")


def _matrix(n_users: int, n_items: int = 7) -> csr_array:
    rng = np.random.default_rng(n_users)
    dense = rng.integers(0, 3, size=(n_users, n_items)).astype(np.float32)
    return csr_array(dense)


def _plan(n_users: int, batch_size: int, seed: int = 0) -> BatchPlan:
    return BatchPlan(_matrix(n_users), batch_size, seed, _CPU)


def _users(plan: BatchPlan, number: int) -> list[list[int]]:
    return [batch.users.tolist() for batch in plan.one_pass(number)]


def _dense(batch: Batch) -> np.ndarray:
    history = batch.history
    dense = np.zeros((history.n_users, history.n_items), dtype=np.float32)
    dense[history.user_numbers().numpy(), history.items.numpy()] = history.values.numpy()
    return dense


_SIZES = {"n_users": st.integers(1, 40), "batch_size": st.integers(1, 50)}


@given(**_SIZES, seed=st.integers(0, 2**40), number=st.integers(0, 10**6))
def test_every_user_comes_once_a_pass_with_his_own_history(
    n_users: int, batch_size: int, seed: int, number: int
) -> None:
    plan = _plan(n_users, batch_size, seed)
    batches = list(plan.one_pass(number))
    users = np.concatenate([batch.users.numpy() for batch in batches])
    assert sorted(users) == list(range(n_users))
    assert np.array_equal(
        np.concatenate([_dense(batch) for batch in batches]), _matrix(n_users).toarray()[users]
    )


@given(**_SIZES)
def test_a_pass_has_the_promised_steps_and_only_the_last_is_smaller(
    n_users: int, batch_size: int
) -> None:
    plan = _plan(n_users, batch_size)
    sizes = [len(users) for users in _users(plan, 0)]
    assert len(sizes) == plan.steps_per_pass
    assert all(size == batch_size for size in sizes[:-1])
    assert 1 <= sizes[-1] <= batch_size


@given(**_SIZES, seed=st.integers(0, 2**40), number=st.integers(0, 10**6))
def test_the_same_seed_and_pass_give_the_same_batches(
    n_users: int, batch_size: int, seed: int, number: int
) -> None:
    one, other = (_plan(n_users, batch_size, seed) for _ in range(2))
    list(other.one_pass(number + 1))  # what was drawn before leaves no trace
    assert _users(one, number) == _users(other, number)


def test_another_pass_and_another_seed_have_another_order() -> None:
    orders = [_users(_plan(40, 8, seed), number) for seed in (0, 1) for number in (0, 1)]
    assert len({str(order) for order in orders}) == 4


def test_a_catalogue_whose_dense_matrix_would_fill_terabytes_is_no_trouble() -> None:
    size = 10**6
    rows = np.arange(1_000)
    entries = (np.ones(1_000, dtype=np.float32), (rows * 999, rows * 997))
    plan = BatchPlan(csr_array(entries, shape=(size, size)), 500, 0, _CPU)
    batch = next(plan.one_pass(0))
    assert (batch.history.n_users, batch.history.n_items) == (500, size)


def test_an_empty_row_becomes_a_user_without_entries() -> None:
    batch = sparse_batch(csr_array(np.array([[0, 2], [0, 0], [1, 1]], dtype=np.float32)), _CPU)
    assert batch.offsets.tolist() == [0, 1, 1, 3]
    assert batch.row_sums().tolist() == [2.0, 0.0, 2.0]


@pytest.mark.parametrize(
    ("n_users", "size"), [(1, 1), (30, 30), (900, 50), (4_000, 200), (10_000, 500), (10**6, 500)]
)
def test_the_default_batch_gives_about_twenty_steps_on_small_data(n_users: int, size: int) -> None:
    assert TrainingConfig().users_per_step(n_users) == size


def test_a_batch_is_never_larger_than_the_data() -> None:
    assert TrainingConfig(batch_size=500).users_per_step(20) == 20
    assert TrainingConfig(batch_size=500).users_per_step(2_000) == 500
