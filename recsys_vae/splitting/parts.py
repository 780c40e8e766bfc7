"""From a label on every interaction to the five matrices of a split with weak generalization."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from recsys_vae.errors import InputError
from recsys_vae.interactions import Interactions
from recsys_vae.splitting.split import FoldIn, Split

TRAIN: Final = 0
VALIDATION: Final = 1
TEST: Final = 2


def assemble(
    interactions: Interactions,
    part_N: npt.NDArray[np.int8],
    description: dict[str, Any],
    *,
    catalogue: npt.NDArray[np.bool_] | None = None,
    keep_new_users: bool = False,
) -> Split:
    """Build the split in which the same users train and are judged.

    The items are those of the training part, or the catalogue. A user is judged on what the part
    holds of these items; what earlier parts hold is given. Users who have nothing there are not
    judged, users to whom nothing can be given neither.

    Args:
        interactions: all of them.
        part_N: (nnz,) `TRAIN`, `VALIDATION` or `TEST` for each.
        description: how it was done; what is left out is added to its entry `counts`.
        catalogue: (items,) which items the models shall know; None: those with an interaction in
            the training part.
        keep_new_users: whether users without given items are judged all the same.

    Returns:
        The split. What stands in no part is counted, interaction by interaction.

    Raises:
        InputError: nobody is left to be judged.
    """
    if catalogue is None:
        catalogue = np.zeros(len(interactions.items), dtype=bool)
        catalogue[interactions.matrix.indices[part_N == TRAIN]] = True
    known_N = catalogue[interactions.matrix.indices]
    before_UP = _per_user(interactions, part_N)
    clean = interactions.columns(np.flatnonzero(catalogue))
    part_N = part_N[known_N]
    count_UP = _per_user(clean, part_N)

    counts: dict[str, int] = {}
    folds = []
    for name, part in (("validation", VALIDATION), ("test", TEST)):
        asked_U, given_U = count_UP[:, part] > 0, count_UP[:, :part].sum(axis=1) > 0
        new_U = asked_U & ~given_U
        lost_U = before_UP[:, part] - count_UP[:, part]
        counts[f"{name}_new_users"] = int(new_U.sum())
        counts[f"{name}_users_dropped_unknown_items"] = int(((lost_U > 0) & ~asked_U).sum())
        counts[f"{name}_interactions_dropped_unknown_item"] = int(lost_U.sum())
        if not keep_new_users:
            dropped = int(count_UP[new_U, part].sum())
            counts[f"{name}_interactions_dropped_new_user"] = dropped
            asked_U &= given_U
        users = np.flatnonzero(asked_U)
        if not len(users):
            raise InputError(
                f"nobody is left for {name}, because no user has both a history and something to "
                "find among the items of train: give more data, or hold out another part"
            )
        folds.append(
            FoldIn(clean.where(part_N < part).rows(users), clean.where(part_N == part).rows(users))
        )
    train = clean.where(part_N == TRAIN).rows(np.flatnonzero(count_UP[:, TRAIN] > 0))
    description = description | {"counts": description.get("counts", {}) | counts}
    return Split(train, folds[0], folds[1], description)


def _per_user(interactions: Interactions, part_N: npt.NDArray[np.int8]) -> npt.NDArray[np.int64]:
    """Count each user's interactions in each part: (users, 3)."""
    n_users = len(interactions.users)
    counts = np.bincount(interactions.row_numbers * 3 + part_N, minlength=3 * n_users)
    return counts.reshape(n_users, 3)
