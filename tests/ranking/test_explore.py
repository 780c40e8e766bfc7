"""Exploration: draws of the posterior that depend on seed and user alone."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from recsys_vae.errors import InputError
from recsys_vae.models.autoencoder import NeuralRecommender
from recsys_vae.models.base import FitOptions, Recommender
from recsys_vae.models.mult_vae import MultVAENetwork
from recsys_vae.models.zoo import make_model
from recsys_vae.ranking import rank
from recsys_vae.ranking.explore import sampled_scores, user_keys
from tests.conftest import Checkerboard
from tests.contract import rounding

SMALL: dict[str, dict[str, Any]] = {
    "mult-vae": {"hidden": [16], "latent": 4},
    "beta-vae": {"hidden": [16], "latent": 4},
    "recvae": {"hidden": 16, "latent": 4},
    "vamp-vae": {"hidden": [16], "latent": 4, "pseudo_inputs": 5},
    "ladder-vae": {"hidden": [16], "latent": 3},
    "latent-diffusion": {"hidden": [16], "latent": 4, "denoiser": 8},
}


def fitted(name: str, settings: dict[str, Any], checkerboard: Checkerboard) -> Recommender:
    training = {"training": {"epochs": 2, "batch_size": 20}} if settings else {}
    return make_model(name, {**settings, **training}).fit(
        checkerboard.train, FitOptions(device="cpu")
    )


@pytest.fixture(scope="module")
def vae(checkerboard: Checkerboard) -> Recommender:
    return fitted("mult-vae", SMALL["mult-vae"], checkerboard)


@pytest.mark.parametrize("name", SMALL)
def test_seeds_give_different_scores_and_the_same_seed_the_same(
    name: str, checkerboard: Checkerboard
) -> None:
    model, given = fitted(name, SMALL[name], checkerboard), checkerboard.train.matrix
    keys = np.arange(given.shape[0])
    one, other = (sampled_scores(model, given, keys, seed) for seed in (1, 2))
    assert one.shape == given.shape
    assert one.dtype == np.float32
    assert np.isfinite(one).all()
    assert (one != other).any(axis=1).all()
    assert (one != model.score(given)).any(axis=1).all()
    assert sampled_scores(model, given, keys, 1).tobytes() == one.tobytes()


def test_a_users_draw_does_not_depend_on_the_block(
    vae: Recommender, checkerboard: Checkerboard
) -> None:
    given, keys = checkerboard.train.matrix, user_keys(np.array([f"u{i}" for i in range(60)]))
    whole = sampled_scores(vae, given, keys, 3)
    order = np.random.default_rng(0).permutation(60)[:17]
    part = sampled_scores(vae, given[order], keys[order], 3)
    assert np.abs(part - whole[order]).max() <= rounding(whole)
    lists = [rank(one.copy(), given[order], 5).items_BK for one in (part, whole[order])]
    assert lists[0].tolist() == lists[1].tolist()


def test_users_with_the_same_history_draw_apart(
    vae: Recommender, checkerboard: Checkerboard
) -> None:
    twins = checkerboard.train.matrix[[0, 0]]
    scores = sampled_scores(vae, twins, np.array([4, 5]), 0)
    assert (scores[0] != scores[1]).any()
    again = sampled_scores(vae, twins, np.array([4, 4]), 0)
    assert np.abs(again[0] - again[1]).max() <= rounding(again)


def test_draws_have_the_mean_and_the_variance_of_the_posterior(vae: Recommender) -> None:
    assert isinstance(vae, NeuralRecommender)
    history = csr_array(np.eye(1, 24, dtype=np.float32))
    network = vae.network
    assert isinstance(network, MultVAENetwork)
    # With a decoder that hands on the latent point, scores are the point itself.
    n = 20_000
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network, "decode", torch.Tensor.clone)
        z = sampled_scores(vae, history[np.zeros(n, dtype=np.intp)], np.arange(n), 0)
    with torch.inference_mode():
        posterior = vae.posterior(history)
    mean = posterior.mean_BZ.numpy()[0]
    deviation = np.exp(posterior.log_variance_BZ.numpy()[0] / 2)  # type: ignore[attr-defined] # a normal distribution
    # Five standard errors of a mean and of a standard deviation over n draws.
    assert (np.abs(z.mean(axis=0) - mean) < 5 * deviation / n**0.5).all()
    assert (np.abs(z.std(axis=0) / deviation - 1) < 5 / (2 * n) ** 0.5).all()


def test_a_user_without_history_and_no_users_are_no_trouble(vae: Recommender) -> None:
    nothing = csr_array((2, 24), dtype=np.float32)
    assert np.isfinite(sampled_scores(vae, nothing, np.array([1, 2]), 0)).all()
    assert sampled_scores(vae, nothing[:0], np.zeros(0, dtype=np.int64), 0).shape == (0, 24)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("mult-dae", {"latent": 4}),
        ("autoencoder", {"latent": 4}),
        ("vq-vae", {"hidden": [8], "groups": 2, "codes": 4, "width": 2}),
        ("popularity", {}),
        ("ease", {}),
    ],
)
def test_a_model_without_a_posterior_is_refused_with_a_remedy(
    name: str, settings: dict[str, Any], checkerboard: Checkerboard
) -> None:
    model = fitted(name, settings, checkerboard)
    with pytest.raises(InputError, match=rf"'{name}'.*mult-vae"):
        sampled_scores(model, checkerboard.train.matrix, np.arange(60), 0)


def test_histories_and_keys_must_be_one_for_each_user(vae: Recommender) -> None:
    with pytest.raises(ValueError, match="2 histories do not fit 3 users"):
        sampled_scores(vae, csr_array((2, 24), dtype=np.float32), np.arange(3), 0)


def test_keys_follow_from_the_id_alone() -> None:
    assert user_keys(np.array([3, -1])).tolist() == [3, -1]
    texts = np.array(["b", "ä", "b"], dtype=object)
    keys = user_keys(texts)
    assert keys.dtype == np.int64
    assert keys[0] == keys[2] != keys[1]
    assert user_keys(texts[1:]).tolist() == keys[1:].tolist()
