"""What passes between the trainer, the network and those who watch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from recsys_vae.errors import UnusableSettingsError
from recsys_vae.nn.noise import Noise
from recsys_vae.nn.sparse_linear import SparseBatch


@dataclass(frozen=True, slots=True)
class Objective:
    """What is minimised.

    Attributes:
        loss: scalar, the mean over the batch's users.
        terms: the loss's parts by name, scalars, in nats per user.
    """

    loss: Tensor
    terms: Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Phase:
    """Some parameters, trained for some passes over the data in every epoch.

    Attributes:
        name: for messages and checkpoints; distinct within a network.
        parameters: what this phase changes.
        passes: over all users, per epoch.
        objective: what this phase minimises; None: the network's own.
        after_step: is called after every step of the phase with the step's noise and what adds a
            tensor up over the processes that train together, to change what follows no gradient.
        at_end: is called after the last step of the phase, in every epoch. What it changes belongs
            into the network's state, and follows from that state alone: then a resumed training
            ends as the unbroken one.
    """

    name: str
    parameters: tuple[nn.Parameter, ...]
    passes: int = 1
    objective: Callable[[SparseBatch, float, Noise], Objective] | None = None
    after_step: Callable[[Noise, Callable[[Tensor], Tensor]], None] | None = None
    at_end: Callable[[], None] | None = None


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
        on_epoch: is told of every epoch, after a resume also of those before it.
        progress: label of the progress bar, or None for silence; it shows on terminals only.
        checkpoint: folder of the checkpoints, or None for none. If it holds one of the same
            `identity`, the run goes on from there.
        identity: what a checkpoint must agree in to be resumed, by name: config, data, seed.
    """

    seed: int
    device: torch.device
    validate: Callable[[], float] | None = None
    on_epoch: Callable[[EpochRecord], None] | None = None
    progress: str | None = None
    checkpoint: Path | None = None
    identity: Mapping[str, str] | None = None


class DivergenceError(UnusableSettingsError):
    """The loss or the validation metric is no finite number any more."""
