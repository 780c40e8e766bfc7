"""VQ-VAE keeps the contract; its codes are used, listed, and survive an interruption."""

from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from recsys_vae.models.base import FitOptions, Recommender
from recsys_vae.models.vq_vae import VQVAE, VQVAEConfig, VQVAENetwork
from recsys_vae.nn.noise import Noise
from recsys_vae.nn.quantize import perplexity
from recsys_vae.training.batches import sparse_batch
from recsys_vae.training.config import TrainingConfig
from recsys_vae.training.records import EpochRecord
from tests.conftest import Checkerboard
from tests.contract import RecommenderContract
from tests.models.made_up import made_up

_QUICK: Final = TrainingConfig(epochs=40, batch_size=15, learning_rate=0.02)
_CPU: Final = torch.device("cpu")


def _config(**settings: int | float) -> VQVAEConfig:
    chosen: dict[str, int | float] = {
        "groups": 4,
        "codes": 4,
        "width": 3,
        "decay": 0.9,
        "commitment": 1.0,
    }
    return VQVAEConfig(hidden=(32,), training=_QUICK, **(chosen | settings))


class TestVQVAE(RecommenderContract):
    def make(self) -> Recommender:
        return VQVAE(_config())


@pytest.fixture(scope="module")
def fitted(checkerboard: Checkerboard) -> VQVAE:
    return VQVAE(_config()).fit(checkerboard.train, FitOptions(device="cpu"))


def test_the_codes_are_used_and_tell_the_colours_apart(
    fitted: VQVAE, checkerboard: Checkerboard
) -> None:
    codes_UG = fitted.codes_of(checkerboard.train.matrix)
    assert codes_UG.shape == (60, 4)
    assert float(perplexity(torch.from_numpy(codes_UG), 4)) > 1
    assert all(record.terms["perplexity"] > 1 for record in fitted.history[-5:])
    tastes = [{tuple(row) for row in codes_UG[colour::2].tolist()} for colour in (0, 1)]
    assert tastes[0].isdisjoint(tastes[1])


def test_each_code_is_listed_with_the_items_it_speaks_for(
    fitted: VQVAE, checkerboard: Checkerboard
) -> None:
    profiles = fitted.code_profiles(n_items=5)
    assert [(one.group, one.code) for one in profiles] == [
        (group, code) for group in range(4) for code in range(4)
    ]
    for group in range(4):
        shares = [one.share for one in profiles if one.group == group]
        assert sum(shares) == pytest.approx(1, rel=1e-6)  # float32
    for one in profiles:
        assert len(one.items) == len(one.rises) == 5
        assert one.rises == sorted(one.rises, reverse=True)
    # A code that only one colour's users have speaks for that colour.
    codes_UG = fitted.codes_of(checkerboard.train.matrix)
    spoken = 0
    for one in profiles:
        users = np.flatnonzero(codes_UG[:, one.group] == one.code)
        if len(users) and len(set((users % 2).tolist())) == 1:
            spoken += 1
            assert {int(item) % 2 for item in one.items} == {int(users[0]) % 2}
    assert spoken >= 2


def test_the_rise_of_a_code_is_a_difference_of_logits(fitted: VQVAE) -> None:
    network = fitted.network
    assert isinstance(network, VQVAENetwork)
    with torch.no_grad():
        quantizer, mean_GD = network.quantizer, network.mean_code()
        z_GD = mean_GD.clone()
        z_GD[2] = quantizer.codes_GKD[2, 1]
        expected_I = network.decode(z_GD.view(1, -1))[0] - network.decode(mean_GD.view(1, -1))[0]
        risen_KI = network.rises(2, slice(0, 4))
    # float32 logits of size 10, two layers: some units in the last place.
    assert torch.allclose(risen_KI[1], expected_I, rtol=0, atol=1e-5)
    (profile,) = (one for one in fitted.code_profiles(3) if (one.group, one.code) == (2, 1))
    assert profile.rises == pytest.approx(
        expected_I.sort(descending=True).values[:3].tolist(), 1e-4
    )


def test_more_items_than_there_are_are_not_listed(fitted: VQVAE) -> None:
    assert {len(one.items) for one in fitted.code_profiles(1_000)} == {24}


def test_scores_are_the_logits_of_the_nearest_codes(
    fitted: VQVAE, checkerboard: Checkerboard
) -> None:
    given = checkerboard.train.matrix
    network = fitted.network
    assert isinstance(network, VQVAENetwork)
    with torch.no_grad():
        codes_BG = torch.from_numpy(fitted.codes_of(given))
        expected = network.decode(network.quantizer.look_up(codes_BG).flatten(1))
    assert np.array_equal(fitted.score(given), expected.numpy())


def test_scoring_changes_nothing(fitted: VQVAE, checkerboard: Checkerboard) -> None:
    before = {name: value.tobytes() for name, value in fitted.arrays().items()}
    fitted.score(checkerboard.train.matrix)
    fitted.code_profiles()
    assert {name: value.tobytes() for name, value in fitted.arrays().items()} == before


def test_the_objective_is_likelihood_and_weighted_commitment_in_double_precision() -> None:
    network = VQVAENetwork(_config(commitment=0.5), 5, torch.Generator().manual_seed(2)).double()
    x = np.array([[1, 1, 0, 0, 2], [0, 0, 1, 0, 1], [0, 0, 0, 0, 0]], dtype=np.float32)
    batch, noise = sparse_batch(csr_array(x), _CPU), Noise(5, 9, torch.arange(3))
    batch = replace(batch, values=batch.values.double())
    objective = network.objective(batch, 0.0, noise)
    encoded = network.encode(batch, noise)
    log_pi = network.decode(encoded.mean_BZ).log_softmax(dim=1).detach().numpy()
    reconstruction = -float((x * log_pi).sum(axis=1).mean())
    commitment = encoded.commitment_B.mean().item()
    # Doubles through two hidden layers: some hundred roundings of 1e-16.
    assert objective.terms["reconstruction"].item() == pytest.approx(reconstruction, rel=1e-12)
    assert objective.terms["commitment"].item() == pytest.approx(commitment, rel=1e-12)
    assert objective.loss.item() == pytest.approx(reconstruction + 0.5 * commitment, rel=1e-12)


def test_the_gradient_reaches_every_parameter(checkerboard: Checkerboard) -> None:
    network = VQVAENetwork(_config(), 24, torch.Generator().manual_seed(2))
    batch = sparse_batch(checkerboard.train.matrix, _CPU)
    network.objective(batch, 0.0, Noise(0, 0, torch.arange(60))).loss.backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert (parameter.grad != 0).any(), name


class _InterruptedError(Exception):
    """The power fails."""


@pytest.mark.parametrize("stop_after", [1, 4])
def test_an_interrupted_training_ends_with_the_bits_of_the_unbroken_one(
    tmp_path: Path, stop_after: int
) -> None:
    # Codes die and are revived in most steps here, and the codebook is in every checkpoint.
    training = TrainingConfig(epochs=7, batch_size=20, learning_rate=0.01)
    config = VQVAEConfig(
        hidden=(8,), groups=3, codes=8, width=2, decay=0.7, revive_below=0.3, training=training
    )
    data = made_up(50, 12, 0.3, seed=0)

    def stop(record: EpochRecord) -> None:
        if record.epoch == stop_after:
            raise _InterruptedError

    unbroken = VQVAE(config).fit(data, FitOptions(seed=1, device="cpu"))
    with pytest.raises(_InterruptedError):
        VQVAE(config).fit(
            data, FitOptions(seed=1, device="cpu", checkpoint=tmp_path, on_epoch=stop)
        )
    resumed = VQVAE(config).fit(data, FitOptions(seed=1, device="cpu", checkpoint=tmp_path))
    assert [record.epoch for record in resumed.history] == list(range(1, 8))
    ours, theirs = resumed.arrays(), unbroken.arrays()
    assert "quantizer.codes_GKD" in ours
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert value.tobytes() == theirs[name].tobytes(), name
    assert [r.terms for r in resumed.history] == [r.terms for r in unbroken.history]


def test_the_best_codebook_is_kept_with_the_best_weights(checkerboard: Checkerboard) -> None:
    training = TrainingConfig(epochs=6, batch_size=15, patience=0)
    config = VQVAEConfig(hidden=(8,), groups=2, codes=4, width=2, decay=0.5, training=training)
    model, seen = VQVAE(config), []

    def validate(one: Recommender) -> float:
        seen.append({name: value.tobytes() for name, value in one.arrays().items()})
        return -abs(len(seen) - 3)

    model.fit(checkerboard.train, FitOptions(device="cpu", validate=validate))
    assert {name: value.tobytes() for name, value in model.arrays().items()} == seen[2]
    assert seen[2]["quantizer.codes_GKD"] != seen[5]["quantizer.codes_GKD"]
