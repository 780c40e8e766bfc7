"""beta-VAE: Mult-VAE's network with a weight of the KL term that is fixed, rises, or goes round."""

from collections.abc import Callable
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, PositiveInt

from recsys_vae.models.autoencoder import NeuralRecommender
from recsys_vae.models.likelihood import LikelihoodConfig
from recsys_vae.models.mult_vae import MultVAEConfig, MultVAENetwork
from recsys_vae.nn.schedules import Constant, Cyclic, LinearRise


class BetaVAEConfig(LikelihoodConfig):
    """Hyper-parameters of beta-VAE; the widths are Mult-VAE's."""

    hidden: tuple[PositiveInt, ...] = Field(
        default=(600,), min_length=1, description="widths of the encoder, mirrored in the decoder"
    )
    latent: int = Field(default=200, ge=1, le=1_000_000, description="Z, width of the latent space")
    dropout: float = Field(default=0.5, ge=0, lt=1, description="of the input's entries")
    beta: float = Field(
        default=1.0, ge=0, le=1_000, description="highest weight of the KL term; 1: the ELBO"
    )
    schedule: Literal["fixed", "linear", "cyclic"] = Field(
        default="fixed",
        description="beta throughout; or up to it in a straight line, once or in every cycle",
    )
    rising: float = Field(
        default=0.5, ge=0, le=1, description="share of the steps, or of a cycle, in which it rises"
    )
    cycles: int = Field(default=4, ge=1, le=10**6, description="of the cyclic schedule")
    schedule_steps: int | None = Field(
        default=None,
        ge=1,
        le=10**15,
        description="steps that the schedule is laid out over; None: those of the training",
    )

    def kl_schedule(self, total_steps: int) -> Callable[[int], float]:
        """Give beta by step."""
        total_steps = self.schedule_steps or total_steps
        if self.schedule == "linear":
            return LinearRise(self.beta, round(self.rising * total_steps))
        if self.schedule == "cyclic":
            return Cyclic(self.beta, -(-total_steps // self.cycles), self.rising)
        return Constant(self.beta)

    def settled(self, total_steps: int) -> Self:
        """Write down the steps that the schedule is laid out over."""
        if self.schedule == "fixed":
            return self
        return self.model_copy(update={"schedule_steps": self.schedule_steps or total_steps})


class BetaVAE(NeuralRecommender):
    r"""beta-VAE of Higgins et al. on histories: minimise -E_q[log p(x_u|z_u)] + beta KL(q || p).

    q(z_u|x_u) is a diagonal normal distribution, p(z_u) the standard normal one. With beta = 1 the
    loss is the negative ELBO; above 1 it presses what z tells of x below what the ELBO would
    keep, below 1 it keeps more. The network is Mult-VAE's, which differs in its schedule only:
    there the slope of the rise is set and the cap cuts it off, here the time of the rise.

    Source: I. Higgins et al., beta-VAE: Learning Basic Visual Concepts with a Constrained
    Variational Framework, ICLR 2017; the cyclic schedule is that of H. Fu et al., Cyclical
    Annealing Schedule, NAACL 2019, with its four cycles that rise for half of their length.

    >>> BetaVAE(BetaVAEConfig(beta=4.0, schedule="cyclic")).config.kl_schedule(40)(5)
    4.0
    """

    name: ClassVar[str] = "beta-vae"

    def __init__(self, config: BetaVAEConfig | None = None) -> None:
        """Describe a beta-VAE."""
        self._beta_vae = config or BetaVAEConfig()
        super().__init__(self._beta_vae)

    def build(self, n_items: int, generator: torch.Generator) -> MultVAENetwork:
        """Make the network."""
        shared = {
            name: value for name, value in self._beta_vae if name in MultVAEConfig.model_fields
        }
        return MultVAENetwork(MultVAEConfig(**shared), n_items, generator)
