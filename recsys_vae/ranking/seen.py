"""What the users of a block have taken already.

Legend: B users in the block, I items, N entries, that is pairs of a user and an item.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Seen:
    """What each user has taken, entry by entry.

    Attributes:
        users_N: rows, ascending.
        items_N: item numbers.
        highest: of them.
    """

    users_N: Tensor
    items_N: Tensor
    highest: int

    @classmethod
    def of(cls, given: csr_array, device: torch.device) -> "Seen":
        """Read (B, I) histories, and keep them on a device."""
        rows = np.repeat(np.arange(given.shape[0]), np.diff(given.indptr))
        items = torch.from_numpy(given.indices.astype(np.int64))
        highest = int(given.indices.max(initial=0))
        return cls(torch.from_numpy(rows).to(device), items.to(device), highest)

    def mask(self, scores_BI: Tensor, numbers_I: Tensor) -> None:
        """Mask what lies among the items with these numbers, which are ascending."""
        first, last = int(numbers_I[0]), int(numbers_I[-1])
        if last - first + 1 == len(numbers_I):
            users_N, places_N = self.users_N, self.items_N - first
            if first or last < self.highest:
                here_N = (places_N >= 0) & (places_N < len(numbers_I))
                users_N, places_N = users_N[here_N], places_N[here_N]
        else:
            places_N = torch.searchsorted(numbers_I, self.items_N).clamp_(max=len(numbers_I) - 1)
            here_N = numbers_I[places_N] == self.items_N
            users_N, places_N = self.users_N[here_N], places_N[here_N]
        scores_BI[users_N, places_N] = -math.inf
