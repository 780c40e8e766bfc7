"""What weight decay shrinks, and what it leaves alone."""

import torch
from torch import nn

from recsys_vae.training.config import TrainingConfig
from recsys_vae.training.optimisers import make_optimisers
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
