"""Weak generalization: of each user some interactions are held out, and the user trains too."""

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np

from recsys_vae.errors import InputError
from recsys_vae.interactions import Interactions
from recsys_vae.splitting.draws import order_within_users, pair_noise
from recsys_vae.splitting.parts import TEST, TRAIN, VALIDATION, assemble
from recsys_vae.splitting.shares import check_share, floors
from recsys_vae.splitting.split import Split

NEEDS_TIMES = (
    "which the data lack: ingest a file with a column of times (--timestamp-column), or choose a "
    "split that is strong or random"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaveLastOutOptions:
    """How to hold out what came last.

    Attributes:
        last: interactions per user for test, and as many before them for validation.
        seed: decides between interactions of one user at the same time.

    Raises:
        InputError: `last` is below 1.
    """

    kind: ClassVar[str] = "leave-last-out"
    last: int = 1
    seed: int = 98765

    def __post_init__(self) -> None:
        """Refuse to hold out nothing."""
        if self.last < 1:
            raise InputError(f"--last {self.last} must be at least 1, for example 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomOptions:
    """How to hold out a random share of each user's items.

    Attributes:
        held_out_share: share of a user's items for test, within 0 and 1.
        validation_share: share of a user's items for validation, within 0 and 1.
        seed: the same seed and ids give the same split, whatever the order of the rows.

    Raises:
        InputError: a share is out of range, or together they leave nothing to learn from.
    """

    kind: ClassVar[str] = "random"
    held_out_share: float = 0.2
    validation_share: float = 0.1
    seed: int = 98765

    def __post_init__(self) -> None:
        """Refuse shares that are none."""
        check_share("--held-out-share", self.held_out_share)
        check_share("--validation-share", self.validation_share)
        if self.held_out_share + self.validation_share >= 1.0:
            raise InputError(
                f"--held-out-share {self.held_out_share} and --validation-share "
                f"{self.validation_share} leave nothing to learn from: choose less than 1 together"
            )


def split_leave_last_out(interactions: Interactions, options: LeaveLastOutOptions) -> Split:
    """Hold out each user's latest interactions.

    Of a user with at least 2 k + 1 interactions (k = `last`) the latest k are for test, the k
    before for validation, the others train; with fewer, all train and the user is not judged.
    Interactions at the same time are ordered by hashes of user, item and seed; how many users'
    parts that decided is counted.

    Args:
        interactions: with times.
        options: how many, and the seed.

    Returns:
        The split. `description["counts"]` says how many users have too few interactions, and how
        many have ties at a cut.

    Raises:
        InputError: times are not known, or no user has enough interactions.
    """
    if interactions.times is None:
        raise InputError(f"a leave-last-out split needs times, {NEEDS_TIMES}")
    lengths = np.diff(interactions.matrix.indptr)
    judged = lengths >= 2 * options.last + 1
    if not judged.any():
        raise InputError(
            f"no user has the {2 * options.last + 1} interactions that --last {options.last} "
            "needs: choose a smaller one, or give longer histories"
        )
    order, places = order_within_users(
        interactions, interactions.times, pair_noise(interactions, options.seed)
    )
    rows = interactions.row_numbers
    from_end = lengths[rows] - 1 - places
    part = np.full(len(rows), TRAIN, dtype=np.int8)
    part[judged[rows] & (from_end < 2 * options.last)] = VALIDATION
    part[judged[rows] & (from_end < options.last)] = TEST

    ends = interactions.matrix.indptr[1:][judged]
    in_order = interactions.times[order]
    tied = np.zeros(len(ends), dtype=bool)
    for cut in (ends - options.last, ends - 2 * options.last):
        tied |= in_order[cut] == in_order[cut - 1]
    description = _description(interactions, options)
    description["counts"] = {
        "users_with_too_few_to_be_judged": int((~judged).sum()),
        "users_with_ties_at_a_cut": int(tied.sum()),
    }
    return assemble(interactions, part, description)


def split_random(interactions: Interactions, options: RandomOptions) -> Split:
    """Hold out a random share of each user's items.

    Of a user with n items, floor(held_out_share n) are for test and floor(validation_share n) for
    validation, the others train: with the shares 0.2 and 0.1, users are tested from five items on
    and validated from ten on. Which items these are depends on the seed and the ids alone.

    Args:
        interactions: all users.
        options: shares and seed.

    Returns:
        The split.

    Raises:
        InputError: no user has enough items for one of the parts.
    """
    lengths = np.diff(interactions.matrix.indptr)
    n_test = floors(options.held_out_share, lengths)
    n_validation = floors(options.validation_share, lengths)
    for option, share, counts in (
        ("--held-out-share", options.held_out_share, n_test),
        ("--validation-share", options.validation_share, n_validation),
    ):
        if not counts.any():
            raise InputError(
                f"{option} {share} is less than one item of every user: choose a larger one"
            )
    _, places = order_within_users(interactions, pair_noise(interactions, options.seed))
    rows = interactions.row_numbers
    part = np.full(len(rows), TRAIN, dtype=np.int8)
    part[places < (n_test + n_validation)[rows]] = VALIDATION
    part[places < n_test[rows]] = TEST
    description = _description(interactions, options)
    few = (n_test == 0) & (n_validation == 0)
    description["counts"] = {"users_with_too_few_to_be_judged": int(few.sum())}
    return assemble(interactions, part, description)


def _description(
    interactions: Interactions, options: LeaveLastOutOptions | RandomOptions
) -> dict[str, Any]:
    return {
        "kind": options.kind,
        "generalization": "weak",
        **asdict(options),
        "source_fingerprint": interactions.fingerprint,
    }
