"""The ladder VAE keeps the contract, and with one group it is Mult-VAE."""

from dataclasses import replace
from typing import Final, Literal

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from recsys_vae.models.base import Recommender
from recsys_vae.models.ladder_vae import LadderVAE, LadderVAEConfig, LadderVAENetwork
from recsys_vae.models.mult_vae import MultVAEConfig, MultVAENetwork
from recsys_vae.nn.noise import Noise
from recsys_vae.nn.sparse_linear import SparseBatch
from recsys_vae.training.batches import sparse_batch
from recsys_vae.training.config import TrainingConfig
from tests.contract import RecommenderContract

_QUICK: Final = TrainingConfig(epochs=40, batch_size=15, learning_rate=0.02)
_X: Final = np.array([[1, 1, 0, 0, 2], [0, 0, 1, 0, 1], [1, 0, 0, 3, 0], [0, 0, 0, 0, 0]])
_Likelihood = Literal["multinomial", "bernoulli", "gaussian"]
_NOISE: Final = Noise(seed=5, step=9, users=torch.arange(4))


class TestLadderVAE(RecommenderContract):
    def make(self) -> Recommender:
        config = LadderVAEConfig(hidden=(32,), latent=4, groups=3, kl_cap=0.01, training=_QUICK)
        return LadderVAE(config)


class TestLadderVAEWithOneGroup(RecommenderContract):
    def make(self) -> Recommender:
        config = LadderVAEConfig(hidden=(32,), latent=8, groups=1, kl_cap=0.01, training=_QUICK)
        return LadderVAE(config)


def _batch() -> SparseBatch:
    batch = sparse_batch(csr_array(_X.astype(np.float32)), torch.device("cpu"))
    return replace(batch, values=batch.values.double())


def _network(
    groups: int, dropout: float = 0.0, likelihood: _Likelihood = "multinomial"
) -> LadderVAENetwork:
    config = LadderVAEConfig(
        hidden=(6,), latent=4, groups=groups, dropout=dropout, likelihood=likelihood
    )
    return LadderVAENetwork(config, 5, torch.Generator().manual_seed(2)).double()


@pytest.mark.parametrize("likelihood", ["multinomial", "bernoulli", "gaussian"])
@pytest.mark.parametrize("kl_weight", [0.0, 0.1, 0.2, 1.0])
def test_with_one_group_and_equal_weights_the_objective_is_mult_vaes(
    kl_weight: float, likelihood: _Likelihood
) -> None:
    ladder = _network(groups=1, dropout=0.5, likelihood=likelihood)
    config = MultVAEConfig(hidden=(6,), latent=4, dropout=0.5, likelihood=likelihood)
    plain = MultVAENetwork(config, 5, torch.Generator()).double()
    weights = ladder.state_dict()
    plain.load_state_dict({name.removeprefix("ladder."): one for name, one in weights.items()})
    ours = ladder.objective(_batch(), kl_weight, _NOISE)
    theirs = plain.objective(_batch(), kl_weight, _NOISE)
    assert torch.equal(ours.loss, theirs.loss)
    assert torch.equal(ours.terms["kl"], theirs.terms["kl"])
    ours.loss.backward()
    theirs.loss.backward()
    gradients = {name.removeprefix("ladder."): p.grad for name, p in ladder.named_parameters()}
    for name, parameter in plain.named_parameters():
        assert parameter.grad is not None
        ladders = gradients[name]
        assert ladders is not None
        # Doubles, added up in another order.
        assert torch.allclose(ladders, parameter.grad, rtol=1e-12, atol=1e-15), name


def test_every_groups_kl_is_told_and_they_add_up() -> None:
    network = _network(groups=3)
    terms = network.objective(_batch(), 0.1, _NOISE).terms
    assert list(terms) == ["reconstruction", "kl", "kl_1", "kl_2", "kl_3"]
    groups = [terms[f"kl_{number}"].item() for number in (1, 2, 3)]
    assert min(groups) > 0
    assert terms["kl"].item() == pytest.approx(sum(groups), rel=1e-12)  # roundings of doubles


def test_once_the_weight_is_at_its_cap_all_groups_are_charged_alike() -> None:
    objective = _network(groups=3).objective(_batch(), 0.2, _NOISE)
    expected = objective.terms["reconstruction"].item() + 0.2 * objective.terms["kl"].item()
    assert objective.loss.item() == pytest.approx(expected, rel=1e-12)  # roundings of doubles


def test_before_that_the_groups_that_say_more_are_charged_more() -> None:
    network = _network(groups=3)
    objective = network.objective(_batch(), 0.05, _NOISE)
    kl_BL = network.ladder.descend(network.encode(_batch(), _NOISE).rungs, _NOISE).kl_BL.detach()
    # A quarter of the way: 1/4 of an even weight and 3/4 of KL_l against the mean of the groups.
    gamma_BL = 0.25 + 0.75 * kl_BL / kl_BL.mean(dim=1, keepdim=True)
    charged = (gamma_BL * kl_BL).sum(dim=1).mean().item()
    expected = objective.terms["reconstruction"].item() + 0.05 * charged
    assert objective.loss.item() == pytest.approx(expected, rel=1e-12)  # roundings of doubles
    assert charged > objective.terms["kl"].item()


@pytest.mark.parametrize("groups", [1, 3])
def test_the_gradient_reaches_every_parameter(groups: int) -> None:
    network = _network(groups)
    network.objective(_batch(), 0.2, _NOISE).loss.backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert (parameter.grad != 0).any(), name


def test_without_a_kl_term_the_loss_is_the_likelihood() -> None:
    config = LadderVAEConfig(hidden=(6,), latent=4, groups=2, kl_cap=0.0)
    network = LadderVAENetwork(config, 5, torch.Generator().manual_seed(2))
    batch = sparse_batch(csr_array(_X.astype(np.float32)), torch.device("cpu"))
    objective = network.objective(batch, 0.0, _NOISE)
    assert torch.equal(objective.loss, objective.terms["reconstruction"])
