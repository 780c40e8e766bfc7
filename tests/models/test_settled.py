"""What validation chose in a training can be written down: a fit with it needs no validation."""

from typing import Any, Final

import pytest

from recsys_vae.interactions import Interactions
from recsys_vae.models.autoencoder import NeuralConfig
from recsys_vae.models.base import FitOptions
from recsys_vae.models.zoo import ZOO, make_model
from tests.models.made_up import made_up

_NEURAL: Final = [name for name, one in ZOO.items() if issubclass(one.config, NeuralConfig)]
_SMALL: Final[dict[str, dict[str, Any]]] = {
    "linear-vae": {"hidden": [8], "latent": 4, "ridge": 3.0, "gate": 0.1},
    "mult-vae": {"hidden": [8], "latent": 4},
    "beta-vae": {"hidden": [8], "latent": 4},
    "mult-dae": {"hidden": [8], "latent": 4},
    "autoencoder": {"latent": 4},
    "vq-vae": {"hidden": [8], "groups": 2, "codes": 4, "width": 2},
    "ladder-vae": {"hidden": [8], "groups": 2, "latent": 3},
    "latent-diffusion": {"hidden": [8], "latent": 4, "denoiser": 6, "noise_steps": 5},
    "recvae": {"hidden": 8, "layers": 2, "latent": 4},
    "vamp-vae": {"hidden": [8], "latent": 4, "pseudo_inputs": 3},
}
_CASES: Final[list[tuple[str, dict[str, Any]]]] = [
    *((name, {}) for name in _NEURAL),
    ("beta-vae", {"schedule": "linear"}),
    ("beta-vae", {"schedule": "cyclic"}),
    ("beta-vae", {"schedule": "cyclic", "schedule_steps": 7}),
    ("mult-vae", {"kl_annealing_steps": 9}),
    ("mult-vae", {"kl_cap": 0.0}),
    ("vamp-vae", {"levels": 1}),
]


def _data() -> Interactions:
    return made_up(20, 12, 0.3, seed=1)


@pytest.mark.parametrize("lr_schedule", ["constant", "cosine"])
@pytest.mark.parametrize(("name", "settings"), _CASES)
def test_a_fit_with_the_settled_settings_needs_no_validation(
    name: str, settings: dict[str, Any], lr_schedule: str
) -> None:
    # Judged best in the second epoch of five, whatever the weights are.
    metrics = iter([0.1, 0.3, 0.2, 0.2, 0.1])
    training = {"epochs": 5, "batch_size": 5, "learning_rate": 0.01, "lr_schedule": lr_schedule}
    chosen = make_model(name, {**_SMALL[name], **settings, "training": training})
    chosen.fit(_data(), FitOptions(device="cpu", validate=lambda _model: next(metrics)))
    settled = chosen.settled().model_dump(mode="json")
    assert (settled["training"]["epochs"], settled["training"]["patience"]) == (2, 0)

    again = make_model(name, settled).fit(_data(), FitOptions(device="cpu"))
    assert {key: value.tobytes() for key, value in again.arrays().items()} == {
        key: value.tobytes() for key, value in chosen.arrays().items()
    }
    assert again.settled() == again.config


@pytest.mark.parametrize(
    "name", ["mult-vae", "beta-vae", "ladder-vae", "latent-diffusion", "vamp-vae"]
)
def test_a_schedule_that_follows_the_planned_steps_is_kept_by_settling(name: str) -> None:
    schedule = {"schedule": "linear"} if name == "beta-vae" else {}
    config = ZOO[name].config.model_validate({**_SMALL[name], **schedule})
    assert isinstance(config, NeuralConfig)
    planned, fewer, settled = (
        [weight(step) for step in range(100)]
        for weight in (
            config.kl_schedule(100), config.kl_schedule(40), config.settled(100).kl_schedule(40)
        )
    )  # fmt: skip
    assert planned != fewer  # otherwise there is nothing to keep
    assert planned == settled
