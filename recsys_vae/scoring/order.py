"""That every user comes once: for nothing where ids rise, for eight bytes a user elsewhere."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from recsys_vae.errors import InputError
from recsys_vae.interactions import IdArray


class Once:
    """Refuses a user who comes twice.

    As long as ids rise from one user to the next nobody can come again, and nothing is remembered.
    The first that does not rise has the whole source looked through, once.

    Args:
        again: gives all users of the source from the beginning, piece by piece.
        name: of the source, for the message.
    """

    def __init__(self, again: Callable[[], Iterator[IdArray]], name: str) -> None:
        """Remember nothing yet."""
        self._again, self._name = again, name
        self._last: Any = None
        self._checked = False

    def refuse_again(self, users: IdArray) -> None:
        """Take the next users.

        Raises:
            InputError: one of the source's users comes twice.
        """
        if self._checked or not len(users):
            return
        rising = bool((users[1:] > users[:-1]).all())
        if not rising or (self._last is not None and users[0] <= self._last):
            self._look_through()
        self._last = users[-1]

    def _look_through(self) -> None:
        self._checked = True
        hashes = np.concatenate([pd.util.hash_array(piece) for piece in self._again()])
        ordered = np.sort(hashes)
        twice = ordered[1:][ordered[1:] == ordered[:-1]]
        if not len(twice):
            return
        # Two ids may share a hash: only those that do are looked at.
        seen: set[Any] = set()
        found: list[Any] = []
        for piece in self._again():
            for user in piece[np.isin(pd.util.hash_array(piece), twice)].tolist():
                if user in seen:
                    found.append(user)
                seen.add(user)
        if found:
            raise InputError(
                f"{self._name}: the rows of user {min(map(str, found))!r} are not next to each "
                "other: sort the file by user, or pass --unsorted to sort it in memory"
            )
