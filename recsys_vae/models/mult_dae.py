"""Mult-DAE: a denoising autoencoder with a multinomial likelihood and no distribution.

Legend: B users in the batch, I items, H hidden width, Z latent width.
"""

from typing import ClassVar

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from recsys_vae.models.autoencoder import Autoencoder, NeuralConfig, NeuralRecommender
from recsys_vae.nn.gaussian import PointMass
from recsys_vae.nn.noise import Noise
from recsys_vae.nn.precision import widened
from recsys_vae.nn.sparse_linear import SparseBatch
from recsys_vae.nn.towers import HistoryEncoder, ItemDecoder, initialise
from recsys_vae.training.config import TrainingConfig
from recsys_vae.training.records import Objective


class MultDAEConfig(NeuralConfig):
    """Hyper-parameters of Mult-DAE; the defaults are the paper's for ML-20M (I-200-I)."""

    hidden: tuple[PositiveInt, ...] = Field(
        default=(), description="widths between items and bottleneck, mirrored in the decoder"
    )
    latent: int = Field(default=200, ge=1, le=1_000_000, description="Z, width of the bottleneck")
    dropout: float = Field(default=0.5, ge=0, lt=1, description="of the input's entries")
    training: TrainingConfig = TrainingConfig(weight_decay=0.01 / 500)


class MultDAENetwork(Autoencoder):
    """I -> hidden -> Z -> hidden -> I, tanh after every layer but the last.

    Args:
        config: widths and dropout.
        n_items: I.
        generator: draws the initial weights.
    """

    def __init__(self, config: MultDAEConfig, n_items: int, generator: torch.Generator) -> None:
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
        """Give the negative log-likelihood, equation 9 of the paper without the penalty.

        The penalty lambda |W|^2 is the optimiser's weight decay.
        """
        loss = self.decoder.nll(self.encode(batch, noise).mean_BZ, batch, noise).mean()
        return Objective(loss, {"reconstruction": loss})


class MultDAE(NeuralRecommender):
    r"""Mult-DAE of Liang et al.: minimise -sum_i x_ui log softmax_i(f(g(x_u))) + lambda |W|^2.

    Source: D. Liang, R. Krishnan, M. Hoffman, T. Jebara, Variational Autoencoders for
    Collaborative Filtering, WWW 2018, arXiv 1802.05814, section 2.3.

    >>> MultDAE().config.training.weight_decay
    2e-05
    """

    name: ClassVar[str] = "mult-dae"

    def __init__(self, config: MultDAEConfig | None = None) -> None:
        """Describe a Mult-DAE."""
        self._mult_dae = config or MultDAEConfig()
        super().__init__(self._mult_dae)

    def build(self, n_items: int, generator: torch.Generator) -> MultDAENetwork:
        """Make the network."""
        return MultDAENetwork(self._mult_dae, n_items, generator)
