"""Mult-DAE keeps the contract."""

from typing import Any, Final

import numpy as np

from recsys_vae.interactions import Interactions
from recsys_vae.models.base import FitOptions, Recommender
from recsys_vae.models.mult_dae import MultDAE, MultDAEConfig
from recsys_vae.models.plain_autoencoder import PlainAutoencoder, PlainAutoencoderConfig
from recsys_vae.training.config import TrainingConfig
from tests.contract import RecommenderContract

_QUICK: Final = TrainingConfig(epochs=40, batch_size=15, learning_rate=0.02)


class TestMultDAE(RecommenderContract):
    def make(self) -> Recommender:
        return MultDAE(MultDAEConfig(latent=16, training=_QUICK))


class TestMultDAEWithHiddenLayers(RecommenderContract):
    def make(self) -> Recommender:
        return MultDAE(MultDAEConfig(hidden=(32,), latent=16, training=_QUICK))


def test_the_defaults_are_the_papers_for_movielens_20m() -> None:
    config = MultDAEConfig()
    assert (config.hidden, config.latent, config.dropout) == ((), 200, 0.5)
    assert config.training.weight_decay == 0.01 / 500


def test_it_is_the_autoencoder_with_its_settings_to_the_bit(small: Interactions) -> None:
    training = TrainingConfig(epochs=3, weight_decay=0.01)
    settings: dict[str, Any] = {"latent": 4, "dropout": 0.5, "training": training}
    options = FitOptions(device="cpu")
    one = MultDAE(MultDAEConfig(**settings)).fit(small, options).arrays()
    other = PlainAutoencoder(PlainAutoencoderConfig(**settings)).fit(small, options).arrays()
    assert one.keys() == other.keys()
    assert all(np.array_equal(one[name], value) for name, value in other.items())
