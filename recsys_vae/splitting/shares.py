"""Shares of each user's items."""

from typing import Any

import numpy as np
import numpy.typing as npt

from recsys_vae.errors import InputError


def check_share(option: str, share: float) -> None:
    """Refuse a share that is not strictly between 0 and 1.

    Raises:
        InputError: it is none; the sentence names the option.
    """
    if not 0.0 < share < 1.0:
        raise InputError(f"{option} {share} must lie between 0 and 1, for example 0.2")


def floors(share: float, lengths: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.int64]:
    """Give floor(share x length) for each user.

    >>> floors(0.2, np.array([4, 5, 14]))
    array([0, 1, 2])
    >>> floors(0.7, np.array([90]))  # where 0.7 * 90 is 62.99999999999999
    array([63])
    """
    counts: npt.NDArray[np.int64] = np.floor(share * lengths * (1 + 1e-12)).astype(np.int64)
    return counts
