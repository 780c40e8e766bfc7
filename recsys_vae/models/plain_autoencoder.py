"""The plain autoencoder: no distribution and no noise, with a choice of likelihood.

Legend: B users in the batch, I items, H hidden width, Z latent width.
"""

from typing import ClassVar

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from recsys_vae.models.autoencoder import Autoencoder, NeuralRecommender
from recsys_vae.models.likelihood import LikelihoodConfig
from recsys_vae.nn.gaussian import PointMass
from recsys_vae.nn.noise import Noise
from recsys_vae.nn.precision import widened
from recsys_vae.nn.sparse_linear import SparseBatch
from recsys_vae.nn.towers import HistoryEncoder, ItemDecoder, initialise
from recsys_vae.training.records import Objective


class PlainAutoencoderConfig(LikelihoodConfig):
    """Hyper-parameters of the autoencoder (I-200-I)."""

    hidden: tuple[PositiveInt, ...] = Field(
        default=(), description="widths between items and bottleneck, mirrored in the decoder"
    )
    latent: int = Field(default=200, ge=1, le=1_000_000, description="Z, width of the bottleneck")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="of the input's entries")


class PlainAutoencoderNetwork(Autoencoder):
    """I -> hidden -> Z -> hidden -> I, tanh after every layer but the last.

    Args:
        config: widths, dropout and likelihood.
        n_items: I.
        generator: draws the initial weights.
    """

    def __init__(
        self, config: PlainAutoencoderConfig, n_items: int, generator: torch.Generator
    ) -> None:
        """Build the layers and draw their weights."""
        super().__init__()
        widths = [*config.hidden, config.latent]
        negatives = config.negatives_for(n_items)
        self.encoder = HistoryEncoder(
            n_items, widths, config.dropout, sparse_gradient=negatives is not None
        )
        self.decoder = ItemDecoder(
            n_items,
            widths[::-1],
            precision=config.training.precision,
            buffer_mb=config.training.buffer_mb,
            negatives=negatives,
            likelihood=config.pointwise(),
        )
        initialise(self, generator)

    def encode(self, batch: SparseBatch, noise: Noise | None = None) -> PointMass:
        """Give the code of each user; with `noise`, entries of the input are dropped."""
        return PointMass(widened(self.encoder(batch, noise)))

    def decode(self, z_BZ: Tensor) -> Tensor:
        """Give logits_BI."""
        logits_BI: Tensor = self.decoder(z_BZ)
        return logits_BI

    def objective(self, batch: SparseBatch, kl_weight: float, noise: Noise) -> Objective:
        """Give the negative log-likelihood; a penalty on weights is the optimiser's decay."""
        loss = self.decoder.nll(self.encode(batch, noise).mean_BZ, batch, noise).mean()
        return Objective(loss, {"reconstruction": loss})


class PlainAutoencoder(NeuralRecommender):
    r"""The autoencoder: minimise -sum_u log p(x_u | f(g(x_u))), p one of three likelihoods.

    With the multinomial likelihood it is Mult-DAE without dropout and weight decay: the two share
    their network, and the same settings give the same bits.

    Source: D. E. Rumelhart, G. E. Hinton, R. J. Williams, Learning Internal Representations by
    Error Propagation, 1986; for recommendation with squared errors S. Sedhain et al., AutoRec:
    Autoencoders Meet Collaborative Filtering, WWW 2015; the likelihoods are equations 2 to 4 of
    D. Liang et al., WWW 2018, arXiv 1802.05814.

    >>> PlainAutoencoder(PlainAutoencoderConfig(likelihood="bernoulli")).config.dropout
    0.0
    """

    name: ClassVar[str] = "autoencoder"

    def __init__(self, config: PlainAutoencoderConfig | None = None) -> None:
        """Describe an autoencoder."""
        self._autoencoder = config or PlainAutoencoderConfig()
        super().__init__(self._autoencoder)

    def build(self, n_items: int, generator: torch.Generator) -> PlainAutoencoderNetwork:
        """Make the network."""
        return PlainAutoencoderNetwork(self._autoencoder, n_items, generator)
