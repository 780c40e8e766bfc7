"""How lists may be approximate, and how much of the exact ones they hold."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from recsys_vae.errors import InputError
from recsys_vae.ranking.topn import PAD, TopN

_PROBES: Final = 64
_EXAMPLES: Final = "ivf or ivf:64"


@dataclass(frozen=True, slots=True)
class Recall:
    """How much of their exact lists users found.

    Attributes:
        users: who were compared; those with an empty exact list are not.
        shares: sum over them of the share of the exact list that is found.
    """

    users: int
    shares: float

    @classmethod
    def of(cls, lists: TopN, exact: TopN) -> "Recall":
        """Compare lists of the same users.

        >>> one = np.zeros((1, 2), np.float32)
        >>> Recall.of(TopN(np.int32([[4, 2]]), one), TopN(np.int32([[7, 4]]), one)).mean
        0.5
        """
        shares = [
            len(np.intersect1d(found, wanted[wanted != PAD])) / (wanted != PAD).sum()
            for found, wanted in zip(lists.items_BK, exact.items_BK, strict=True)
            if (wanted != PAD).any()
        ]
        return cls(len(shares), float(sum(shares)))

    @property
    def mean(self) -> float | None:
        """The mean share; None: nobody was compared."""
        return self.shares / self.users if self.users else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Approximation:
    """How lists may be approximate.

    Attributes:
        probes: cells of items that are looked into for a user, 1 or more.
        least: recall below which no lists are made, 0..1; None: whatever it is.
    """

    probes: int = _PROBES
    least: float | None = None

    def __str__(self) -> str:
        """Write it as on the command line, without the recall."""
        return f"ivf:{self.probes}"

    def check(self, recall: Recall) -> None:
        """Refuse lists that hold too little of the exact ones.

        Raises:
            InputError: they do.
        """
        if self.least is None or recall.mean is None or recall.mean >= self.least:
            return
        raise InputError(
            f"--approximate {self} finds {recall.mean:.1%} of the exact lists, and "
            f"--approximate-recall asks for {self.least:.1%}: look into more cells, such as "
            f"ivf:{2 * self.probes}, or leave out --approximate for exact lists"
        )


def parse_approximation(text: str | None, least: float | None = None) -> Approximation | None:
    """Read from the command line how lists may be approximate.

    Args:
        text: "ivf" or "ivf:PROBES"; None: they are exact.
        least: recall below which no lists are made.

    Raises:
        InputError: there is no such method, the number is none, or a recall is asked of exact
            lists.

    >>> parse_approximation("ivf:16")
    Approximation(probes=16, least=None)
    """
    if text is None:
        if least is not None:
            raise InputError(
                "--approximate-recall is about approximate lists, and these are exact: give "
                "--approximate, too, or leave it out"
            )
        return None
    name, colon, written = text.partition(":")
    if name != "ivf":
        raise InputError(f"--approximate {text}: there is no method '{name}': write {_EXAMPLES}")
    if not colon:
        return Approximation(least=least)
    if not (written.isascii() and written.isdigit() and 0 < int(written) < 1 << 31):
        raise InputError(
            f"--approximate {text}: '{written}' is no number of cells to look into: write "
            f"{_EXAMPLES}"
        )
    return Approximation(probes=int(written), least=least)
