"""The networks and their objectives against the paper's formulas, in double precision.

Legend: B users in the batch, I items, H hidden width, Z latent width.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.sparse import csr_array
from torch import Tensor

from recsys_vae.errors import InputError
from recsys_vae.interactions import IdMap, Interactions
from recsys_vae.models.autoencoder import Autoencoder
from recsys_vae.models.base import FitOptions
from recsys_vae.models.mult_dae import MultDAE, MultDAEConfig
from recsys_vae.models.mult_vae import MultVAE, MultVAEConfig, MultVAENetwork
from recsys_vae.models.plain_autoencoder import PlainAutoencoder, PlainAutoencoderConfig
from recsys_vae.nn.noise import Noise
from recsys_vae.nn.sparse_linear import SparseBatch
from recsys_vae.training.batches import sparse_batch
from recsys_vae.training.config import TrainingConfig

# Every item is taken by somebody, weights differ, and the last user has no history.
_X = np.array([[1, 1, 0, 0, 2], [0, 0, 1, 0, 1], [1, 0, 0, 3, 0], [0, 0, 0, 0, 0]], dtype=float)
_H, _Z = 6, 4
_NOISE = Noise(seed=5, step=9, users=torch.arange(4))


def _batch() -> SparseBatch:
    batch = sparse_batch(csr_array(_X.astype(np.float32)), torch.device("cpu"))
    return replace(batch, values=batch.values.double())


def _vae(dropout: float = 0.0) -> MultVAENetwork:
    config = MultVAEConfig(hidden=(_H,), latent=_Z, dropout=dropout)
    return MultVAENetwork(config, 5, torch.Generator().manual_seed(2)).double()


def _dae(dropout: float = 0.0) -> Autoencoder:
    model = MultDAE(MultDAEConfig(hidden=(_H,), latent=_Z, dropout=dropout))
    return model.build(5, torch.Generator().manual_seed(2)).double()


def _bernoulli_vae() -> Autoencoder:
    config = MultVAEConfig(hidden=(_H,), latent=_Z, dropout=0.0, likelihood="bernoulli")
    return MultVAENetwork(config, 5, torch.Generator().manual_seed(2)).double()


def _gaussian_autoencoder() -> Autoencoder:
    config = PlainAutoencoderConfig(hidden=(_H,), latent=_Z, likelihood="gaussian")
    return PlainAutoencoder(config).build(5, torch.Generator().manual_seed(2)).double()


def _layers(network: Autoencoder) -> dict[str, npt.NDArray[np.float64]]:
    return {name: value.numpy() for name, value in network.state_dict().items()}


def _hidden(w: dict[str, npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
    """tanh(x / |x| W + b)."""
    norms = np.linalg.norm(_X, axis=1, keepdims=True)
    x = np.divide(_X, norms, out=np.zeros_like(_X), where=norms > 0)
    hidden: npt.NDArray[np.float64] = np.tanh(
        x @ w["encoder.first.weight_IH"] + w["encoder.first.bias_H"]
    )
    return hidden


def _logits(
    w: dict[str, npt.NDArray[np.float64]], z: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """W tanh(W z + b) + b."""
    h = np.tanh(z @ w["decoder.hidden.0.weight"].T + w["decoder.hidden.0.bias"])
    return h @ w["decoder.weight_IH"].T + w["decoder.bias_I"]


def _multinomial(logits: npt.NDArray[np.float64]) -> float:
    """Mean over users of -sum_i x_i log softmax_i."""
    log_pi = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return float(-(_X * log_pi).sum(axis=1).mean())


@pytest.mark.parametrize("make", [_vae, _dae, _bernoulli_vae, _gaussian_autoencoder])
def test_the_gradient_reaches_every_number_of_every_parameter(
    make: Callable[[], Autoencoder],
) -> None:
    network = make()
    network.objective(_batch(), 0.2, _NOISE).loss.backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert (parameter.grad != 0).all(), name


@pytest.mark.parametrize("make", [_vae, _dae, _bernoulli_vae, _gaussian_autoencoder])
def test_the_only_phase_trains_every_parameter(make: Callable[[], Autoencoder]) -> None:
    network = make()
    (phase,) = network.phases()
    assert set(map(id, phase.parameters)) == set(map(id, network.parameters()))
    assert phase.passes == 1


@pytest.mark.parametrize("kl_weight", [0.0, 0.2, 1.0])
def test_mult_vaes_objective_is_the_negative_elbo_with_a_weighted_kl_term(
    kl_weight: float,
) -> None:
    network = _vae()
    w = _layers(network)
    h = _hidden(w)
    m, s = np.split(h @ w["posterior.weight"].T + w["posterior.bias"], 2, axis=1)
    z = m + np.exp(s / 2) * _NOISE.normal(_Z).double().numpy()
    reconstruction = _multinomial(_logits(w, z))
    kl = float((0.5 * (np.exp(s) + m**2 - 1 - s)).sum(axis=1).mean())

    objective = network.objective(_batch(), kl_weight, _NOISE)
    # Doubles through two hidden layers: some hundred roundings of 1e-16.
    assert objective.terms["reconstruction"].item() == pytest.approx(reconstruction, rel=1e-12)
    assert objective.terms["kl"].item() == pytest.approx(kl, rel=1e-12)
    assert objective.loss.item() == pytest.approx(reconstruction + kl_weight * kl, rel=1e-12)


def test_mult_daes_objective_is_the_multinomial_term_alone() -> None:
    network = _dae()
    w = _layers(network)
    z = np.tanh(_hidden(w) @ w["encoder.rest.0.weight"].T + w["encoder.rest.0.bias"])
    objective = network.objective(_batch(), 1.0, _NOISE)
    # Doubles through three hidden layers: some hundred roundings of 1e-16.
    assert objective.loss.item() == pytest.approx(_multinomial(_logits(w, z)), rel=1e-12)


@pytest.mark.parametrize("make", [_vae, _dae])
def test_items_with_hardly_any_probability_keep_a_finite_loss(
    make: Callable[[], Autoencoder],
) -> None:
    # log(softmax + eps) would flatten out near -log(eps); -log pi of these items is about 1000.
    network = make()
    bias = network.state_dict()["decoder.bias_I"]
    bias.copy_(torch.tensor([-1000.0, 0, 0, 0, 0]))
    loss = network.objective(_batch(), 0.0, _NOISE).loss.item()
    # Two of the four users took item 0 once: 2 * 1000 / 4, and some nats for all the rest.
    assert 500 < loss < 520


def test_the_other_likelihoods_replace_the_reconstruction_and_nothing_else() -> None:
    network = _bernoulli_vae()
    z = network.encode(_batch()).sample(_NOISE).detach().numpy()
    logits = _logits(_layers(network), z)
    # -sum_i [x log sigma(l) + (1 - x) log(1 - sigma(l))] with x = 1 where something was taken
    chance = 1 / (1 + np.exp(-logits))
    expected = -np.where(_X > 0, np.log(chance), np.log(1 - chance)).sum(axis=1).mean()
    objective = network.objective(_batch(), 0.2, _NOISE)
    # Doubles through two hidden layers: some hundred roundings of 1e-16.
    assert objective.terms["reconstruction"].item() == pytest.approx(expected, rel=1e-12)
    kl = _vae().objective(_batch(), 0.2, _NOISE).terms["kl"]
    assert torch.equal(objective.terms["kl"], kl)

    network = _gaussian_autoencoder()
    logits = _logits(_layers(network), network.encode(_batch()).mean_BZ.detach().numpy())
    # c / 2 (x - l)^2 with c = 1 where something was taken and 0.1 elsewhere
    expected = (np.where(_X > 0, 0.5, 0.05) * (_X - logits) ** 2).sum(axis=1).mean()
    loss = network.objective(_batch(), 0.0, _NOISE).loss.item()
    assert loss == pytest.approx(expected, rel=1e-12)  # as above


def test_dropout_changes_the_input_but_not_what_is_asked_for() -> None:
    network = _vae(dropout=0.5)
    posterior = network.encode(_batch(), _NOISE)
    z = posterior.sample(_NOISE).detach().numpy()
    objective = network.objective(_batch(), 0.3, _NOISE)
    expected = _multinomial(_logits(_layers(network), z)) + 0.3 * posterior.kl().mean().item()
    assert objective.loss.item() == pytest.approx(expected, rel=1e-12)  # roundings of doubles
    assert not torch.equal(posterior.mean_BZ, network.encode(_batch()).mean_BZ)


def test_the_latent_width_is_what_was_asked_for() -> None:
    posterior = _vae().encode(_batch())
    assert posterior.mean_BZ.shape == posterior.log_variance_BZ.shape == (4, _Z)
    assert posterior.sample(_NOISE).shape == (4, _Z)
    assert _dae().encode(_batch()).mean_BZ.shape == (4, _Z)


def test_the_sampling_noise_of_the_network_has_variance_one() -> None:
    network = _vae()
    posterior = network.encode(_batch())
    scale = (0.5 * posterior.log_variance_BZ).exp()
    steps = range(2_000)
    noise = torch.stack(
        [
            (posterior.sample(Noise(0, step, torch.arange(4))) - posterior.mean_BZ) / scale
            for step in steps
        ]
    )
    # Five standard errors, sqrt(2 / n), of a variance.
    assert abs(noise.var().item() - 1) < 5 * (2 / noise.numel()) ** 0.5


def _quick_vae(small: Interactions) -> MultVAE:
    training = TrainingConfig(epochs=2)
    model = MultVAE(MultVAEConfig(hidden=(_H,), latent=_Z, training=training))
    return model.fit(small, FitOptions(device="cpu"))


def test_scores_are_the_logits_at_the_posterior_mean(small: Interactions) -> None:
    model = _quick_vae(small)
    network = model.network
    batch = sparse_batch(small.matrix, torch.device("cpu"))
    with torch.no_grad():
        expected: Tensor = network.decode(network.encode(batch).mean_BZ)
    assert np.array_equal(model.score(small.matrix), expected.numpy())
    assert np.array_equal(model.score(small.matrix), model.score(small.matrix))


def test_an_item_that_stands_twice_in_a_history_has_twice_the_weight(small: Interactions) -> None:
    training = TrainingConfig(epochs=1)
    model = MultVAE(MultVAEConfig(hidden=(_H,), latent=_Z, training=training))
    model.fit(small, FitOptions(device="cpu"))
    n_items = len(small.items)
    twice = csr_array((np.array([1, 1, 3], np.float32), [0, 0, 2], [0, 3]), shape=(1, n_items))
    once = csr_array((np.array([2, 3], np.float32), [0, 2], [0, 2]), shape=(1, n_items))
    assert np.array_equal(model.score(twice), model.score(once))
    assert twice.nnz == 3


def test_negative_weights_are_refused_where_the_likelihood_does_not_know_them() -> None:
    one = IdMap.of(range(3))
    taken = Interactions(
        one, one, csr_array(np.array([[1, -1, 0], [0, 1, 1], [1, 0, 2]], np.float32))
    )
    training = TrainingConfig(epochs=1)
    with pytest.raises(InputError, match="negative weights, which the multinomial likelihood"):
        MultDAE(MultDAEConfig(latent=2, training=training)).fit(taken, FitOptions(device="cpu"))
    gaussian = MultVAEConfig(hidden=(4,), latent=2, likelihood="gaussian", training=training)
    MultVAE(gaussian).fit(taken, FitOptions(device="cpu"))


def test_scores_do_not_depend_on_the_variance(small: Interactions) -> None:
    model = _quick_vae(small)
    before = model.score(small.matrix)
    for name, value in model.network.state_dict().items():
        if name.startswith("posterior"):
            value[len(value) // 2 :].add_(3.0)
    assert np.array_equal(model.score(small.matrix), before)


@pytest.mark.parametrize("make", [_vae, _dae])
def test_some_items_are_decoded_as_among_all_by_any_network(
    make: Callable[[], Autoencoder],
) -> None:
    network = make()
    z_BZ = torch.from_numpy(np.random.default_rng(0).normal(size=(4, _Z)))
    items_BK = torch.tensor([[0, 4], [1, 1], [3, 2], [2, 0]])
    some_BK = network.decode_items(z_BZ, items_BK)
    # A few additions of doubles in another order.
    assert (some_BK - network.decode(z_BZ).gather(1, items_BK)).abs().max() < 1e-14
