"""The VAE with a linear path keeps the contract, and adds up its two parts."""

from typing import Final

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from recsys_vae.evaluation.evaluate import mean_metric
from recsys_vae.interactions import IdMap, Interactions
from recsys_vae.models.base import FitOptions, LinearRecommender, Recommender
from recsys_vae.models.choosing import Validation, clearly_better
from recsys_vae.models.linear_vae import LinearVAE, LinearVAEConfig
from recsys_vae.models.sparse_ease import SparseEASE, SparseEASEConfig
from recsys_vae.models.zoo import make_model
from recsys_vae.ranking import Ranker, rank
from recsys_vae.ranking.explore import sampled_scores
from recsys_vae.splitting import Split, StrongOptions, split_strong
from recsys_vae.training.config import TrainingConfig
from tests.contract import RecommenderContract
from tests.models.made_up import made_up

_QUICK: Final = TrainingConfig(epochs=40, batch_size=15, learning_rate=0.02)


def _config(**changes: object) -> LinearVAEConfig:
    quick = {"hidden": (32,), "latent": 8, "kl_cap": 0.01, "dropout": 0.5, "training": _QUICK}
    return LinearVAEConfig.model_validate({**quick, "ridge": 5.0, "gate": 0.1, **changes})


class TestLinearVAE(RecommenderContract):
    def make(self) -> Recommender:
        return LinearVAE(_config())


@pytest.fixture(scope="module")
def fitted() -> LinearVAE:
    return LinearVAE(_config()).fit(made_up(60, 20, 0.25, 0), FitOptions(device="cpu"))


def test_scores_are_the_path_and_the_gated_relative_likelihood(fitted: LinearVAE) -> None:
    train = made_up(60, 20, 0.25, 0)
    path = SparseEASE(SparseEASEConfig(ridge=5.0)).fit(train, FitOptions())
    with torch.inference_mode():
        logits = fitted.network.decode(fitted.posterior(train.matrix).mean_BZ).numpy()
    relative = np.exp(logits.astype(np.float64))
    relative /= relative.max(axis=1, keepdims=True)
    expected = path.score(train.matrix) + 0.1 * relative
    # A sum of two float32 numbers below 2.
    assert np.abs(fitted.score(train.matrix) - expected).max() < 1e-6


def test_without_the_gate_it_is_the_path(fitted: LinearVAE) -> None:
    train = made_up(60, 20, 0.25, 0)
    path = SparseEASE(SparseEASEConfig(ridge=5.0)).fit(train, FitOptions())
    closed = LinearVAE(_config(gate=0.0)).restore(train.items, fitted.arrays())
    alone = path.score(train.matrix)
    assert (
        np.abs(closed.score(train.matrix) + path.tie_break - alone).max() <= 2.0**-23 * alone.max()
    )


def test_an_empty_history_is_answered_by_the_vae_alone(fitted: LinearVAE) -> None:
    scores = fitted.score(csr_array((1, 20), dtype=np.float32))
    assert scores.max() == pytest.approx(0.1, rel=1e-6)
    assert len(np.unique(scores)) > 10


def test_it_is_ranked_by_its_scores_and_not_by_its_decoder(fitted: LinearVAE) -> None:
    given = made_up(60, 20, 0.25, 0).matrix
    model: Recommender = fitted
    assert not isinstance(model, LinearRecommender)
    lists = Ranker(model, 5).lists(given)
    assert np.array_equal(lists.items_BK, rank(fitted.score(given), given, 5).items_BK)


def test_a_draw_of_the_posterior_moves_the_vae_and_leaves_the_path(fitted: LinearVAE) -> None:
    given = made_up(60, 20, 0.25, 0).matrix
    drawn = sampled_scores(fitted, given, np.arange(60), seed=1)
    assert not np.array_equal(drawn, fitted.score(given))
    difference = drawn - fitted.score(given)
    assert np.abs(difference).max() <= 0.1 + 1e-6  # what the gate lets through


def _split() -> Split:
    rng = np.random.default_rng(0)
    taste = rng.integers(0, 4, 400)
    chance = np.where(np.arange(40)[None] % 4 == taste[:, None], 0.4, 0.05)
    matrix = csr_array((rng.random((400, 40)) < chance).astype(np.float32))
    everything = Interactions(IdMap.of(np.arange(400)), IdMap.of(np.arange(40)), matrix)
    return split_strong(everything, StrongOptions(held_out_users=60))


def test_ridge_gate_and_epochs_are_chosen_and_can_be_settled() -> None:
    parts = _split()
    train = parts.train
    model = LinearVAE(_config(ridge=None, gate=None))
    assert model.chooses

    def validate(judged: Recommender) -> float:
        return mean_metric(judged, parts.validation, "ndcg@10")

    model.fit(train, FitOptions(device="cpu", validate=validate))
    settled = model.settled()
    assert settled.ridge in (20.0, 60.0, 180.0, 540.0)
    assert settled.gate in (0.0, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
    assert settled.training.patience == 0
    again = LinearVAE(settled).fit(train, FitOptions(device="cpu"))
    assert np.array_equal(again.score(train.matrix), model.score(train.matrix))
    # The default is left for the best of what is clearly better, and for nothing else.
    found = {}
    for gate in (0.05, 0.0, 0.02, 0.1, 0.2, 0.5, 1.0):
        other = LinearVAE(settled.model_copy(update={"gate": gate}))
        found[gate] = validate(other.restore(train.items, model.arrays()))
    clearly = [gate for gate in found if clearly_better(found[gate], found[0.05])]
    assert settled.gate == max([0.05, *clearly], key=found.__getitem__)


class Judged:
    """Says of models with each gate what few users found, or many."""

    def __init__(self, gains: dict[float, float], n_users: int) -> None:
        rng = np.random.default_rng(0)
        self.base, self.gains = rng.random(n_users), gains
        self.noise = {gate: rng.normal(0, 0.1, n_users) for gate in gains}

    def __call__(self, model: Recommender) -> float:
        gate = model.config.model_dump()["gate"]
        found = self.base.copy()
        if gate in self.gains:
            found += self.gains[gate] + self.noise[gate]
        return Validation(found)


@pytest.mark.parametrize(("n_users", "chosen"), [(20, 0.05), (20_000, 0.2)])
def test_few_users_do_not_move_the_gate_and_many_do(n_users: int, chosen: float) -> None:
    model = LinearVAE(_config(ridge=60.0, gate=None))
    judge = Judged({0.1: 0.005, 0.2: 0.01, 0.5: -0.3}, n_users)
    means = [gain + float(judge.noise[gate].mean()) for gate, gain in judge.gains.items()]
    assert max(means) > 0  # the largest mean is another's, even of few
    model.fit(_split().train, FitOptions(device="cpu", validate=judge))
    assert model.config.gate == chosen


def test_fitted_again_it_chooses_again() -> None:
    train, asked = _split().train, []
    model = LinearVAE(_config(ridge=60.0, gate=None))
    model.fit(train, FitOptions(device="cpu", validate=Judged({1.0: 0.9}, 20_000)))
    assert model.config.gate == 1.0
    again = Judged({0.2: 0.9}, 20_000)

    def validate(one: Recommender) -> float:
        asked.append(one.config.model_dump()["gate"])
        return again(one)

    model.fit(train, FitOptions(device="cpu", validate=validate))
    assert {0.0, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0} <= set(asked)
    assert model.config.gate == 0.2


@pytest.mark.parametrize(
    ("n_users", "epochs", "each"),
    [(100, 100, 6), (5_000, 50, 3), (29_858, 17, 1), (10_000_000, 15, 1)],
)
def test_the_default_training_has_about_a_thousand_steps(
    n_users: int, epochs: int, each: int
) -> None:
    planned = LinearVAEConfig().planned(n_users).training
    assert (planned.epochs, planned.validate_every) == (epochs, each)


def _made(training: dict[str, float]) -> LinearVAEConfig:
    config = make_model("linear-vae", {"training": training}).config
    assert isinstance(config, LinearVAEConfig)
    return config


def test_a_training_that_was_given_is_left_alone() -> None:
    config = LinearVAEConfig(training=TrainingConfig(epochs=3))
    assert config.planned(1_000) == config
    training = _made({"epochs": 3}).training
    # Of what was not given the model's own defaults stay.
    assert (training.epochs, training.lr_schedule, training.learning_rate) == (3, "cosine", 2e-3)
    one = _made({"weight_decay": 0.5}).planned(5_000)
    assert (one.training.epochs, one.training.validate_every) == (50, 3)
    assert (one.training.weight_decay, one.training.lr_schedule) == (0.5, "cosine")
