"""What to keep of the rows, and the account of what each step left."""

import math
from dataclasses import asdict, dataclass, fields
from typing import Any, Final, Literal

from recsys_vae.errors import InputError

STAR_THRESHOLD: Final = 3.5
"""Ratings above this count as liking on a five-star scale (Liang et al., 2018, section 4.1)."""
Duplicates = Literal["max", "first", "last", "sum"]
OverCap = Literal["drop", "newest"]
_LISTS: Final = ("allow_users", "deny_users", "allow_items", "deny_items")


@dataclass(frozen=True, slots=True, kw_only=True)
class CleaningOptions:
    """What to keep. The steps are taken in the order of the attributes.

    Attributes:
        strict: refuse the file if any row is unusable, instead of setting such rows aside.
        max_rejected: refuse if a larger share of the rows is unusable: the file is then hardly
            what it was taken for.
        since: keep rows from this time on, in milliseconds since 1970-01-01 UTC.
        until: keep rows before this time.
        allow_users: keep only these users, as text; None: all.
        deny_users: drop these users.
        allow_items: keep only these items.
        deny_items: drop these items.
        duplicates: of rows of one user and item keep the one with the largest rating ("max"),
            the earliest ("first"), the latest ("last"; without times: the file's order), or one
            with the "sum" of their ratings. All but "max" come before the threshold.
        threshold: keep ratings strictly above it; None: 3.5 where the highest rating is above 1
            and at most 5 (stars), otherwise every rating above 0.
        max_user_items: the most items that a person has; None: no limit.
        over_cap: of users with more, "drop" all rows or keep the "newest".
        min_user_items: keep users with at least so many distinct items.
        min_item_users: keep items with at least so many distinct users; both until nothing
            changes (the k-core).
    """

    strict: bool = False
    max_rejected: float = 0.1
    since: int | None = None
    until: int | None = None
    allow_users: tuple[str, ...] | None = None
    deny_users: tuple[str, ...] = ()
    allow_items: tuple[str, ...] | None = None
    deny_items: tuple[str, ...] = ()
    duplicates: Duplicates = "max"
    threshold: float | None = None
    max_user_items: int | None = None
    over_cap: OverCap = "drop"
    min_user_items: int = 5
    min_item_users: int = 1

    def __post_init__(self) -> None:
        """Refuse what contradicts itself."""
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise InputError("--since must lie before --until: correct one of them")
        cap = self.max_user_items
        if cap is not None and cap < self.min_user_items:
            raise InputError(
                f"--max-user-items {cap} is below --min-user-items {self.min_user_items}, so that "
                "no user could remain: raise the one or lower the other"
            )
        if self.threshold is not None and not math.isfinite(self.threshold):
            raise InputError(f"--threshold {self.threshold} is no finite number: give a rating")
        if not 0.0 <= self.max_rejected <= 1.0:
            raise InputError(
                f"--max-rejected {self.max_rejected} must lie between 0 and 1: give a share"
            )

    def report(self) -> dict[str, Any]:
        """Give the options for JSON, the lists by their length."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        for name in _LISTS:
            values[name] = None if values[name] is None else len(values[name])
        return values


@dataclass(frozen=True, slots=True)
class Step:
    """One cleaning step and what it left.

    Attributes:
        name: what was done.
        rows_in: rows before.
        rows_out: rows after.
        users: distinct users after.
        items: distinct items after.
    """

    name: str
    rows_in: int
    rows_out: int
    users: int
    items: int


@dataclass(frozen=True, slots=True)
class Account:
    """What became of every row.

    Attributes:
        steps: in order; the first begins with all records, the last ends with what was kept.
        threshold: ratings above it were kept; None: the rows have no ratings.
        rejected: rows set aside, by reason.
        has_times: whether the interactions have times.
    """

    steps: tuple[Step, ...]
    threshold: float | None
    rejected: dict[str, int]
    has_times: bool

    def report(self) -> list[dict[str, Any]]:
        """Give the steps as plain records for JSON."""
        return [asdict(step) for step in self.steps]
