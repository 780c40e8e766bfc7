"""Cleaning as explicit, ordered, counted steps: ratings in, implicit feedback out."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from recsys_vae.errors import InputError

STAR_THRESHOLD = 3.5
"""Ratings above this count as liking on a five-star scale (Liang et al., 2018, section 4.1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CleaningOptions:
    """What to keep.

    Attributes:
        threshold: keep ratings strictly above it; None: 3.5 where the highest rating is above 1
            and at most 5 (stars), otherwise every rating above 0.
        min_user_items: keep users with at least so many distinct items.
        min_item_users: keep items with at least so many distinct users.
        bad_rows: rows with a missing, infinite or negative rating: "refuse" or "drop" them.
    """

    threshold: float | None = None
    min_user_items: int = 5
    min_item_users: int = 1
    bad_rows: Literal["refuse", "drop"] = "refuse"


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
class Cleaned:
    """Clean rows (`user`, `item`, one row a pair) and the account of the rest.

    Attributes:
        frame: the rows.
        steps: what each step left.
        threshold: ratings above it were kept; None: the rows have no ratings.
    """

    frame: pd.DataFrame
    steps: tuple[Step, ...]
    threshold: float | None

    def report(self) -> list[dict[str, Any]]:
        """Give the steps as plain records for JSON."""
        return [asdict(step) for step in self.steps]


def clean(frame: pd.DataFrame, options: CleaningOptions, file: Path) -> Cleaned:
    """Turn raw rows into implicit feedback.

    In this order: unusable ratings, threshold, repeated pairs (one is kept), users and items
    with too few others (repeated until nothing changes).

    Args:
        frame: `row`, `user`, `item` and optionally `rating`, as `read_interactions` gives it.
        options: what to keep.
        file: for the error sentences.

    Returns:
        The clean rows and the account.

    Raises:
        InputError: a rating is unusable and `bad_rows` is "refuse", or nothing is left.
    """
    steps: list[Step] = []

    def note(name: str, before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
        users, items = int(after["user"].nunique()), int(after["item"].nunique())
        steps.append(Step(name, len(before), len(after), users, items))
        return after

    threshold: float | None = None
    note("read", frame, frame)
    if "rating" in frame.columns:
        kept = frame[_usable(frame, options, file)]
        frame = note("drop missing, infinite and negative ratings", frame, kept)
        threshold = _threshold(frame, options)
        kept = frame[frame["rating"] > threshold]
        _refuse_nothing_left(frame, kept, threshold, file)
        frame = note(f"keep ratings > {threshold:g}", frame, kept)
    frame = note("drop repeated user-item pairs", frame, frame.drop_duplicates(["user", "item"]))
    core = _core(frame, options)
    frame = note(
        f"users with >= {options.min_user_items} items, items with >= {options.min_item_users} "
        "users",
        frame,
        core,
    )
    if frame.empty:
        raise InputError(
            f"{file}: no interaction is left after requiring {options.min_user_items} items a "
            f"user and {options.min_item_users} users an item: lower --min-user-items, "
            "--min-item-users or --threshold"
        )
    return Cleaned(frame[["user", "item"]].reset_index(drop=True), tuple(steps), threshold)


def _usable(frame: pd.DataFrame, options: CleaningOptions, file: Path) -> pd.Series:
    ratings = frame["rating"]
    usable = (ratings >= 0) & (ratings < float("inf"))  # a NaN compares as False
    if options.bad_rows == "refuse" and not usable.all():
        row, rating = frame.loc[~usable, "row"].iloc[0], ratings[~usable].iloc[0]
        raise InputError(
            f"{file}, row {row}: the rating {rating} is not a number >= 0 "
            f"({int((~usable).sum())} rows are like it): correct them or pass --bad-rows drop"
        )
    return usable


def _threshold(frame: pd.DataFrame, options: CleaningOptions) -> float:
    if options.threshold is not None:
        return options.threshold
    stars = not frame.empty and 1 < frame["rating"].max() <= 5
    return STAR_THRESHOLD if stars else 0.0


def _refuse_nothing_left(
    before: pd.DataFrame, kept: pd.DataFrame, threshold: float, file: Path
) -> None:
    if kept.empty:
        highest = "there is none" if before.empty else f"the highest is {before['rating'].max():g}"
        raise InputError(
            f"{file}: no rating is above the threshold {threshold:g} ({highest}): lower --threshold"
        )


def _core(frame: pd.DataFrame, options: CleaningOptions) -> pd.DataFrame:
    while True:
        per_item = frame.groupby("item", sort=False)["user"].transform("size")
        kept = frame[per_item >= options.min_item_users]
        per_user = kept.groupby("user", sort=False)["item"].transform("size")
        kept = kept[per_user >= options.min_user_items]
        if len(kept) == len(frame):
            return kept
        frame = kept
