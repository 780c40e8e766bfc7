"""Ready-made: the parts come from files that others have split, and are made to fit together."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from recsys_vae.errors import InputError
from recsys_vae.interactions import IdMap, Interactions
from recsys_vae.interactions.interactions import csr_from_sorted
from recsys_vae.splitting.draws import order_within_users, pair_noise
from recsys_vae.splitting.parts import TEST, TRAIN, VALIDATION, assemble
from recsys_vae.splitting.shares import check_share, floors
from recsys_vae.splitting.split import FoldIn, Split

READY_MADE = "ready-made"
_GIVEN, _HELD_OUT = 0, 1


def ready_made(
    train: Interactions,
    test: Interactions,
    *,
    validation: Interactions | None = None,
    validation_share: float = 0.1,
    seed: int = 98765,
) -> Split:
    """Take over parts in which the same users train and are tested (weak generalization).

    All items of `train` are the catalogue. Interactions with other items, of users who are not in
    train, and those that an earlier part holds already are left out and counted.

    Args:
        train: of the published file.
        test: of the published file; numbers its own users and items.
        validation: of the published file; None: taken from train, of a user with n items
            floor(validation_share n) by hashes of seed, user and item.
        validation_share: within 0 and 1.
        seed: of that draw.

    Returns:
        The split.

    Raises:
        InputError: the share is out of range, ids are of different types, or nobody can be judged.
    """
    check_share("--validation-share", validation_share)
    train_labels = np.full(len(train), TRAIN, dtype=np.int8)
    description: dict[str, Any] = {"kind": READY_MADE, "generalization": "weak"}
    description["source_fingerprints"] = {"train": train.fingerprint, "test": test.fingerprint}
    parts = [(train, train_labels), (test, np.full(len(test), TEST, dtype=np.int8))]
    if validation is None:
        n_held = floors(validation_share, np.diff(train.matrix.indptr))
        _, places = order_within_users(train, pair_noise(train, seed))
        train_labels[places < n_held[train.row_numbers]] = VALIDATION
        description |= {"validation_share": validation_share, "seed": seed}
    else:
        parts.append((validation, np.full(len(validation), VALIDATION, dtype=np.int8)))
        description["source_fingerprints"]["validation"] = validation.fingerprint
    whole = _combine(parts)
    catalogue = np.zeros(len(whole.interactions.items), dtype=bool)
    catalogue[_numbers(train.items, whole.interactions.items)] = True
    description["counts"] = {
        f"{name}_interactions_dropped_already_given": whole.repeated(part)
        for name, part in (("validation", VALIDATION), ("test", TEST))
    }
    return assemble(whole.interactions, whole.label_N, description, catalogue=catalogue)


@dataclass(frozen=True, slots=True)
class Halves:
    """What is given of held-out users and what is to be found, as read from two files."""

    given: Interactions
    held_out: Interactions


def ready_made_strong(train: Interactions, validation: Halves, test: Halves) -> Split:
    """Take over parts whose held-out users do not train, as in the protocol of Mult-VAE.

    The items of `train` are the catalogue. Interactions with other items, held-out ones that are
    also given, and those of users to whom nothing is given are left out and counted.

    Args:
        train: of the training users.
        validation: of the validation users.
        test: of the test users.

    Returns:
        The split.

    Raises:
        InputError: a user stands in two parts, ids are of different types, or nobody is left.
    """
    counts: dict[str, int] = {}
    folds = []
    for name, halves in (("validation", validation), ("test", test)):
        fold = _fold(name, halves, train.items, counts)
        _refuse_shared_users(name, fold.given.users, "train", train.users)
        folds.append(fold)
    _refuse_shared_users("test", folds[1].given.users, "validation", folds[0].given.users)
    description: dict[str, Any] = {"kind": READY_MADE, "generalization": "strong"}
    description["counts"] = counts
    description["source_fingerprints"] = {
        "train": train.fingerprint,
        "validation-given": validation.given.fingerprint,
        "validation-held-out": validation.held_out.fingerprint,
        "test-given": test.given.fingerprint,
        "test-held-out": test.held_out.fingerprint,
    }
    return Split(train, folds[0], folds[1], description)


@dataclass(frozen=True, slots=True)
class _Whole:
    """Parts under one numbering, each pair once, in its earliest part."""

    interactions: Interactions
    label_N: npt.NDArray[np.int8]
    repeated_labels: npt.NDArray[np.int8]

    def repeated(self, label: int) -> int:
        """Count what was left out of a part because an earlier part has it."""
        return int((self.repeated_labels == label).sum())


def _combine(parts: Sequence[tuple[Interactions, npt.NDArray[np.int8]]]) -> _Whole:
    """Number users and items of all parts together; of repeated pairs keep the least label."""
    for role in ("users", "items"):
        _refuse_mixed_kinds([getattr(part, role) for part, _ in parts], role)
    users = IdMap.of(np.concatenate([_all(part.users) for part, _ in parts]))
    items = IdMap.of(np.concatenate([_all(part.items) for part, _ in parts]))
    rows = np.concatenate([_numbers(part.users, users)[part.row_numbers] for part, _ in parts])
    columns = np.concatenate(
        [_numbers(part.items, items)[part.matrix.indices] for part, _ in parts]
    )
    labels = np.concatenate([label_N for _, label_N in parts])
    values = np.concatenate([part.matrix.data for part, _ in parts])
    key = rows * len(items) + columns
    # The parts are sorted already, which a stable sort makes use of.
    order = np.argsort(key * 3 + labels, kind="stable")
    first = np.ones(len(order), dtype=bool)
    first[1:] = key[order][1:] != key[order][:-1]
    kept = order[first]
    known_times = [part.times for part, _ in parts if part.times is not None]
    times = np.concatenate(known_times)[kept] if len(known_times) == len(parts) else None
    matrix = csr_from_sorted(rows[kept], columns[kept], values[kept], (len(users), len(items)))
    interactions = Interactions(users, items, matrix, times=times)
    return _Whole(interactions, labels[kept], labels[order[~first]])


def _fold(name: str, halves: Halves, items: IdMap, counts: dict[str, int]) -> FoldIn:
    given_labels = np.full(len(halves.given), _GIVEN, dtype=np.int8)
    held_labels = np.full(len(halves.held_out), _HELD_OUT, dtype=np.int8)
    _refuse_mixed_kinds([halves.given.items, halves.held_out.items, items], "items")
    whole = _combine([(halves.given, given_labels), (halves.held_out, held_labels)])
    counts[f"{name}_interactions_dropped_already_given"] = whole.repeated(_HELD_OUT)
    numbers = items.numbers(_all(whole.interactions.items), missing="mark")
    known_N = numbers[whole.interactions.matrix.indices] >= 0
    counts[f"{name}_interactions_dropped_unknown_item"] = int((~known_N).sum())
    known = whole.interactions.where(known_N)
    # Ids are sorted here and there, so numbers of the catalogue rise with those of the fold.
    columns = numbers[known.matrix.indices]
    rows, n_users = known.row_numbers, len(known.users)
    matrix = csr_from_sorted(rows, columns, known.matrix.data, (n_users, len(items)))
    fitted = Interactions(known.users, items, matrix, times=known.times)
    held_N = whole.label_N[known_N] == _HELD_OUT
    given_U = np.bincount(rows[~held_N], minlength=n_users) > 0
    counts[f"{name}_new_users"] = int((~given_U).sum())
    counts[f"{name}_interactions_dropped_new_user"] = int((held_N & ~given_U[rows]).sum())
    kept = np.flatnonzero(given_U)
    fold = FoldIn(fitted.where(~held_N).rows(kept), fitted.where(held_N).rows(kept))
    if not len(fold.held_out):
        raise InputError(
            f"nobody is left for {name}, because no user has both given and held-out items of "
            "train: give files of the same data"
        )
    return fold


def _refuse_mixed_kinds(maps: Sequence[IdMap], role: str) -> None:
    if len({ids.kind for ids in maps if len(ids)}) > 1:
        raise InputError(
            f"the ids of {role} are integers in one part and strings in another: write them alike "
            "in all files"
        )


def _refuse_shared_users(name: str, users: IdMap, other_name: str, others: IdMap) -> None:
    ids = _all(users)
    shared = ids[others.numbers(ids, missing="mark") >= 0].tolist()
    if shared:
        raise InputError(
            f"user {shared[0]!r} of the {name} part is also in {other_name} ({len(shared)} in "
            "all): give parts of different users, or take them over as weak generalization"
        )


def _all(ids: IdMap) -> npt.NDArray[Any]:
    return ids.ids(np.arange(len(ids)))


def _numbers(some: IdMap, among: IdMap) -> npt.NDArray[np.int64]:
    """Say which number each id of one map has in another map that holds them all."""
    return among.numbers(_all(some))
