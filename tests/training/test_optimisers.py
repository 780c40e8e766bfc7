"""Learning rates by step; what weight decay shrinks, and what it leaves alone."""

import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from recsys_vae.training.config import TrainingConfig
from recsys_vae.training.optimisers import learning_rate, make_optimisers
from recsys_vae.training.records import Phase


def test_weight_decay_spares_the_scales_of_norms_and_pseudo_inputs() -> None:
    module = nn.ModuleDict({"layer": nn.Linear(2, 3), "norm": nn.LayerNorm(3)})
    module["pseudo"] = nn.ParameterList([nn.Parameter(torch.ones(2, 2))])
    (optimiser,) = make_optimisers(
        Phase("all", tuple(module.parameters())), module, TrainingConfig(weight_decay=0.1)
    )
    decayed, spared = (group["params"] for group in optimiser.param_groups)
    assert [one.shape for one in decayed] == [(3, 2)]
    assert sorted(tuple(one.shape) for one in spared) == [(2, 2), (3,), (3,), (3,)]


def test_the_learning_rate_warms_up_linearly_and_falls_along_half_a_cosine() -> None:
    config = TrainingConfig(learning_rate=2.0, warmup_steps=4, lr_schedule="cosine")
    rates = [learning_rate(config, step, 24) for step in range(24)]
    assert rates[:4] == [0.5, 1.0, 1.5, 2.0]
    # Half of the way after the warm-up: 2 * (1 + cos(pi / 2)) / 2 = 1.
    assert rates[14] == pytest.approx(1.0)
    assert all(later <= earlier for earlier, later in pairwise(rates[3:]))
    # The last of 20 steps: 1 + cos(0.95 pi).
    assert rates[23] == pytest.approx(1 + math.cos(0.95 * math.pi))


def test_a_constant_learning_rate_stays() -> None:
    config = TrainingConfig(learning_rate=2.0)
    assert {learning_rate(config, step, 10) for step in range(10)} == {2.0}
