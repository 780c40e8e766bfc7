"""Scores as a sum: a product behind a gate, and what a sparse matrix says of the history.

Legend: B users in the block, I items.
"""

from dataclasses import dataclass

from scipy.sparse import csr_array
from torch import Tensor

from recsys_vae.models.sparse_product import sparse_product
from recsys_vae.nn.linear_scores import LinearScores


@dataclass(frozen=True, slots=True)
class GatedScores:
    r"""s_ui = (x_u P)_i + g exp(l_ui - max_j l_uj), with l a product; nothing is multiplied yet.

    Attributes:
        logits: the factors of l_BI.
        given: (B, I) histories x, float32.
        path_II: P, float32, sparse.
        gate: g, at least 0.

    >>> import torch
    >>> logits = LinearScores(torch.ones(1, 1), torch.zeros(2, 1), torch.zeros(2))
    >>> x, path_II = csr_array([[0, 1.0]]), csr_array([[0, 0], [0.5, 0]])
    >>> GatedScores(logits, x.astype("f"), path_II.astype("f"), 0.25).scores().tolist()
    [[0.75, 0.25]]
    """

    logits: LinearScores
    given: csr_array
    path_II: csr_array
    gate: float

    def scores(self) -> Tensor:
        """Multiply and add up: scores_BI, float32, on the processor."""
        scores_BI = self.logits.scores().float().cpu()
        scores_BI.sub_(scores_BI.amax(dim=1, keepdim=True)).exp_().mul_(self.gate)
        return scores_BI.add_(sparse_product(self.given, self.path_II))

    def of(self, rows: slice) -> "GatedScores":
        """Give those of some of the users."""
        hidden_BH = self.logits.hidden_BH[rows]
        logits = LinearScores(hidden_BH, self.logits.weight_IH, self.logits.bias_I)
        return GatedScores(logits, self.given[rows], self.path_II, self.gate)
