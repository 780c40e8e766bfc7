"""A profile of interactions: bounded JSON that says what the data are like."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
from pydantic import FiniteFloat, NonNegativeInt, TypeAdapter, ValidationError

from recsys_vae.errors import InputError
from recsys_vae.files import read_json, write_json
from recsys_vae.ingest.counts import Counts
from recsys_vae.ingest.sketches import IdSample, Keys, TopItems, keys_of, largest
from recsys_vae.ingest.timeline import Timeline, Times
from recsys_vae.interactions import IdMap, Interactions

FORMAT_VERSION: Final = 1
_SHOWN: Final = 20
_LONGEST_ID: Final = 200
_REMEDY: Final = "make it with 'recsys-vae profile'"


@dataclass(frozen=True, slots=True)
class Ranked:
    """A user or item with its count.

    Attributes:
        id: as text, cut after 200 characters.
        count: interactions.
    """

    id: str
    count: NonNegativeInt


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What interactions are like; equal data give equal profiles.

    Attributes:
        users: how many, those without an interaction too.
        items: how many, likewise.
        interactions: how many.
        density: interactions / (users * items); 0 where there are none.
        activity: items per user.
        popularity: users per item.
        timeline: interactions per period; None where no times are known.
        heaviest_users: up to 20, the most active first.
        most_popular_items: up to 20, the most popular first.
        fingerprint: SHA-256 of the interactions.
        user_sample: a bounded sample of user ids, hashed, for drift.
        item_sample: likewise of item ids.
        top_items: counts of the 10,000 most popular items, by hashed id, for drift.
    """

    users: NonNegativeInt
    items: NonNegativeInt
    interactions: NonNegativeInt
    density: FiniteFloat
    activity: Counts
    popularity: Counts
    timeline: Timeline | None
    heaviest_users: tuple[Ranked, ...]
    most_popular_items: tuple[Ranked, ...]
    fingerprint: str
    user_sample: IdSample
    item_sample: IdSample
    top_items: TopItems

    def __post_init__(self) -> None:
        """Refuse what no data can have given, as from a file that was edited."""
        numbers = (self.activity.number, self.popularity.number)
        samples = (self.user_sample.number, self.item_sample.number)
        if not numbers == samples == (self.users, self.items):
            raise ValueError("its parts must be of the same users and items")
        if not self.activity.total == self.popularity.total == self.interactions:
            raise ValueError("its parts must be of the same interactions")

    def to_json(self) -> dict[str, Any]:
        """Give the profile as plain values, with the format version; below 1 MB as text."""
        return {"format_version": FORMAT_VERSION, **asdict(self)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any], *, source: Path) -> Self:
        """Rebuild a profile from `to_json`'s values, exactly.

        Args:
            content: the values.
            source: where they are from, for the error sentence.

        Raises:
            InputError: they are of another format version, or damaged.
        """
        if content.get("format_version") != FORMAT_VERSION:
            raise InputError(
                f"{source} has format version {content.get('format_version')}, this version reads "
                f"{FORMAT_VERSION}: {_REMEDY} again"
            )
        try:
            # By way of text: only there does a strict reader take a list for a tuple.
            return TypeAdapter(cls).validate_json(json.dumps(content), strict=True)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the profile"
            raise InputError(
                f"{source} is damaged ({where}: {first['msg']}): {_REMEDY} again"
            ) from error

    def save(self, path: Path) -> None:
        """Write the profile as JSON; the file appears only when complete."""
        write_json(path, self.to_json())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a profile that `save` wrote.

        Raises:
            InputError: the file is absent, damaged or of another format version.
        """
        return cls.from_json(
            read_json(path, what="a folder with a profile", remedy=_REMEDY), source=path
        )


def profile(interactions: Interactions, times: Times | None = None) -> Profile:
    """Describe interactions.

    Args:
        interactions: what to describe.
        times: (nnz,) milliseconds since 1970-01-01 UTC of the stored entries, in the order of
            `interactions.matrix.data`; NumPy's NaT (the smallest int64) where one is unknown.

    Returns:
        The profile. It depends on the numbering of users and items only through the fingerprint.

    Raises:
        ValueError: `times` is not aligned with the entries.
    """
    matrix = interactions.matrix
    if times is not None and times.shape != matrix.data.shape:
        raise ValueError(f"{len(times)} times do not fit {matrix.nnz} interactions")
    n_users, n_items = matrix.shape
    activity = np.diff(matrix.indptr).astype(np.int64)
    popularity = np.bincount(matrix.indices, minlength=n_items).astype(np.int64)
    user_keys, item_keys = keys_of(interactions.users), keys_of(interactions.items)
    return Profile(
        users=n_users,
        items=n_items,
        interactions=len(interactions),
        density=len(interactions) / max(1, n_users * n_items),
        activity=Counts.of(activity),
        popularity=Counts.of(popularity),
        timeline=None if times is None else Timeline.of(times),
        heaviest_users=_ranked(interactions.users, activity, user_keys),
        most_popular_items=_ranked(interactions.items, popularity, item_keys),
        fingerprint=interactions.fingerprint,
        user_sample=IdSample.of(user_keys),
        item_sample=IdSample.of(item_keys),
        top_items=TopItems.of(popularity, item_keys),
    )


def _ranked(ids: IdMap, counts: npt.NDArray[np.int64], keys: Keys) -> tuple[Ranked, ...]:
    places = largest(counts, keys, _SHOWN)
    names = (str(one) for one in ids.ids(places))
    return tuple(
        Ranked(name if len(name) <= _LONGEST_ID else name[: _LONGEST_ID - 1] + "…", count)
        for name, count in zip(names, counts[places].tolist(), strict=True)
    )
