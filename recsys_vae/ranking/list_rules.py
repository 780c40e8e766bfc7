"""What a list as a whole must keep to: caps on items that share a label, and quotas.

Legend: I items, M groups an item is in at most, G capped groups, Q quotas.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

Flags = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Cap:
    """So many items of a group, and no more.

    Attributes:
        items: (n,) numbers of the group's items, each once.
        count: so many.
    """

    items: Numbers
    count: int


@dataclass(frozen=True, slots=True)
class Quota:
    """At least so many items that are so.

    Attributes:
        name: for reports.
        member_I: bool, which items count.
        count: so many.
    """

    name: str
    member_I: Flags
    count: int


@dataclass(frozen=True, slots=True, eq=False)
class ListRules:
    """Caps and quotas in the form in which they are looked up by item number.

    Tables have one row more than there are items, for `PAD`: it is in no group.

    Attributes:
        groups_IM: (I + 1, M) int32, the capped groups of each item; G fills the row up.
        limits_G: (G + 1,) int32, how many of each group; the last is no group and has no limit.
        member_IQ: (I + 1, Q) bool, which quotas an item counts for.
        counts_Q: (Q,) int64.
        names: (Q,) of the quotas.
    """

    groups_IM: npt.NDArray[np.int32]
    limits_G: npt.NDArray[np.int32]
    member_IQ: Flags
    counts_Q: Numbers
    names: tuple[str, ...]

    @classmethod
    def of(cls, n_items: int, caps: Sequence[Cap] = (), quotas: Sequence[Quota] = ()) -> Self:
        """Bring caps and quotas into that form.

        Args:
            n_items: of the model.
            caps: a cap that its group cannot exceed is left out.
            quotas: in the order in which they are reported.

        >>> rules = ListRules.of(3, [Cap(np.array([0, 2]), 1)])
        >>> rules.groups_IM.ravel()
        array([0, 1, 0, 1], dtype=int32)
        """
        binding = [cap for cap in caps if len(cap.items) > cap.count]
        lengths = [len(cap.items) for cap in binding]
        items = np.concatenate([np.zeros(0, dtype=np.int64), *(cap.items for cap in binding)])
        groups = np.repeat(np.arange(len(binding)), lengths)
        order = np.argsort(items, kind="stable")
        per_item = np.bincount(items, minlength=n_items + 1)
        table = np.full((n_items + 1, int(per_item.max(initial=0))), len(binding), dtype=np.int32)
        first = np.cumsum(per_item) - per_item
        table[items[order], np.arange(len(items)) - first[items[order]]] = groups[order]
        member = np.zeros((n_items + 1, len(quotas)), dtype=bool)
        for number, quota in enumerate(quotas):
            member[:n_items, number] = quota.member_I
        limits = [*(cap.count for cap in binding), np.iinfo(np.int32).max]
        return cls(
            table,
            np.array(limits, dtype=np.int32),
            member,
            np.array([quota.count for quota in quotas], dtype=np.int64),
            tuple(quota.name for quota in quotas),
        )

    @property
    def binding(self) -> bool:
        """Whether there is any cap or quota."""
        return self.groups_IM.shape[1] > 0 or len(self.counts_Q) > 0
