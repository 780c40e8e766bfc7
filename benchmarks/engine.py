"""The library's own training step, as `fit` takes it, behind one function."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from benchmarks.shapes import Rows, Shape
from recsys_vae.models.autoencoder import Autoencoder, NeuralRecommender
from recsys_vae.models.mult_vae import MultVAE, MultVAEConfig
from recsys_vae.nn.precision import Precision
from recsys_vae.training.batches import BatchPlan
from recsys_vae.training.config import TrainingConfig
from recsys_vae.training.records import RunContext
from recsys_vae.training.trainer import Trainer

_KL_WEIGHT = 0.2


@dataclass(frozen=True, slots=True)
class PhaseStep:
    """One phase of a model's training.

    Attributes:
        passes: over all users, an epoch.
        step: trains on the given users once, slicing their batch included.
    """

    passes: int
    step: Callable[[Tensor], None]


@dataclass(frozen=True, slots=True)
class Engine:
    """A network and how it is trained, phase by phase."""

    network: Autoencoder
    phases: tuple[PhaseStep, ...]


def engine_step(
    shape: Shape,
    rows: Rows,
    device: torch.device,
    precision: Precision,
    *,
    negatives: int | None = None,
) -> Callable[[Tensor], None]:
    """Make a function that trains a Mult-VAE on the given users once.

    Args:
        shape: sizes of the model.
        rows: the interactions.
        device: where to train.
        precision: of the products.
        negatives: draws a step of a sampled softmax; None: the exact one.
    """
    config = MultVAEConfig(
        hidden=(shape.hidden,),
        latent=shape.latent,
        softmax="exact" if negatives is None else "sampled",
        negatives=negatives or 1,
        training=TrainingConfig(precision=precision, epochs=1_000_000),
    )
    return engine(MultVAE(config), shape, rows, device).phases[0].step


def engine(model: NeuralRecommender, shape: Shape, rows: Rows, device: torch.device) -> Engine:
    """Build a model's network and the steps of its phases.

    Args:
        model: not fitted.
        shape: sizes of the data.
        rows: the interactions.
        device: where to train.
    """
    network = model.build(shape.items, torch.Generator().manual_seed(0)).to(device)
    counts_I = torch.bincount(rows.items, minlength=shape.items)
    network.learn_counts(counts_I.to(device))
    values = np.ones(rows.items.numel(), dtype=np.float32)
    parts = (values, rows.items.cpu().numpy(), rows.offsets.cpu().numpy())
    matrix = csr_array(parts, shape=(shape.users, shape.items))
    plan = BatchPlan(matrix, 500, 0, device)
    context = RunContext(seed=0, device=device)
    trainer = Trainer(network, plan, model.config.training, lambda _step: _KL_WEIGHT, context)
    phases = network.phases()
    network.train()

    def step(number: int, users_B: Tensor) -> None:
        trainer.take_step(phases[number], plan.take(users_B.cpu().numpy()), _KL_WEIGHT)

    return Engine(
        network,
        tuple(PhaseStep(one.passes, partial(step, number)) for number, one in enumerate(phases)),
    )
