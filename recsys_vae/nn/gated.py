"""Layers that decide for themselves how much of each number passes, or plain ones in their place.

Legend: B users in the batch, I items, H hidden width, K pseudo-inputs, Z latent width.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F  # noqa: N812 # the customary name
from torch import Tensor, nn

from recsys_vae.nn.noise import Noise
from recsys_vae.nn.sparse_linear import SparseBatch, SparseLinear
from recsys_vae.nn.towers import seen_history


def pre_width(width: int, *, gated: bool) -> int:
    """Say how many numbers `passed` makes `width` of."""
    return 2 * width if gated else width


def passed(both_BH: Tensor, *, gated: bool) -> Tensor:
    """Give the first half as far as the second lets it through; without gates the tanh."""
    return F.glu(both_BH, dim=1) if gated else torch.tanh(both_BH)


class GatedLinear(nn.Module):
    """h = (A x + a) * sigmoid(B x + b); without the gate h = tanh(A x + a).

    A and B are one matrix, the rows of A first: one product instead of two.

    Source: Y. N. Dauphin, A. Fan, M. Auli, D. Grangier, Language Modeling with Gated Convolutional
    Networks, ICML 2017, section 2; as layers of a VAE for recommendation: Kim & Suh, RecSys 2019.

    Args:
        n_in: width of x.
        n_out: width of h.
        gated: whether there is a gate.
    """

    def __init__(self, n_in: int, n_out: int, *, gated: bool = True) -> None:
        """Build the layer; the caller initialises it."""
        super().__init__()
        self.gated = gated
        self.both = nn.Linear(n_in, pre_width(n_out, gated=gated))

    def forward(self, input_BH: Tensor) -> Tensor:
        """Give h."""
        return passed(self.both(input_BH), gated=self.gated)


def gated_layers(widths: Sequence[int], *, gated: bool = True) -> nn.Sequential:
    """Chain layers of these widths; one width alone is the identity."""
    layers = (GatedLinear(one, other, gated=gated) for one, other in pairwise(widths))
    return nn.Sequential(*layers)


def initialise_gates(module: nn.Module, generator: torch.Generator) -> None:
    """Draw the weights of dense gated layers from a normal distribution with variance 2 / inputs.

    A gate lets half of its input through at first; with Xavier's smaller weights a chain of them
    would hardly let anything through.

    Source: K. He, X. Zhang, S. Ren, J. Sun, Delving Deep into Rectifiers, ICCV 2015.
    """
    for part in module.modules():
        if isinstance(part, GatedLinear) and part.gated:
            deviation = (2.0 / part.both.in_features) ** 0.5
            nn.init.normal_(part.both.weight, std=deviation, generator=generator)


class GatedEncoder(nn.Module):
    """Layers of the history, gated or plain, normalised to length 1, with dropout on its entries.

    Args:
        n_items: I.
        widths: of the layers, first to last.
        dropout: probability of dropping an entry of the input in training.
        stream: of the dropout's random numbers, so that two encoders drop different entries.
        sparse_gradient: whether the first layer's weight gets a row-sparse gradient.
        gated: whether the layers have gates.
    """

    def __init__(
        self,
        n_items: int,
        widths: Sequence[int],
        dropout: float,
        *,
        stream: int = 0,
        sparse_gradient: bool = False,
        gated: bool = True,
    ) -> None:
        """Build the layers; the caller initialises them."""
        super().__init__()
        self.dropout, self.stream, self.gated = dropout, stream, gated
        width = pre_width(widths[0], gated=gated)
        self.first = SparseLinear(n_items, width, sparse_gradient=sparse_gradient)
        self.rest = gated_layers(widths, gated=gated)

    def forward(self, batch: SparseBatch, noise: Noise | None = None) -> Tensor:
        """Give hidden_BH; without `noise` nothing is dropped."""
        return self.after_first(self.before_gate(batch, noise))

    def before_gate(self, batch: SparseBatch, noise: Noise | None = None) -> Tensor:
        """Give what the first layer's matrix gives, (B, 2 H) with gates, otherwise (B, H)."""
        history = seen_history(batch, self.dropout, noise, stream=self.stream)
        first_BH: Tensor = self.first(history)
        return first_BH

    def dense(self, input_KI: Tensor) -> Tensor:
        """Give hidden_KH of dense rows, which are normalised as histories are."""
        tiny = torch.finfo(input_KI.dtype).tiny
        length_K = torch.linalg.vector_norm(input_KI, dim=1).clamp_min(tiny)
        # Dividing what comes out, not what goes in, saves a copy of all rows.
        product_KH = (input_KI @ self.first.weight_IH) / length_K[:, None]
        return self.after_first(product_KH + self.first.bias_H)

    def after_first(self, both_BH: Tensor) -> Tensor:
        """Give hidden_BH from what the first layer's matrix gives."""
        hidden_BH: Tensor = self.rest(passed(both_BH, gated=self.gated))
        return hidden_BH


class ItemPseudoInputs(nn.Module):
    """K histories that are learned: an affinity in [0, 1] for every item.

    Source: J. M. Tomczak, M. Welling, VAE with a VampPrior, AISTATS 2018, section 3; drawn at
    first with mean 0.05 and standard deviation 0.01, as in the program of Kim & Suh.

    Args:
        n_pseudo: K.
        encoder: whose inputs they are.
        generator: draws the initial values.
    """

    def __init__(self, n_pseudo: int, encoder: GatedEncoder, generator: torch.Generator) -> None:
        """Draw the initial values."""
        super().__init__()
        self.affinity_KI = nn.Parameter(torch.empty(n_pseudo, encoder.first.weight_IH.shape[0]))
        nn.init.normal_(self.affinity_KI, mean=0.05, std=0.01, generator=generator)

    def forward(self, encoder: GatedEncoder) -> Tensor:
        """Give the encoder's last layer at each pseudo-input, hidden_KH."""
        return encoder.dense(self.affinity_KI.clamp(0.0, 1.0))


class HiddenPseudoInputs(nn.Module):
    """K pseudo-inputs by what the first layer's matrix would give for them.

    K x 2H numbers (K x H without gates) instead of K x I, and no product with the catalogue in a
    step. Wherever the matrix has full column rank (I >= 2H, as good as always) every such row
    belongs to some input; that this input has length 1 and affinities in [0, 1] is no longer asked
    for. Drawn at first with the scale of a random history's.

    Args:
        n_pseudo: K.
        encoder: whose inputs they are.
        generator: draws the initial values.
    """

    def __init__(self, n_pseudo: int, encoder: GatedEncoder, generator: torch.Generator) -> None:
        """Draw the initial values."""
        super().__init__()
        n_items, width = encoder.first.weight_IH.shape
        self.first_KH = nn.Parameter(torch.empty(n_pseudo, width))
        # The deviation of Xavier's weights: a history of length 1 sums squares of just that.
        deviation = (2.0 / (n_items + width)) ** 0.5
        nn.init.normal_(self.first_KH, std=deviation, generator=generator)

    def forward(self, encoder: GatedEncoder) -> Tensor:
        """Give the encoder's last layer at each pseudo-input, hidden_KH."""
        return encoder.after_first(self.first_KH)


class PairDecoder(nn.Module):
    """Layers of two latent points, each by itself first, then of both together.

    Args:
        latent: Z of each point.
        widths: of the layers, first to last.
        gated: whether the layers have gates.
    """

    def __init__(self, latent: int, widths: Sequence[int], *, gated: bool = True) -> None:
        """Build the layers; the caller initialises them."""
        super().__init__()
        self.lower = GatedLinear(latent, widths[0], gated=gated)
        self.upper = GatedLinear(latent, widths[0], gated=gated)
        self.joint = gated_layers([2 * widths[0], *widths[1:]], gated=gated)

    def forward(self, z_BZ: Tensor) -> Tensor:
        """Give hidden_BH of (B, 2 Z): the lower point, then the upper."""
        lower_BZ, upper_BZ = z_BZ.chunk(2, dim=1)
        both_BH = torch.cat([self.lower(lower_BZ), self.upper(upper_BZ)], dim=1)
        hidden_BH: Tensor = self.joint(both_BH)
        return hidden_BH
