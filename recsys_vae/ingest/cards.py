"""Dataset cards: what a public data set is, where it comes from, and how it is read and cleaned.

A card is one TOML file in `data/cards`; its name is the file's name without the suffix.
"""

import tomllib
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import unquote, urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    StringConstraints,
    ValidationError,
    model_validator,
)

from recsys_vae.errors import InputError, reason

_PLACES: Final = (Path(__file__).parents[2] / "data" / "cards", Path("data") / "cards")
_DIGITS: Final = {"md5": 32, "sha1": 40, "sha256": 64}


def _web(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise ValueError("only addresses like https://host/file are allowed")
    return url


def _inside(path: str) -> str:
    """Refuse a path that could leave the folder it is relative to."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\\" in path or ":" in parts[0]:
        raise ValueError("a path must stay inside the folder of the data set")
    return path


def _checksum(text: str) -> str:
    algorithm, _, digits = text.partition(":")
    if len(digits) != _DIGITS.get(algorithm) or set(digits) - set("0123456789abcdef"):
        raise ValueError("a checksum is written md5:, sha1: or sha256: and lower-case hex digits")
    return text


Sentence = Annotated[str, StringConstraints(min_length=8, pattern=r"^\S[^\n]*\S$")]
Address = Annotated[str, AfterValidator(_web)]
Inside = Annotated[str, AfterValidator(_inside)]
Checksum = Annotated[str, AfterValidator(_checksum)]
Delimiter = Annotated[str, StringConstraints(min_length=1, max_length=2)]
Quote = Annotated[str, StringConstraints(max_length=1)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Source(_Part):
    """A file on the web, and how to know that it came over whole.

    Attributes:
        url: http or https.
        bytes: its size, where it is known.
        checksum: "md5:...", "sha1:..." or "sha256:..." in lower-case hex.
        checksum_source: who else says so.
        checksum_unconfirmed: in place of a checksum: why there is none.
    """

    url: Address
    bytes: PositiveInt | None = None
    checksum: Checksum | None = None
    checksum_source: Sentence | None = None
    checksum_unconfirmed: Sentence | None = None

    @property
    def name(self) -> str:
        """The file's name: the end of its address."""
        return PurePosixPath(unquote(urlsplit(self.url).path)).name

    @model_validator(mode="after")
    def _one_or_the_other(self) -> Self:
        if (self.checksum is None) == (self.checksum_unconfirmed is None):
            raise ValueError("give either checksum or checksum_unconfirmed")
        if (self.checksum is None) != (self.checksum_source is None):
            raise ValueError("a checksum needs checksum_source, and only a checksum has one")
        if not self.name or self.name.startswith(".") or set(self.name) & set('/\\:*?"<>|\0'):
            raise ValueError("the address must end in the name of a file")
        return self


class Columns(_Part):
    """Which column is what: its name, or its position from 1 as text where there is no header."""

    user: str | None = None
    item: str | None = None
    rating: str | None = None
    timestamp: str | None = None
    title: str | None = None
    genres: str | None = None

    def given(self) -> dict[str, str]:
        """Give the columns that there are, by role."""
        return {role: name for role, name in self if name is not None}


class Titles(_Part):
    """Where the file of titles differs from the file of interactions.

    Attributes:
        item: its column of item ids.
        delimiter: between its columns.
        header: whether its first line names the columns.
        quote: around texts; "" for none.
        encoding: of its text.
    """

    item: str | None = None
    delimiter: Delimiter | None = None
    header: bool | None = None
    quote: Quote | None = None
    encoding: str | None = None


class Read(_Part):
    r"""How the files are read; paths are relative to the folder that was fetched.

    Attributes:
        format: "csv" (any delimiter), "parquet", "jsonl", "adjacency" (a line is a user and its
            items) or "netflix" (a line "item:", then lines of user, rating and date).
        interactions: file (for "netflix": folder) of all interactions.
        train: of a ready-made split, in place of `interactions`.
        test: of a ready-made split.
        items: file of titles, or None.
        delimiter: between columns, such as ",", "\t" or "::".
        header: whether the first line names the columns.
        quote: around texts; "" for none.
        encoding: of the text.
        columns: which column is what; `title` and `genres` are those of `items`.
        titles: where `items` differs from the file of interactions.
    """

    format: Literal["csv", "parquet", "jsonl", "adjacency", "netflix"]
    interactions: Inside | None = None
    train: Inside | None = None
    test: Inside | None = None
    items: Inside | None = None
    delimiter: Delimiter = ","
    header: bool = True
    quote: Quote = '"'
    encoding: str = "utf-8"
    columns: Columns = Columns()
    titles: Titles = Titles()

    def paths(self) -> tuple[str, ...]:
        """Give the paths that must be there once the data set is fetched."""
        return tuple(
            path for path in (self.interactions, self.train, self.test, self.items) if path
        )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        whole = self.interactions is not None
        if whole == (self.train is not None) or (self.train is None) != (self.test is None):
            raise ValueError("give either interactions, or both train and test")
        given = self.columns.given()
        if self.format in ("csv", "parquet", "jsonl") and not {"user", "item"} <= set(given):
            raise ValueError("columns.user and columns.item are needed")
        if self.items is not None and "title" not in given:
            raise ValueError("items needs columns.title")
        if self.titles != Titles() and self.items is None:
            raise ValueError("titles needs items")
        if self.format in ("csv", "netflix"):
            of_items = {"title": self.columns.title, "genres": self.columns.genres}
            own = {role: name for role, name in given.items() if role not in of_items}
            there = self.header if self.titles.header is None else self.titles.header
            _positions(own, header=self.header)
            named = {role: name for role, name in of_items.items() if name is not None}
            _positions(named | {"item": self.titles.item or "1"}, header=there)
        return self


def _positions(columns: dict[str, str], *, header: bool) -> None:
    for role, name in columns.items():
        if not header and not (name.isdecimal() and int(name) >= 1):
            raise ValueError(f'without a header, columns.{role} is a position such as "1"')


class Clean(_Part):
    """How the papers clean it.

    Attributes:
        threshold: ratings above it count; None: every interaction counts.
        min_user_items: users have at least so many items.
        min_item_users: items have at least so many users.
        source: the paper that does so, or why it is done so.
    """

    threshold: float | None = None
    min_user_items: PositiveInt = 1
    min_item_users: PositiveInt = 1
    source: Sentence


class Card(_Part):
    """A public data set.

    Attributes:
        name: of the card, the data set and its folder.
        title: for people.
        about: a sentence on what is in it.
        licence: what may be done with it.
        citation: the paper to cite.
        homepage: of the publisher.
        users: as published, before cleaning; None where no number was found.
        items: likewise.
        interactions: likewise.
        obtain: how to get it where no lawful public address exists.
        files: what is fetched.
        read: how it is read.
        clean: how it is cleaned.
    """

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]*$")]
    title: Sentence
    about: Sentence
    licence: Sentence
    citation: Sentence
    homepage: Address
    users: PositiveInt | None = None
    items: PositiveInt | None = None
    interactions: PositiveInt | None = None
    obtain: Sentence | None = None
    files: tuple[Source, ...] = Field(default=(), strict=False)
    read: Read
    clean: Clean

    @property
    def bytes(self) -> int | None:
        """What has to be fetched, where the size of every file is known."""
        sizes = [file.bytes for file in self.files if file.bytes is not None]
        return sum(sizes) if sizes and len(sizes) == len(self.files) else None

    @model_validator(mode="after")
    def _obtainable(self) -> Self:
        if bool(self.files) == (self.obtain is not None):
            raise ValueError("give either files, or obtain")
        if len({file.name.casefold() for file in self.files}) < len(self.files):
            raise ValueError("two files have the same name")
        return self


def read_cards(folder: Path | None = None) -> tuple[Card, ...]:
    """Read all cards.

    Args:
        folder: of the cards; None: `data/cards` of this project or of the working folder.

    Returns:
        The cards, by name.

    Raises:
        InputError: there is no such folder, or a card cannot be read.
    """
    places = _PLACES if folder is None else (folder,)
    for place in places:
        if place.is_dir():
            return tuple(read_card(path) for path in sorted(place.glob("*.toml")))
    raise InputError(
        f"there are no dataset cards in {' or '.join(map(str, places))}: run from the project's "
        "folder, or give the path of a card"
    )


def find_card(reference: str) -> Card:
    """Find a card.

    Args:
        reference: the name of a card, or the path of a TOML file of one's own.

    Returns:
        The card.

    Raises:
        InputError: there is no such card, or it cannot be read.

    >>> find_card("ml-20m").interactions
    20000263
    """
    if reference.endswith(".toml"):
        return read_card(Path(reference))
    cards = {card.name: card for card in read_cards()}
    if reference not in cards:
        raise InputError(
            f"there is no dataset card '{reference}': choose one of {', '.join(cards)}, or give "
            "the path of a TOML file"
        )
    return cards[reference]


def read_card(path: Path) -> Card:
    """Read one card; its name is the file's.

    Raises:
        InputError: the file cannot be read, or is no complete card.
    """
    try:
        content: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"card {path} cannot be read ({reason(error)}): correct the TOML, see data/README.md"
        ) from error
    try:
        return Card.model_validate({**content, "name": path.stem})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the card"
        raise InputError(
            f"card {path}, {where}: {first['msg'].lower()}: correct it, see data/README.md"
        ) from error
