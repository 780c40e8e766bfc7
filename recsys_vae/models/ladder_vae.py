"""Ladder VAE: several latent groups, from the coarse to the fine.

Legend: B users in the batch, I items, L groups, W width of a group, Z = L W.
"""

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from recsys_vae.models.autoencoder import Autoencoder, NeuralRecommender
from recsys_vae.models.mult_vae import MultVAEConfig
from recsys_vae.nn.ladder import Ladder, LadderPosterior, balance
from recsys_vae.nn.noise import Noise
from recsys_vae.nn.sparse_linear import SparseBatch
from recsys_vae.nn.towers import HistoryEncoder, ItemDecoder, initialise
from recsys_vae.training.records import Objective


class LadderVAEConfig(MultVAEConfig):
    """Hyper-parameters of the ladder VAE: those of Mult-VAE, `latent` being a group's width."""

    latent: int = Field(default=64, ge=1, le=1_000_000, description="W, width of each group")
    groups: int = Field(default=3, ge=1, le=64, description="L, latent groups, top to bottom")
    log_variance_bound: float = Field(
        default=4.0, gt=0, le=20, description="of priors and ratios below the top group"
    )


class LadderVAENetwork(Autoencoder):
    """I -> hidden (tanh) -> L groups top-down -> all groups side by side -> I.

    Args:
        config: widths, groups and dropout.
        n_items: I.
        generator: draws the initial weights.
    """

    def __init__(self, config: LadderVAEConfig, n_items: int, generator: torch.Generator) -> None:
        """Build the layers and draw their weights."""
        super().__init__()
        self.kl_cap = config.kl_cap
        negatives = config.negatives_for(n_items)
        self.encoder = HistoryEncoder(
            n_items, config.hidden, config.dropout, sparse_gradient=negatives is not None
        )
        self.ladder = Ladder(
            config.groups, config.latent, config.hidden[-1], config.log_variance_bound
        )
        self.decoder = ItemDecoder(
            n_items,
            [config.groups * config.latent, *reversed(config.hidden)],
            precision=config.training.precision,
            buffer_mb=config.training.buffer_mb,
            negatives=negatives,
            likelihood=config.pointwise(),
        )
        initialise(self, generator)

    def encode(self, batch: SparseBatch, noise: Noise | None = None) -> LadderPosterior:
        """Give q(z|x), group by group; with `noise`, inputs are dropped."""
        return LadderPosterior(self.ladder, self.ladder.climb(self.encoder(batch, noise)))

    def decode(self, z_BZ: Tensor) -> Tensor:
        """Give logits_BI."""
        logits_BI: Tensor = self.decoder(z_BZ)
        return logits_BI

    def objective(self, batch: SparseBatch, kl_weight: float, noise: Noise) -> Objective:
        """Give the negative ELBO with weighted KL terms, balanced until the weight is at its cap.

        The terms tell each group's KL as it is, unweighted, the top group's first.
        """
        descent = self.ladder.descend(self.encode(batch, noise).rungs, noise)
        reconstruction = self.decoder.nll(descent.z_BZ, batch, noise).mean()
        warmth = min(1.0, kl_weight / self.kl_cap) if self.kl_cap else 1.0
        charged = (balance(descent.kl_BL, warmth) * descent.kl_BL).sum(dim=1).mean()
        terms = {"reconstruction": reconstruction, "kl": descent.kl_BL.sum(dim=1).mean()}
        for number, kl in enumerate(descent.kl_BL.mean(dim=0).unbind(), start=1):
            terms[f"kl_{number}"] = kl
        return Objective(reconstruction + kl_weight * charged, terms)


class LadderVAE(NeuralRecommender):
    r"""A hierarchical VAE over items with residual posteriors.

    The likelihood is the multinomial one, or what `likelihood` names as in Mult-VAE.

    p(z) = N(z_1; 0, I) prod_{l>1} N(z_l; m_l(z_<l), exp(s_l(z_<l))), pi_u = softmax(f(z_1..z_L));
    trained on E_q[log p(x_u|z_u)] - beta sum_l gamma_l KL(q(z_l|z_<l, x_u) || p(z_l|z_<l)), with
    posteriors told relative to their priors, beta annealed to a cap, and gamma_l balancing each
    user's groups until it is reached (NVAE balances a batch's means, at full strength to the end of
    the warm-up). At prediction time every group takes its mean given those above.

    Sources: A. Vahdat, J. Kautz, NVAE: A Deep Hierarchical Variational Autoencoder, NeurIPS 2020,
    arXiv 2007.03898 (residual posteriors, balancing); C. K. Sonderby, T. Raiko, L. Maaloe,
    S. K. Sonderby, O. Winther, Ladder Variational Autoencoders, NeurIPS 2016, arXiv 1602.02282
    (the way up and down, warm-up). NVAE's convolutions, spectral regularisation and flows are
    left out: what steadies training here is a layer norm on the way down and bounded
    log-variances below the top group.

    >>> LadderVAE(LadderVAEConfig(groups=2)).config.groups
    2
    """

    name: ClassVar[str] = "ladder-vae"

    def __init__(self, config: LadderVAEConfig | None = None) -> None:
        """Describe a ladder VAE."""
        self._ladder_vae = config or LadderVAEConfig()
        super().__init__(self._ladder_vae)

    @property
    def config(self) -> LadderVAEConfig:
        """The hyper-parameters."""
        return self._ladder_vae

    def build(self, n_items: int, generator: torch.Generator) -> LadderVAENetwork:
        """Make the network."""
        return LadderVAENetwork(self._ladder_vae, n_items, generator)
