"""Recipes: a model and its settings, from TOML and from the command line."""

import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from recsys_vae.errors import InputError, meant, reason
from recsys_vae.models.base import Recommender
from recsys_vae.models.zoo import ZOO, make_model
from recsys_vae.steps.search import Space, parse_search

_LARGEST_SEED: Final = 2**62
_PART: Final = re.compile(r"""(?:"[^"]*"|'[^']*'|[^;])+""")
"""Of settings that semicolons part; one within quotes belongs to a value."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """A model by name, and the settings that differ from its defaults.

    Attributes:
        model: name in the zoo.
        settings: what differs from its defaults.
        label: how it is called among other recipes: the file's name, or the model's.
        candidates: settings on top of those to choose among on validation, in `leaderboard`.
        seeds: of the fits in `leaderboard`.
        search: what `tune` may change.
    """

    model: str
    settings: dict[str, Any]
    label: str = ""
    candidates: tuple[dict[str, Any], ...] = ()
    seeds: tuple[int, ...] | None = None
    search: Space = field(default_factory=dict)

    def make(self) -> Recommender:
        """Make the unfitted model.

        Raises:
            InputError: the model or a setting is unknown or out of range.
        """
        return make_model(self.model, self.settings)


def read_recipe(reference: str, overrides: Iterable[str] = ()) -> Recipe:
    """Read a recipe.

    Args:
        reference: a model name, or a TOML file with `model = "..."` and its settings.
        overrides: settings such as "latent=64" or "training.epochs=5", the value as in TOML; one
            text may hold several, separated by semicolons, as MLflow gives a parameter only once.

    Returns:
        The recipe.

    Raises:
        InputError: the file or a setting cannot be read, or the model is unknown.

    >>> read_recipe("mult-vae", ["latent=64; training.epochs=5"]).settings
    {'latent': 64, 'training': {'epochs': 5}}
    """
    settings: dict[str, Any] = {}
    name, label = reference, reference
    if reference not in ZOO and not Path(reference).suffix:
        near = meant(reference, ZOO)
        raise InputError(f"there is no model '{reference}'{near}: choose one of {', '.join(ZOO)}")
    if reference not in ZOO:
        path = Path(reference)
        try:
            settings = tomllib.loads(path.read_text("utf-8-sig"))
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(
                f"recipe {path} cannot be read ({reason(error)}): give a TOML file or a model "
                f"name ({', '.join(ZOO)})"
            ) from error
        name, label = settings.pop("model", None), path.stem
        if not isinstance(name, str):
            raise InputError(f'recipe {path} names no model: add a line like model = "mult-vae"')
    candidates = _candidates(settings.pop("candidates", []), reference)
    seeds = _seeds(settings.pop("seeds", None), reference)
    search = parse_search(settings.pop("search", {}), reference)
    for override in _apart(overrides):
        _apply(settings, override)
    return Recipe(name, settings, label, candidates, seeds, search)


def read_recipes(references: Sequence[str], overrides: Iterable[str] = ()) -> list[Recipe]:
    """Read several recipes.

    Args:
        references: as for `read_recipe`.
        overrides: as for `read_recipe`, each with the model's name before it, which a single
            recipe does not need.

    Raises:
        InputError: as `read_recipe`, or an override names none of the models.

    >>> [one.settings for one in read_recipes(["ease", "als"], ["als.factors=8", "ease.ridge=9"])]
    [{'ridge': 9}, {'factors': 8}]
    """
    names = [read_recipe(one).model for one in references]
    of_each: dict[str, list[str]] = {name: [] for name in names}
    for override in _apart(overrides):
        name, dot, setting = override.partition(".")
        if dot and name.strip().lower() in ZOO and name.strip() not in of_each:
            raise InputError(
                f"--set {override}: {name.strip()} is not among the recipes, which are "
                f"{', '.join(names)}: name one of them"
            )
        if dot and name.strip() in of_each:
            of_each[name.strip()].append(setting)
        elif len(names) == 1:
            of_each[names[0]].append(override)
        else:
            raise InputError(
                f"--set {override} says of no model what it sets: write the model before it, such "
                f"as {names[0]}.{override}"
            )
    return [read_recipe(one, of_each[name]) for one, name in zip(references, names, strict=True)]


def _apart(overrides: Iterable[str]) -> list[str]:
    found = [part for override in overrides for part in _PART.findall(override)]
    return [part.strip() for part in found if part.strip()]


def _candidates(found: object, reference: str) -> tuple[dict[str, Any], ...]:
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise InputError(
            f"recipe {reference}: 'candidates' must be tables of settings: write [[candidates]] "
            "above each"
        )
    return tuple(found)


def _seeds(found: object, reference: str) -> tuple[int, ...] | None:
    if found is None:
        return None
    listed = found if isinstance(found, list) else []
    seeds = [one for one in listed if type(one) is int and 0 <= one <= _LARGEST_SEED]
    if not seeds or len(set(seeds)) < len(listed):
        raise InputError(
            f"recipe {reference}: 'seeds' must be distinct whole numbers from 0, like [0, 1]"
        )
    return tuple(seeds)


def merged(settings: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Lay settings over others, tables entry by entry.

    >>> merged({"a": 1, "training": {"epochs": 9}}, {"training": {"patience": 2}})
    {'a': 1, 'training': {'epochs': 9, 'patience': 2}}
    """
    result = dict(settings)
    for key, value in more.items():
        before = result.get(key)
        if isinstance(before, dict) and isinstance(value, dict):
            result[key] = merged(before, value)
        else:
            result[key] = value
    return result


def _apply(settings: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if "\n" in override:
        raise InputError(f"--set {override!r} is more than one line: give one setting a time")
    if not equals or not key.strip():
        raise InputError(f"--set {override} is no setting: write key=value, for example latent=64")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    except (RecursionError, ValueError) as error:
        raise InputError(f"--set {key}: the value cannot be read ({reason(error)})") from error
    *tables, last = key.strip().split(".")
    for table in tables:
        settings = settings.setdefault(table, {})
        if not isinstance(settings, dict):
            raise InputError(f"--set {override}: '{table}' is no table of settings")
    settings[last] = value
