"""Rough scores err by no more than is said of them.

Legend: B users, I items, H hidden width.
"""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_vae.ranking import rough_product
from recsys_vae.ranking.rough_product import RoughProduct


@pytest.mark.parametrize("precise", [False, True])
@given(st.integers(0, 10_000), st.data())
@settings(deadline=None, max_examples=60)
def test_rough_scores_are_moved_and_err_by_no_more_than_the_bound(
    precise: bool, seed: int, data: st.DataObject
) -> None:
    generator = torch.Generator().manual_seed(seed)
    n_users, n_items = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 700))
    width = data.draw(st.integers(1, 300))
    weight_IH = torch.randn(n_items, width, generator=generator)
    weight_IH *= data.draw(st.sampled_from([0.0, 1e-3, 0.1, 3.0]))
    bias_I = torch.randn(n_items, generator=generator) * data.draw(st.sampled_from([0.0, 4.0]))
    bias_I += data.draw(st.sampled_from([0.0, -3e3, 50.0]))
    hidden_BH = torch.tanh(torch.randn(n_users, width, generator=generator))
    rough = RoughProduct(weight_IH, bias_I, precise=precise)
    ((_, found_BI),) = rough.chunks(hidden_BH)
    found_BI = found_BI.double()
    exact_BI = hidden_BH.double() @ weight_IH.double().T + bias_I.double()
    error_BI = torch.stack(
        [rough.error(rough.base(hidden_BH), near_B) for near_B in found_BI.abs().float().T], dim=1
    )
    # Nobody says by how much a user's scores were moved: no two items may contradict each other.
    moved_BI = found_BI - exact_BI
    assert ((moved_BI - error_BI).amax(dim=1) <= (moved_BI + error_BI).amin(dim=1)).all()
    if n_items <= 256:
        highest_B, place_B = found_BI.max(dim=1)
        # Once rounded when it was guessed, once when it was moved.
        most_B = 4 * error_BI.gather(1, place_B[:, None])[:, 0] + 0.01 * exact_BI.abs().amax(dim=1)
        assert (highest_B.abs() <= most_B).all()


def test_weights_are_prepared_some_items_at_a_time_with_a_factor_and_none_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    generator = torch.Generator().manual_seed(3)
    weight_IH = torch.randn(70, 9, generator=generator)
    bias_I = torch.randn(70, generator=generator)
    hidden_BH = torch.randn(4, 9, generator=generator)
    whole = RoughProduct(weight_IH * 1.5, bias_I * 1.5)
    monkeypatch.setattr(rough_product, "_ITEMS_AT_ONCE", 32)
    parts = RoughProduct(weight_IH, bias_I, at_once=70, factor=1.5)
    ((numbers_I, found_BI),) = parts.chunks(hidden_BH)
    ((_, expected_BI),) = whole.chunks(hidden_BH)
    assert numbers_I.tolist() == list(range(70))
    assert torch.equal(found_BI, expected_BI)
    assert torch.equal(parts.base(hidden_BH), whole.base(hidden_BH))
    kept = [one for one in vars(parts).values() if isinstance(one, torch.Tensor)]
    assert not kept
