"""An encoder whose every layer sees the sum of all layers before it.

Legend: B users in the batch, I items, H hidden width.
"""

from typing import Final

import torch
import torch.nn.functional as F  # noqa: N812 # the customary name
from torch import Tensor, nn

from recsys_vae.nn.noise import Noise
from recsys_vae.nn.sparse_linear import SparseBatch, SparseLinear
from recsys_vae.nn.towers import seen_history

_EPSILON: Final = 0.1
"""Of the layer norms, as in the later version of the authors' program (before: 1e-5): layers with
a small variance stay small."""


class DenseSkipEncoder(nn.Module):
    r"""h_l = LN(swish(W_l h_(l-1) + b_l + sum_(j<l) h_j)), swish(a) = a sigmoid(a), h_0 = x.

    The sum runs over the hidden layers, not over the input; x is the history, normalised to length
    1, with dropout on its entries.

    Source: I. Shenbin et al., RecVAE, WSDM 2020, section 3.2 and figure 2; swish: P. Ramachandran,
    B. Zoph, Q. V. Le, Searching for Activation Functions, 2017.

    Args:
        n_items: I.
        width: H, of every layer.
        layers: how many, at least 1.
        dropout: probability of dropping an entry of the input in training.
        sparse_gradient: whether the first layer's weight gets a row-sparse gradient.
    """

    def __init__(
        self, n_items: int, width: int, layers: int, dropout: float, *, sparse_gradient: bool
    ) -> None:
        """Build the layers; the caller initialises them."""
        super().__init__()
        self.dropout = dropout
        self.first = SparseLinear(n_items, width, sparse_gradient=sparse_gradient)
        self.rest = nn.ModuleList(nn.Linear(width, width) for _ in range(layers - 1))
        self.norms = nn.ModuleList(nn.LayerNorm(width, eps=_EPSILON) for _ in range(layers))

    def forward(self, batch: SparseBatch, noise: Noise | None = None) -> Tensor:
        """Give hidden_BH; without `noise` nothing is dropped."""
        history = seen_history(batch, self.dropout, noise)
        hidden_BH: Tensor = self.norms[0](F.silu(self.first(history)))
        sum_BH = torch.zeros_like(hidden_BH)
        for linear, norm in zip(self.rest, self.norms[1:], strict=True):
            sum_BH = sum_BH + hidden_BH
            hidden_BH = norm(F.silu(linear(hidden_BH) + sum_BH))
        return hidden_BH
