"""Mult-VAE keeps the contract."""

from typing import Final, Literal

import numpy as np
import pytest
from scipy.sparse import csr_array

from recsys_vae.errors import InputError
from recsys_vae.interactions import IdMap, Interactions
from recsys_vae.models.base import FitOptions, Recommender
from recsys_vae.models.mult_vae import MultVAE, MultVAEConfig
from recsys_vae.models.zoo import make_model
from recsys_vae.training.config import TrainingConfig
from tests.contract import RecommenderContract

_QUICK: Final = TrainingConfig(epochs=40, batch_size=15, learning_rate=0.02)


class TestMultVAE(RecommenderContract):
    def make(self) -> Recommender:
        return MultVAE(MultVAEConfig(hidden=(32,), latent=8, kl_cap=0.01, training=_QUICK))


class TestMultVAEOfBernoulliLikelihood(RecommenderContract):
    def make(self) -> Recommender:
        return MultVAE(
            MultVAEConfig(
                hidden=(32,), latent=8, kl_cap=0.01, likelihood="bernoulli", training=_QUICK
            )
        )


class TestMultVAEOfGaussianLikelihood(RecommenderContract):
    def make(self) -> Recommender:
        return MultVAE(
            MultVAEConfig(
                hidden=(32,), latent=8, kl_cap=0.001, likelihood="gaussian", training=_QUICK
            )
        )


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


def test_the_default_likelihood_is_the_papers() -> None:
    config = MultVAEConfig()
    assert config.likelihood == "multinomial"
    assert config.pointwise() is None


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
@pytest.mark.parametrize(
    "name", ["mult-vae", "beta-vae", "autoencoder", "ladder-vae", "latent-diffusion"]
)
def test_a_sampled_softmax_with_another_likelihood_is_refused(name: str, likelihood: str) -> None:
    with pytest.raises(InputError) as error:
        make_model(name, {"softmax": "sampled", "likelihood": likelihood})
    sentence = str(error.value)
    assert "\n" not in sentence
    assert all(word in sentence for word in (name, "sampled", "multinomial", likelihood))
    make_model(name, {"softmax": "sampled"})
    make_model(name, {"softmax": "exact", "likelihood": likelihood})


def test_where_the_choice_is_automatic_another_likelihood_is_never_sampled() -> None:
    assert MultVAEConfig().negatives_for(10**6) == 8192
    assert MultVAEConfig(likelihood="bernoulli").negatives_for(10**6) is None


def test_an_unknown_likelihood_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"likelihood.*multinomial.*bernoulli.*gaussian.*poisson"):
        make_model("mult-vae", {"likelihood": "poisson"})


@pytest.mark.parametrize("likelihood", ["multinomial", "bernoulli", "gaussian"])
def test_the_buffer_changes_nothing_but_rounding(
    small: Interactions, likelihood: Literal["multinomial", "bernoulli", "gaussian"]
) -> None:
    scores = []
    # All logits at once; or one of four items at a time for three users of 4 bytes each.
    for buffer_mb in (256.0, 20 / 2**20):
        training = TrainingConfig(epochs=5, precision="float32", buffer_mb=buffer_mb)
        config = MultVAEConfig(hidden=(6,), latent=4, likelihood=likelihood, training=training)
        model = MultVAE(config).fit(small, FitOptions(device="cpu"))
        scores.append(model.score(small.matrix))
    # A few Adam steps on float32 gradients.
    assert np.abs(scores[0] - scores[1]).max() < 1e-4


@pytest.mark.parametrize("likelihood", ["multinomial", "bernoulli", "gaussian"])
def test_users_without_history_train_and_are_scored_finitely(
    likelihood: Literal["multinomial", "bernoulli", "gaussian"],
) -> None:
    histories = csr_array(np.array([[1, 0, 1], [0, 0, 0], [0, 2, 0]], dtype=np.float32))
    some = Interactions(IdMap.of(np.arange(3)), IdMap.of(np.arange(3)), histories)
    training = TrainingConfig(epochs=2, batch_size=1)  # one batch holds that user alone
    config = MultVAEConfig(hidden=(6,), latent=4, likelihood=likelihood, training=training)
    model = MultVAE(config).fit(some, FitOptions(device="cpu"))
    assert all(np.isfinite(list(record.terms.values())).all() for record in model.history)
    assert np.isfinite(model.score(csr_array((4, 3), dtype=np.float32))).all()
