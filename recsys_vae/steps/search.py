"""Search spaces: what `tune` may change of a recipe, from its table `[search]`."""

import json
import math
from collections.abc import Mapping
from typing import Annotated, Any, Final, Self

import numpy as np
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictFloat,
    StrictInt,
    ValidationError,
    model_validator,
)

from recsys_vae.errors import InputError
from recsys_vae.models.closed_form import ArrayRecommender
from recsys_vae.models.zoo import make_model

Label = str | int | float | bool
"""A value as a study and MLflow write it: lists as text."""
_FORMS: Final = "write a list of choices, or {low = 1, high = 9}, with log = true or step = 2"


def _finite(number: float) -> float:
    if not math.isfinite(number):
        raise ValueError("must be finite")
    return number


_Number = Annotated[StrictInt | StrictFloat, AfterValidator(_finite)]


class Range(BaseModel):
    """Numbers from `low` to `high`; whole ones if both are.

    >>> Range(low=64, high=512, log=True).holds(200)
    True
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    low: _Number
    high: _Number
    log: bool = Field(default=False, description="as many between 1 and 10 as between 10 and 100")
    step: _Number | None = Field(default=None, description="distance of the values from low on")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.low < self.high:
            raise ValueError("low must be below high")
        if self.log and self.low <= 0:
            raise ValueError("with log = true, low must be above 0")
        if self.log and self.step is not None:
            raise ValueError("log and step exclude each other")
        if self.step is not None and self.step <= 0:
            raise ValueError("step must be above 0")
        if self.whole and not isinstance(self.step, int | None):
            raise ValueError("between whole numbers, step must be one")
        return self

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are meant."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def ends(self) -> list[Any]:
        """Give the values that must be allowed for all to be."""
        return [self.low, self.high]

    def holds(self, value: Any) -> bool:
        """Say whether a value can be found."""
        if isinstance(value, bool) or not isinstance(value, int if self.whole else int | float):
            return False
        steps = 0.0 if self.step is None else (value - self.low) / self.step
        return bool(self.low <= value <= self.high and math.isclose(steps, round(steps)))

    def label(self, value: Any) -> Label:
        """Write a value for the study."""
        return int(value) if self.whole else float(value)

    def value(self, label: Label) -> Any:
        """Read a value of the study."""
        return label

    def at(self, share: float) -> Any:
        """Give the value at a place between 0 and 1 (excluded), all lengths being as likely."""
        if self.log:
            found = self.low * (self.high / self.low) ** share
            return min(max(round(found), self.low), self.high) if self.whole else found
        step = self.step or (1 if self.whole else None)
        if step is None:
            return self.low + share * (self.high - self.low)
        steps = math.floor((self.high - self.low) / step + 1e-9) + 1
        # Sums of steps such as 0.1 may end a rounding error above the highest value.
        return min(self.low + step * math.floor(share * steps), self.high)

    def __str__(self) -> str:
        """Write it for a sentence."""
        kind = "whole numbers " if self.whole else ""
        return f"{kind}{self.low} to {self.high}"


class Choice(BaseModel):
    """Some values, of which any may be the best.

    >>> Choice(values=([600], [600, 200])).label([600, 200])
    '[600, 200]'
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    values: tuple[Any, ...] = Field(min_length=2)

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        labels = self.labels()
        if any(isinstance(one, dict) for one in self.values):
            raise ValueError("a table is no choice")
        if len(set(labels)) < len(labels):
            raise ValueError("a choice is listed twice")
        return self

    def ends(self) -> list[Any]:
        """Give the values that must be allowed for all to be."""
        return list(self.values)

    def holds(self, value: Any) -> bool:
        """Say whether a value can be found."""
        return value in self.values

    def label(self, value: Any) -> Label:
        """Write a value for the study."""
        return value if isinstance(value, str | int | float) else json.dumps(value)

    def labels(self) -> list[Label]:
        """Write all values for the study."""
        return [self.label(one) for one in self.values]

    def value(self, label: Label) -> Any:
        """Read a value of the study."""
        return self.values[self.labels().index(label)]

    def at(self, share: float) -> Any:
        """Give the value at a place between 0 and 1 (excluded), all being as likely."""
        return self.values[math.floor(share * len(self.values))]

    def __str__(self) -> str:
        """Write it for a sentence."""
        return ", ".join(map(str, self.labels()))


Space = Mapping[str, Range | Choice]
"""What may be changed, by setting; those of tables with a dot, as in `training.learning_rate`."""


def parse_search(found: object, reference: str) -> dict[str, Range | Choice]:
    """Read a recipe's table `[search]`.

    Args:
        found: what stands there; nested tables as in the recipe itself.
        reference: the recipe, for messages.

    Returns:
        The space, in the order of the file.

    Raises:
        InputError: an entry is no range and no list of choices.

    >>> space = parse_search({"training": {"epochs": {"low": 5, "high": 50}}}, "a.toml")
    >>> print(space["training.epochs"])
    whole numbers 5 to 50
    """
    if not isinstance(found, dict):
        raise InputError(f"recipe {reference}: 'search' must be a table: write [search] above it")
    return _dimensions(found, "", reference)


def _dimensions(table: dict[str, Any], prefix: str, reference: str) -> dict[str, Range | Choice]:
    space: dict[str, Range | Choice] = {}
    for key, entry in table.items():
        name = prefix + key
        if isinstance(entry, dict) and not {"low", "high"} & entry.keys():
            space |= _dimensions(entry, f"{name}.", reference)
            continue
        try:
            if isinstance(entry, dict):
                space[name] = Range.model_validate(entry)
            elif isinstance(entry, list):
                space[name] = Choice(values=tuple(entry))
            else:
                raise InputError(f"recipe {reference}: search.{name} is {entry!r}: {_FORMS}")
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(["search", name, *map(str, first["loc"][:1])])
            why = first["msg"].removeprefix("Value error, ").lower()
            raise InputError(f"recipe {reference}: {where}: {why}: {_FORMS}") from error
    return space


def as_settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """Turn dotted names into tables.

    >>> as_settings({"latent": 8, "training.epochs": 5})
    {'latent': 8, 'training': {'epochs': 5}}
    """
    settings: dict[str, Any] = {}
    for name, value in values.items():
        *tables, last = name.split(".")
        inner = settings
        for table in tables:
            inner = inner.setdefault(table, {})
        inner[last] = value
    return settings


def drawn(space: Space, count: int, seed: int) -> list[dict[str, Any]]:
    """Draw settings that cover a space evenly, by a scrambled Halton sequence.

    Args:
        space: where to draw.
        count: how many; the first of more are those of fewer.
        seed: of the scrambling.

    Returns:
        Settings as a recipe would have them.

    >>> drawn({"latent": Range(low=1, high=8), "loss": Choice(values=("a", "b"))}, 2, seed=0)
    [{'latent': 6, 'loss': 'a'}, {'latent': 2, 'loss': 'b'}]
    """
    from scipy.stats import qmc  # takes longer to import than most verbs to answer

    if not space:
        return []
    shares = qmc.Halton(len(space), rng=np.random.default_rng(seed)).random(count)
    names = list(space)
    return [
        as_settings({name: space[name].at(float(u)) for name, u in zip(names, row, strict=True)})
        for row in shares
    ]


def start_values(model: str, settings: dict[str, Any], space: Space) -> dict[str, Label]:
    """Give the recipe's own place in its space; a setting that it leaves open is left out.

    Of settings that a model chooses on validation where they are open, it is the first candidate.

    Args:
        model: name in the zoo.
        settings: the recipe's.
        space: its search space.

    Raises:
        InputError: the space names a setting that the model lacks, or a value that it refuses, or
            does not hold the recipe's own.
    """
    made = make_model(model, settings)
    own = made.config.model_dump(mode="json")
    opened = made.candidates[0] if isinstance(made, ArrayRecommender) else {}
    start: dict[str, Label] = {}
    for name, dimension in space.items():
        for end in dimension.ends():
            try:
                make_model(model, _with(own, name, end))
            except InputError as error:
                raise InputError(f"[search]: {error}") from error
        value = _found(own, name)
        value = opened.get(name) if value is None else value
        if value is None:
            continue
        if not dimension.holds(value):
            raise InputError(
                f"setting '{name}' is {value}, which its [search] ({dimension}) does not hold: "
                "widen it (low = 1.0 means all numbers, low = 1 whole ones), or change the setting"
            )
        start[name] = dimension.label(value)
    return start


def _found(own: Mapping[str, Any], name: str) -> Any:
    inner: Any = own
    for part in name.split("."):
        inner = inner.get(part) if isinstance(inner, dict) else None
    return inner


def _with(own: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    key, dot, rest = name.partition(".")
    if not dot:
        return {**own, key: value}
    inner = own.get(key)
    return {**own, key: _with(inner if isinstance(inner, dict) else {}, rest, value)}
