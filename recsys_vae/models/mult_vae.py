"""Mult-VAE: a variational autoencoder with a multinomial likelihood, or another for comparison.

Legend: B users in the batch, I items, H hidden width, Z latent width.
"""

from typing import ClassVar

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from recsys_vae.models.annealed import AnnealedConfig
from recsys_vae.models.autoencoder import Autoencoder, NeuralRecommender
from recsys_vae.models.likelihood import LikelihoodConfig
from recsys_vae.nn.gaussian import DiagonalGaussian
from recsys_vae.nn.noise import Noise
from recsys_vae.nn.precision import widened
from recsys_vae.nn.sparse_linear import SparseBatch
from recsys_vae.nn.towers import HistoryEncoder, ItemDecoder, initialise
from recsys_vae.training.records import Objective


class MultVAEConfig(LikelihoodConfig, AnnealedConfig):
    """Hyper-parameters of Mult-VAE, by default the paper's for ML-20M but for the training's."""

    hidden: tuple[PositiveInt, ...] = Field(
        default=(600,), min_length=1, description="widths of the encoder, mirrored in the decoder"
    )
    latent: int = Field(default=200, ge=1, le=1_000_000, description="Z, width of the latent space")
    dropout: float = Field(default=0.5, ge=0, lt=1, description="of the input's entries")


class MultVAENetwork(Autoencoder):
    """I -> hidden (tanh) -> Z, and back.

    Args:
        config: widths, dropout and likelihood.
        n_items: I.
        generator: draws the initial weights.
    """

    def __init__(self, config: MultVAEConfig, n_items: int, generator: torch.Generator) -> None:
        """Build the layers and draw their weights."""
        super().__init__()
        negatives = config.negatives_for(n_items)
        self.encoder = HistoryEncoder(
            n_items, config.hidden, config.dropout, sparse_gradient=negatives is not None
        )
        self.posterior = nn.Linear(config.hidden[-1], 2 * config.latent)
        self.decoder = ItemDecoder(
            n_items,
            [config.latent, *reversed(config.hidden)],
            precision=config.training.precision,
            buffer_mb=config.training.buffer_mb,
            negatives=negatives,
            likelihood=config.pointwise(),
        )
        initialise(self, generator)

    def encode(self, batch: SparseBatch, noise: Noise | None = None) -> DiagonalGaussian:
        """Give q(z|x) = N(mu(x), diag sigma(x)^2); with `noise`, inputs are dropped."""
        parameters = widened(self.posterior(self.encoder(batch, noise)))
        return DiagonalGaussian(*parameters.chunk(2, dim=1))

    def decode(self, z_BZ: Tensor) -> Tensor:
        """Give logits_BI."""
        logits_BI: Tensor = self.decoder(z_BZ)
        return logits_BI

    def objective(self, batch: SparseBatch, kl_weight: float, noise: Noise) -> Objective:
        """Give the negative ELBO with a weighted KL term, equation 6 of the paper."""
        posterior = self.encode(batch, noise)
        reconstruction = self.decoder.nll(posterior.sample(noise), batch, noise).mean()
        kl = posterior.kl().mean()
        return Objective(
            reconstruction + kl_weight * kl, {"reconstruction": reconstruction, "kl": kl}
        )


class MultVAE(NeuralRecommender):
    r"""Mult-VAE of Liang et al.

    z_u ~ N(0, I), pi_u = softmax(f(z_u)), x_u ~ Mult(N_u, pi_u); trained on
    E_q[log p(x_u|z_u)] - beta KL(q(z_u|x_u) || p(z_u)) with input dropout and beta annealed
    from 0 to a cap; at prediction time z_u is the mean of q. `likelihood` puts p(x_u|z_u) of the
    paper's equation 3 (gaussian) or 4 (bernoulli) in the multinomial's place, as it compares them.

    Source: D. Liang, R. Krishnan, M. Hoffman, T. Jebara, Variational Autoencoders for
    Collaborative Filtering, WWW 2018, arXiv 1802.05814.

    >>> MultVAE(MultVAEConfig(latent=64)).config.latent
    64
    """

    name: ClassVar[str] = "mult-vae"

    def __init__(self, config: MultVAEConfig | None = None) -> None:
        """Describe a Mult-VAE."""
        self._mult_vae = config or MultVAEConfig()
        super().__init__(self._mult_vae)

    def build(self, n_items: int, generator: torch.Generator) -> MultVAENetwork:
        """Make the network."""
        return MultVAENetwork(self._mult_vae, n_items, generator)
