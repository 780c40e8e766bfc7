"""A training step holds nothing as large as (users, items), dense or in part."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from recsys_vae.models.mult_vae import MultVAE, MultVAEConfig
from recsys_vae.training.batches import BatchPlan
from recsys_vae.training.config import TrainingConfig
from recsys_vae.training.records import RunContext
from recsys_vae.training.trainer import Trainer
from tests.nn.batches import SizeGuard

USERS, ITEMS, WIDTH = 400, 20_000, 8
BUFFER_MB = 4
WEIGHT_BYTES = ITEMS * WIDTH * 4
MEBIBYTE = 2**20


def one_step(**settings: Any) -> int:
    """Train one batch of all users; give the bytes of the largest tensor made on the way."""
    rng = np.random.default_rng(0)
    rows = np.repeat(np.arange(USERS), 20)
    entries = (np.ones(len(rows), dtype=np.float32), (rows, rng.integers(ITEMS, size=len(rows))))
    matrix = csr_array(entries, shape=(USERS, ITEMS))
    matrix.sum_duplicates()
    training = TrainingConfig(batch_size=USERS, buffer_mb=BUFFER_MB, precision="float32")
    config = MultVAEConfig(hidden=(WIDTH,), latent=4, training=training, **settings)
    network = MultVAE(config).build(ITEMS, torch.Generator().manual_seed(0))
    network.learn_counts(torch.from_numpy(np.bincount(matrix.indices, minlength=ITEMS)))
    device = torch.device("cpu")
    plan = BatchPlan(matrix, USERS, 0, device)
    run = RunContext(seed=0, device=device)
    trainer = Trainer(network, plan, training, lambda _step: 0.1, run)
    batch = plan.take(np.arange(USERS))
    with SizeGuard(10**12) as guard:
        trainer.take_step(network.phases()[0], batch, 0.1)
    return int(guard.largest)


@pytest.mark.parametrize("settings", [{}, {"softmax": "sampled", "negatives": 512}])
def test_no_tensor_is_larger_than_the_buffer_and_the_weights(settings: dict[str, Any]) -> None:
    largest = one_step(**settings)
    assert BUFFER_MB * MEBIBYTE < USERS * ITEMS * 4 / 4  # the law would notice a quarter of it
    assert largest <= max(BUFFER_MB * MEBIBYTE, WEIGHT_BYTES)


def test_the_guard_sees_what_it_must_refuse() -> None:
    with SizeGuard(10**12) as guard:
        torch.zeros(USERS, ITEMS).exp()
    assert guard.largest == USERS * ITEMS * 4
