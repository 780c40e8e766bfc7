"""Models by name, and models on disk: what is wrong is refused in one sentence."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from recsys_vae.errors import InputError
from recsys_vae.interactions import Interactions
from recsys_vae.models.base import FitOptions, Recommender, check_items
from recsys_vae.models.zoo import ZOO, load_model, make_model, save_model, trained_threshold
from recsys_vae.steps.recipes import read_recipe, read_recipes

_RECIPES = sorted((Path(__file__).parents[2] / "pipelines" / "recipes").glob("*.toml"))
_WEIGHTS = "weights.safetensors"


@pytest.fixture
def fitted(small: Interactions, quick: dict[str, Any]) -> Recommender:
    return make_model("mult-vae", quick).fit(small, FitOptions(device="cpu"))


@pytest.fixture
def folder(fitted: Recommender, tmp_path: Path) -> Path:
    save_model(fitted, tmp_path / "model", data={"threshold": 3.5})
    return tmp_path / "model"


def _sentence(error: pytest.ExceptionInfo[InputError]) -> str:
    sentence = str(error.value)
    assert "\n" not in sentence
    return sentence


@pytest.mark.parametrize("name", ZOO)
def test_every_model_is_made_by_its_name_and_described_in_a_line(name: str) -> None:
    model = make_model(name, {})
    assert model.name == name
    assert isinstance(model.config, ZOO[name].config)
    assert ZOO[name].line
    assert "\n" not in ZOO[name].line


def test_an_unknown_model_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError) as error:
        make_model("mult-vea", {})
    assert "there is no model 'mult-vea' (did you mean 'mult-vae'?)" in _sentence(error)
    assert all(name in str(error.value) for name in ZOO)


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("mult-vae", {"latnet": 3}, ["latnet", "did you mean 'latent'?"]),
        ("mult-vae", {"epochs": 3}, ["did you mean 'training.epochs'?"]),
        ("mult-vae", {"training": {"epoch": 3}}, ["did you mean 'training.epochs'?"]),
        ("mult-vae", {"latent": 0}, ["latent", "0"]),
        ("mult-vae", {"latent": "many"}, ["latent", "many"]),
        ("mult-vae", {"dropout": 1.0}, ["dropout", "1.0"]),
        ("mult-vae", {"kl_cap": -0.1}, ["kl_cap", "-0.1"]),
        ("mult-vae", {"hidden": []}, ["hidden"]),
        ("mult-vae", {"hidden": [0]}, ["hidden", "0"]),
        ("mult-dae", {"hidden": [-5]}, ["hidden", "-5"]),
        ("mult-vae", {"training": {"epochs": 0}}, ["training.epochs", "0"]),
        ("mult-vae", {"training": {"learning_rate": float("nan")}}, ["training.learning_rate"]),
        ("mult-vae", {"training": {"learning_rate": float("inf")}}, ["training.learning_rate"]),
        ("mult-vae", {"training": {"lr_schedule": "wavy"}}, ["training.lr_schedule", "wavy"]),
        ("mult-vae", {"training": 5}, ["training", "5"]),
        ("als", {"factors": -1}, ["factors", "-1"]),
        ("als", {"factors": True}, ["factors", "true"]),
        ("mult-vae", {"training": {"epochs": True}}, ["training.epochs", "true"]),
        ("popularity", {"latent": 1}, ["latent"]),
    ],
)
def test_a_bad_setting_is_refused_by_name_and_value(
    name: str, settings: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(InputError) as error:
        make_model(name, settings)
    assert all(word in _sentence(error) for word in [name, *words])


def test_what_was_remembered_of_the_data_comes_back(folder: Path) -> None:
    assert trained_threshold(folder) == 3.5


def test_saving_again_replaces_the_folder_as_a_whole(folder: Path, fitted: Recommender) -> None:
    before = (folder / "model.json").stat().st_ino
    save_model(fitted, folder)
    assert (folder / "model.json").stat().st_ino != before
    assert sorted(path.name for path in folder.iterdir()) == [
        "items.arrow", "model.json", _WEIGHTS,
    ]  # fmt: skip


def test_whoever_may_read_one_file_may_read_all(folder: Path) -> None:
    modes = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}
    assert len(set(modes.values())) == 1, modes


def test_weights_come_back_with_the_same_bits(folder: Path, fitted: Recommender) -> None:
    loaded = load_model(folder).arrays()
    assert loaded.keys() == fitted.arrays().keys()
    assert all(np.array_equal(loaded[name], value) for name, value in fitted.arrays().items())


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def _edit(folder: Path, **changes: Any) -> None:
    path = folder / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _lose_a_weight(folder: Path) -> None:
    arrays = load_file(folder / _WEIGHTS)
    arrays.pop(sorted(arrays)[0])
    save_file(arrays, folder / _WEIGHTS)


_DAMAGES: dict[str, Callable[[Path], object]] = {
    "no weights": lambda folder: (folder / _WEIGHTS).unlink(),
    "truncated weights": lambda folder: _truncate(folder / _WEIGHTS),
    "empty weights": lambda folder: (folder / _WEIGHTS).write_bytes(b""),
    "a weight is missing": _lose_a_weight,
    "no items": lambda folder: (folder / "items.arrow").unlink(),
    "truncated items": lambda folder: _truncate(folder / "items.arrow"),
    "no manifest": lambda folder: (folder / "model.json").unlink(),
    "no JSON": lambda folder: (folder / "model.json").write_text("{"),
    "JSON of another kind": lambda folder: (folder / "model.json").write_text("[1]"),
    "another format version": lambda folder: _edit(folder, format_version=999),
    "an unknown model": lambda folder: _edit(folder, model="mult-vea"),
    "an unknown setting": lambda folder: _edit(folder, config={"latnet": 8}),
    "settings that do not fit the weights": lambda folder: _edit(folder, config={"latent": 9}),
    "items that are not its own": lambda folder: _edit(folder, items_fingerprint="0" * 64),
    "no model name": lambda folder: _edit(folder, model=None),
}


@pytest.mark.parametrize("damage", _DAMAGES)
def test_a_damaged_model_folder_is_refused_in_one_sentence(folder: Path, damage: str) -> None:
    _DAMAGES[damage](folder)
    with pytest.raises(InputError) as error:
        load_model(folder)
    assert str(folder) in _sentence(error)


@pytest.mark.parametrize("name", ["als", "popularity"])
def test_a_model_whose_arrays_are_missing_is_refused(
    small: Interactions, tmp_path: Path, name: str
) -> None:
    save_model(make_model(name, {}).fit(small, FitOptions()), tmp_path / "model")
    save_file({"other": np.zeros(3, dtype=np.float32)}, tmp_path / "model" / _WEIGHTS)
    with pytest.raises(InputError) as error:
        load_model(tmp_path / "model")
    assert "damaged" in _sentence(error)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        load_model(tmp_path / "nowhere")
    assert "nowhere" in _sentence(error)


def test_data_with_another_item_numbering_are_refused(
    fitted: Recommender, small: Interactions
) -> None:
    check_items(fitted, small.items, "the same data")
    fewer = Interactions.from_frame(small.frame().query("item > 0"))
    with pytest.raises(InputError) as error:
        check_items(fitted, fewer.items, "other data")
    assert "other data" in _sentence(error)


def test_there_are_recipes() -> None:
    assert _RECIPES


@pytest.mark.parametrize("path", _RECIPES, ids=lambda path: str(path.stem))
def test_every_recipe_of_the_project_makes_its_model(path: Path) -> None:
    recipe = read_recipe(str(path))
    assert recipe.make().name == recipe.model == path.stem


def test_settings_on_the_command_line_win_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('model = "mult-vae"\nlatent = 32\n[training]\nepochs = 4\npatience = 2\n')
    recipe = read_recipe(str(path), ["training.epochs=9", "hidden=[64, 32]"])
    assert recipe.settings == {
        "latent": 32,
        "hidden": [64, 32],
        "training": {"epochs": 9, "patience": 2},
    }


def test_a_semicolon_within_quotes_belongs_to_the_value() -> None:
    recipe = read_recipe("mult-vae", ["name=\"a;b\"; other='c;';latent=4", 'odd=a"b'])
    assert recipe.settings == {"name": "a;b", "other": "c;", "latent": 4, "odd": 'a"b'}


def test_settings_of_several_recipes_name_their_model() -> None:
    given = ["als.factors=8; als.iterations=2", "ease.ridge=9"]
    als, ease = read_recipes(["als", "ease"], given)
    assert als.settings == {"factors": 8, "iterations": 2}
    assert ease.settings == {"ridge": 9}
    (alone,) = read_recipes(["mult-vae"], ["latent=4", "mult-vae.training.epochs=2"])
    assert alone.settings == {"latent": 4, "training": {"epochs": 2}}
    with pytest.raises(InputError, match=r"--set ridge=9 says of no model .* als\.ridge=9"):
        read_recipes(["als", "ease"], ["ridge=9"])
    with pytest.raises(InputError, match=r"--set EASE.ridge=9: EASE is not among the recipes"):
        read_recipes(["ease"], ["EASE.ridge=9"])
    with pytest.raises(InputError, match=r"als is not among the recipes, which are ease"):
        read_recipes(["ease"], ["als.factors=9"])


@pytest.mark.parametrize(
    ("content", "overrides"),
    [
        ('model = "no-such-model"', []),
        ("latent = 3", []),
        ("model = 3", []),
        ("model = ", []),
        ('model = "mult-vae"', ["latent"]),
        ('model = "mult-vae"\nlatent = 3', ["latent.deeper=4"]),
    ],
)
def test_an_unusable_recipe_is_refused_in_one_sentence(
    tmp_path: Path, content: str, overrides: list[str]
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(content)
    with pytest.raises(InputError) as error:
        read_recipe(str(path), overrides).make()
    _sentence(error)


def test_a_recipe_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        read_recipe(str(tmp_path / "nowhere.toml"))
    assert "nowhere.toml" in _sentence(error)
