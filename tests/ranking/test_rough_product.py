"""Rough scores err by no more than is said of them.

Legend: B users, I items, H hidden width.
"""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_vae.ranking import rough_choice, rough_product
from recsys_vae.ranking.float_product import FloatProduct
from recsys_vae.ranking.int8_product import Int8Product, multiplies_int8
from recsys_vae.ranking.rough import TooManyError
from recsys_vae.ranking.rough_choice import RoughChoice
from recsys_vae.ranking.rough_product import Multiplied, RoughProduct

Make = Callable[..., RoughProduct]
needs_int8 = pytest.mark.skipif(
    not multiplies_int8(torch.device("cpu"), 1),
    reason="this processor has no instructions for eight-bit products (AVX512-VNNI)",
)


def precise(items: Multiplied) -> RoughProduct:
    """Make products in float32."""
    return FloatProduct(items, precise=True)


@pytest.mark.parametrize(
    "make", [FloatProduct, precise, pytest.param(Int8Product, marks=needs_int8)]
)
@given(st.integers(0, 10_000), st.data())
@settings(deadline=None, max_examples=60)
def test_rough_scores_are_moved_and_err_by_no_more_than_the_bound(
    make: Make, seed: int, data: st.DataObject
) -> None:
    generator = torch.Generator().manual_seed(seed)
    n_users, n_items = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 700))
    width = data.draw(st.integers(1, 300))
    weight_IH = torch.randn(n_items, width, generator=generator)
    weight_IH *= data.draw(st.sampled_from([0.0, 1e-3, 0.1, 3.0]))
    bias_I = torch.randn(n_items, generator=generator) * data.draw(st.sampled_from([0.0, 4.0]))
    bias_I += data.draw(st.sampled_from([0.0, -3e3, 50.0]))
    hidden_BH = torch.tanh(torch.randn(n_users, width, generator=generator))
    hidden_BH *= data.draw(st.sampled_from([0.0, 1e-3, 1.0, 40.0]))
    rough = make(Multiplied(weight_IH, bias_I))
    users = rough.of(hidden_BH)
    ((_, found_BI),) = users.chunks
    found_BI = found_BI.double()
    exact_BI = hidden_BH.double() @ weight_IH.double().T + bias_I.double()
    error_BI = torch.stack(
        [rough.error(users.base_B, near_B) for near_B in found_BI.abs().float().T], dim=1
    )
    assert ((found_BI - exact_BI - users.moved_B[:, None]).abs() <= error_BI).all()
    if n_items <= 256:
        highest_B, place_B = found_BI.max(dim=1)
        # Once rounded when it was guessed, once when it was moved.
        most_B = 4 * error_BI.gather(1, place_B[:, None])[:, 0] + 0.01 * exact_BI.abs().amax(dim=1)
        if make is Int8Product:
            highest_B, most_B = highest_B.mean()[None], most_B.max()[None]
        assert (highest_B.abs() <= most_B).all()


@needs_int8
def test_the_error_of_whole_numbers_has_the_spread_that_dither_gives_it() -> None:
    generator = torch.Generator().manual_seed(4)
    # Weights on a grid, for which rounding to the nearest would err in step.
    weight_IH = torch.randint(-3, 4, (4_000, 64), generator=generator) / 3.0
    hidden_BH = torch.randint(-1, 2, (300, 64), generator=generator).float()
    rough = Int8Product(Multiplied(weight_IH, torch.zeros(4_000)))
    users = rough.of(hidden_BH)
    ((_, found_BI),) = users.chunks
    error_BI = found_BI.double() - hidden_BH.double() @ weight_IH.double().T
    error_BI -= error_BI.mean()
    step_item, step_user = 1 / 126.5, 1 / 126.5
    lengths_B, lengths_I = hidden_BH.norm(dim=1), weight_IH.norm(dim=1)
    own = step_user**2 * lengths_I.square() + step_item**2 * lengths_B.square()[:, None]
    # A score of ten is rounded to a sixteenth.
    rounding_BI = (found_BI.double().abs() * 2.0**-8).square() / 3
    expected = (own / 12).mean()
    assert error_BI.square().mean() > 0.5 * expected
    assert error_BI.square().mean() < 1.5 * expected + rounding_BI.mean()
    near_B = torch.zeros(300)
    assert (rough.error(users.base_B, near_B).square() > 60 * expected).all()


@needs_int8
def test_a_product_that_finds_too_many_candidates_gives_way_to_a_more_exact_one() -> None:
    generator = torch.Generator().manual_seed(5)
    weight_IH, hidden_BH = torch.randn(6_400, 4, generator=generator), torch.ones(10, 4)
    choice, asked = RoughChoice(Multiplied(weight_IH, torch.zeros(6_400))), list[int | None]()

    def costly(rough: RoughProduct, most: int | None) -> str:
        asked.append(most)
        if isinstance(rough, Int8Product):
            raise TooManyError
        return type(rough).__name__

    assert choice.tried(hidden_BH, 7, lambda rough, _most: type(rough).__name__) == "Int8Product"
    assert choice.tried(hidden_BH, 7, costly) == "FloatProduct"
    assert choice.tried(hidden_BH, 7, costly) == "FloatProduct"
    assert asked == [10 * (7 + 100), None, None]


@needs_int8
def test_numbers_near_the_end_of_float32_are_left_to_the_more_exact_product() -> None:
    choice = RoughChoice(Multiplied(torch.ones(3, 4), torch.zeros(3)))
    for size, name in ((1e31, "FloatProduct"), (1e3, "Int8Product")):
        hidden_BH = torch.full((2, 4), size)
        assert choice.tried(hidden_BH, 1, lambda rough, _most: type(rough).__name__) == name


@needs_int8
@pytest.mark.parametrize("larger", [30.0, 1e6, 1e20])
def test_a_user_of_other_size_makes_nobody_elses_scores_less_exact(larger: float) -> None:
    generator = torch.Generator().manual_seed(6)
    rough = Int8Product(Multiplied(torch.randn(500, 16, generator=generator), torch.zeros(500)))
    hidden_BH = torch.tanh(torch.randn(9, 16, generator=generator))
    alone_B = rough.of(hidden_BH).base_B
    hidden_BH[4] *= larger
    among = rough.of(hidden_BH)
    among_B = among.base_B
    others = torch.arange(9) != 4
    assert torch.allclose(among_B[others], alone_B[others], rtol=0.5)
    ((_, found_BI),) = among.chunks
    ((_, own_BI),) = rough.of(hidden_BH[others]).chunks
    # Moved by other numbers, perhaps: how far items lie apart is the same.
    apart = (found_BI[others].float().diff(dim=1) - own_BI.float().diff(dim=1)).abs()
    assert (apart.amax(dim=1) <= 4 * rough.error(among_B[others], own_BI.abs().amax(1))).all()


def test_without_instructions_for_whole_numbers_products_are_those_of_floats(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rough_choice, "multiplies_int8", lambda _device, _n_hidden: False)
    choice, hidden_BH = RoughChoice(Multiplied(torch.ones(3, 2), torch.zeros(3))), torch.ones(1, 2)
    found = choice.tried(hidden_BH, 1, lambda rough, most: (type(rough).__name__, most))
    assert found == ("FloatProduct", None)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert not multiplies_int8(torch.device("cpu"), 2)
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA")
    assert not multiplies_int8(torch.device("meta"), 2)
    assert not multiplies_int8(torch.device("cpu"), 1 << 16)


@pytest.mark.parametrize("make", [FloatProduct, pytest.param(Int8Product, marks=needs_int8)])
def test_weights_are_prepared_some_items_at_a_time_with_a_factor_and_none_is_kept(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = torch.Generator().manual_seed(3)
    weight_IH = torch.randn(70, 9, generator=generator)
    bias_I = torch.randn(70, generator=generator)
    hidden_BH = torch.randn(4, 9, generator=generator)
    whole = make(Multiplied(weight_IH * 1.5, bias_I * 1.5))
    monkeypatch.setattr(rough_product, "ITEMS_AT_ONCE", 32)
    parts = make(Multiplied(weight_IH, bias_I, at_once=70, factor=1.5))
    found, expected = parts.of(hidden_BH), whole.of(hidden_BH)
    ((numbers_I, found_BI),) = found.chunks
    ((_, expected_BI),) = expected.chunks
    assert numbers_I.tolist() == list(range(70))
    assert torch.equal(found_BI, expected_BI)
    assert torch.equal(found.base_B, expected.base_B)
    kept = [one for one in vars(parts).values() if isinstance(one, torch.Tensor)]
    assert not any(one.shape == weight_IH.shape for one in kept)
