"""Random numbers by address: laws of independence, and their distributions."""

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from recsys_vae.nn.noise import Noise

_USERS = st.lists(st.integers(0, 2**40), min_size=1, max_size=20, unique=True)
_SEEDS = st.integers(0, 2**62)
_STEPS = st.integers(0, 10**9)
_N_USERS, _WIDTH = 20_000, 8


def _uniform(noise: Noise, width: int, stream: int = 0) -> Tensor:
    """One number for each user and position, (B, width)."""
    n_users = len(noise.users)
    users = torch.arange(n_users).repeat_interleave(width)
    return noise.uniform(users, torch.arange(width).repeat(n_users), stream=stream).view(-1, width)


def _draws(seed: int = 3, step: int = 5, stream: int = 1) -> npt.NDArray[np.float64]:
    noise = Noise(seed, step, torch.arange(_N_USERS))
    return noise.normal(_WIDTH, stream=stream).double().numpy()


@given(users=_USERS, seed=_SEEDS, step=_STEPS, data=st.data())
def test_a_users_numbers_depend_neither_on_order_nor_on_company(
    users: list[int], seed: int, step: int, data: st.DataObject
) -> None:
    together = Noise(seed, step, torch.tensor(users))
    some = data.draw(st.permutations(range(len(users))))[: max(1, len(users) // 2)]
    apart = Noise(seed, step, torch.tensor([users[row] for row in some]))
    assert torch.equal(apart.normal(5), together.normal(5)[some])
    assert torch.equal(_uniform(apart, 5), _uniform(together, 5)[some])


@given(users=_USERS, seed=_SEEDS, step=_STEPS)
def test_an_items_number_does_not_depend_on_the_other_items(
    users: list[int], seed: int, step: int
) -> None:
    noise = Noise(seed, step, torch.tensor(users))
    every = _uniform(noise, 30)
    rows = torch.arange(len(users))
    assert torch.equal(noise.uniform(rows, torch.full_like(rows, 17)), every[:, 17])


@given(users=_USERS, seed=_SEEDS, step=_STEPS)
def test_uniform_numbers_lie_in_zero_to_one_and_normal_ones_are_finite(
    users: list[int], seed: int, step: int
) -> None:
    noise = Noise(seed, step, torch.tensor(users))
    uniform = _uniform(noise, 7)
    assert ((uniform >= 0) & (uniform < 1)).all()
    assert torch.isfinite(noise.normal(7)).all()


@given(users=_USERS, width=st.integers(1, 9))
def test_normal_noise_has_the_width_that_was_asked_for(users: list[int], width: int) -> None:
    noise = Noise(0, 0, torch.tensor(users)).normal(width)
    assert noise.shape == (len(users), width)
    assert noise.dtype == torch.float32


def test_the_same_address_gives_the_same_number() -> None:
    assert np.array_equal(_draws(), _draws())


# The seeds below are fixed, so the tests of distribution pass or fail for good. A p-value above
# 0.001 is what all but one of a thousand fair seeds would show.
def test_normal_noise_is_standard_normal() -> None:
    draws = _draws()
    assert stats.kstest(draws.ravel(), "norm").pvalue > 0.001
    # Five standard errors, sqrt(2 / n) each, of the variance.
    assert abs(draws.var() - 1) < 5 * (2 / draws.size) ** 0.5


def test_normal_noise_is_standard_normal_in_every_coordinate() -> None:
    worst = min(stats.kstest(column, "norm").pvalue for column in _draws().T)
    assert worst > 0.001 / _WIDTH  # the smallest of eight


def test_uniform_noise_is_uniform() -> None:
    draws = _uniform(Noise(4, 2, torch.arange(_N_USERS)), _WIDTH).double().numpy()
    assert stats.kstest(draws.ravel(), "uniform").pvalue > 0.001


def test_a_dropout_mask_drops_the_share_that_was_asked_for() -> None:
    draws = _uniform(Noise(4, 2, torch.arange(_N_USERS)), _WIDTH)
    kept = (draws >= 0.3).double().mean().item()
    # Five standard errors of a share: sqrt(0.3 * 0.7 / n).
    assert abs(kept - 0.7) < 5 * (0.21 / draws.numel()) ** 0.5


def _correlation(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> float:
    return float(abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]))


@pytest.mark.parametrize("changed", ["seed", "step", "stream"])
def test_noise_of_another_seed_step_or_stream_is_other_and_uncorrelated(changed: str) -> None:
    base = {"seed": 3, "step": 5, "stream": 1}
    one, other = _draws(), _draws(**{**base, changed: base[changed] + 1})
    assert not np.array_equal(one, other)
    # Five standard errors, 1/sqrt(n), of a correlation.
    assert _correlation(one, other) < 5 / one.size**0.5


def test_seed_step_and_stream_do_not_stand_in_for_each_other() -> None:
    addresses = [(1, 2, 3), (2, 1, 3), (3, 2, 1), (1, 3, 2)]
    firsts = {float(_draws(*address)[0, 0]) for address in addresses}
    assert len(firsts) == len(addresses)


def test_neighbouring_users_and_coordinates_are_uncorrelated() -> None:
    draws = _draws()
    between = np.corrcoef(draws.T) - np.eye(_WIDTH)
    # Six standard errors for the largest of 28 pairs.
    assert np.abs(between).max() < 6 / _N_USERS**0.5
    assert _correlation(draws[1:], draws[:-1]) < 5 / draws.size**0.5


def test_dropout_and_sampling_noise_are_uncorrelated() -> None:
    noise = Noise(3, 5, torch.arange(_N_USERS))
    uniform = _uniform(noise, _WIDTH).double().numpy()
    normal = noise.normal(_WIDTH).double().numpy()
    assert _correlation(uniform, normal) < 5 / uniform.size**0.5


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU on this machine")
def test_a_gpu_draws_what_a_cpu_draws() -> None:
    cpu, gpu = (Noise(3, 5, torch.arange(1_000, device=name)) for name in ("cpu", "cuda"))
    rows, items = torch.arange(1_000), torch.arange(1_000) % 7
    assert torch.equal(gpu.uniform(rows.cuda(), items.cuda()).cpu(), cpu.uniform(rows, items))
    # Logarithm and cosine may round differently: numbers up to 6 in float32.
    assert (gpu.normal(9).cpu() - cpu.normal(9)).abs().max() < 1e-5
