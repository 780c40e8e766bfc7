"""Which column of a file is the user, the item, the rating and the time."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from recsys_vae.errors import InputError

# fmt: off
_CONVENTIONS: Final[dict[str, tuple[str, ...]]] = {
    "user": (
        "user", "userid", "uid", "customerid", "reviewerid", "visitorid", "sessionid"
    ),
    "item": (
        "item", "itemid", "iid", "sid", "movieid", "productid", "bookid", "trackid", "songid",
        "artistid", "parentasin", "asin",
    ),
    "rating": (
        "rating", "ratings", "overall", "score", "stars", "value", "weight", "count", "plays"
    ),
    "timestamp": ("timestamp", "time", "datetime", "date", "ts", "unixreviewtime"),
    "title": ("title", "name", "itemname", "label"),
    "genres": ("genres", "genre", "categories", "category", "tags"),
}
# fmt: on
NONE: Final = "none"
"""Given for a column that a file has but that is not to be read."""

_LISTED: Final = 20
_LONGEST: Final = 10
"""Digits: no file has so many columns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnNames:
    """Names of the columns in the file, or their numbers, from 1, where it has no header.

    None means: find it by convention, or in the order user, item, rating, timestamp where there
    is no header; "none": leave it unread.
    """

    user: str | None = None
    item: str | None = None
    rating: str | None = None
    timestamp: str | None = None
    title: str | None = None
    genres: str | None = None


def positions(n_columns: int, *, titles: bool = False) -> dict[str, int]:
    """Give the usual order of a file without a header, as far as its columns go.

    Args:
        n_columns: of the file.
        titles: whether it is a file of items and their titles.

    >>> positions(3), positions(3, titles=True)
    ({'user': 0, 'item': 1, 'rating': 2}, {'item': 0, 'title': 1, 'genres': 2})
    """
    roles = ("item", "title", "genres") if titles else ("user", "item", "rating", "timestamp")
    return dict(zip(roles, range(n_columns), strict=False))


def _plain(name: str) -> str:
    name = name.split(":")[0]  # RecBole's files write the type behind it: "user_id:token"
    return "".join(letter for letter in name.lower() if letter.isalnum())


def _only(name: str, present: list[str], file: str | Path) -> str:
    if present.count(name) > 1:
        raise InputError(f"{file} has {present.count(name)} columns '{name}': rename all but one")
    return name


def find_column(
    role: str, named: str | None, present: list[str], file: str | Path, *, required: bool
) -> str | None:
    """Find the column that plays a role.

    Args:
        role: "user", "item", "rating", "timestamp", "title" or "genres".
        named: the user's choice, or None to go by convention ("userId", "user_id", "uid"...).
        present: the columns of the file.
        file: for the error sentence.
        required: whether a missing column is an error.

    Returns:
        The column's name, or None where there is none and none is required.

    Raises:
        InputError: the named column is absent, or a required one was not found.

    >>> find_column("user", None, ["userId", "movieId"], Path("r.csv"), required=True)
    'userId'
    """
    listed = ", ".join(present[:_LISTED]) + (", ..." if len(present) > _LISTED else "")
    if named is not None:
        if named in present:
            return _only(named, present, file)
        if named == NONE and not required:
            return None
        if named.isdecimal() and len(named) < _LONGEST and 1 <= int(named) <= len(present):
            return _only(present[int(named) - 1], present, file)
        raise InputError(
            f"{file} has no column '{named}' (its columns: {listed}): correct --{role}-column"
        )
    by_plain_name = {_plain(name): name for name in reversed(present)}
    for convention in _CONVENTIONS[role]:
        if convention in by_plain_name:
            return _only(by_plain_name[convention], present, file)
    if required:
        raise InputError(
            f"{file} has no {role} column that could be recognised (its columns: {listed}): "
            f"name it with --{role}-column, or pass --header no if the first line is data"
        )
    return None
