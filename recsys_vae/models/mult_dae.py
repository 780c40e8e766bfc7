"""Mult-DAE: a denoising autoencoder with a multinomial likelihood and no distribution."""

from typing import ClassVar

import torch
from pydantic import Field, PositiveInt

from recsys_vae.models.autoencoder import NeuralConfig, NeuralRecommender
from recsys_vae.models.plain_autoencoder import PlainAutoencoderConfig, PlainAutoencoderNetwork
from recsys_vae.training.config import TrainingConfig


class MultDAEConfig(NeuralConfig):
    """Hyper-parameters of Mult-DAE, by default the paper's for ML-20M but for the training's."""

    hidden: tuple[PositiveInt, ...] = Field(
        default=(), description="widths between items and bottleneck, mirrored in the decoder"
    )
    latent: int = Field(default=200, ge=1, le=1_000_000, description="Z, width of the bottleneck")
    dropout: float = Field(default=0.5, ge=0, lt=1, description="of the input's entries")
    training: TrainingConfig = TrainingConfig(weight_decay=0.01 / 500)


class MultDAE(NeuralRecommender):
    r"""Mult-DAE of Liang et al.: minimise -sum_i x_ui log softmax_i(f(g(x_u))) + lambda |W|^2.

    The network is the plain autoencoder's: what makes it Mult-DAE is the dropout of the input, the
    multinomial likelihood and the penalty, which is the optimiser's weight decay.

    Source: D. Liang, R. Krishnan, M. Hoffman, T. Jebara, Variational Autoencoders for
    Collaborative Filtering, WWW 2018, arXiv 1802.05814, section 2.3 and equation 9.

    >>> MultDAE().config.training.weight_decay
    2e-05
    """

    name: ClassVar[str] = "mult-dae"

    def __init__(self, config: MultDAEConfig | None = None) -> None:
        """Describe a Mult-DAE."""
        self._mult_dae = config or MultDAEConfig()
        super().__init__(self._mult_dae)

    def build(self, n_items: int, generator: torch.Generator) -> PlainAutoencoderNetwork:
        """Make the network."""
        config = PlainAutoencoderConfig(likelihood="multinomial", **dict(self._mult_dae))
        return PlainAutoencoderNetwork(config, n_items, generator)
