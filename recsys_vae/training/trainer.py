"""The training loop: phases, schedules, validation, early stopping, the best weights kept."""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, cast

import torch
from torch import Tensor, nn
from tqdm import tqdm

from recsys_vae.errors import InputError
from recsys_vae.nn.noise import Noise
from recsys_vae.nn.sparse_linear import SparseBatch
from recsys_vae.training.batches import BatchPlan
from recsys_vae.training.config import TrainingConfig


@dataclass(frozen=True, slots=True)
class Objective:
    """What is minimised.

    Args:
        loss: scalar, the mean over the batch's users.
        terms: the loss's parts by name, scalars, in nats per user.
    """

    loss: Tensor
    terms: Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Phase:
    """Some parameters, trained for some passes over the data in every epoch.

    Args:
        name: for messages.
        parameters: what this phase changes.
        passes: over all users, per epoch.
    """

    name: str
    parameters: tuple[nn.Parameter, ...]
    passes: int = 1


class Trainable(Protocol):
    """What the trainer asks of a network, besides being an `nn.Module`."""

    def objective(self, batch: SparseBatch, kl_weight: float, noise: Noise) -> Objective:
        """Give the loss of a batch."""
        ...

    def phases(self) -> Sequence[Phase]:
        """Give the phases of an epoch."""
        ...


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """What one epoch brought.

    Attributes:
        epoch: from 1.
        step: optimiser steps so far.
        terms: mean loss and its parts over the epoch's users, in nats per user.
        kl_weight: at the last step.
        validation: the metric (higher is better), or None if not validated in this epoch.
        best: whether these are the best weights so far.
        seconds: of the training steps, without validation.
        users_per_second: training throughput.
    """

    epoch: int
    step: int
    terms: Mapping[str, float]
    kl_weight: float
    validation: float | None
    best: bool
    seconds: float
    users_per_second: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContext:
    """The context of one run: nothing in it changes what is learned but the seed.

    Attributes:
        seed: of order, dropout and sampling noise.
        device: where to compute.
        validate: gives the metric that early stopping follows, higher is better.
        on_epoch: is told of every epoch.
        progress: label of the progress bar, or None for silence; it shows on terminals only.
    """

    seed: int
    device: torch.device
    validate: Callable[[], float] | None = None
    on_epoch: Callable[[EpochRecord], None] | None = None
    progress: str | None = None


class DivergenceError(InputError):
    """The loss is no finite number any more."""


@dataclass(slots=True)
class _Best:
    """The best weights so far, and how long ago that was."""

    metric: float = -math.inf
    epoch: int = 0
    waited: int = 0
    weights: dict[str, Tensor] = field(default_factory=dict)

    def offer(self, metric: float, epoch: int, module: nn.Module) -> bool:
        if not math.isfinite(metric):
            raise DivergenceError(
                f"the validation metric is {metric} in epoch {epoch}: lower learning_rate"
            )
        if metric <= self.metric:
            self.waited += 1
            return False
        self.metric, self.epoch, self.waited = metric, epoch, 0
        self.weights = {name: value.clone() for name, value in module.state_dict().items()}
        return True


def train(
    module: nn.Module,
    plan: BatchPlan,
    config: TrainingConfig,
    kl_schedule: Callable[[int], float],
    run: RunContext,
) -> list[EpochRecord]:
    """Train a module in place and leave the best weights in it.

    Args:
        module: an `nn.Module` that is also `Trainable`, on the run's device.
        plan: the batches.
        config: hyper-parameters.
        kl_schedule: KL weight by optimiser step, from 0.
        run: seed, device and callbacks.

    Returns:
        One record an epoch. With a validation callable, the module holds the weights of the best
        validation, otherwise the last.

    Raises:
        DivergenceError: loss or metric became NaN or infinite; the module holds the best weights
            so far.
    """
    trainable = cast("Trainable", module)
    phases = trainable.phases()
    total_steps = config.epochs * plan.steps_per_epoch * sum(phase.passes for phase in phases)
    optimisers = {phase.name: _optimiser(phase, module, config, run.device) for phase in phases}
    best, records, step = _Best(), list[EpochRecord](), 0
    bar = tqdm(
        total=total_steps, desc=run.progress, unit="step", disable=None if run.progress else True
    )
    try:
        for epoch in range(1, config.epochs + 1):
            sums: dict[str, Tensor] = {}
            started, n_users = time.perf_counter(), 0
            module.train()
            kl_weight = 0.0
            for phase, number in _passes(phases, epoch):
                optimiser = optimisers[phase.name]
                for batch in plan.epoch(number):
                    for group in optimiser.param_groups:
                        group["lr"] = learning_rate(config, step, total_steps)
                    kl_weight = kl_schedule(step)
                    noise = Noise(run.seed, step, batch.users)
                    objective = trainable.objective(batch.history, kl_weight, noise)
                    optimiser.zero_grad(set_to_none=True)
                    objective.loss.backward()  # type: ignore[no-untyped-call] # torch has no stub
                    if config.clip_norm is not None:
                        nn.utils.clip_grad_norm_(phase.parameters, config.clip_norm)
                    optimiser.step()
                    size = len(batch.users)
                    for name, value in {"loss": objective.loss, **objective.terms}.items():
                        sums[name] = sums.get(name, 0.0) + value.detach() * size
                    n_users += size
                    step += 1
                    bar.update()
            terms = {name: float(value) / n_users for name, value in sums.items()}
            if not all(map(math.isfinite, terms.values())):
                raise DivergenceError(
                    f"the loss is {terms['loss']} in epoch {epoch}: lower learning_rate "
                    f"(now {config.learning_rate:g}) or set clip_norm"
                )
            seconds = time.perf_counter() - started
            metric, is_best = None, False
            if run.validate is not None and epoch % config.validate_every == 0:
                module.eval()
                metric = run.validate()
                is_best = best.offer(metric, epoch, module)
            record = EpochRecord(
                epoch, step, terms, kl_weight, metric, is_best, seconds, n_users / seconds
            )
            records.append(record)
            bar.set_postfix({"loss": f"{terms['loss']:.1f}", "best": f"{best.metric:.4f}"})
            if run.on_epoch is not None:
                run.on_epoch(record)
            if config.patience and best.waited >= config.patience:
                break
    finally:
        bar.close()
        if best.weights:
            module.load_state_dict(best.weights)
        module.eval()
    return records


def learning_rate(config: TrainingConfig, step: int, total_steps: int) -> float:
    """Give the learning rate at a step: linear warm-up, then constant or half a cosine.

    >>> config = TrainingConfig(learning_rate=1.0, warmup_steps=2, lr_schedule="cosine")
    >>> [round(learning_rate(config, step, 6), 3) for step in range(6)]
    [0.5, 1.0, 1.0, 0.854, 0.5, 0.146]
    """
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    if config.lr_schedule == "constant":
        return config.learning_rate
    done = (step - config.warmup_steps) / max(1, total_steps - config.warmup_steps)
    return config.learning_rate * 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))


def _passes(phases: Sequence[Phase], epoch: int) -> Iterable[tuple[Phase, int]]:
    """Give each pass of an epoch a number of its own, so that its order is its own."""
    per_epoch = sum(phase.passes for phase in phases)
    number = (epoch - 1) * per_epoch
    for phase in phases:
        for _ in range(phase.passes):
            yield phase, number
            number += 1


def _optimiser(
    phase: Phase, module: nn.Module, config: TrainingConfig, device: torch.device
) -> torch.optim.Optimizer:
    """Make Adam; the gradient of lambda |W|^2 is 2 lambda W, and biases are left out."""
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    weights = [p for p in phase.parameters if "bias" not in names[id(p)]]
    biases = [p for p in phase.parameters if "bias" in names[id(p)]]
    groups = [
        {"params": weights, "weight_decay": 2.0 * config.weight_decay},
        {"params": biases, "weight_decay": 0.0},
    ]
    fused = device.type in ("cpu", "cuda")
    return torch.optim.Adam(groups, lr=config.learning_rate, fused=fused)
