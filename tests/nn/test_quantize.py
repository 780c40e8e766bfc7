"""Laws of the quantiser: the nearest code, untouched gradients, moving averages by hand.

Legend: B users, G groups, K codes, D width, Z = G D.
"""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from recsys_vae.nn.noise import Noise
from recsys_vae.nn.quantize import VectorQuantizer, perplexity, straight_through

_NOISE = Noise(seed=3, step=5, users=torch.arange(7))


def _quantizer(
    groups: int = 3,
    codes: int = 5,
    width: int = 2,
    *,
    seed: int = 0,
    decay: float = 0.5,
    revive_below: float = 0.0,
) -> VectorQuantizer:
    return VectorQuantizer(
        groups,
        codes,
        width,
        decay=decay,
        revive_below=revive_below,
        generator=torch.Generator().manual_seed(seed),
    ).double()


def _points(users: int, width: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.2 * torch.randn(users, width, generator=generator, dtype=torch.float64)


def _alone(tensor: Tensor) -> Tensor:
    return tensor


def _keeping(seen: list[Tensor]) -> Callable[[Tensor], Tensor]:
    """Alone, but somebody listens to what would go to the other processes."""

    def keep(tensor: Tensor) -> Tensor:
        seen.append(tensor)
        return tensor

    return keep


def _set(
    quantizer: VectorQuantizer, codes: list[list[list[float]]], use: list[list[float]]
) -> None:
    quantizer.codes_GKD.copy_(torch.tensor(codes))
    quantizer.use_GK.copy_(torch.tensor(use))


@given(
    groups=st.integers(1, 4),
    codes=st.integers(1, 9),
    width=st.integers(1, 5),
    users=st.integers(0, 6),
    seed=st.integers(0, 99),
)
def test_the_codes_are_the_nearest_by_brute_force(
    groups: int, codes: int, width: int, users: int, seed: int
) -> None:
    quantizer = _quantizer(groups, codes, width, seed=seed)
    z_BZ = _points(users, groups * width, seed)
    chosen_BG = quantizer(z_BZ).codes_BG
    assert chosen_BG.shape == (users, groups)
    for user in range(users):
        for group in range(groups):
            point = z_BZ[user, group * width : (group + 1) * width]
            distances = [
                float((point - code).square().sum()) for code in quantizer.codes_GKD[group]
            ]
            chosen = distances[int(chosen_BG[user, group])]
            # Of squares near 1, some roundings of doubles: two codes so close are equally near.
            assert chosen <= min(distances) + 1e-14


def test_what_is_handed_on_are_the_codes_to_the_bit() -> None:
    quantizer = _quantizer()
    result = quantizer(_points(7, 6))
    assert torch.equal(result.mean_BZ, quantizer.look_up(result.codes_BG).flatten(1))
    assert torch.equal(result.sample(_NOISE), result.mean_BZ)
    # A code of 5, three times: 3 log 5 nats against the uniform law, for each user.
    assert result.kl().tolist() == pytest.approx([3 * math.log(5)] * 7)


def test_the_gradient_passes_straight_through() -> None:
    z_BZ = _points(7, 6).requires_grad_()
    upstream_BZ = _points(7, 6, seed=2)
    (gradient,) = torch.autograd.grad(_quantizer()(z_BZ).mean_BZ, z_BZ, upstream_BZ)
    assert torch.equal(gradient, upstream_BZ)


def test_straight_through_is_exact_even_where_a_difference_would_round() -> None:
    # 1e8 + (0.1 - 1e8) is not 0.1 in single precision.
    e = torch.tensor([0.1])
    assert torch.equal(straight_through(torch.tensor([1e8]), e), e)


def test_the_commitment_pulls_the_point_and_leaves_the_code() -> None:
    quantizer = _quantizer(groups=2, codes=1, width=1)
    _set(quantizer, [[[1.0]], [[-1.0]]], [[1.0], [1.0]])
    z_BZ = torch.tensor([[4.0, 1.0]], dtype=torch.float64, requires_grad=True)
    commitment_B = quantizer(z_BZ).commitment_B
    # The mean of (4 - 1)^2 and (1 - -1)^2, and its gradient 2 (z - e) / 2.
    assert commitment_B.tolist() == [6.5]
    (gradient,) = torch.autograd.grad(commitment_B.sum(), z_BZ)
    assert gradient.tolist() == [[3.0, 2.0]]
    assert list(quantizer.parameters()) == []


def test_the_moving_averages_by_hand() -> None:
    quantizer = _quantizer(groups=1, codes=2, width=1, decay=0.5)
    _set(quantizer, [[[0.0], [100.0]]], [[1.0, 1.0]])
    quantizer(torch.tensor([[2.0], [4.0]], dtype=torch.float64))
    quantizer.settle(_NOISE, _alone)
    # Use: 1/2 * 1 + 1/2 * 2 = 1.5, and 1/2 * 1 + 0. Sums: (1/2 * 1 * 0 + 1/2 * (2 + 4)) = 3.
    assert quantizer.use_GK.tolist() == [[1.5, 0.5]]
    assert quantizer.codes_GKD.tolist() == [[[3.0 / 1.5], [100.0]]]


def test_with_constant_points_the_code_goes_to_their_mean_and_the_use_to_their_number() -> None:
    quantizer = _quantizer(groups=1, codes=1, width=2, decay=0.9)
    z_BZ = _points(7, 2)
    for _ in range(400):
        quantizer(z_BZ)
        quantizer.settle(_NOISE, _alone)
    # What is left of the beginning: 0.9^400 = 5e-19.
    assert torch.allclose(quantizer.codes_GKD[0, 0], z_BZ.mean(dim=0), rtol=0, atol=1e-14)
    assert float(quantizer.use_GK) == pytest.approx(7, rel=1e-13)


def test_a_code_that_nobody_takes_stays_to_the_bit_for_ever() -> None:
    quantizer = _quantizer(groups=1, codes=2, width=1, decay=0.5)
    _set(quantizer, [[[0.1], [0.7]]], [[1.0, 1.0]])
    before = float(quantizer.codes_GKD[0, 1])
    for _ in range(2_000):  # 0.5^2000 is 0 in doubles: the use dies out altogether
        quantizer(torch.tensor([[0.1]], dtype=torch.float64))
        quantizer.settle(_NOISE, _alone)
    assert float(quantizer.codes_GKD[0, 1]) == before
    assert float(quantizer.use_GK[0, 1]) == 0.0


def test_at_evaluation_nothing_changes() -> None:
    quantizer = _quantizer(revive_below=0.5).eval()
    before = {name: value.clone() for name, value in quantizer.state_dict().items()}
    first = quantizer(_points(7, 6))
    second = quantizer(_points(7, 6))
    assert torch.equal(first.mean_BZ, second.mean_BZ)
    assert {name: value.tolist() for name, value in quantizer.state_dict().items()} == {
        name: value.tolist() for name, value in before.items()
    }
    # Nothing was remembered either: a training step after it sees only its own users.
    quantizer.train()
    fresh = _quantizer(revive_below=0.5)
    for one in (quantizer, fresh):
        one(_points(4, 6, seed=8))
        one.settle(_NOISE, _alone)
    assert torch.equal(quantizer.codes_GKD, fresh.codes_GKD)


def test_two_processes_that_share_a_batch_learn_what_one_would() -> None:
    whole, *halves = (_quantizer(revive_below=0.9) for _ in range(3))
    z_BZ = _points(8, 6)
    whole(z_BZ)
    whole.settle(_NOISE, _alone)
    seen: list[Tensor] = []
    for half, part_BZ in zip(halves, (z_BZ[:3], z_BZ[3:]), strict=True):
        half(part_BZ)
        half.settle(_NOISE, _keeping(seen))
    # What the first process would have received: the sum of both.
    together = _quantizer(revive_below=0.9)
    together(z_BZ[:3])
    together.settle(_NOISE, lambda one: one + seen[1])
    # Sums of at most eight doubles in another order.
    assert torch.allclose(together.codes_GKD, whole.codes_GKD, rtol=0, atol=1e-14)
    assert torch.equal(together.use_GK, whole.use_GK)


def test_a_process_without_users_takes_part_nevertheless() -> None:
    whole, idle = _quantizer(), _quantizer()
    seen: list[Tensor] = []
    whole(_points(4, 6))
    whole.settle(_NOISE, _keeping(seen))
    idle.settle(_NOISE, lambda one: one + seen[0])
    assert torch.equal(idle.codes_GKD, whole.codes_GKD)


def test_a_dead_code_is_put_beside_one_in_use_and_they_share_its_use() -> None:
    quantizer = _quantizer(groups=1, codes=3, width=2, decay=0.5, revive_below=0.1)
    # Code 1 alone is taken; after the step the uses are 1/2 * .01, 1/2 * 4 + 1/2 * 4, 1/2 * 8.
    _set(quantizer, [[[9.0, 9.0], [1.0, 2.0], [-5.0, 5.0]]], [[0.01, 4.0, 8.0]])
    quantizer(torch.tensor([[1.0, 2.0]] * 4, dtype=torch.float64))
    quantizer.settle(_NOISE, _alone)
    revived, *others = quantizer.codes_GKD[0].tolist()
    assert others == [[1.0, 2.0], [-5.0, 5.0]]
    parent = 1 if math.dist(revived, others[0]) < math.dist(revived, others[1]) else 2
    uses = quantizer.use_GK[0].tolist()
    assert uses[0] == uses[parent] == 2.0
    assert uses[3 - parent] == 4.0
    # A hundredth of the codes' size (about 6), times a standard normal number or two.
    assert 0 < math.dist(revived, others[parent - 1]) < 0.3


def test_many_dead_codes_share_their_parents_use_evenly() -> None:
    quantizer = _quantizer(groups=1, codes=4, width=3, decay=0.5, revive_below=0.5)
    _set(quantizer, [[[0.1] * 3, [0.2] * 3, [0.3] * 3, [0.4] * 3]], [[0.0, 0.0, 8.0, 0.0]])
    quantizer.settle(_NOISE, _alone)
    # Nobody came: 8 is halved, and the one code in use has three children.
    assert quantizer.use_GK.tolist() == [[1.0, 1.0, 1.0, 1.0]]
    assert len(torch.unique(quantizer.codes_GKD[0], dim=0)) == 4


def test_revival_follows_from_seed_and_step_alone() -> None:
    def revived(noise: Noise) -> Tensor:
        quantizer = _quantizer(revive_below=0.9)
        quantizer(_points(2, 6))
        quantizer.settle(noise, _alone)
        return quantizer.codes_GKD

    first = revived(_NOISE)
    assert torch.equal(first, revived(Noise(3, 5, torch.tensor([99]))))
    assert not torch.equal(first, revived(Noise(3, 6, torch.arange(7))))
    assert not torch.equal(first, revived(Noise(4, 5, torch.arange(7))))


def test_revival_ends_the_collapse_onto_one_code() -> None:
    # Eight clusters far from every initial code: without revival few codes would win them all.
    clusters = torch.randn(8, 2, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    z_BZ = (3.0 + clusters).repeat(10, 1)
    used, error = {}, {}
    for share in (0.0, 0.2):
        quantizer = _quantizer(groups=1, codes=16, decay=0.9, revive_below=share)
        for step in range(300):
            quantizer(z_BZ)
            quantizer.settle(Noise(0, step, torch.arange(80)), _alone)
        result = quantizer.eval()(z_BZ)
        used[share] = float(perplexity(result.codes_BG, 16))
        error[share] = float(result.commitment_B.mean())
    assert used[0.0] < 3
    assert used[0.2] > 6
    assert error[0.2] < error[0.0] / 20


def test_perplexity_counts_the_codes_in_use() -> None:
    alike = torch.arange(4).repeat(3)[:, None]
    # Four codes alike; one code for all; and their mean.
    assert float(perplexity(alike, 9)) == pytest.approx(4, rel=1e-6)
    assert float(perplexity(torch.zeros_like(alike), 9)) == 1.0
    both = torch.cat([alike, torch.zeros_like(alike)], dim=1)
    assert float(perplexity(both, 9)) == pytest.approx(2.5, rel=1e-6)
    # Shares 3/4 and 1/4: (4/3)^(3/4) * 4^(1/4).
    uneven = torch.tensor([[0], [0], [0], [1]])
    assert float(perplexity(uneven, 2)) == pytest.approx((4 / 3) ** 0.75 * 4**0.25, rel=1e-6)
