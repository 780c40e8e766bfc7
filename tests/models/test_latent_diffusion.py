"""Latent diffusion keeps the contract, and learns to decode what the denoiser completes."""

from typing import Final

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from recsys_vae.errors import InputError
from recsys_vae.models.base import FitOptions, Recommender
from recsys_vae.models.latent_diffusion import (
    LatentDiffusion,
    LatentDiffusionConfig,
    LatentDiffusionNetwork,
)
from recsys_vae.models.zoo import make_model
from recsys_vae.nn.noise import Noise
from recsys_vae.training.batches import sparse_batch
from recsys_vae.training.config import TrainingConfig
from tests.conftest import Checkerboard
from tests.contract import RecommenderContract

_QUICK: Final = TrainingConfig(epochs=40, batch_size=15, learning_rate=0.02)
_CPU: Final = torch.device("cpu")


def _config(inference_steps: int = 3, training: TrainingConfig = _QUICK) -> LatentDiffusionConfig:
    return LatentDiffusionConfig(
        hidden=(32,),
        latent=8,
        kl_cap=0.01,
        denoiser=32,
        noise_steps=10,
        inference_steps=inference_steps,
        training=training,
    )


class TestLatentDiffusion(RecommenderContract):
    def make(self) -> Recommender:
        return LatentDiffusion(_config())


@pytest.fixture(scope="module")
def fitted(checkerboard: Checkerboard) -> LatentDiffusion:
    return LatentDiffusion(_config()).fit(checkerboard.train, FitOptions(device="cpu"))


def _network(model: LatentDiffusion) -> LatentDiffusionNetwork:
    network = model.network
    assert isinstance(network, LatentDiffusionNetwork)
    return network


def test_with_a_denoiser_that_changes_nothing_the_objective_is_mult_vaes(
    checkerboard: Checkerboard,
) -> None:
    network = LatentDiffusionNetwork(_config(), 24, torch.Generator().manual_seed(2))
    with torch.no_grad():
        network.denoiser.last.weight.zero_()
        network.denoiser.last.bias.zero_()
    batch, noise = sparse_batch(checkerboard.train.matrix, _CPU), Noise(0, 0, torch.arange(60))
    found, alone = network.objective(batch, 0.1, noise), network.vae.objective(batch, 0.1, noise)
    for name, value in alone.terms.items():
        assert torch.equal(found.terms[name], value), name
    assert torch.allclose(found.loss, alone.loss + found.terms["denoising"])


def test_the_denoiser_learns_to_complete(
    fitted: LatentDiffusion, checkerboard: Checkerboard
) -> None:
    # Against what the condition alone would be wrong by: 1/2 |mu(x) - mu(drop(x))|^2.
    network = _network(fitted)
    batch = sparse_batch(checkerboard.train.matrix, _CPU)
    noise = Noise(7, 10_000, torch.arange(60))
    with torch.no_grad():
        x0, condition = network.vae.encode(batch).mean_BZ, network.vae.encode(batch, noise).mean_BZ
        loss = network.denoising_loss(x0, condition, noise).mean()
        idle = 0.5 * (x0 - condition).square().sum(dim=1).mean()
    assert float(loss) < 0.5 * float(idle)
    assert fitted.history[-1].terms["denoising"] < fitted.history[0].terms["denoising"]


def test_scoring_is_deterministic(fitted: LatentDiffusion, checkerboard: Checkerboard) -> None:
    given = checkerboard.train.matrix
    first = fitted.score(given)
    torch.manual_seed(1)
    assert np.array_equal(fitted.score(given), first)


@pytest.mark.parametrize("steps", [1, 2, 10])
def test_with_a_perfect_denoiser_it_decodes_what_the_denoiser_knows(
    fitted: LatentDiffusion, checkerboard: Checkerboard, steps: int
) -> None:
    config = _config(inference_steps=steps)
    network = LatentDiffusionNetwork(config, 24, torch.Generator())
    network.load_state_dict(_network(fitted).state_dict())
    with torch.no_grad():
        # A denoiser that answers with its condition: x0 is the VAE's own mean.
        network.denoiser.last.weight.zero_()
        network.denoiser.last.bias.zero_()
        batch = sparse_batch(checkerboard.train.matrix, _CPU)
        assert torch.equal(network.encode(batch).mean_BZ, network.vae.encode(batch).mean_BZ)


def test_the_denoisers_loss_by_hand() -> None:
    network = LatentDiffusionNetwork(_config(), 24, torch.Generator().manual_seed(0))
    noise = Noise(1, 2, torch.arange(6))
    generator = torch.Generator().manual_seed(3)
    x0, condition = torch.randn(2, 6, 8, generator=generator)
    loss = network.denoising_loss(x0, condition, noise)
    times = 1 + (noise.uniform(torch.arange(6), torch.zeros(6).long(), stream=32) * 10).long()
    assert ((times >= 1) & (times <= 10)).all()
    a, b = network.schedule.levels(times)
    guess = network.denoiser(a * x0 + b * noise.normal(8, stream=33), condition, times)
    expected = 0.5 * (x0 - guess).square().sum(dim=1)
    # float32 sums of eight squares; the marginal is divided by cos 0 = 1.
    assert torch.allclose(loss, expected, rtol=1e-5)
    alone = network.denoising_loss(x0[2:3], condition[2:3], Noise(1, 2, torch.tensor([2])))
    assert torch.allclose(alone, loss[2:3], rtol=1e-5)  # the same user in another batch


def test_gradients_reach_every_parameter_and_denoising_leaves_the_vae_alone(
    checkerboard: Checkerboard,
) -> None:
    network = LatentDiffusionNetwork(_config(), 24, torch.Generator().manual_seed(2))
    batch, noise = sparse_batch(checkerboard.train.matrix, _CPU), Noise(0, 0, torch.arange(60))
    objective = network.objective(batch, 0.1, noise)
    objective.loss.backward(retain_graph=True)
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert (parameter.grad != 0).any(), name
    by_vae = torch.autograd.grad(
        objective.terms["denoising"], list(network.vae.parameters()), allow_unused=True
    )
    assert all(gradient is None for gradient in by_vae)
    by_denoiser = torch.autograd.grad(
        objective.terms["reconstruction"], list(network.denoiser.parameters())
    )
    assert all((gradient != 0).any() for gradient in by_denoiser)


def test_a_user_without_history_is_completed_finitely(fitted: LatentDiffusion) -> None:
    scores = fitted.score(csr_array((1, 24), dtype=np.float32))
    assert np.isfinite(scores).all()


def test_more_steps_than_levels_are_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"'inference_steps'.* at most noise_steps \(2\)"):
        make_model("latent-diffusion", {"noise_steps": 2})
