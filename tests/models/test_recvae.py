"""RecVAE keeps the contract, and trains encoder, prior and decoder in turns.

Legend: B users in the batch, I items, Z latent width.
"""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.sparse import csr_array
from torch import Tensor
from torch.distributions import Normal

from recsys_vae.errors import InputError
from recsys_vae.models.base import FitOptions, Recommender
from recsys_vae.models.recvae import RecVAE, RecVAEConfig, RecVAENetwork
from recsys_vae.models.zoo import load_model, make_model, save_model
from recsys_vae.nn.noise import Noise
from recsys_vae.nn.sparse_linear import SparseBatch
from recsys_vae.training.batches import sparse_batch
from recsys_vae.training.config import TrainingConfig
from tests.conftest import Checkerboard
from tests.contract import RecommenderContract
from tests.models.made_up import made_up
from tests.models.resume import prove_resume

_QUICK: Final = TrainingConfig(epochs=25, batch_size=15, learning_rate=0.005)
_X = np.array([[1, 1, 0, 0, 2], [0, 0, 1, 0, 1], [1, 0, 0, 3, 0], [0, 0, 0, 0, 0]], dtype=float)
_NOISE = Noise(seed=5, step=9, users=torch.arange(4))
_SMALL: Final = {"hidden": 6, "layers": 3, "latent": 4, "dropout": 0.0}


class TestRecVAE(RecommenderContract):
    def make(self) -> Recommender:
        return RecVAE(RecVAEConfig(hidden=32, layers=3, latent=8, training=_QUICK))


def _batch(dense: Any = _X) -> SparseBatch:
    batch = sparse_batch(csr_array(np.asarray(dense, dtype=np.float32)), torch.device("cpu"))
    return replace(batch, values=batch.values.double())


def _network(**settings: Any) -> RecVAENetwork:
    config = RecVAEConfig(**{**_SMALL, **settings})
    network = RecVAENetwork(config, 5, torch.Generator().manual_seed(2)).double()
    # The encoder has moved on since the epoch before.
    with torch.no_grad():
        for parameter in network.inference.parameters():
            parameter.add_(0.3 * torch.sin(torch.arange(parameter.numel())).view_as(parameter))
    return network


def test_the_defaults_are_the_papers_for_movielens_20m() -> None:
    config = RecVAEConfig()
    assert (config.hidden, config.layers, config.latent, config.dropout) == (600, 5, 200, 0.5)
    assert (config.gamma, config.mixture) == (0.005, (0.15, 0.75, 0.10))
    assert (config.encoder_passes, config.decoder_passes) == (3, 1)
    assert (config.training.epochs, config.training.learning_rate) == (50, 5e-4)
    assert config.training.users_per_step(100_000) == 500
    assert {config.kl_schedule(10)(step) for step in range(10)} == {0.005}


def test_weights_of_the_mixture_that_do_not_sum_to_one_are_refused() -> None:
    with pytest.raises(ValidationError, match="sum 1"):
        RecVAEConfig(mixture=(0.5, 0.5, 0.5))
    with pytest.raises(InputError, match="mixture"):
        make_model("recvae", {"mixture": [0.5, 0.5, 0.5]})


@pytest.mark.parametrize("mixing", ["coordinate", "point"])
def test_the_objective_is_the_papers_formula(mixing: str) -> None:
    network, gamma = _network(mixing=mixing), 0.05
    with torch.no_grad():
        q, before = network.inference(_batch()), network.previous(_batch())
        deviation = (0.5 * q.log_variance_BZ).exp()
        z = q.mean_BZ + deviation * _NOISE.normal(4).double()
        log_softmax = network.decode(z).log_softmax(dim=1)
        parts = [
            Normal(torch.zeros(4, 4).double(), 1.0),
            Normal(before.mean_BZ, (0.5 * before.log_variance_BZ).exp()),
            Normal(torch.zeros(4, 4).double(), np.exp(5.0)),
        ]
        shares = (0.15, 0.75, 0.10)
        if mixing == "coordinate":
            density = sum(w * p.log_prob(z).exp() for w, p in zip(shares, parts, strict=True))
            log_prior = torch.as_tensor(density).log().sum(dim=1)
        else:
            density = sum(
                w * p.log_prob(z).sum(dim=1).exp() for w, p in zip(shares, parts, strict=True)
            )
            log_prior = torch.as_tensor(density).log()
        kl = Normal(q.mean_BZ, deviation).log_prob(z).sum(dim=1) - log_prior
        x = torch.from_numpy(_X)
        reconstruction = -(x * log_softmax).sum(dim=1).mean()
        expected = reconstruction + (gamma * x.sum(dim=1) * kl).mean()

    objective = network.objective(_batch(), gamma, _NOISE)
    # Doubles through some layers: some hundred roundings of 1e-16.
    assert objective.terms["reconstruction"].item() == pytest.approx(reconstruction.item())
    assert objective.terms["kl"].item() == pytest.approx(kl.mean().item(), rel=1e-10)
    assert objective.loss.item() == pytest.approx(expected.item(), rel=1e-10)


def test_the_kl_weight_of_a_user_grows_with_the_history() -> None:
    network = _network()

    def weighted(row: int) -> tuple[float, float]:
        noise = replace(_NOISE, users=torch.tensor([row]))
        objective = network.objective(_batch(_X[[row]]), 0.1, noise)
        rest = objective.loss - objective.terms["reconstruction"]
        return rest.item(), objective.terms["kl"].item()

    for row in range(4):
        rest, kl = weighted(row)
        # N_u = 4, 2, 4 and 0 interactions.
        assert rest == pytest.approx(0.1 * _X[row].sum() * kl, abs=1e-12)


def test_with_the_standard_normal_alone_the_kl_term_is_the_analytic_one_in_expectation() -> None:
    network = _network(mixture=(1.0, 0.0, 0.0))
    n = 4_000
    many = _batch(np.tile(_X[[0]], (n, 1)))
    with torch.no_grad():
        posterior = network.encode(many)
        kl = posterior.draw(Noise(1, 0, torch.arange(n))).kl_B
    exact = posterior.gaussian.kl()[0].item()
    # Five standard errors.
    assert abs(kl.mean().item() - exact) < 5 * kl.std().item() / n**0.5
    # The bound, of a mixture of one, is exact.
    assert posterior.kl()[0].item() == pytest.approx(exact, rel=1e-10)


def test_the_prior_sees_the_whole_history_through_the_encoder_before() -> None:
    network = _network(dropout=0.5)
    prior = network.encode(_batch(), _NOISE).make_prior()
    again = network.prior(_batch())
    z = torch.ones(4, 4, dtype=torch.float64)
    assert torch.equal(prior.log_density(z), again.log_density(z))
    network.remember_encoder()
    assert torch.equal(network.previous(_batch()).mean_BZ, network.encode(_batch()).mean_BZ)
    assert not torch.equal(network.prior(_batch()).log_density(z), again.log_density(z))


def test_each_phases_gradient_reaches_its_own_parameters_and_no_others() -> None:
    network = _network()
    encoder, decoder = network.phases()
    for phase, objective in ((encoder, network.objective), (decoder, decoder.objective)):
        assert objective is not None
        network.zero_grad()
        objective(_batch(), 0.1, _NOISE).loss.backward()
        own = set(map(id, phase.parameters))
        for name, parameter in network.named_parameters():
            assert (parameter.grad is not None) == (id(parameter) in own), name
            if parameter.grad is not None:
                assert torch.isfinite(parameter.grad).all(), name
                assert (parameter.grad != 0).any(), name
    trained = [*encoder.parameters, *decoder.parameters]
    kept = {f"previous.{name}" for name, _ in network.previous.named_parameters()}
    everything = {name: id(parameter) for name, parameter in network.named_parameters()}
    assert {everything[name] for name in everything.keys() - kept} == set(map(id, trained))


def test_the_decoder_learns_from_the_whole_history_without_dropout() -> None:
    network = _network(dropout=0.5)
    _, decoder = network.phases()
    assert decoder.objective is not None
    with torch.no_grad():
        z = network.encode(_batch()).sample(_NOISE)
        expected = -(torch.from_numpy(_X) * network.decode(z).log_softmax(dim=1)).sum(dim=1).mean()
        loss = decoder.objective(_batch(), 0.1, _NOISE).loss
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)  # doubles


def _parts(model: RecVAE) -> dict[str, dict[str, Tensor]]:
    parts: dict[str, dict[str, Tensor]] = {"inference": {}, "previous": {}, "decoder": {}}
    for name, value in model.network.state_dict().items():
        part, _, rest = name.partition(".")
        parts[part][rest] = value.clone()
    return parts


def _equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


def test_the_prior_follows_the_encoder_once_an_epoch_after_the_encoders_passes() -> None:
    seen: list[tuple[str, dict[str, dict[str, Tensor]]]] = []
    config = RecVAEConfig(**_SMALL, training=TrainingConfig(epochs=2, batch_size=10))
    model = RecVAE(config)
    original = RecVAENetwork.objective, RecVAENetwork.decoder_objective

    def watched(which: int, name: str) -> Any:
        def objective(self: RecVAENetwork, *arguments: Any) -> Any:
            seen.append((name, _parts(model)))
            return original[which](self, *arguments)

        return objective

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RecVAENetwork, "objective", watched(0, "encoder"))
        patch.setattr(RecVAENetwork, "decoder_objective", watched(1, "decoder"))
        model.fit(made_up(20, 9, 0.4, seed=0), FitOptions(device="cpu"))
    # Two batches a pass, three passes for the encoder and one for the decoder, two epochs.
    assert [name for name, _ in seen] == (["encoder"] * 6 + ["decoder"] * 2) * 2
    for (name, before), (following, after) in pairwise(seen):
        assert _equal(before["decoder"], after["decoder"]) == (name == "encoder")
        assert _equal(before["inference"], after["inference"]) == (name == "decoder")
        moved = name == "encoder" and following == "decoder"
        assert _equal(before["previous"], after["previous"]) != moved
    for name, parts in seen:
        if name == "decoder":
            assert _equal(parts["previous"], parts["inference"])
    assert _equal(seen[0][1]["previous"], seen[0][1]["inference"])


def test_a_user_draws_the_same_loss_in_any_batch() -> None:
    network = _network(dropout=0.5)
    network.eval()
    with torch.no_grad():
        together = network.encode(_batch(), _NOISE).draw(_NOISE)
        noise = replace(_NOISE, users=torch.tensor([2]))
        alone = network.encode(_batch(_X[[2]]), noise).draw(noise)
    # Doubles; a product of one row may sum in another order than one of four.
    assert torch.allclose(together.z_BZ[2], alone.z_BZ[0], rtol=1e-12)
    assert torch.allclose(together.kl_B[2], alone.kl_B[0], rtol=1e-10)


def test_the_encoder_of_an_epoch_ago_is_not_saved_with_the_model(
    checkerboard: Checkerboard, tmp_path: Path
) -> None:
    model = RecVAE(RecVAEConfig(**_SMALL, training=TrainingConfig(epochs=1)))
    model.fit(checkerboard.train, FitOptions(device="cpu"))
    assert any(name.startswith("previous.") for name in model.network.state_dict())
    assert not any(name.startswith("previous.") for name in model.arrays())
    save_model(model, tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert {name: value.tobytes() for name, value in loaded.arrays().items()} == {
        name: value.tobytes() for name, value in model.arrays().items()
    }


def test_the_sampled_softmax_trains_both_phases() -> None:
    config = RecVAEConfig(
        **_SMALL, softmax="sampled", negatives=20, training=TrainingConfig(epochs=3)
    )
    data = made_up(60, 40, 0.2, seed=1)
    model = RecVAE(config).fit(data, FitOptions(device="cpu"))
    assert np.isfinite(model.score(data.matrix)).all()
    losses = [record.terms["loss"] for record in model.history]
    assert losses[-1] < losses[0]


def test_a_run_interrupted_after_any_epoch_ends_with_the_bits_of_the_unbroken_one(
    tmp_path: Path,
) -> None:
    def make() -> RecVAE:
        training = TrainingConfig(epochs=3, batch_size=20, precision="float32")
        return RecVAE(RecVAEConfig(**{**_SMALL, "dropout": 0.5}, training=training))

    prove_resume(make, tmp_path)
