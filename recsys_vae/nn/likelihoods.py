"""Log-likelihoods of a user's history under a decoder's output.

Legend: B users in the batch, I items, H hidden width.
"""

import torch
from torch import Tensor

from recsys_vae.nn.sparse_linear import SparseBatch


def multinomial_nll(
    hidden_BH: Tensor, weight_IH: Tensor, bias_I: Tensor, target: SparseBatch
) -> Tensor:
    r"""Negative multinomial log-likelihood of each user's history, in nats.

    -log p(x_u | z_u) = - sum_i x_ui log pi_ui, with pi_u = softmax(h_u W^T + b): equation 2 of
    D. Liang et al., Variational Autoencoders for Collaborative Filtering, WWW 2018. Computed as
    (sum_i x_ui) logsumexp(logits_u) - sum_i x_ui logits_ui; log(softmax + eps) would lose the tail.

    Args:
        hidden_BH: the decoder's last hidden layer.
        weight_IH: output weights, one row an item.
        bias_I: output biases.
        target: the histories; only stored entries contribute.

    Returns:
        (B,) losses; exactly 0 for a user without history.
    """
    logits_BI = torch.addmm(bias_I, hidden_BH, weight_IH.T)
    taken = logits_BI[target.rows, target.items] * target.values
    gained = taken.new_zeros(target.n_users).index_add(0, target.rows, taken)
    return target.row_sums() * logits_BI.logsumexp(dim=1) - gained
