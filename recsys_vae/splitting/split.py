"""A split: training users, and held-out users whose histories are given in part."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recsys_vae.errors import InputError
from recsys_vae.files import atomic_folder, read_json, write_json
from recsys_vae.interactions import Interactions, load_interactions, save_interactions

MANIFEST = "split.json"
_PARTS = ("train", "validation-given", "validation-held-out", "test-given", "test-held-out")
CONTENTS = (*_PARTS, MANIFEST)


@dataclass(frozen=True, slots=True)
class FoldIn:
    """Users whose items are given in part (`given`) and asked for in part (`held_out`).

    Both have the same users in the same order, and the same items.
    """

    given: Interactions
    held_out: Interactions

    def __post_init__(self) -> None:
        """Check that the two are row-aligned and share no interaction."""
        if self.given.users.fingerprint != self.held_out.users.fingerprint:
            raise ValueError("given and held-out interactions must have the same users")
        if self.given.items.fingerprint != self.held_out.items.fingerprint:
            raise ValueError("given and held-out interactions must have the same items")
        if self.given.matrix.astype(bool).multiply(self.held_out.matrix.astype(bool)).nnz:
            raise ValueError("a held-out interaction is also given")


@dataclass(frozen=True, slots=True)
class Split:
    """What is learned from, what models are chosen on, and what they are judged on.

    Attributes:
        train: the training users' interactions; its items are the catalogue.
        validation: for early stopping and hyper-parameters.
        test: for the last word.
        description: how the split was made, and what was left out and counted.
    """

    train: Interactions
    validation: FoldIn
    test: FoldIn
    description: dict[str, Any]

    @property
    def parts(self) -> dict[str, Interactions]:
        """The five matrices by name."""
        return dict(
            zip(
                _PARTS,
                (
                    self.train,
                    self.validation.given,
                    self.validation.held_out,
                    self.test.given,
                    self.test.held_out,
                ),
                strict=True,
            )
        )


def save_split(split: Split, folder: Path) -> None:
    """Write a split into `folder`, which appears only when complete."""
    with atomic_folder(folder, CONTENTS) as temporary:
        for name, part in split.parts.items():
            save_interactions(part, temporary / name)
        fingerprints = {name: part.fingerprint for name, part in split.parts.items()}
        write_json(temporary / MANIFEST, {**split.description, "fingerprints": fingerprints})


def load_split(folder: Path) -> Split:
    """Read a split.

    Raises:
        InputError: the folder is no split, incomplete or damaged.
    """
    remedy = "make it with 'recsys-vae split'"
    description = read_json(folder / MANIFEST, what="a split", remedy=remedy)
    parts = {name: load_interactions(folder / name) for name in _PARTS}
    fingerprints = description.pop("fingerprints", None)
    if fingerprints != {name: part.fingerprint for name, part in parts.items()}:
        raise InputError(f"{folder} is damaged (parts of different splits are mixed): {remedy}")
    return Split(
        parts["train"],
        FoldIn(parts["validation-given"], parts["validation-held-out"]),
        FoldIn(parts["test-given"], parts["test-held-out"]),
        description,
    )


def counts(split: Split) -> dict[str, int]:
    """Count users, items and interactions of each part, and users with nothing to find."""
    result = {"train_users": len(split.train.users), "items": len(split.train.items)}
    for name, part in split.parts.items():
        result[f"{name.replace('-', '_')}_interactions"] = len(part)
    for name, fold in (("validation", split.validation), ("test", split.test)):
        result[f"{name}_users"] = len(fold.given.users)
        empty = np.diff(fold.held_out.matrix.indptr) == 0
        result[f"{name}_users_without_held_out"] = int(empty.sum())
    return result
