"""VampVAE keeps the contract with one level and with two; its prior is made of its posteriors.

Legend: B users in the batch, I items, K pseudo-inputs, Z latent width.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array
from torch import Tensor, nn
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal, kl_divergence

from recsys_vae.errors import InputError
from recsys_vae.models.base import FitOptions, Recommender
from recsys_vae.models.vamp_vae import (
    TwoLevelVampVAENetwork,
    VampVAE,
    VampVAEConfig,
    VampVAENetwork,
)
from recsys_vae.nn.gated import HiddenPseudoInputs, ItemPseudoInputs
from recsys_vae.nn.gaussian import DiagonalGaussian
from recsys_vae.nn.noise import Noise
from recsys_vae.nn.sparse_linear import SparseBatch
from recsys_vae.training.batches import sparse_batch
from recsys_vae.training.config import TrainingConfig
from tests.contract import RecommenderContract
from tests.models.made_up import made_up
from tests.models.resume import prove_resume

_QUICK: Final = TrainingConfig(epochs=40, batch_size=15, learning_rate=0.01)
_X = np.array([[1, 1, 0, 0, 2], [0, 0, 1, 0, 1], [1, 0, 0, 3, 0], [0, 0, 0, 0, 0]], dtype=float)
_NOISE = Noise(seed=5, step=9, users=torch.arange(4))
_SMALL: Final = {"hidden": (6, 5), "latent": 4, "pseudo_inputs": 3, "dropout": 0.0}
_Network = VampVAENetwork | TwoLevelVampVAENetwork


def _quick(**settings: Any) -> VampVAE:
    quick = {"hidden": (32, 16), "latent": 8, "pseudo_inputs": 5, "kl_cap": 0.01}
    return VampVAE(VampVAEConfig(**{**quick, **settings}, training=_QUICK))


class TestTwoLevels(RecommenderContract):
    def make(self) -> Recommender:
        return _quick()


class TestOneLevel(RecommenderContract):
    def make(self) -> Recommender:
        return _quick(levels=1, pseudo_form="hidden")


class TestWithoutGates(RecommenderContract):
    def make(self) -> Recommender:
        return _quick(layers="tanh", hidden=(32,), pseudo_form="hidden")


def _batch(dense: Any = _X) -> SparseBatch:
    batch = sparse_batch(csr_array(np.asarray(dense, dtype=np.float32)), torch.device("cpu"))
    return replace(batch, values=batch.values.double())


def _network(levels: int, **settings: Any) -> Any:
    config = VampVAEConfig(**{**_SMALL, **settings}, levels=levels)
    model = VampVAE(config)
    return model.build(5, torch.Generator().manual_seed(2)).double()


def test_the_defaults_are_those_of_the_authors_program() -> None:
    config = VampVAEConfig()
    assert (config.hidden, config.latent, config.levels) == ((600, 600), 200, 2)
    assert (config.pseudo_inputs, config.dropout, config.kl_cap) == (1000, 0.5, 0.3)
    training = config.training
    assert (training.epochs, training.batch_size, training.learning_rate) == (400, 200, 5e-4)
    assert config.kl_schedule(1_000)(501) == 0.3


@pytest.mark.parametrize("levels", [1, 2])
def test_the_prior_is_the_equal_mixture_of_the_posteriors_at_its_pseudo_inputs(
    levels: int,
) -> None:
    network = _network(levels)
    inputs = network.encoder.pseudo.affinity_KI.detach().clamp(0, 1).numpy()
    with torch.no_grad():
        posterior = network.encoder(_batch(inputs)).gaussian
        deviation = (0.5 * posterior.log_variance_BZ).exp()
        components = Independent(Normal(posterior.mean_BZ, deviation), 1)
        mixture = MixtureSameFamily(Categorical(torch.ones(3).double()), components)
        z = torch.linspace(-2, 2, 20, dtype=torch.float64).view(5, 4)
        log_density = network.encoder.prior().log_density(z)
    # The histories went through float32.
    assert torch.allclose(log_density, mixture.log_prob(z), rtol=1e-5)


@pytest.mark.parametrize("form", ["items", "hidden"])
def test_the_density_of_the_prior_integrates_to_one(form: str) -> None:
    network = _network(1, latent=1, pseudo_form=form)
    grid = torch.linspace(-60, 60, 100_001, dtype=torch.float64)
    with torch.no_grad():
        log_p = network.encoder.prior().log_density(grid[:, None])
    # Smooth, and 0 at both ends: the trapezoidal rule is good to rounding.
    assert torch.trapezoid(log_p.exp(), grid).item() == pytest.approx(1.0, abs=1e-9)


def test_the_estimates_mean_is_the_divergence_by_numerical_integration() -> None:
    network = _network(1, latent=1)
    n = 20_000
    grid = torch.linspace(-60, 60, 100_001, dtype=torch.float64)[:, None]
    # Away from the pseudo-inputs, so that there is something to diverge from.
    with torch.no_grad():
        network.encoder.posterior.both.bias.copy_(torch.tensor([0.5, -1.0]))
        network.encoder.pseudo.affinity_KI.copy_(torch.eye(3, 5))
        network.encoder.posterior.both.weight.mul_(8)
        posterior = network.encode(_batch(np.tile(_X[[0]], (n, 1))))
        q = posterior.gaussian
        log_q = DiagonalGaussian(q.mean_BZ[:1], q.log_variance_BZ[:1]).log_density(grid)
        log_p = posterior.make_prior().log_density(grid)
        exact = torch.trapezoid(log_q.exp() * (log_q - log_p), grid[:, 0]).item()
        kl = posterior.draw(Noise(2, 0, torch.arange(n))).kl_B
    # Five standard errors.
    assert abs(kl.mean().item() - exact) < 5 * kl.std().item() / n**0.5
    assert posterior.kl()[0].item() >= exact - 1e-9  # rounding


@pytest.mark.parametrize("form", ["items", "hidden"])
@pytest.mark.parametrize("levels", [1, 2])
def test_the_gradient_reaches_every_parameter_and_every_pseudo_input(
    levels: int, form: str
) -> None:
    network = _network(levels, pseudo_form=form)
    (phase,) = network.phases()
    assert set(map(id, phase.parameters)) == set(map(id, network.parameters()))
    network.objective(_batch(), 0.2, _NOISE).loss.backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert (parameter.grad != 0).all(), name


def _reconstruction(network: _Network, z: Tensor) -> Tensor:
    log_softmax = network.decode(z).log_softmax(dim=1)
    return -(torch.from_numpy(_X) * log_softmax).sum(dim=1).mean()


def test_the_objective_of_one_level_is_its_formula() -> None:
    network = _network(1)
    with torch.no_grad():
        q = network.encoder(_batch()).gaussian
        z = q.mean_BZ + (0.5 * q.log_variance_BZ).exp() * _NOISE.normal(4).double()
        kl = (q.log_density(z) - network.encoder.prior().log_density(z)).mean()
        expected = _reconstruction(network, z) + 0.3 * kl
    objective = network.objective(_batch(), 0.3, _NOISE)
    # Doubles through some layers: some hundred roundings of 1e-16.
    assert objective.terms["kl"].item() == pytest.approx(kl.item(), rel=1e-9)
    assert objective.loss.item() == pytest.approx(expected.item(), rel=1e-10)


def test_the_objective_of_two_levels_is_its_formula() -> None:
    network = _network(2)
    with torch.no_grad():
        upper = network.encoder(_batch()).gaussian
        z2 = upper.mean_BZ + (0.5 * upper.log_variance_BZ).exp() * _NOISE.normal(4).double()
        lower = network.encode(_batch()).lower(z2)
        own = network.prior_of_lower(z2)
        unit = _NOISE.normal(4, stream=4).double()
        z1 = lower.mean_BZ + (0.5 * lower.log_variance_BZ).exp() * unit
        normals = [Normal(g.mean_BZ, (0.5 * g.log_variance_BZ).exp()) for g in (lower, own)]
        kl = kl_divergence(*normals).sum(dim=1)
        kl = kl + upper.log_density(z2) - network.encoder.prior().log_density(z2)
        expected = _reconstruction(network, torch.cat([z1, z2], dim=1)) + 0.3 * kl.mean()
    objective = network.objective(_batch(), 0.3, _NOISE)
    # Doubles through some layers: some hundred roundings of 1e-16.
    assert objective.terms["kl"].item() == pytest.approx(kl.mean().item(), rel=1e-9)
    assert objective.loss.item() == pytest.approx(expected.item(), rel=1e-10)


@pytest.mark.parametrize("layers", ["gated", "tanh"])
@pytest.mark.parametrize("levels", [1, 2])
def test_without_gates_a_layer_is_the_tanh_of_half_its_numbers(levels: int, layers: str) -> None:
    network = _network(levels, layers=layers)
    tower = network.encoder.tower
    first = np.asarray(_X) / np.maximum(np.linalg.norm(_X, axis=1), 1e-9)[:, None]
    with torch.no_grad():
        hidden = first @ tower.first.weight_IH.numpy() + tower.first.bias_H.numpy()
        dense = tower.rest[0].both
        for weight, bias in ((None, None), (dense.weight.numpy(), dense.bias.numpy())):
            hidden = hidden if weight is None else hidden @ weight.T + bias
            if layers == "tanh":
                hidden = np.tanh(hidden)
            else:
                half = hidden.shape[1] // 2
                hidden = hidden[:, :half] / (1 + np.exp(-hidden[:, half:]))
        found = tower(_batch()).numpy()
    assert hidden.shape == (4, 5)
    # The histories went through float32.
    assert np.abs(found - hidden).max() < 1e-6


@pytest.mark.parametrize("layers", ["gated", "tanh"])
@pytest.mark.parametrize("hidden", [(6,), (6, 5, 7)])
@pytest.mark.parametrize("levels", [1, 2])
def test_any_number_of_layers_can_be_had(levels: int, hidden: tuple[int, ...], layers: str) -> None:
    network = _network(levels, hidden=hidden, layers=layers)
    objective = network.objective(_batch(), 0.3, _NOISE)
    assert torch.isfinite(objective.loss)
    assert network.decode(network.encode(_batch()).mean_BZ).shape == (4, 5)


@pytest.mark.parametrize(("levels", "width"), [(1, 4), (2, 8)])
def test_the_latent_width_is_what_was_asked_for_on_each_level(levels: int, width: int) -> None:
    posterior = _network(levels).encode(_batch())
    assert posterior.mean_BZ.shape == posterior.sample(_NOISE).shape == (4, width)
    assert posterior.kl().shape == (4,)
    assert torch.isfinite(posterior.kl()).all()


@pytest.mark.parametrize("levels", [1, 2])
def test_a_user_draws_the_same_in_any_batch(levels: int) -> None:
    network = _network(levels, dropout=0.5)
    with torch.no_grad():
        together = network.encode(_batch(), _NOISE).draw(_NOISE)
        noise = replace(_NOISE, users=torch.tensor([2]))
        alone = network.encode(_batch(_X[[2]]), noise).draw(noise)
    # Doubles; a product of one row may sum in another order than one of four.
    assert torch.allclose(together.z_BZ[2], alone.z_BZ[0], rtol=1e-12)
    assert torch.allclose(together.kl_B[2], alone.kl_B[0], rtol=1e-8, atol=1e-12)


def test_log_variances_stay_within_their_bounds() -> None:
    network = _network(1)
    with torch.no_grad():
        network.encoder.posterior.both.bias.copy_(torch.linspace(-100, 100, 8))
        spread = network.encode(_batch()).gaussian.log_variance_BZ
    assert spread.max() == 4.0
    assert spread.min() >= -12.0


def test_pseudo_inputs_over_items_are_kept_to_catalogues_that_they_fit() -> None:
    config = VampVAEConfig(pseudo_inputs=1000)
    assert config.over_items(20_108)
    assert config.over_items(50_000)
    assert not config.over_items(50_001)
    # From here on the softmax is sampled, and no step passes over the whole catalogue.
    assert not VampVAEConfig(pseudo_inputs=10).over_items(200_001)
    assert VampVAEConfig(pseudo_form="items").over_items(100_000)
    assert not VampVAEConfig(pseudo_form="hidden").over_items(10)
    with pytest.raises(InputError, match="pseudo_form=hidden"):
        VampVAEConfig(pseudo_form="items", softmax="sampled").over_items(10)


@pytest.mark.parametrize(
    ("form", "kind", "numbers"),
    [("items", ItemPseudoInputs, 3 * 5), ("hidden", HiddenPseudoInputs, 3 * 2 * 6)],
)
def test_each_form_holds_the_numbers_that_it_says(
    form: str, kind: type[nn.Module], numbers: int
) -> None:
    pseudo = _network(1, pseudo_form=form).encoder.pseudo
    assert type(pseudo) is kind
    assert sum(parameter.numel() for parameter in pseudo.parameters()) == numbers


@pytest.mark.parametrize("levels", [1, 2])
def test_the_sampled_softmax_trains_it(levels: int) -> None:
    training = TrainingConfig(epochs=4, learning_rate=0.01)
    settings: dict[str, Any] = {**_SMALL, "softmax": "sampled", "negatives": 20}
    config = VampVAEConfig(**settings, levels=levels, training=training)
    data = made_up(60, 40, 0.2, seed=1)
    model = VampVAE(config).fit(data, FitOptions(device="cpu"))
    assert np.isfinite(model.score(data.matrix)).all()
    losses = [record.terms["reconstruction"] for record in model.history]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("levels", [1, 2])
def test_a_run_interrupted_after_any_epoch_ends_with_the_bits_of_the_unbroken_one(
    levels: int, tmp_path: Path
) -> None:
    def make() -> VampVAE:
        training = TrainingConfig(epochs=3, batch_size=20, precision="float32")
        return VampVAE(
            VampVAEConfig(**{**_SMALL, "dropout": 0.5}, levels=levels, training=training)
        )

    prove_resume(make, tmp_path)
