"""Mult-DAE keeps the contract."""

from typing import Final

from recsys_vae.models.base import Recommender
from recsys_vae.models.mult_dae import MultDAE, MultDAEConfig
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
