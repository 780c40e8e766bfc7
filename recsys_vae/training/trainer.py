"""The training loop: phases, schedules, validation, early stopping, checkpoints and resume."""

import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any, cast

import torch
from torch import Tensor, nn
from tqdm import tqdm

from recsys_vae.errors import InputError
from recsys_vae.nn.noise import Noise
from recsys_vae.nn.precision import product_dtype
from recsys_vae.training.batches import Batch, BatchPlan
from recsys_vae.training.checkpoint import (
    BEST,
    LAST,
    Checkpoint,
    optimiser_tensors,
    read_checkpoint,
    refuse_other_identity,
    restore_optimiser,
    write_checkpoint,
)
from recsys_vae.training.config import TrainingConfig
from recsys_vae.training.optimisers import clip, learning_rate, make_optimisers
from recsys_vae.training.records import (
    DivergenceError,
    EpochRecord,
    Objective,
    Phase,
    RunContext,
    Trainable,
)

_STEPS_BETWEEN_CHECKS = 50
"""Steps between looks at the loss: each one waits for the device."""


class Trainer:
    """Trains a network in place and leaves the best weights in it.

    Args:
        module: an `nn.Module` that is also `Trainable`, on the run's device.
        plan: the batches.
        config: hyper-parameters.
        kl_schedule: KL weight by optimiser step, from 0.
        run: seed, device, callbacks and checkpoints.
    """

    def __init__(
        self,
        module: nn.Module,
        plan: BatchPlan,
        config: TrainingConfig,
        kl_schedule: Callable[[int], float],
        run: RunContext,
    ) -> None:
        """Make the optimisers; refuse what several processes cannot train together."""
        self._module, self._plan, self._config, self._run = module, plan, config, run
        self._kl_schedule = kl_schedule
        self._phases = cast("Trainable", module).phases()
        self._optimisers = {
            phase.name: make_optimisers(phase, module, config) for phase in self._phases
        }
        _refuse_apart(module, plan)
        per_epoch = steps_per_epoch(plan, self._phases)
        self._total_steps = config.epochs * per_epoch
        self._falling_steps = (config.lr_epochs or config.epochs) * per_epoch
        self._narrow = product_dtype(config.precision, torch.float32, run.device) == torch.bfloat16
        self._epoch, self._step = 0, 0
        self._records: list[EpochRecord] = []
        self._best_metric, self._best_epoch, self._waited = -math.inf, 0, 0
        self._best_weights: dict[str, Tensor] = {}

    def train(self) -> list[EpochRecord]:
        """Train to the end, from the checkpoint on if there is one.

        Returns:
            One record an epoch, those before a resume included. With a validation callable, the
            module holds the weights of the best validation, otherwise the last.

        Raises:
            DivergenceError: loss or metric became NaN or infinite; the module holds the best
                weights so far.
            InputError: the checkpoint is damaged, or was made with other data or settings.
        """
        self._resume()
        if self._run.on_epoch is not None and self._plan.world.leads:
            for record in self._records:
                self._run.on_epoch(record)
        label = self._run.progress if self._plan.world.leads else None
        bar = tqdm(
            total=self._total_steps,
            initial=self._step,
            desc=label,
            unit="step",
            disable=None if label else True,
        )
        try:
            while self._epoch < self._config.epochs and not self._exhausted():
                record = self._one_epoch(bar)
                self._records.append(record)
                self._save()
                shown = {"loss": f"{record.terms['loss']:.1f}"}
                if self._best_epoch:
                    shown["best"] = f"{self._best_metric:.4f} (epoch {self._best_epoch})"
                bar.set_postfix(shown)
                if self._run.on_epoch is not None and self._plan.world.leads:
                    self._run.on_epoch(record)
        finally:
            bar.close()
            self._take_best()
            self._module.eval()
        return self._records

    def _exhausted(self) -> bool:
        return self._config.patience > 0 and self._waited >= self._config.patience

    def _one_epoch(self, bar: Any) -> EpochRecord:
        self._epoch += 1
        sums: dict[str, Tensor] = {}
        users_of: Counter[str] = Counter()
        terms_of: dict[str, set[str]] = defaultdict(set)
        started, kl_weight = time.perf_counter(), 0.0
        self._module.train()
        for phase, batch in self._batches():
            kl_weight = self._kl_schedule(self._step)
            terms = self.take_step(phase, batch, kl_weight)
            for name, value in terms.items():
                sums[name] = sums[name] + value if name in sums else value
            users_of[phase.name] += batch.n_global
            terms_of[phase.name] |= terms.keys()
            bar.update()
            if self._step % _STEPS_BETWEEN_CHECKS == 0:
                self._refuse_divergence("loss", float(sums["loss"]))
        # A term is averaged over the phases that have it.
        means = {
            name: float(self._plan.world.sum(total))
            / sum(users for phase, users in users_of.items() if name in terms_of[phase])
            for name, total in sums.items()
        }
        self._refuse_divergence("loss", means["loss"])
        # The loss is that before the last step.
        self._refuse_divergence("sum of the weights", self._sum_of_weights())
        seconds = time.perf_counter() - started
        metric, best = self._validate()
        return EpochRecord(
            self._epoch,
            self._step,
            means,
            kl_weight,
            metric,
            best,
            seconds,
            users_of.total() / seconds,
        )

    def _batches(self) -> Iterator[tuple[Phase, Batch]]:
        # Each pass has a number of its own, so that its order is its own.
        number = (self._epoch - 1) * sum(phase.passes for phase in self._phases)
        for phase in self._phases:
            for _ in range(phase.passes):
                for batch in self._plan.one_pass(number):
                    yield phase, batch
                number += 1
            # The generator goes on only when the step on its last batch is done.
            if phase.at_end is not None:
                phase.at_end()

    def take_step(self, phase: Phase, batch: Batch, kl_weight: float) -> dict[str, Tensor]:
        """Take one optimiser step.

        Args:
            phase: whose parameters move.
            batch: this process's share of the users.
            kl_weight: of the objective.

        Returns:
            Loss and terms, summed over this process's users, in nats.
        """
        optimisers, config = self._optimisers[phase.name], self._config
        rate = learning_rate(config, self._step, self._falling_steps)
        for optimiser in optimisers:
            for group in optimiser.param_groups:
                group["lr"] = rate
        size, terms = len(batch.users), dict[str, Tensor]()
        self._module.zero_grad(set_to_none=True)
        noise = Noise(self._run.seed, self._step, batch.users)
        if size:
            minimised = phase.objective or cast("Trainable", self._module).objective
            with torch.autocast(self._run.device.type, torch.bfloat16, enabled=self._narrow):
                objective: Objective = minimised(batch.history, kl_weight, noise)
            # The mean over the whole batch is the sum of the processes' shares of it.
            (objective.loss * (size / batch.n_global)).backward()
            terms = {"loss": objective.loss, **objective.terms}
            terms = {name: value.detach() * size for name, value in terms.items()}
        self._plan.world.sum_gradients(phase.parameters)
        clip(phase.parameters, config.clip_norm)
        for optimiser in optimisers:
            optimiser.step()
        # Also without users of its own: the processes meet in here.
        if phase.after_step is not None:
            phase.after_step(noise, self._plan.world.sum)
        self._step += 1
        return terms

    @torch.no_grad()
    def _sum_of_weights(self) -> float:
        return sum(float(one.sum()) for one in self._module.parameters())

    def _refuse_divergence(self, what: str, value: float) -> None:
        if math.isfinite(value):
            return
        kept = ""
        if self._best_epoch:
            folder = self._run.checkpoint
            kept = f" (the weights of epoch {self._best_epoch} are kept"
            kept += f" in {folder / BEST})" if folder is not None else ")"
        raise DivergenceError(
            f"the {what} became {value} in epoch {self._epoch}, by step {self._step}{kept}: lower "
            f"training.learning_rate (now {self._config.learning_rate:g}) or set training.clip_norm"
        )

    def _validate(self) -> tuple[float | None, bool]:
        validate, world = self._run.validate, self._plan.world
        last = self._epoch == self._config.epochs
        if validate is None or (self._epoch % self._config.validate_every and not last):
            return None, False
        self._module.eval()
        # A number alone: what validation knows of each user is not kept for every epoch.
        metric = float(world.from_leader(validate() if world.leads else math.nan))
        self._refuse_divergence("validation metric", metric)
        if metric <= self._best_metric:
            self._waited += 1
            return metric, False
        self._best_metric, self._best_epoch, self._waited = metric, self._epoch, 0
        weights = self._module.state_dict()
        if self._run.checkpoint is None:
            self._best_weights = {name: value.clone() for name, value in weights.items()}
        elif world.leads:
            # Before the last state that refers to it: a run killed in between trains the epoch
            # again and writes the same bits.
            state = {"epoch": self._epoch, "validation": metric}
            write_checkpoint(self._run.checkpoint / BEST, Checkpoint(weights, state))
        return metric, True

    def _take_best(self) -> None:
        if not self._best_epoch:
            return
        weights = self._best_weights
        if self._run.checkpoint is not None:
            self._plan.world.barrier()
            best = read_checkpoint(self._run.checkpoint / BEST, self._run.device)
            weights = dict(best.tensors)
            # Nobody may clear the folder while another still reads it.
            self._plan.world.barrier()
        self._module.load_state_dict(weights)

    def _save(self) -> None:
        if self._run.checkpoint is None or not self._plan.world.leads:
            return
        tensors = {f"model.{name}": value for name, value in self._module.state_dict().items()}
        for name, optimisers in self._optimisers.items():
            for number, optimiser in enumerate(optimisers):
                prefix = f"optimiser.{name}.{number}"
                tensors |= optimiser_tensors(prefix, optimiser, self._module)
        state = {
            "identity": dict(self._run.identity or {}),
            "epoch": self._epoch,
            "step": self._step,
            "best": [self._best_metric, self._best_epoch, self._waited],
            "records": [asdict(record) for record in self._records],
        }
        write_checkpoint(self._run.checkpoint / LAST, Checkpoint(tensors, state))

    def _resume(self) -> None:
        folder = self._run.checkpoint
        if folder is None or not (folder / LAST).is_file():
            return
        saved = read_checkpoint(folder / LAST, self._run.device)
        refuse_other_identity(folder / LAST, saved.state["identity"], self._run.identity or {})
        weights = {
            name.removeprefix("model."): value
            for name, value in saved.tensors.items()
            if name.startswith("model.")
        }
        self._module.load_state_dict(weights)
        for name, optimisers in self._optimisers.items():
            for number, optimiser in enumerate(optimisers):
                prefix = f"optimiser.{name}.{number}"
                restore_optimiser(prefix, optimiser, self._module, saved.tensors)
        self._epoch, self._step = saved.state["epoch"], saved.state["step"]
        self._best_metric, self._best_epoch, self._waited = saved.state["best"]
        self._records = [EpochRecord(**record) for record in saved.state["records"]]


def _refuse_apart(module: nn.Module, plan: BatchPlan) -> None:
    """Refuse what several processes would wait for each other for ever with.

    Raises:
        InputError: gradients are those of a few rows, or a process has no user.
    """
    if plan.world.size == 1:
        return
    if getattr(module, "row_sparse", tuple)():
        raise InputError(
            "the sampled softmax trains in one process: start it without torchrun, or set "
            "softmax=exact"
        )
    users = min(plan.batch_size, plan.n_users)
    if users < plan.world.size:
        raise InputError(
            f"{plan.world.size} processes cannot share a step of {users} users: start fewer, or "
            "set a larger training.batch_size"
        )


def steps_per_epoch(plan: BatchPlan, phases: Sequence[Phase]) -> int:
    """Give the optimiser steps of one epoch over all phases."""
    return plan.steps_per_pass * sum(phase.passes for phase in phases)
