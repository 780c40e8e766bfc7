"""A split: what is learned from, and users whose histories are given in part."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from scipy.sparse import csr_array

from recsys_vae.errors import InputError, reason
from recsys_vae.files import atomic_folder, read_json, write_json
from recsys_vae.interactions import IdMap, Interactions, load_interactions, save_interactions
from recsys_vae.interactions.interactions import csr_from_pairs

MANIFEST = "split.json"
_PARTS = ("train", "validation-given", "validation-held-out", "test-given", "test-held-out")
CONTENTS = (*_PARTS, MANIFEST)
VALIDATION_FROM: Final = "validation_from_ms"
"""Entry of the description: the held-out interactions of the validation begin here, if in time."""
TEST_FROM: Final = "test_from_ms"
"""The same of the test."""
Generalization = Literal["strong", "weak"]


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
        if _overlap(self.given.matrix, self.held_out.matrix):
            raise ValueError("a held-out interaction is also given")


@dataclass(frozen=True, slots=True)
class Split:
    """What is learned from, what models are chosen on, and what they are judged on.

    Attributes:
        train: the training users' interactions; its items are the catalogue.
        validation: for early stopping and hyper-parameters.
        test: for the last word.
        description: how the split was made: its `kind`, its `generalization` ("strong": judged
            users do not train; "weak": they may, with their other items), options, and in
            `counts` how many users and interactions are left out, and why.

    Raises:
        ValueError: the parts number items differently, a judged user trains (strong), a held-out
            interaction is in train (weak), or something learned from or given is not older than
            what is to be found (where the description names the times).
    """

    train: Interactions
    validation: FoldIn
    test: FoldIn
    description: dict[str, Any]

    def __post_init__(self) -> None:
        """Check that what is judged was not learned."""
        if self.description.get("generalization") not in ("strong", "weak"):
            raise ValueError("the description must name the generalization, strong or weak")
        if not isinstance(self.description.get("kind"), str):
            raise ValueError("the description must name the kind of the split")
        for fold in (self.validation, self.test):
            if fold.given.items.fingerprint != self.train.items.fingerprint:
                raise ValueError("all parts must have the items of train")
            numbers = self.train.users.numbers(
                fold.given.users.ids(np.arange(len(fold.given.users))), missing="mark"
            )
            trained = np.flatnonzero(numbers >= 0)
            if self.generalization == "strong" and len(trained):
                raise ValueError(f"{len(trained)} held-out users are also in train")
            if _overlap(self.train.matrix[numbers[trained]], fold.held_out.matrix[trained]):
                raise ValueError("a held-out interaction is also in train")
        if VALIDATION_FROM in self.description:
            self._check_times(self.description[VALIDATION_FROM], self.description[TEST_FROM])

    @property
    def kind(self) -> str:
        """How it was made, such as "strong" or "temporal"."""
        return str(self.description["kind"])

    @property
    def generalization(self) -> Generalization:
        """Whether judged users are strangers to the model ("strong") or may have trained it."""
        return "strong" if self.description["generalization"] == "strong" else "weak"

    def with_validation(self) -> Interactions:
        """Give what is known once settings are chosen: train, and what validation held out.

        Returns:
            The interactions of training users, and of validation users what was given and what
            was to be found; without times.

        Raises:
            InputError: the test asks for some of it.
        """
        parts = (self.train, self.validation.given, self.validation.held_out)
        users = IdMap.of(
            np.concatenate([one.users.ids(np.arange(len(one.users))) for one in parts])
        )
        rows, columns, values = [], [], []
        for one in parts:
            own = users.numbers(one.users.to_arrow())
            rows.append(own[one.row_numbers])
            columns.append(one.matrix.indices.astype(np.int64))
            values.append(one.matrix.data)
        matrix = csr_from_pairs(
            np.concatenate(rows),
            np.concatenate(columns),
            np.concatenate(values),
            (len(users), len(self.train.items)),
        )
        numbers = users.numbers(self.test.held_out.users.to_arrow(), missing="mark")
        known = np.flatnonzero(numbers >= 0)
        if _overlap(matrix[numbers[known]], self.test.held_out.matrix[known]):
            raise InputError(
                "validation holds what the test asks for, so that a model must not learn from it: "
                "make the split again, or give --refit no"
            )
        return Interactions(users, self.train.items, matrix)

    def _check_times(self, validation_from: int, test_from: int) -> None:
        """Check that no part leaks over a boundary, as far as times are at hand."""
        bounds = {
            "train": (None, validation_from),
            "validation-given": (None, validation_from),
            "validation-held-out": (validation_from, test_from),
            "test-given": (None, test_from),
            "test-held-out": (test_from, None),
        }
        for name, part in self.parts.items():
            low, high = bounds[name]
            if part.times is None or not len(part.times):
                continue
            if (low is not None and part.times.min() < low) or (
                high is not None and part.times.max() >= high
            ):
                raise ValueError(f"the times of {name} leak over the boundary between the parts")

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
    try:
        return Split(
            parts["train"],
            FoldIn(parts["validation-given"], parts["validation-held-out"]),
            FoldIn(parts["test-given"], parts["test-held-out"]),
            description,
        )
    except ValueError as error:
        raise InputError(f"{folder} is damaged ({reason(error)}): {remedy} again") from error


def counts(split: Split) -> dict[str, int]:
    """Count users, items and interactions of each part, and who and what is left out."""
    result = {"train_users": len(split.train.users), "items": len(split.train.items)}
    for name, part in split.parts.items():
        result[f"{name.replace('-', '_')}_interactions"] = len(part)
    for name, fold in (("validation", split.validation), ("test", split.test)):
        result[f"{name}_users"] = len(fold.given.users)
        empty = np.diff(fold.held_out.matrix.indptr) == 0
        result[f"{name}_users_without_held_out"] = int(empty.sum())
    return {**result, **split.description.get("counts", {})}


def _overlap(one: csr_array, other: csr_array) -> bool:
    """Say whether two matrices store an entry at the same place, whatever its value."""
    first, second = (
        csr_array((np.ones(m.nnz, dtype=np.int8), m.indices, m.indptr), shape=m.shape)
        for m in (one, other)
    )
    return bool(first.multiply(second).nnz)
