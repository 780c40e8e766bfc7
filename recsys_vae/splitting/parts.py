"""From a label on every interaction to the five matrices of a split with weak generalization."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

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
        description: how it was done; what is left out is counted in its entry `left_out`.
        catalogue: (items,) which items the models shall know; None: those with an interaction in
            the training part.
        keep_new_users: whether users without given items are judged all the same.

    Returns:
        The split. What stands in no part is counted, interaction by interaction.
    """
    if catalogue is None:
        catalogue = np.zeros(len(interactions.items), dtype=bool)
        catalogue[interactions.matrix.indices[part_N == TRAIN]] = True
    known_N = catalogue[interactions.matrix.indices]
    before_UP = _per_user(interactions, part_N)
    clean = interactions.columns(np.flatnonzero(catalogue))
    part_N = part_N[known_N]
    count_UP = _per_user(clean, part_N)

    left_out: dict[str, int] = {}
    folds = []
    for name, part in (("validation", VALIDATION), ("test", TEST)):
        asked_U, given_U = count_UP[:, part] > 0, count_UP[:, :part].sum(axis=1) > 0
        new_U = asked_U & ~given_U
        lost = before_UP[:, part] - count_UP[:, part]
        left_out[f"{name}_interactions_with_items_not_in_train"] = int(lost.sum())
        left_out[f"{name}_users_with_no_item_in_train"] = int(((lost > 0) & ~asked_U).sum())
        if not keep_new_users:
            left_out[f"{name}_users_without_history"] = int(new_U.sum())
            left_out[f"{name}_interactions_of_users_without_history"] = int(
                count_UP[new_U, part].sum()
            )
            asked_U &= given_U
        users = np.flatnonzero(asked_U)
        folds.append(
            FoldIn(clean.where(part_N < part).rows(users), clean.where(part_N == part).rows(users))
        )
    train = clean.where(part_N == TRAIN).rows(np.flatnonzero(count_UP[:, TRAIN] > 0))
    description = description | {"left_out": description.get("left_out", {}) | left_out}
    return Split(train, folds[0], folds[1], description)


def _per_user(interactions: Interactions, part_N: npt.NDArray[np.int8]) -> npt.NDArray[np.int64]:
    """Count each user's interactions in each part: (users, 3)."""
    n_users = len(interactions.users)
    counts = np.bincount(interactions.row_numbers * 3 + part_N, minlength=3 * n_users)
    return counts.reshape(n_users, 3)
