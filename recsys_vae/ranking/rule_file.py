"""Rule files: what may, must and should stand in a list, as TOML (docs/rules.md)."""

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from recsys_vae.errors import InputError, reason
from recsys_vae.ingest.reading import printable
from recsys_vae.ranking.rule_tables import RuleTable, read_rule_table

_SHOWN: Final = 60
Id = int | Annotated[str, StringConstraints(min_length=1)]
Ids = Annotated[tuple[Id, ...], Field(min_length=1, strict=False)]
Label = bool | int | float | Annotated[str, StringConstraints(min_length=1)]
Labels = Annotated[tuple[Label, ...], Field(min_length=1, strict=False)]
Count = Annotated[int, Field(ge=1, le=2**31 - 1)]
_LARGEST: Final = 1e30
"""Of numbers that are added to scores, which are float32."""
Name = Annotated[str, StringConstraints(min_length=1)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class ItemLists(_Part):
    """Which items everybody may be given.

    Attributes:
        allow: only these; None, and no `allow_file`: all.
        deny: not these, even if allowed.
        allow_file: more of `allow`, a column `item`.
        deny_file: more of `deny`.
    """

    allow: Ids | None = None
    deny: Ids | None = None
    allow_file: Name | None = None
    deny_file: Name | None = None


class UserLists(_Part):
    """Which items one user may be given, columns `user` and `item`.

    Attributes:
        allow_file: users who are named there get nothing else.
        deny_file: what users who are named there do not get.
    """

    allow_file: Name | None = None
    deny_file: Name | None = None


class File(_Part):
    """A table of items.

    Attributes:
        file: its path, relative to the rule file.
    """

    file: Name


class Require(_Part):
    """What items must be like; one of in, not_in, and min with or without max.

    Attributes:
        attribute: a column of the attributes.
        among: in the file `in`: an item has at least one of these labels.
        not_in: an item has none of these labels.
        min: an item's number is not below.
        max: an item's number is not above.
    """

    attribute: Name
    among: Labels | None = Field(default=None, alias="in")
    not_in: Labels | None = None
    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        numeric = self.min is not None or self.max is not None
        if (self.among is not None) + (self.not_in is not None) + numeric != 1:
            raise ValueError(
                "give one of in, not_in, and min or max, and write another [[require]]"
            )
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError("min is above max")
        return self


class AtMost(_Part):
    """How many items of a list may share a label.

    Attributes:
        attribute: a column of the attributes.
        count: so many.
        value: the label; None: each label of the attribute by itself.
    """

    attribute: Name
    count: Count
    value: Label | None = None


class AtLeast(_Part):
    """How many items of a list should have a label.

    Attributes:
        attribute: a column of the attributes.
        value: the label.
        count: so many.
    """

    attribute: Name
    value: Label
    count: Count


class Pin(_Part):
    """An item at a fixed place of every list.

    Attributes:
        item: its id.
        position: the place, from 1.
        force: whether it stands there even where a mask would leave it out.
    """

    item: Id
    position: Count
    force: bool = False


class Popularity(_Part):
    """What popular items lose.

    Attributes:
        discount: is multiplied with log(1 + training users of the item), taken from the score.
    """

    discount: Annotated[float, Field(ge=0, le=_LARGEST)]


class RuleContent(_Part):
    """What a rule file says; the names of the attributes are its keys.

    Attributes:
        mask_seen: whether a user's given items are left out.
        minimum_score: lower scores, after the discount, are left out.
        pins_file: pins of single users, columns `user`, `item` and `position`.
        pins_force: whether the pins of that file stand even where a mask would leave them out.
        items: who is allowed and denied for everybody.
        users: who is allowed and denied for single users.
        availability: columns `item`, `from` and `until`.
        attributes: a column `item` and any others.
        require: what items must be like.
        at_most: caps on the items of a list that share a label.
        at_least: items with a label that a list should have.
        pin: items at fixed places of every list.
        popularity: what popular items lose.
    """

    mask_seen: bool = True
    minimum_score: Annotated[float, Field(ge=-_LARGEST, le=_LARGEST)] | None = None
    pins_file: Name | None = None
    pins_force: bool = False
    items: ItemLists = ItemLists()
    users: UserLists = UserLists()
    availability: File | None = None
    attributes: File | None = None
    require: Annotated[tuple[Require, ...], Field(strict=False)] = ()
    at_most: Annotated[tuple[AtMost, ...], Field(strict=False)] = ()
    at_least: Annotated[tuple[AtLeast, ...], Field(strict=False)] = ()
    pin: Annotated[tuple[Pin, ...], Field(strict=False)] = ()
    popularity: Popularity | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.attributes is None and (self.require or self.at_most or self.at_least):
            raise ValueError(
                "require, at_most and at_least need a table [attributes] with its file"
            )
        if self.pins_force and self.pins_file is None:
            raise ValueError("pins_force needs a pins_file")
        places = [one.position for one in self.pin]
        if len(set(places)) < len(places):
            raise ValueError("two pins have the same position, each place holds one item")
        if len({str(one.item) for one in self.pin}) < len(places):
            raise ValueError("an item is pinned twice, each item stands once in a list")
        return self

    def files(self) -> dict[str, str]:
        """Give the files that it refers to, by their key."""
        named = {
            "items.allow_file": self.items.allow_file,
            "items.deny_file": self.items.deny_file,
            "users.allow_file": self.users.allow_file,
            "users.deny_file": self.users.deny_file,
            "availability.file": self.availability.file if self.availability else None,
            "attributes.file": self.attributes.file if self.attributes else None,
            "pins_file": self.pins_file,
        }
        return {key: name for key, name in named.items() if name is not None}


@dataclass(frozen=True, slots=True, eq=False)
class RuleFile:
    """A rule file with the files that it refers to, read.

    Attributes:
        path: of the rule file.
        content: what it says.
        tables: the other files by their key, such as "items.allow_file".
        fingerprint: SHA-256 of what it says and of the bytes of these files, wherever they lie;
            comments and the order of the keys do not count.
    """

    path: Path
    content: RuleContent
    tables: Mapping[str, RuleTable]
    fingerprint: str


def read_rules(path: Path) -> RuleFile:
    """Read a rule file and what it refers to.

    Args:
        path: a TOML file; paths in it are relative to its folder.

    Raises:
        InputError: a file is missing or cannot be read, or a key or value is no rule.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "rules.toml"
    >>> _ = path.write_text("minimum_score = 0.5")
    >>> read_rules(path).content.minimum_score
    0.5
    """
    try:
        found: dict[str, Any] = tomllib.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"rules {path} cannot be read ({reason(error)}): give a TOML file, see docs/rules.md"
        ) from error
    try:
        content = RuleContent.model_validate(found)
    except ValidationError as error:
        raise InputError(f"rules {path}{_told(error)}, see docs/rules.md") from error
    tables = {}
    for key, name in content.files().items():
        try:
            tables[key] = read_rule_table(path.parent / name)
        except InputError as error:
            raise InputError(f"rules {path}, {key}: {error}") from error
    canonical = content.model_dump(mode="json", by_alias=True, exclude=_PATHS)
    digests = {key: table.digest for key, table in tables.items()}
    written = json.dumps([canonical, digests], sort_keys=True, ensure_ascii=True)
    return RuleFile(path, content, tables, hashlib.sha256(written.encode()).hexdigest())


_PATHS: Final[Any] = {
    "items": {"allow_file", "deny_file"},
    "users": {"allow_file", "deny_file"},
    "availability": {"file"},
    "attributes": {"file"},
    "pins_file": True,
}
"""Where a file lies is no rule; what is in it is."""


def _told(error: ValidationError) -> str:
    """Say where the first thing is that is no rule, what it is, and what to do."""
    first = error.errors()[0]
    keys = [f"number {one + 1}" if isinstance(one, int) else one for one in first["loc"]]
    # Behind the key come the types that were tried.
    tried = {"int", "bool", "float", "constrained-str", "str"}
    where = ", ".join(key for key in keys if key not in tried)
    place = f", {printable(where)[:_SHOWN]}" if where else ""
    if first["type"] == "extra_forbidden":
        return f"{place}: there is no such key: correct it, or move it above the first [table]"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "value_error":
        return f"{place}: {message}: correct it"
    if first["type"] == "too_short":
        return f"{place}: it is empty: name at least one, or leave the key out"
    message = _WORDS.get(first["type"], message)
    shown = (
        "" if first["type"] == "missing" else f", not {printable(repr(first['input']))[:_SHOWN]}"
    )
    return f"{place}: {message[0].lower()}{message[1:]}{shown}: correct it"


_WORDS: Final = {
    "missing": "it is missing",
    "tuple_type": "it must be a list, of tables if they are rules, as by [[...]]",
    "model_type": "it must be a table of keys",
    "int_type": "it must be a whole number, or where it is an id or a label text",
}
