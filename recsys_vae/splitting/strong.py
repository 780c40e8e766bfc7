"""Strong generalization: whole users are held out, and fold in with part of their history."""

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np

from recsys_vae.errors import InputError
from recsys_vae.interactions import Interactions
from recsys_vae.splitting.draws import id_keys, order_within_users, pair_noise
from recsys_vae.splitting.shares import check_share, floors
from recsys_vae.splitting.split import FoldIn, Split

_LARGE = 10_000
_SMALL = 100
_MIN_USERS = 3
_MIN_TO_HOLD_OUT = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class StrongOptions:
    """How to split.

    Attributes:
        held_out_users: validation users, and as many test users; None: a tenth of all, but
            within 100 and 10,000 and never more than a fifth.
        held_out_share: share of a held-out user's items that is to be found, within 0 and 1.
        seed: the same seed and users give the same split, whatever the order of the rows.

    Raises:
        InputError: the share is out of range.
    """

    kind: ClassVar[str] = "strong"
    held_out_users: int | None = None
    held_out_share: float = 0.2
    seed: int = 98765

    def __post_init__(self) -> None:
        """Refuse a share that is none."""
        check_share("--held-out-share", self.held_out_share)


def split_strong(interactions: Interactions, options: StrongOptions) -> Split:
    """Split by users, as Liang et al. do.

    Users are shuffled; some are for validation, as many for test, the rest trains. The items
    are those of the training users; other interactions of held-out users are left out and
    counted. Of a held-out user with at least five items, floor(share x items) are held out, the
    others are given; with fewer, all are given and the user is not judged.

    Source: D. Liang, R. Krishnan, M. Hoffman, T. Jebara, Variational Autoencoders for
    Collaborative Filtering, WWW 2018, section 4.1, and the authors' published notebook.

    Args:
        interactions: all users.
        options: sizes and seed.

    Returns:
        The split. A user's part depends on the seed and the set of users alone, a user's held-out
        items on the seed, the user's id and the user's own items.

    Raises:
        InputError: the size is out of range, or too few users are there.
    """
    n_users = len(interactions.users)
    size = _default_size(n_users) if options.held_out_users is None else options.held_out_users
    if n_users < _MIN_USERS:
        raise InputError(f"{n_users} users cannot be split: give data with at least {_MIN_USERS}")
    if size < 1 or 2 * size >= n_users:
        raise InputError(
            f"{size} validation and {size} test users cannot be held out of {n_users} users: "
            f"choose --held-out-users between 1 and {(n_users - 1) // 2}"
        )
    order = np.argsort(id_keys(interactions.users, options.seed), kind="stable")
    train = interactions.rows(order[2 * size :])
    seen = np.unique(train.matrix.indices)
    folds, counts = [], {}
    for name, rows in (("validation", order[:size]), ("test", order[size : 2 * size])):
        part = interactions.rows(rows)
        known = part.columns(seen)
        counts[f"{name}_interactions_dropped_unknown_item"] = len(part) - len(known)
        folds.append(_fold(known, options))
    description: dict[str, Any] = {
        "kind": options.kind,
        "generalization": "strong",
        **asdict(options),
        "held_out_users": size,
        "counts": counts,
        "source_fingerprint": interactions.fingerprint,
    }
    return Split(train.columns(seen), folds[0], folds[1], description)


def _default_size(n_users: int) -> int:
    return min(max(n_users // 10, _SMALL), _LARGE, max(n_users // 5, 1))


def _fold(interactions: Interactions, options: StrongOptions) -> FoldIn:
    lengths = np.diff(interactions.matrix.indptr)
    n_held = floors(options.held_out_share, lengths)
    n_held[lengths < _MIN_TO_HOLD_OUT] = 0
    _, places = order_within_users(interactions, pair_noise(interactions, options.seed))
    held = places < n_held[interactions.row_numbers]
    return FoldIn(interactions.where(~held), interactions.where(held))
