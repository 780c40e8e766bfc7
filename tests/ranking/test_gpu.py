"""Lists that a GPU makes are those of all scores in float64.

The same on the processor, so that a test that is never run on a GPU is known to be sound.
"""

import numpy as np
import pytest
import torch

from recsys_vae.models.gated_scores import GatedScores
from recsys_vae.nn.linear_scores import LinearScores
from recsys_vae.ranking import ItemRules
from recsys_vae.ranking.gated import GatedShortlist
from recsys_vae.ranking.shortlist import Shortlist
from tests.ranking.test_gated import in_float64, mixture
from tests.ranking.test_shortlist import histories, in_order, made_up

no_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU on this machine")
devices = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=no_gpu)])
N_USERS, N_ITEMS, WIDTH, K = 70, 3_000, 24, 20


def on(device: str, users: LinearScores) -> LinearScores:
    parts = (users.hidden_BH, users.weight_IH, users.bias_I)
    return LinearScores(*(one.to(device) for one in parts))


@devices
@pytest.mark.parametrize("precise", [False, True])
def test_lists_of_products(device: str, precise: bool) -> None:
    users = on(device, made_up(N_USERS, N_ITEMS, WIDTH, 1, 2.0**-5))
    seen = histories(N_USERS, N_ITEMS, 2, 0.02)
    rules = ItemRules(np.random.default_rng(3).random(N_ITEMS) < 0.7)
    ranker = Shortlist(users.weight_IH, users.bias_I, rules, precise=precise)
    lists = ranker.rank(users, seen, K)
    local = on("cpu", users)
    exact = local.hidden_BH.double() @ local.weight_IH.double().T + local.bias_I.double()
    assert lists.items_BK.tolist() == in_order(exact.numpy(), seen, K, rules)


@devices
@pytest.mark.parametrize("precise", [False, True])
def test_lists_of_a_gated_product_beside_a_path(device: str, precise: bool) -> None:
    local = mixture(N_USERS, N_ITEMS, WIDTH, 4)
    users = GatedScores(on(device, local.logits), local.given, local.path_II, local.gate)
    seen = histories(N_USERS, N_ITEMS, 5, 0.02)
    rules = ItemRules(np.random.default_rng(6).random(N_ITEMS) < 0.7)
    one = users.logits
    ranker = GatedShortlist(one.weight_IH, one.bias_I, rules, precise=precise)
    lists = ranker.rank(users, seen, K)
    assert lists.items_BK.tolist() == in_float64(local, seen, K, rules)
