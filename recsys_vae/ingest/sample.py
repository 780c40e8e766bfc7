"""The embedded sample: made-up films, and viewers with a few tastes each, from a seed."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from recsys_vae.ingest.catalogue import Catalogue

_GENRES: Final[dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "Western": (("Dusty", "Lonesome", "Silver", "Last"), ("Canyon", "Saddle", "Marshal", "Stage")),
    "Space Opera": (("Distant", "Burning", "Ninth", "Lost"), ("Nebula", "Fleet", "Orbit", "Moon")),
    "Heist": (("Perfect", "Velvet", "Double", "Quiet"), ("Vault", "Getaway", "Alibi", "Score")),
    "Ghost Story": (("Pale", "Hollow", "Veiled", "Locked"), ("Manor", "Attic", "Bell", "Hour")),
    "Romance": (("Gentle", "Second", "Summer", "Secret"), ("Letter", "Kiss", "Promise", "Waltz")),
    "Courtroom": (("Hostile", "Final", "Sealed", "Tenth"), ("Witness", "Verdict", "Oath", "Plea")),
    "Musical": (("Golden", "Swinging", "Roaring", "Loud"), ("Chorus", "Tune", "Curtain", "Band")),
    "Spy": (("Cold", "Crimson", "Broken", "Shadow"), ("Cipher", "Agent", "Embassy", "Dossier")),
    "Martial Arts": (("Iron", "Jade", "Drunken", "Flying"), ("Fist", "Temple", "Crane", "Blade")),
    "Animation": (("Brave", "Tiny", "Magic", "Sleepy"), ("Acorn", "Dragon", "Teapot", "Puppy")),
    "Disaster": (("Rising", "Raging", "Sinking", "Falling"), ("Flood", "Tower", "Quake", "Storm")),
    "Documentary": (("Hidden", "Living", "Ancient", "Deep"), ("Reef", "Desert", "City", "Forest")),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sample:
    """A made-up data set: rows (`user`, `item`, `rating`) and what the items are called."""

    ratings: pd.DataFrame
    catalogue: Catalogue


def make_sample(*, n_users: int = 5_000, n_items: int = 2_000, seed: int = 7) -> Sample:
    """Draw a data set in which knowing a viewer's tastes beats knowing what is popular.

    Each film has one genre, sometimes two, and an appeal with a long tail (Zipf-like). Each
    viewer has one to three favourite genres, and takes nine films in ten from them, by appeal.
    Ratings are 4 or 5 within the tastes and 1 to 5 outside.

    Args:
        n_users: viewers; ids are texts such as "viewer-0001".
        n_items: films; ids are integers from 1001.
        seed: the same seed gives the same rows.

    Returns:
        The rows and the catalogue.

    >>> sample = make_sample(n_users=50, n_items=100)
    >>> list(sample.ratings.columns)
    ['user', 'item', 'rating']
    """
    rng = np.random.default_rng(seed)
    genres = list(_GENRES)
    first = rng.integers(len(genres), size=n_items)
    second = np.where(rng.random(n_items) < 0.15, rng.integers(len(genres), size=n_items), first)
    appeal = (1.0 + rng.permutation(n_items)) ** -0.8
    member = np.zeros((len(genres), n_items))
    member[first, np.arange(n_items)] = 1.0
    member[second, np.arange(n_items)] = 1.0

    users, items, ratings = [], [], []
    for user in range(n_users):
        tastes = rng.choice(len(genres), size=rng.integers(1, 4), replace=False)
        weight = rng.dirichlet(np.full(len(tastes), 2.0))
        liked = weight @ (member[tastes] * appeal / (member[tastes] @ appeal)[:, None])
        taste = 0.9 * liked + 0.1 * appeal / appeal.sum()
        size = int(np.clip(rng.lognormal(3.2, 0.6), 6, n_items // 4))
        chosen = _weighted_without_replacement(taste, size, rng)
        inside = member[tastes][:, chosen].any(axis=0)
        rating = np.where(inside, rng.integers(4, 6, size=size), rng.integers(1, 6, size=size))
        users.append(np.full(size, user))
        items.append(chosen)
        ratings.append(rating)
    names = np.array([f"viewer-{user:04d}" for user in range(n_users)], dtype=object)
    frame = pd.DataFrame(
        {
            "user": names[np.concatenate(users)],
            "item": np.concatenate(items) + 1001,
            "rating": np.concatenate(ratings).astype(float),
        }
    )
    return Sample(frame, _catalogue(first, second, genres, rng))


def _weighted_without_replacement(
    weight: npt.NDArray[np.float64], size: int, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    # The largest of log w + Gumbel noise are a weighted sample without replacement.
    keys = np.log(weight) + rng.gumbel(size=len(weight))
    return np.argpartition(-keys, size)[:size].astype(np.int64)


def _catalogue(
    first: npt.NDArray[np.int64],
    second: npt.NDArray[np.int64],
    genres: list[str],
    rng: np.random.Generator,
) -> Catalogue:
    used: dict[str, int] = {}
    titles, labels = [], []
    for one, other in zip(first, second, strict=True):
        adjectives, nouns = _GENRES[genres[one]]
        stem = f"The {rng.choice(adjectives)} {rng.choice(nouns)}"
        used[stem] = used.get(stem, 0) + 1
        titles.append(stem if used[stem] == 1 else f"{stem} {used[stem]}")
        labels.append(genres[one] if one == other else f"{genres[one]}|{genres[other]}")
    index = pd.Index(np.arange(len(titles)) + 1001)
    return Catalogue(pd.DataFrame({"title": titles, "genres": labels}, index=index, dtype=object))
