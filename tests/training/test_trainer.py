"""The training loop, on toys whose every step can be told beforehand."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array
from torch import Tensor, nn

from recsys_vae.errors import InputError
from recsys_vae.models.choosing import Validation
from recsys_vae.nn.noise import Noise
from recsys_vae.nn.sparse_linear import SparseBatch
from recsys_vae.training.batches import BatchPlan
from recsys_vae.training.config import TrainingConfig
from recsys_vae.training.distributed import World
from recsys_vae.training.optimisers import learning_rate
from recsys_vae.training.records import (
    DivergenceError,
    EpochRecord,
    Objective,
    Phase,
    RunContext,
)
from recsys_vae.training.trainer import Trainer

_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Call:
    """What the trainer told the objective, and the parameters at that moment."""

    kl_weight: float
    noise: Noise
    parameters: dict[str, Tensor]


class Toy(nn.Module):
    """weight and bias; the loss is a function of them that the test chooses."""

    def __init__(self, loss: "Callable[[Toy, int], Tensor] | None" = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([2.0, -3.0], dtype=torch.float64))
        self.bias = nn.Parameter(torch.tensor([5.0], dtype=torch.float64))
        self.calls: list[Call] = []
        self._loss = loss or (lambda toy, _step: toy.weight.sum() + toy.bias.sum())

    def objective(self, batch: SparseBatch, kl_weight: float, noise: Noise) -> Objective:
        now = {name: value.detach().clone() for name, value in self.named_parameters()}
        self.calls.append(Call(kl_weight, noise, now))
        loss = self._loss(self, len(self.calls) - 1)
        return Objective(loss, {"all of it": loss})

    def phases(self) -> Sequence[Phase]:
        return [Phase("all", tuple(self.parameters()))]


class TwoPhases(Toy):
    """Two passes for the weight, then one for the bias."""

    def phases(self) -> Sequence[Phase]:
        return [Phase("weight", (self.weight,), passes=2), Phase("bias", (self.bias,))]


class Follower(Toy):
    """Is told of every step."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[int, float, float]] = []

    def hear(self, noise: Noise, sum_up: Callable[[Tensor], Tensor]) -> None:
        self.told.append((noise.step, float(self.bias.detach()), float(sum_up(torch.ones(1)))))

    def phases(self) -> Sequence[Phase]:
        return [Phase("all", tuple(self.parameters()), after_step=self.hear)]


class Turns(TwoPhases):
    """Phases with an objective of their own and something to do at their end."""

    def __init__(self) -> None:
        super().__init__()
        self.log: list[str] = []

    def objective(self, batch: SparseBatch, kl_weight: float, noise: Noise) -> Objective:
        self.log.append("weight")
        loss = self.weight.sum()
        return Objective(loss, {"of weight": torch.tensor(3.0), "of both": torch.tensor(4.0)})

    def of_bias(self, batch: SparseBatch, kl_weight: float, noise: Noise) -> Objective:
        self.log.append("bias")
        return Objective(self.bias.sum(), {"of both": torch.tensor(7.0)})

    def phases(self) -> Sequence[Phase]:
        end = self.log.append
        return [
            Phase("weight", (self.weight,), passes=2, at_end=lambda: end("weight's end")),
            Phase("bias", (self.bias,), objective=self.of_bias, at_end=lambda: end("bias's end")),
        ]


@dataclass
class Watch:
    """Collects records and the weights at the end of each epoch."""

    module: nn.Module
    records: list[EpochRecord] = field(default_factory=list)
    weights: list[dict[str, Tensor]] = field(default_factory=list)

    def __call__(self, record: EpochRecord) -> None:
        self.records.append(record)
        state = self.module.state_dict()
        self.weights.append({name: value.clone() for name, value in state.items()})


def _run(
    module: Toy,
    *,
    n_users: int = 6,
    batch_size: int = 2,
    metrics: Sequence[float] | None = None,
    kl: Callable[[int], float] = lambda _step: 0.0,
    seed: int = 0,
    **config: Any,
) -> Watch:
    """Train; `metrics` are what validation finds, epoch by epoch."""
    plan = BatchPlan(csr_array(np.eye(n_users, 4, dtype=np.float32)), batch_size, seed, _CPU)
    watch, found = Watch(module), iter(metrics or [])
    validate = None if metrics is None else lambda: next(found)
    run = RunContext(seed=seed, device=_CPU, validate=validate, on_epoch=watch)
    returned = Trainer(module, plan, TrainingConfig(**config), kl, run).train()
    assert returned == watch.records
    return watch


def _same(state: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in state.items())


def test_the_best_weights_are_kept_and_training_stops_after_the_patience() -> None:
    module = Toy()
    watch = _run(module, metrics=[0.1, 0.5, 0.4, 0.3, 0.9], epochs=5, patience=2)
    assert [record.validation for record in watch.records] == [0.1, 0.5, 0.4, 0.3]
    assert [record.best for record in watch.records] == [True, True, False, False]
    assert _same(module.state_dict(), watch.weights[1])
    assert not _same(module.state_dict(), watch.weights[3])


def test_without_patience_training_goes_on_and_the_best_weights_are_still_kept() -> None:
    module = Toy()
    watch = _run(module, metrics=[0.5, 0.1, 0.2, 0.3, 0.4], epochs=5, patience=0)
    assert len(watch.records) == 5
    assert _same(module.state_dict(), watch.weights[0])


def test_a_new_best_starts_the_waiting_over() -> None:
    metrics = [0.5, 0.4, 0.6, 0.5, 0.7, 0.1, 0.1]
    watch = _run(Toy(), metrics=metrics, epochs=7, patience=2)
    assert len(watch.records) == 7


def test_an_equal_metric_is_no_better_one() -> None:
    module = Toy()
    watch = _run(module, metrics=[0.5, 0.5, 0.5], epochs=9, patience=2)
    assert [record.best for record in watch.records] == [True, False, False]
    assert _same(module.state_dict(), watch.weights[0])


def test_without_validation_the_last_weights_stay() -> None:
    module = Toy()
    watch = _run(module, epochs=4, patience=1)
    assert len(watch.records) == 4
    assert all(record.validation is None for record in watch.records)
    assert _same(module.state_dict(), watch.weights[-1])


def test_validation_happens_every_so_many_epochs_and_at_the_end() -> None:
    watch = _run(Toy(), metrics=[0.1, 0.2, 0.3], epochs=5, validate_every=2)
    assert [record.validation for record in watch.records] == [None, 0.1, None, 0.2, 0.3]


def test_of_a_validation_the_number_alone_is_kept() -> None:
    validations = iter([Validation([0.25, 0.5]), Validation([0.5, 0.75])])
    plan = BatchPlan(csr_array(np.eye(4, dtype=np.float32)), 2, 0, _CPU)
    run = RunContext(seed=0, device=_CPU, validate=lambda: next(validations))
    records = Trainer(Toy(), plan, TrainingConfig(epochs=2), lambda _step: 0.0, run).train()
    assert [type(record.validation) for record in records] == [float, float]
    assert [record.validation for record in records] == [0.375, 0.625]


class _Rows(Toy):
    def row_sparse(self) -> list[nn.Parameter]:
        return [self.weight]


@pytest.mark.parametrize(
    ("module", "batch_size", "said"),
    [
        (_Rows(), 2, "the sampled softmax trains in one process"),
        (Toy(), 1, "2 processes cannot share a step of 1 users"),
    ],
)
def test_what_processes_would_wait_for_for_ever_is_refused(
    module: Toy, batch_size: int, said: str
) -> None:
    plan = BatchPlan(csr_array(np.eye(4, dtype=np.float32)), batch_size, 0, _CPU, World(0, 2))
    run = RunContext(seed=0, device=_CPU)
    with pytest.raises(InputError, match=said):
        Trainer(module, plan, TrainingConfig(), lambda _step: 0.0, run)


def test_the_module_is_validated_and_left_in_evaluation_mode() -> None:
    module, modes = Toy(), list[bool]()
    plan = BatchPlan(csr_array(np.eye(4, dtype=np.float32)), 2, 0, _CPU)

    def validate() -> float:
        modes.append(module.training)
        return 0.0

    run = RunContext(seed=0, device=_CPU, validate=validate)
    Trainer(module, plan, TrainingConfig(epochs=2), lambda _step: 0.0, run).train()
    assert modes == [False, False]
    assert not module.training


@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_a_loss_that_is_no_number_ends_training_with_the_best_weights(poison: float) -> None:
    # Three steps an epoch: the third epoch is poisoned at its second step.
    module = Toy(lambda toy, step: toy.weight.sum() * (poison if step == 7 else 1.0))
    plan = BatchPlan(csr_array(np.eye(6, dtype=np.float32)), 2, 0, _CPU)
    watch, found = Watch(module), iter([0.2, 0.1])
    run = RunContext(seed=0, device=_CPU, validate=lambda: next(found), on_epoch=watch)
    with pytest.raises(DivergenceError, match="epoch 3") as error:
        Trainer(module, plan, TrainingConfig(epochs=9), lambda _step: 0.0, run).train()
    assert "learning_rate" in str(error.value)
    assert "\n" not in str(error.value)
    assert len(watch.records) == 2
    assert _same(module.state_dict(), watch.weights[0])


def test_weights_that_the_last_step_spoilt_are_never_handed_over() -> None:
    # A loss of 0, whose gradient is none; it is always that from before the step.
    module = Toy(lambda toy, _step: (toy.weight - toy.weight.detach()).abs().sqrt().sum())
    plan = BatchPlan(csr_array(np.eye(6, dtype=np.float32)), 6, 0, _CPU)
    run = RunContext(seed=0, device=_CPU)
    with pytest.raises(DivergenceError, match="sum of the weights became nan in epoch 1"):
        Trainer(module, plan, TrainingConfig(epochs=1), lambda _step: 0.0, run).train()


def test_a_validation_metric_that_is_no_number_ends_training_with_the_best_weights() -> None:
    module = Toy()
    plan = BatchPlan(csr_array(np.eye(6, dtype=np.float32)), 2, 0, _CPU)
    watch, found = Watch(module), iter([0.2, math.nan])
    run = RunContext(seed=0, device=_CPU, validate=lambda: next(found), on_epoch=watch)
    with pytest.raises(DivergenceError, match="epoch 2"):
        Trainer(module, plan, TrainingConfig(epochs=9), lambda _step: 0.0, run).train()
    assert _same(module.state_dict(), watch.weights[0])


def test_steps_follow_the_learning_rate_schedule() -> None:
    # The gradient of a sum is 1 throughout, and Adam's step is then the learning rate itself.
    module = Toy()
    config: dict[str, Any] = {
        "learning_rate": 0.1,
        "warmup_steps": 4,
        "lr_schedule": "cosine",
        "epochs": 4,
    }
    _run(module, **config)
    path = [call.parameters["bias"].item() for call in module.calls] + [module.bias.item()]
    expected = [learning_rate(TrainingConfig(**config), step, 12) for step in range(12)]
    # Adam divides by |gradient| + 1e-8.
    assert -np.diff(path) == pytest.approx(expected, rel=1e-6)


def _square(toy: Toy, _step: int) -> Tensor:
    return (toy.weight - 1).square().sum() + (toy.bias - 1).square().sum()


def test_weight_decay_is_the_loss_term_lambda_w_squared_without_biases() -> None:
    decayed = Toy(_square)
    _run(decayed, epochs=20, weight_decay=0.05, learning_rate=0.1)
    explicit = Toy(lambda toy, step: _square(toy, step) + 0.05 * toy.weight.square().sum())
    _run(explicit, epochs=20, learning_rate=0.1)
    # The same sums in another order, sixty steps long, in doubles.
    assert torch.allclose(decayed.weight, explicit.weight, rtol=1e-9)
    assert torch.allclose(decayed.bias, explicit.bias, rtol=1e-9)
    plain = Toy(_square)
    _run(plain, epochs=20, learning_rate=0.1)
    assert not torch.allclose(decayed.weight, plain.weight, rtol=1e-3)
    assert torch.equal(decayed.bias, plain.bias)


def test_a_network_is_told_of_every_step_once_its_parameters_have_moved() -> None:
    module = Follower()
    _run(module, epochs=2, learning_rate=0.5)
    assert [step for step, _, _ in module.told] == list(range(len(module.calls)))
    # What step n left is what step n + 1 begins with.
    began = [float(call.parameters["bias"]) for call in module.calls]
    assert [bias for _, bias, _ in module.told[:-1]] == began[1:]
    assert {total for _, _, total in module.told} == {1.0}


def test_each_phase_changes_its_own_parameters_and_no_others() -> None:
    module = TwoPhases()
    _run(module, epochs=2)  # three steps a pass, so nine an epoch
    states = [call.parameters for call in module.calls]
    states.append({name: value.detach() for name, value in module.named_parameters()})
    changed = [
        {name for name in before if not torch.equal(before[name], after[name])}
        for before, after in pairwise(states)
    ]
    assert changed == ([{"weight"}] * 6 + [{"bias"}] * 3) * 2


def test_a_phase_has_its_own_objective_and_ends_once_an_epoch_after_its_last_step() -> None:
    module = Turns()
    _run(module, epochs=2)  # three steps a pass
    epoch = ["weight"] * 6 + ["weight's end"] + ["bias"] * 3 + ["bias's end"]
    assert module.log == epoch * 2


def test_a_term_is_averaged_over_the_phases_that_have_it() -> None:
    (record,) = _run(Turns(), epochs=1, n_users=5).records
    # Two passes with 4 and one with 7: (2 * 4 + 7) / 3 = 5.
    assert record.terms["of weight"] == 3.0
    assert record.terms["of both"] == 5.0
    assert record.users_per_second == pytest.approx(15 / record.seconds)


def test_each_pass_of_each_phase_sees_every_user_in_its_own_order() -> None:
    module = TwoPhases()
    _run(module, epochs=2, n_users=8, batch_size=8)
    orders = [tuple(call.noise.users.tolist()) for call in module.calls]
    assert all(sorted(order) == list(range(8)) for order in orders)
    assert len(set(orders)) == 6  # two epochs of three passes


@pytest.mark.parametrize(("clip", "norm"), [(0.5, 0.5), (None, 30.0)])
def test_gradients_are_clipped_to_the_norm(clip: float | None, norm: float) -> None:
    # The gradient of 30 * bias is 30.
    module = Toy(lambda toy, _step: 30 * toy.bias.sum() + 0 * toy.weight.sum())
    _run(module, epochs=1, clip_norm=clip)
    last = [parameter.grad for parameter in module.parameters()]
    assert all(grad is not None for grad in last)
    # torch divides by the norm + 1e-6.
    total = math.hypot(*(float(grad.norm()) for grad in last if grad is not None))
    assert total == pytest.approx(norm, rel=1e-5)


def test_every_step_has_its_own_kl_weight_and_noise() -> None:
    module = Toy()
    watch = _run(module, epochs=2, kl=lambda step: step / 10, seed=4)
    assert [call.kl_weight for call in module.calls] == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    assert [call.noise.step for call in module.calls] == list(range(6))
    assert {call.noise.seed for call in module.calls} == {4}
    assert [record.kl_weight for record in watch.records] == [0.2, 0.5]


def test_the_record_is_the_mean_over_users_not_over_batches() -> None:
    # Five users in batches of 2, 2 and 1, with losses 0, 0 and 10: 10 / 5 = 2.
    module = Toy(lambda toy, step: toy.weight.sum() * 0 + (10.0 if step == 2 else 0.0))
    (record,) = _run(module, epochs=1, n_users=5).records
    assert record.terms == {"loss": 2.0, "all of it": 2.0}
    assert (record.epoch, record.step) == (1, 3)
    assert record.users_per_second == pytest.approx(5 / record.seconds)


@pytest.mark.parametrize("seeds", [(3, 3), (3, 4)])
def test_the_same_seed_gives_the_same_path_and_another_seed_another(
    seeds: tuple[int, int],
) -> None:
    def noisy(toy: Toy, step: int) -> Tensor:
        drawn = toy.calls[step].noise.normal(1).double().mean()
        return (toy.weight - drawn).square().sum() + (toy.bias - drawn).square().sum()

    one, other = Toy(noisy), Toy(noisy)
    for toy, seed in zip((one, other), seeds, strict=True):
        _run(toy, epochs=5, seed=seed)
    assert _same(one.state_dict(), other.state_dict()) == (seeds[0] == seeds[1])
