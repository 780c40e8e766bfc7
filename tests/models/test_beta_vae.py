"""beta-VAE keeps the contract; with beta = 1 it is the ELBO."""

from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import pytest
import torch

from recsys_vae.interactions import Interactions
from recsys_vae.models.base import FitOptions, Recommender
from recsys_vae.models.beta_vae import BetaVAE, BetaVAEConfig
from recsys_vae.models.mult_vae import MultVAE, MultVAEConfig
from recsys_vae.nn.noise import Noise
from recsys_vae.training.batches import sparse_batch
from recsys_vae.training.config import TrainingConfig
from recsys_vae.training.records import EpochRecord
from tests.contract import RecommenderContract

_QUICK: Final = TrainingConfig(epochs=40, batch_size=15, learning_rate=0.02)
_Schedule = Literal["fixed", "linear", "cyclic"]


class TestBetaVAE(RecommenderContract):
    def make(self) -> Recommender:
        return BetaVAE(BetaVAEConfig(hidden=(32,), latent=8, beta=0.01, training=_QUICK))


class TestCyclicBetaVAE(RecommenderContract):
    def make(self) -> Recommender:
        return BetaVAE(
            BetaVAEConfig(hidden=(32,), latent=8, beta=0.05, schedule="cyclic", training=_QUICK)
        )


def test_with_beta_one_the_loss_is_the_negative_elbo_to_the_bit(small: Interactions) -> None:
    config = BetaVAEConfig(hidden=(6,), latent=4, beta=1.0)
    network = BetaVAE(config).build(4, torch.Generator().manual_seed(1))
    batch = sparse_batch(small.matrix, torch.device("cpu"))
    weight = config.kl_schedule(100)(0)
    objective = network.objective(batch, weight, Noise(3, 0, torch.arange(3)))
    assert torch.equal(objective.loss, objective.terms["reconstruction"] + objective.terms["kl"])


@pytest.mark.parametrize("beta", [0.0, 0.5, 4.0])
def test_beta_weighs_the_kl_term_and_may_exceed_one(small: Interactions, beta: float) -> None:
    config = BetaVAEConfig(hidden=(6,), latent=4, beta=beta)
    network = BetaVAE(config).build(4, torch.Generator().manual_seed(1)).double()
    batch = sparse_batch(small.matrix, torch.device("cpu"))
    objective = network.objective(batch, config.kl_schedule(9)(5), Noise(3, 0, torch.arange(3)))
    terms = {name: value.item() for name, value in objective.terms.items()}
    expected = terms["reconstruction"] + beta * terms["kl"]
    assert objective.loss.item() == pytest.approx(expected, rel=1e-15)  # two roundings


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        # Twelve steps; beta = 2.
        ({"schedule": "fixed"}, [2.0] * 12),
        # Up within half of them, t / 6 * 2, then flat.
        ({"schedule": "linear"}, [2 * t / 6 for t in range(6)] + [2.0] * 6),
        # Up within all of them.
        ({"schedule": "linear", "rising": 1.0}, [2 * t / 12 for t in range(12)]),
        # Three cycles of four steps, two of them rising: 0, 1, 2, 2.
        ({"schedule": "cyclic", "cycles": 3}, 3 * [0.0, 1.0, 2.0, 2.0]),
        # Five cycles of 12 / 5 steps, rounded up to three, of which 1.5 rise: 0, 2/3 * 2, 2.
        ({"schedule": "cyclic", "cycles": 5}, 4 * [0.0, 2 / 1.5, 2.0]),
        # One cycle is the rise.
        ({"schedule": "cyclic", "cycles": 1}, [2 * t / 6 for t in range(6)] + [2.0] * 6),
        ({"schedule": "cyclic", "rising": 0.0}, [2.0] * 12),
        ({"schedule": "linear", "rising": 0.0}, [2.0] * 12),
    ],
)
def test_the_schedules_by_hand(settings: dict[str, Any], expected: list[float]) -> None:
    schedule = BetaVAEConfig(beta=2.0, **settings).kl_schedule(12)
    assert [schedule(step) for step in range(12)] == pytest.approx(expected, rel=1e-15)


def test_more_beta_leaves_less_kl_and_worse_reconstruction(small: Interactions) -> None:
    batch = sparse_batch(small.matrix, torch.device("cpu"))

    def trained(beta: float) -> dict[str, float]:
        config = BetaVAEConfig(hidden=(8,), latent=4, dropout=0.0, beta=beta)
        network = BetaVAE(config).build(4, torch.Generator().manual_seed(0))
        optimiser = torch.optim.Adam(network.parameters(), lr=0.02)
        sums = {"kl": 0.0, "reconstruction": 0.0}
        for step in range(300):
            objective = network.objective(batch, beta, Noise(0, step, torch.arange(3)))
            optimiser.zero_grad()
            objective.loss.backward()
            optimiser.step()
            if step >= 200:  # one step's noise is as large as what is compared
                sums = {name: total + objective.terms[name].item() for name, total in sums.items()}
        return sums

    little, some, much = (trained(beta) for beta in (0.01, 0.3, 10.0))
    assert little["kl"] > some["kl"] > much["kl"]
    assert little["reconstruction"] < some["reconstruction"] < much["reconstruction"]


def test_of_a_fixed_weight_it_is_mult_vae_to_the_bit(small: Interactions) -> None:
    shared: dict[str, Any] = {
        "hidden": (6,), "latent": 4, "likelihood": "bernoulli", "training": TrainingConfig(epochs=3)
    }  # fmt: skip
    options = FitOptions(device="cpu")
    ours = BetaVAE(BetaVAEConfig(beta=0.2, **shared)).fit(small, options).arrays()
    mult_vae = MultVAEConfig(kl_cap=0.2, kl_annealing_steps=0, **shared)
    theirs = MultVAE(mult_vae).fit(small, options).arrays()
    assert all(np.array_equal(ours[name], value) for name, value in theirs.items())


@pytest.mark.parametrize("schedule", ["linear", "cyclic"])
def test_interrupted_it_goes_on_in_the_same_place_of_the_schedule(
    small: Interactions, tmp_path: Path, schedule: _Schedule
) -> None:
    def fit(options: FitOptions) -> BetaVAE:
        training = TrainingConfig(epochs=6)
        config = BetaVAEConfig(hidden=(6,), latent=4, schedule=schedule, training=training)
        return BetaVAE(config).fit(small, options)

    class StoppedError(Exception):
        pass

    def stop(record: EpochRecord) -> None:
        if record.epoch == 3:
            raise StoppedError

    whole = fit(FitOptions(device="cpu"))
    with pytest.raises(StoppedError):
        fit(FitOptions(device="cpu", checkpoint=tmp_path / "c", on_epoch=stop))
    resumed = fit(FitOptions(device="cpu", checkpoint=tmp_path / "c"))
    assert [one.kl_weight for one in resumed.history] == [one.kl_weight for one in whole.history]
    assert all(
        np.array_equal(resumed.arrays()[name], value) for name, value in whole.arrays().items()
    )
