"""Scores as one product: what is known of a user against what is known of each item.

Legend: B users in the batch, I items, H hidden width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class LinearScores:
    """scores_BI = hidden_BH weight_IH' + bias_I, not multiplied yet.

    Attributes:
        hidden_BH: float32, of the users.
        weight_IH: float32, of the items.
        bias_I: float32, of the items.

    >>> one = LinearScores(torch.ones(1, 2), torch.ones(3, 2), torch.zeros(3))
    >>> one.scores().tolist()
    [[2.0, 2.0, 2.0]]
    """

    hidden_BH: Tensor
    weight_IH: Tensor
    bias_I: Tensor

    def scores(self) -> Tensor:
        """Multiply: scores_BI."""
        return torch.addmm(self.bias_I, self.hidden_BH, self.weight_IH.T)
