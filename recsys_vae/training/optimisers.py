"""Optimisers of a phase, and how the learning rate changes."""

import math
from collections.abc import Sequence

import torch
from torch import nn

from recsys_vae.errors import InputError
from recsys_vae.nn.row_adam import RowAdam
from recsys_vae.training.config import TrainingConfig
from recsys_vae.training.records import Phase


def make_optimisers(
    phase: Phase, module: nn.Module, config: TrainingConfig
) -> list[torch.optim.Optimizer]:
    """Make Adam for dense parameters and `RowAdam` for those with row-sparse gradients.

    The gradient of lambda |W|^2 is 2 lambda W; biases, the scales of norms and pseudo-inputs, which
    are no weights of a layer, are left out.

    Args:
        phase: whose parameters.
        module: to tell weights from biases by name; a module with `row_sparse` names the
            parameters whose gradients are row-sparse.
        config: learning rate and weight decay.

    Raises:
        InputError: weight decay or clipping is asked for together with row-sparse gradients.
    """
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    sparse_ids = {id(parameter) for parameter in getattr(module, "row_sparse", tuple)()}
    dense = [p for p in phase.parameters if id(p) not in sparse_ids]
    rows = [p for p in phase.parameters if id(p) in sparse_ids]
    if rows and (config.weight_decay or config.clip_norm is not None):
        raise InputError(
            "training.weight_decay and training.clip_norm would touch every item in every step, "
            "which the sampled softmax exists to avoid: set training.weight_decay=0 and leave "
            "clip_norm out, or set softmax=exact"
        )
    norms = {id(p) for m in module.modules() if isinstance(m, nn.LayerNorm) for p in m.parameters()}
    spared = {key for key, name in names.items() if "bias" in name or "pseudo" in name} | norms
    shrunk = {id(p) for p in dense} - spared
    groups = [
        {
            "params": [p for p in dense if id(p) in shrunk],
            "weight_decay": 2.0 * config.weight_decay,
        },
        {"params": [p for p in dense if id(p) not in shrunk], "weight_decay": 0.0},
    ]
    optimisers: list[torch.optim.Optimizer] = []
    if dense:
        optimisers.append(torch.optim.Adam(groups, lr=config.learning_rate, fused=True))
    if rows:
        optimisers.append(RowAdam(rows, lr=config.learning_rate))
    return optimisers


def clip(parameters: Sequence[nn.Parameter], norm: float | None) -> None:
    """Scale the gradients down to a norm, if one is given."""
    if norm is not None:
        nn.utils.clip_grad_norm_(parameters, norm)


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
