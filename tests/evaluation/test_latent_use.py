"""What latent dimensions carry, against the divergence of the whole."""

from typing import Any

import numpy as np
import pytest

from recsys_vae.evaluation.latent_use import latent_kl
from recsys_vae.models.base import FitOptions
from recsys_vae.models.zoo import make_model
from tests.conftest import Checkerboard


@pytest.mark.parametrize("name", ["mult-vae", "recvae"])
def test_dimensions_add_up_to_the_divergence_from_the_standard_normal(
    name: str, checkerboard: Checkerboard, quick: dict[str, Any]
) -> None:
    settings = (
        quick if name == "mult-vae" else {"hidden": 32, "latent": 8, "training": {"epochs": 1}}
    )
    model: Any = make_model(name, settings).fit(checkerboard.train, FitOptions(device="cpu"))
    given = checkerboard.train.matrix
    found = latent_kl(model, given)
    assert found is not None
    assert found.shape == (8,)
    posterior = model.posterior(given)
    gaussian = getattr(posterior, "gaussian", posterior)
    # Single precision, summed in another order.
    assert found.sum() == pytest.approx(float(gaussian.kl().mean()), rel=1e-5)
    assert (found >= 0).all()


@pytest.mark.parametrize("name", ["mult-dae", "ease"])
def test_models_without_a_normal_posterior_have_none(
    name: str, checkerboard: Checkerboard, quick: dict[str, Any]
) -> None:
    settings = quick if name == "mult-dae" else {}
    model = make_model(name, settings).fit(checkerboard.train, FitOptions(device="cpu"))
    assert latent_kl(model, checkerboard.train.matrix) is None


def test_it_is_a_mean_over_users(checkerboard: Checkerboard, quick: dict[str, Any]) -> None:
    model = make_model("mult-vae", quick).fit(checkerboard.train, FitOptions(device="cpu"))
    given = checkerboard.train.matrix
    first, second = latent_kl(model, given[:20]), latent_kl(model, given[20:])
    whole = latent_kl(model, given)
    assert first is not None
    assert second is not None
    assert whole is not None
    # Single precision, summed in another order.
    assert np.allclose((20 * first + 40 * second) / 60, whole, rtol=1e-5)
