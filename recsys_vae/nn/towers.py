"""The two halves of an autoencoder over items: from a history down, and back up to the items.

Legend: B users in the batch, I items, K items asked for, H hidden width, Z latent width.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from recsys_vae.nn.likelihoods import multinomial_nll
from recsys_vae.nn.noise import Noise
from recsys_vae.nn.pointwise import Pointwise, pointwise_nll
from recsys_vae.nn.precision import Precision
from recsys_vae.nn.sampled import NegativeSampler, sampled_multinomial_nll
from recsys_vae.nn.sparse_linear import SparseBatch, SparseLinear


def initialise(module: nn.Module, generator: torch.Generator) -> None:
    """Draw weights from Xavier's uniform distribution, biases from a narrow truncated normal.

    Source: D. Liang et al., published notebook of Variational Autoencoders for Collaborative
    Filtering, WWW 2018: Xavier weights, biases with standard deviation 0.001.

    A layer norm keeps its scale of 1 and shift of 0.
    """
    norms = [part for part in module.modules() if isinstance(part, nn.LayerNorm)]
    kept = {id(parameter) for norm in norms for parameter in norm.parameters()}
    for name, parameter in module.named_parameters():
        if id(parameter) in kept:
            continue
        if "bias" in name:
            nn.init.trunc_normal_(parameter, std=1e-3, a=-2e-3, b=2e-3, generator=generator)
        else:
            nn.init.xavier_uniform_(parameter, generator=generator)


def initialise_by_inputs(module: nn.Module, generator: torch.Generator) -> None:
    """Draw weights and biases uniformly within 1 / sqrt(inputs of the layer), as PyTorch does.

    A layer norm keeps its scale of 1 and shift of 0.
    """
    parameters: tuple[Tensor, Tensor]
    for part in module.modules():
        if isinstance(part, SparseLinear):
            n_inputs, parameters = part.weight_IH.shape[0], (part.weight_IH, part.bias_H)
        elif isinstance(part, ItemDecoder):
            n_inputs, parameters = part.weight_IH.shape[1], (part.weight_IH, part.bias_I)
        elif isinstance(part, nn.Linear):
            n_inputs, parameters = part.in_features, (part.weight, part.bias)
        else:
            continue
        bound = n_inputs**-0.5
        for parameter in parameters:
            nn.init.uniform_(parameter, -bound, bound, generator=generator)


def seen_history(
    batch: SparseBatch, dropout: float, noise: Noise | None, *, stream: int = 0
) -> SparseBatch:
    """Give what an encoder sees: histories of length 1, some of their entries dropped.

    Args:
        batch: the histories.
        dropout: probability of dropping an entry.
        noise: decides which; None: nothing is dropped.
        stream: entries are dropped independently in different streams.
    """
    history = batch.l2_normalised()
    if noise is None or dropout == 0:
        return history
    uniform_N = noise.uniform(batch.user_numbers(), batch.items, stream=stream)
    return history.dropout(dropout, uniform_N)


def _tanh_layers(widths: Sequence[int]) -> nn.Sequential:
    """Chain linear layers of these widths, tanh after each; one width alone is the identity."""
    layers: list[nn.Module] = []
    for one, other in pairwise(widths):
        layers += [nn.Linear(one, other), nn.Tanh()]
    return nn.Sequential(*layers)


class HistoryEncoder(nn.Module):
    """h = tanh layers of the history, normalised to length 1, with dropout on its entries.

    Args:
        n_items: I.
        widths: of the layers, first to last.
        dropout: probability of dropping an entry of the input in training.
        sparse_gradient: whether the first layer's weight gets a row-sparse gradient.
    """

    def __init__(
        self,
        n_items: int,
        widths: Sequence[int],
        dropout: float,
        *,
        sparse_gradient: bool = False,
    ) -> None:
        """Build the layers; the caller initialises them."""
        super().__init__()
        self.dropout = dropout
        self.first = SparseLinear(n_items, widths[0], sparse_gradient=sparse_gradient)
        self.rest = _tanh_layers(widths)

    def forward(self, batch: SparseBatch, noise: Noise | None = None) -> Tensor:
        """Give hidden_BH; without `noise` nothing is dropped."""
        history = seen_history(batch, self.dropout, noise)
        hidden_BH: Tensor = self.rest(torch.tanh(self.first(history)))
        return hidden_BH


class ItemDecoder(nn.Module):
    """logits = W h + b with h = hidden layers of z.

    Args:
        n_items: I.
        widths: Z first, then the hidden layers; one width alone decodes z directly.
        hidden: layers from the first of the widths to the last; None: tanh layers.
        precision: of the products with W in training.
        buffer_mb: MiB that may be held per user and item in training.
        negatives: draws a step for a sampled softmax; None: the exact one.
        likelihood: of each item by itself; None: multinomial.

    Raises:
        ValueError: a sampled softmax is asked for where there is no softmax.
    """

    def __init__(
        self,
        n_items: int,
        widths: Sequence[int],
        *,
        hidden: nn.Module | None = None,
        precision: Precision = "auto",
        buffer_mb: float = 256.0,
        negatives: int | None = None,
        likelihood: Pointwise | None = None,
    ) -> None:
        """Build the layers; the caller initialises them."""
        super().__init__()
        if negatives is not None and likelihood is not None:
            raise ValueError("only the multinomial likelihood has a softmax that can be sampled")
        self.likelihood = likelihood
        self.precision: Precision = precision
        self.buffer_mb = buffer_mb
        self.negatives = negatives
        self.sampler: NegativeSampler | None = None
        self.hidden = _tanh_layers(widths) if hidden is None else hidden
        self.weight_IH = nn.Parameter(torch.empty(n_items, widths[-1]))
        self.bias_I = nn.Parameter(torch.zeros(n_items))

    def forward(self, z_BZ: Tensor) -> Tensor:
        """Give logits_BI."""
        return torch.addmm(self.bias_I, self.hidden(z_BZ), self.weight_IH.T)

    def of_items(self, z_BZ: Tensor, items_BK: Tensor) -> Tensor:
        """Give the logits of some items only: K H multiply-adds a user instead of I H.

        Args:
            z_BZ: latent points.
            items_BK: int64, for each point its items, each within 0..I-1.

        Returns:
            logits_BK, those of `forward` up to rounding.
        """
        hidden_BH = self.hidden(z_BZ)
        logits_BK = self.bias_I[items_BK]
        # Column by column: the rows of W for all places at once would take K times the memory.
        for place, items_B in enumerate(items_BK.unbind(dim=1)):
            logits_BK[:, place] += (hidden_BH * self.weight_IH[items_B]).sum(dim=1)
        return logits_BK

    def nll(
        self, z_BZ: Tensor, target: SparseBatch, noise: Noise, *, frozen: bool = False
    ) -> Tensor:
        """Give the negative log-likelihood of the histories, (B,), in nats, summed over items.

        Args:
            z_BZ: latent points.
            target: the histories.
            noise: draws the negatives of a sampled softmax.
            frozen: whether the items' weights are given: no gradient, and no work for it.
        """
        hidden_BH = self.hidden(z_BZ)
        weights: tuple[Tensor, Tensor] = (self.weight_IH, self.bias_I)
        if frozen:
            weights = (self.weight_IH.detach(), self.bias_I.detach())
        if self.likelihood is not None:
            return pointwise_nll(
                hidden_BH,
                *weights,
                target,
                self.likelihood,
                precision=self.precision,
                max_buffer_mb=self.buffer_mb,
            )
        if self.negatives is None:
            return multinomial_nll(
                hidden_BH,
                *weights,
                target,
                precision=self.precision,
                max_buffer_mb=self.buffer_mb,
            )
        if self.sampler is None:
            raise RuntimeError("a sampled softmax needs the items' counts: call learn_counts first")
        negatives = self.sampler.draw(self.negatives, noise.generator())
        return sampled_multinomial_nll(
            hidden_BH,
            *weights,
            target,
            negatives,
            precision=self.precision,
            max_buffer_mb=self.buffer_mb,
        )

    def learn_counts(self, counts_I: Tensor) -> None:
        """Prepare a sampled softmax, whose proposal follows how often items were taken."""
        if self.negatives is not None:
            self.sampler = NegativeSampler(counts_I)
