"""Search spaces: what is read, what is refused, and where a recipe stands in its own."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_vae.errors import InputError
from recsys_vae.models.zoo import make_model
from recsys_vae.steps.recipes import merged, read_recipe
from recsys_vae.steps.search import Choice, Range, as_settings, drawn, parse_search, start_values

RECIPES = sorted((Path(__file__).parents[2] / "pipelines/recipes").glob("*.toml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_has_a_space_that_holds_its_own_settings(path: Path) -> None:
    recipe = read_recipe(str(path))
    start = start_values(recipe.model, recipe.settings, recipe.search)
    assert set(start) == set(recipe.search) != set()
    values = {name: recipe.search[name].value(label) for name, label in start.items()}
    own = make_model(recipe.model, recipe.settings).config.model_dump(exclude_none=True)
    again = merged(recipe.settings, as_settings(values))
    made = make_model(recipe.model, again).config.model_dump(exclude_none=True)
    assert {name: made[name] for name in own} == own


def test_tables_and_dotted_names_are_one() -> None:
    ends = {"low": 1e-4, "high": 1e-2, "log": True}
    nested = parse_search({"training": {"learning_rate": ends}}, "a.toml")
    assert nested == parse_search({"training.learning_rate": ends}, "a.toml")
    assert list(nested) == ["training.learning_rate"]


def test_whole_ends_mean_whole_numbers() -> None:
    whole, real = Range(low=1, high=9), Range(low=1, high=9.0)
    assert (whole.whole, real.whole) == (True, False)
    assert whole.holds(3)
    assert not whole.holds(3.5)
    assert not whole.holds(10)
    assert not whole.holds(True)
    assert real.holds(3.5)


def test_steps_count_from_low() -> None:
    grid = Range(low=1, high=9, step=4)
    assert [one for one in range(1, 10) if grid.holds(one)] == [1, 5, 9]
    tenths = Range(low=0.0, high=0.3, step=0.1)
    assert [tenths.at(share) for share in (0.0, 0.3, 0.6, 0.99)] == pytest.approx(
        [0, 0.1, 0.2, 0.3]
    )
    assert tenths.at(0.99) <= 0.3


def test_lists_are_choices_like_any_other() -> None:
    choice = Choice(values=([600], [600, 200]))
    assert choice.value(choice.label([600, 200])) == [600, 200]
    assert choice.holds([600])
    assert not choice.holds([200])


@pytest.mark.parametrize(
    ("search", "says"),
    [
        (3, "'search' must be a table"),
        ({"latent": 64}, "search.latent is 64: write a list of choices"),
        ({"latent": [64]}, "search.latent.values: .*at least 2 items"),
        ({"latent": [64, 64]}, "search.latent: a choice is listed twice"),
        ({"latent": {"low": 9, "high": 9}}, "search.latent: low must be below high"),
        ({"latent": {"low": 9}}, "search.latent.high: field required"),
        ({"dropout": {"low": 0.0, "high": 0.5, "log": True}}, "low must be above 0"),
        ({"latent": {"low": 1, "high": 9, "steps": 2}}, "search.latent.steps: extra inputs"),
        ({"latent": {"low": 1, "high": 9, "step": 0.5}}, "step must be one"),
        ({"training": {"epochs": {"low": True, "high": 9}}}, "search.training.epochs.low"),
    ],
)
def test_what_is_no_space_is_refused_in_one_sentence(search: Any, says: str) -> None:
    with pytest.raises(InputError, match=rf"recipe a.toml: .*{says}") as refused:
        parse_search(search, "a.toml")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("space", "says"),
    [
        ({"latnt": [1, 2]}, r"\[search\]: model 'mult-vae', setting 'latnt': there is no such"),
        ({"dropout": {"low": 0.1, "high": 1.5}}, "setting 'dropout': input should be less than 1"),
        ({"latent": [8, "wide"]}, "setting 'latent': input should be a valid integer"),
        (
            {"latent": {"low": 8, "high": 64}},
            r"setting 'latent' is 200, which .*\(whole numbers 8 to 64\)",
        ),
        ({"training": {"epoch": [1, 2]}}, "setting 'training.epoch': there is no such"),
    ],
)
def test_what_the_model_refuses_is_refused_before_any_trial(
    space: dict[str, Any], says: str
) -> None:
    with pytest.raises(InputError, match=says):
        start_values("mult-vae", {}, parse_search(space, "a.toml"))


def test_open_settings_begin_at_the_first_candidate() -> None:
    space = parse_search({"ridge": {"low": 1.0, "high": 5000.0, "log": True}}, "ease.toml")
    assert start_values("ease", {}, space) == {"ridge": 200.0}
    assert start_values("ease", {"ridge": 3.0}, space) == {"ridge": 3.0}


def test_open_settings_without_candidates_are_drawn() -> None:
    space = parse_search({"training": {"batch_size": [50, 100]}}, "mult-vae.toml")
    assert start_values("mult-vae", {}, space) == {}


@given(
    st.integers(1, 50),
    st.integers(1, 100),
    st.sampled_from(["whole", "float", "log", "step", "whole log", "whole step"]),
    st.floats(0, 1, exclude_max=True),
)
def test_what_is_drawn_is_held(low: int, width: int, kind: str, share: float) -> None:
    ends: dict[str, Any] = {"low": low, "high": low + width}
    if "whole" not in kind:
        ends = {name: float(value) for name, value in ends.items()}
    if "log" in kind:
        ends["log"] = True
    if "step" in kind:
        ends["step"] = min(3, width) if "whole" in kind else 0.25
    one = Range(**ends)
    assert one.holds(one.at(share))


def test_draws_reach_everything_and_more_of_them_begin_alike() -> None:
    space = parse_search({"a": {"low": 1, "high": 4}, "b": ["x", "y"]}, "r.toml")
    many = drawn(space, 64, seed=3)
    assert {(one["a"], one["b"]) for one in many} == {(a, b) for a in (1, 2, 3, 4) for b in "xy"}
    assert drawn(space, 5, seed=3) == many[:5]
    assert drawn({}, 5, seed=3) == []
