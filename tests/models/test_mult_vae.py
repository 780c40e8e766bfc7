"""Mult-VAE keeps the contract."""

from typing import Final

from recsys_vae.models.base import Recommender
from recsys_vae.models.mult_vae import MultVAE, MultVAEConfig
from recsys_vae.training.config import TrainingConfig
from tests.contract import RecommenderContract

_QUICK: Final = TrainingConfig(epochs=40, batch_size=15, learning_rate=0.02)


class TestMultVAE(RecommenderContract):
    def make(self) -> Recommender:
        return MultVAE(MultVAEConfig(hidden=(32,), latent=8, kl_cap=0.01, training=_QUICK))


def test_the_defaults_are_the_papers_for_movielens_20m() -> None:
    config = MultVAEConfig()
    assert (config.hidden, config.latent, config.dropout, config.kl_cap) == ((600,), 200, 0.5, 0.2)
    assert config.training.users_per_step(100_000) == 500
    assert config.training.learning_rate == 1e-3


def test_the_kl_weight_reaches_its_cap_after_half_of_the_steps() -> None:
    schedule = MultVAEConfig(kl_cap=0.2).kl_schedule(1_000)
    assert schedule(0) == 0.0
    # Half of the way to the cap after a quarter of the steps: 250 / 1000 * 0.2 * 2 = 0.1.
    assert abs(schedule(250) - 0.1) < 1e-12  # a few roundings of double precision
    assert schedule(499) < 0.2
    assert schedule(500) == schedule(999) == 0.2


def test_a_kl_cap_of_zero_means_no_kl_term_at_all() -> None:
    schedule = MultVAEConfig(kl_cap=0.0).kl_schedule(1_000)
    assert {schedule(step) for step in range(1_000)} == {0.0}


def test_the_kl_weight_is_annealed_over_the_steps_that_were_asked_for() -> None:
    schedule = MultVAEConfig(kl_cap=0.2, kl_annealing_steps=200_000).kl_schedule(10)
    assert schedule(20_000) == 0.1
    assert schedule(40_000) == schedule(10**9) == 0.2
