"""The autoencoder keeps the contract with each of its likelihoods."""

from typing import Final

import numpy as np
import torch

from recsys_vae.interactions import Interactions
from recsys_vae.models.base import FitOptions, Recommender
from recsys_vae.models.plain_autoencoder import PlainAutoencoder, PlainAutoencoderConfig
from recsys_vae.nn.gaussian import PointMass
from recsys_vae.nn.noise import Noise
from recsys_vae.training.batches import sparse_batch
from recsys_vae.training.config import TrainingConfig
from tests.contract import RecommenderContract

_QUICK: Final = TrainingConfig(epochs=40, batch_size=15, learning_rate=0.02)


class TestAutoencoder(RecommenderContract):
    def make(self) -> Recommender:
        return PlainAutoencoder(PlainAutoencoderConfig(latent=8, training=_QUICK))


class TestBernoulliAutoencoder(RecommenderContract):
    def make(self) -> Recommender:
        config = PlainAutoencoderConfig(
            hidden=(16,), latent=8, likelihood="bernoulli", training=_QUICK
        )
        return PlainAutoencoder(config)


class TestGaussianAutoencoder(RecommenderContract):
    def make(self) -> Recommender:
        return PlainAutoencoder(
            PlainAutoencoderConfig(latent=8, likelihood="gaussian", training=_QUICK)
        )


def test_the_defaults_are_without_noise_and_without_a_penalty() -> None:
    config = PlainAutoencoderConfig()
    assert (config.likelihood, config.dropout, config.training.weight_decay) == (
        "multinomial", 0.0, 0.0,
    )  # fmt: skip


def test_nothing_random_enters_the_objective(small: Interactions) -> None:
    network = PlainAutoencoder(PlainAutoencoderConfig(latent=4)).build(4, torch.Generator())
    batch = sparse_batch(small.matrix, torch.device("cpu"))
    one, other = (
        network.objective(batch, 0.0, Noise(seed, step=seed, users=torch.arange(3))).loss
        for seed in (1, 2)
    )
    assert torch.equal(one, other)
    assert isinstance(network.encode(batch), PointMass)


def test_there_is_nothing_beside_the_reconstruction(small: Interactions) -> None:
    training = TrainingConfig(epochs=2)
    model = PlainAutoencoder(PlainAutoencoderConfig(latent=4, training=training))
    model.fit(small, FitOptions(device="cpu"))
    for record in model.history:
        assert record.terms["loss"] == record.terms["reconstruction"]
        assert record.kl_weight == 0.0


def test_enough_room_reconstructs_every_history(small: Interactions) -> None:
    config = PlainAutoencoderConfig(latent=8, likelihood="gaussian")
    network = PlainAutoencoder(config).build(4, torch.Generator().manual_seed(0))
    batch = sparse_batch(small.matrix, torch.device("cpu"))
    optimiser = torch.optim.Adam(network.parameters(), lr=0.05)
    for step in range(400):
        optimiser.zero_grad()
        network.objective(batch, 0.0, Noise(0, step, torch.arange(3))).loss.backward()
        optimiser.step()
    logits = network.decode(network.encode(batch).mean_BZ).detach().numpy()
    # Eight units for three users: squared errors can vanish; 400 steps come within a hundredth.
    assert np.abs(logits - small.matrix.toarray()).max() < 0.01
