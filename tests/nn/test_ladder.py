"""Laws of the ladder: residual KL against torch's own, sums over groups, bounded variances."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from recsys_vae.nn.gaussian import DiagonalGaussian
from recsys_vae.nn.ladder import Ladder, LadderPosterior, ResidualGaussian, balance, bounded
from recsys_vae.nn.noise import Noise
from recsys_vae.nn.towers import initialise

_USERS, _WIDTH, _KNOWN = 4, 3, 6
_NOISE = Noise(seed=2, step=7, users=torch.arange(_USERS))


def _matrix(low: float, high: float) -> st.SearchStrategy[Tensor]:
    numbers = st.lists(st.floats(low, high), min_size=_USERS * _WIDTH, max_size=_USERS * _WIDTH)
    return numbers.map(lambda listed: torch.tensor(listed, dtype=torch.float64).view(_USERS, -1))


def _ladder(groups: int, bound: float = 4.0) -> Ladder:
    ladder = Ladder(groups, _WIDTH, _KNOWN, bound)
    initialise(ladder, torch.Generator().manual_seed(0))
    return ladder.double()


def _known(users: int = _USERS) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(users, _KNOWN, generator=generator, dtype=torch.float64)


@given(
    m=_matrix(-20, 20), s=_matrix(-4, 4), d=_matrix(-20, 20), r=_matrix(-4, 4)
)  # fmt: skip
def test_the_residual_kl_is_torchs_own_between_posterior_and_prior(
    m: Tensor, s: Tensor, d: Tensor, r: Tensor
) -> None:
    ours = ResidualGaussian(m, s, d, r).kl()
    posterior, prior = Normal(m + d, ((s + r) / 2).exp()), Normal(m, (s / 2).exp())
    theirs = kl_divergence(posterior, prior).sum(dim=1)
    # Doubles; m + d is rounded to 1e-15 of 40, and divided by the prior's e^-2.
    assert torch.allclose(ours, theirs, rtol=1e-11, atol=1e-11)
    assert (ours >= -1e-12).all()


def test_a_posterior_that_is_its_prior_costs_nothing_wherever_the_prior_is() -> None:
    zero = torch.zeros(2, 3)
    assert torch.equal(ResidualGaussian(zero + 5, zero - 2, zero, zero).kl(), torch.zeros(2))


def test_a_standard_prior_gives_the_plain_gaussian() -> None:
    mean, log_variance = _known()[:, :3], 0.3 * _known()[:, 3:]
    zero = torch.zeros_like(mean)
    plain, residual = (
        DiagonalGaussian(mean, log_variance),
        ResidualGaussian(zero, zero, mean, log_variance),
    )
    assert torch.equal(residual.kl(), plain.kl())
    assert torch.equal(residual.sample(_NOISE, stream=1), plain.sample(_NOISE))


@pytest.mark.parametrize("groups", [1, 2, 5])
def test_the_kl_is_the_sum_over_the_groups(groups: int) -> None:
    ladder = _ladder(groups)
    posterior = LadderPosterior(ladder, ladder.climb(_known()))
    descent = ladder.descend(posterior.rungs)
    assert descent.kl_BL.shape == (_USERS, groups)
    assert descent.z_BZ.shape == (_USERS, groups * _WIDTH)
    assert torch.equal(posterior.kl(), descent.kl_BL.sum(dim=1))
    assert torch.equal(posterior.mean_BZ, descent.z_BZ)
    assert torch.equal(posterior.sample(_NOISE), ladder.descend(posterior.rungs, _NOISE).z_BZ)


def test_the_whole_divergence_is_what_samples_say_of_log_q_minus_log_p() -> None:
    # One user, many draws: KL = E_q[sum_l log q(z_l|..) - log p(z_l|..)], here term by term
    # from the same priors and posteriors, made again by hand from the layers.
    ladder, draws = _ladder(2), 40_000
    rungs = [rung.expand(draws, -1) for rung in ladder.climb(_known(1))]
    with torch.no_grad():
        descent = ladder.descend(rungs, Noise(0, 0, torch.arange(draws)))
        z1, z2 = descent.z_BZ.chunk(2, dim=1)
        state = ladder.carry[0](z1)
        state = (state - state.mean(1, keepdim=True)) / (
            state.var(1, keepdim=True, correction=0) + 1e-5
        ).sqrt()
        context = torch.tanh(ladder.context[0](state)) / rungs[1].shape[1] ** 0.5
        m, s = ladder.prior[0](context).chunk(2, dim=1)
        d, r = ladder.residual[0](torch.cat([rungs[1], context], dim=1)).chunk(2, dim=1)
        s, r = bounded(s, 4.0), bounded(r, 4.0)
        top_m, top_s = ladder.posterior(rungs[0]).chunk(2, dim=1)
        ratio = (
            Normal(top_m, (top_s / 2).exp()).log_prob(z1)
            - Normal(0.0, 1.0).log_prob(z1)
            + Normal(m + d, ((s + r) / 2).exp()).log_prob(z2)
            - Normal(m, (s / 2).exp()).log_prob(z2)
        ).sum(dim=1)
    # Five standard errors of a mean.
    error = 5 * float(ratio.std()) / draws**0.5
    assert abs(float(ratio.mean() - descent.kl_BL.sum(dim=1).mean())) < error


def test_groups_draw_noise_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    ladder, streams, normal = _ladder(3), list[int](), Noise.normal
    rungs = ladder.climb(_known())
    drawn = ladder.descend(rungs, _NOISE).z_BZ

    def watched(noise: Noise, width: int, *, stream: int = 1) -> Tensor:
        streams.append(stream)
        return normal(noise, width, stream=stream)

    monkeypatch.setattr(Noise, "normal", watched)
    assert torch.equal(drawn, ladder.descend(rungs, _NOISE).z_BZ)
    # The top group's is that of a plain VAE.
    assert streams[0] == 1
    assert len(set(streams)) == len(streams) == 3


def test_a_users_way_down_does_not_depend_on_the_others() -> None:
    ladder, known = _ladder(3), _known()
    whole = ladder.descend(ladder.climb(known), _NOISE)
    alone = ladder.descend(ladder.climb(known[2:3]), Noise(2, 7, torch.tensor([2])))
    # Doubles; products of other shapes add in another order.
    assert torch.allclose(alone.z_BZ, whole.z_BZ[2:3], rtol=1e-12, atol=1e-14)


def test_log_variances_below_the_top_stay_within_their_bound() -> None:
    raw = torch.tensor([[-1e9, -1.0, 0.0, 0.01, 1e9]], dtype=torch.float64)
    assert bounded(raw, 2.0).abs().max() <= 2.0
    assert float(bounded(raw, 2.0)[0, 3]) == pytest.approx(0.01, rel=1e-4)  # x - x^3 / 12
    ladder = _ladder(2, bound=2.0)
    with torch.no_grad():
        # Both halves of what the layers give: means as they are, log-variances far out.
        for layer in (*ladder.prior, *ladder.residual):
            layer.bias[_WIDTH:] = 1e6
    descent = ladder.descend(ladder.climb(_known()), _NOISE)
    # Prior's and posterior's variances are e^2 and e^4: each of 3 coordinates costs at least
    # (e^2 - 1 - 2) / 2, and the rest is the shift's.
    floor = 3 * (math.e**2 - 3) / 2
    assert ((descent.kl_BL[:, 1] >= floor - 1e-9) & (descent.kl_BL[:, 1] < floor + 50)).all()
    assert torch.isfinite(descent.z_BZ).all()


def test_balancing_by_hand() -> None:
    kl_BL = torch.tensor([[3.0, 1.0], [0.0, 0.0]])
    # Against a mean of 2: 3/2 and 1/2. Nothing said by anyone: nothing to balance.
    assert balance(kl_BL, 0.0).tolist() == [[1.5, 0.5], [1.0, 1.0]]
    assert balance(kl_BL, 0.5).tolist() == [[1.25, 0.75], [1.0, 1.0]]
    assert balance(kl_BL, 1.0).tolist() == [[1.0, 1.0], [1.0, 1.0]]
    assert balance(kl_BL[:, :1], 0.0).tolist() == [[1.0], [1.0]]
