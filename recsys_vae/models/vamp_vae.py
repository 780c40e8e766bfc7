"""VampVAE: a prior made of posteriors, gated layers, one or two levels of latent points.

Legend: B users in the batch, I items, H hidden width, K pseudo-inputs, Z latent width.
"""

from typing import Any, ClassVar, Final, Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from recsys_vae.errors import InputError
from recsys_vae.models.annealed import AnnealedConfig
from recsys_vae.models.autoencoder import Autoencoder, NeuralRecommender
from recsys_vae.nn.gated import (
    GatedEncoder,
    GatedLinear,
    HiddenPseudoInputs,
    ItemPseudoInputs,
    PairDecoder,
    gated_layers,
    initialise_gates,
    passed,
    pre_width,
)
from recsys_vae.nn.gaussian import DiagonalGaussian
from recsys_vae.nn.noise import Noise
from recsys_vae.nn.precision import widened
from recsys_vae.nn.priors import Draw, EqualMixture, GaussianUnderPrior, TwoLevelPosterior
from recsys_vae.nn.sparse_linear import SparseBatch
from recsys_vae.nn.towers import ItemDecoder, initialise
from recsys_vae.training.config import TrainingConfig
from recsys_vae.training.records import Objective

_MOST_AFFINITIES: Final = 50_000_000
"""Numbers in pseudo-inputs over items, 200 MB; with gradient and moments four times that."""
_LOG_VARIANCES: Final = (-12.0, 4.0)
"""Bounds of every log-variance, as in the authors' program."""
_LOWER_DROPOUT: Final = 3
"""Stream of the noise: the two encoders of two levels forget different entries."""


class VampVAEConfig(AnnealedConfig):
    """Hyper-parameters of VampVAE, by default those of the authors' own example."""

    rising_share: ClassVar[float] = 0.25

    hidden: tuple[PositiveInt, ...] = Field(
        default=(600, 600),
        min_length=1,
        description="widths of the encoder, mirrored in the decoder",
    )
    latent: int = Field(default=200, ge=1, le=1_000_000, description="Z, of each level")
    levels: Literal[1, 2] = Field(default=2, description="of latent points, 2: hierarchical")
    layers: Literal["gated", "tanh"] = Field(
        default="gated", description="kind of every layer: with gates as in the paper, or a tanh"
    )
    pseudo_inputs: int = Field(default=1000, ge=1, le=1_000_000, description="K of the prior")
    pseudo_form: Literal["auto", "items", "hidden"] = Field(
        default="auto",
        description="of a pseudo-input: an affinity for each item (as in the paper), or the first "
        "layer's values; auto: items up to 50 million affinities with the exact softmax",
    )
    dropout: float = Field(default=0.5, ge=0, lt=1, description="of the input's entries")
    kl_cap: float = Field(default=0.3, ge=0, le=1_000, description="highest weight of the KL term")
    training: TrainingConfig = TrainingConfig(
        epochs=400, batch_size=200, learning_rate=5e-4, patience=50
    )

    @property
    def gated(self) -> bool:
        """Whether layers have gates."""
        return self.layers == "gated"

    def over_items(self, n_items: int) -> bool:
        """Say whether pseudo-inputs are affinities for items.

        Raises:
            InputError: they were asked for where no step may pass over the whole catalogue.
        """
        sampled = self.negatives_for(n_items) is not None
        if self.pseudo_form == "items" and sampled:
            raise InputError(
                "pseudo_form=items would touch every item in every step, which the sampled softmax "
                "exists to avoid: set pseudo_form=hidden, or softmax=exact"
            )
        if self.pseudo_form == "auto":
            return not sampled and self.pseudo_inputs * n_items <= _MOST_AFFINITIES
        return self.pseudo_form == "items"


class _GaussianHead(nn.Module):
    """A normal distribution whose parameters are linear in h, log-variances within bounds."""

    def __init__(self, width: int, latent: int) -> None:
        super().__init__()
        self.both = nn.Linear(width, 2 * latent)

    def forward(self, hidden_BH: Tensor) -> DiagonalGaussian:
        mean_BZ, log_variance_BZ = widened(self.both(hidden_BH)).chunk(2, dim=1)
        return DiagonalGaussian(mean_BZ, log_variance_BZ.clamp(*_LOG_VARIANCES))


class _VampEncoder(nn.Module):
    """q(z|x), and the prior 1/K sum_k q(z|u_k) of the same layers."""

    def __init__(self, config: VampVAEConfig, n_items: int) -> None:
        super().__init__()
        self.tower = GatedEncoder(
            n_items,
            config.hidden,
            config.dropout,
            sparse_gradient=config.negatives_for(n_items) is not None,
            gated=config.gated,
        )
        self.posterior = _GaussianHead(config.hidden[-1], config.latent)
        self.pseudo: ItemPseudoInputs | HiddenPseudoInputs

    def add_pseudo_inputs(
        self, config: VampVAEConfig, n_items: int, generator: torch.Generator
    ) -> None:
        """Draw the pseudo-inputs; everything else is initialised."""
        kind = ItemPseudoInputs if config.over_items(n_items) else HiddenPseudoInputs
        self.pseudo = kind(config.pseudo_inputs, self.tower, generator)

    def forward(self, batch: SparseBatch, noise: Noise | None = None) -> GaussianUnderPrior:
        gaussian = self.posterior(self.tower(batch, noise))
        return GaussianUnderPrior(gaussian, self.prior)

    def prior(self) -> EqualMixture:
        """Give the VampPrior; nothing is dropped from a pseudo-input."""
        return EqualMixture(self.posterior(self.pseudo(self.tower)))


def _decoder(config: VampVAEConfig, n_items: int, latent: int, hidden: nn.Module) -> ItemDecoder:
    return ItemDecoder(
        n_items,
        [latent, config.hidden[0]],
        hidden=hidden,
        precision=config.training.precision,
        buffer_mb=config.training.buffer_mb,
        negatives=config.negatives_for(n_items),
    )


class VampVAENetwork(Autoencoder):
    """I -> hidden (gated) -> Z, and back, with a VampPrior on z.

    Args:
        config: widths, dropout and pseudo-inputs.
        n_items: I.
        generator: draws the initial weights.
    """

    def __init__(self, config: VampVAEConfig, n_items: int, generator: torch.Generator) -> None:
        """Build the layers and draw their weights."""
        super().__init__()
        self.encoder = _VampEncoder(config, n_items)
        widths = [config.latent, *reversed(config.hidden)]
        hidden = gated_layers(widths, gated=config.gated)
        self.decoder = _decoder(config, n_items, config.latent, hidden)
        initialise(self, generator)
        initialise_gates(self, generator)
        self.encoder.add_pseudo_inputs(config, n_items, generator)

    def encode(self, batch: SparseBatch, noise: Noise | None = None) -> GaussianUnderPrior:
        """Give q(z|x); with `noise`, inputs are dropped."""
        posterior: GaussianUnderPrior = self.encoder(batch, noise)
        return posterior

    def decode(self, z_BZ: Tensor) -> Tensor:
        """Give logits_BI."""
        logits_BI: Tensor = self.decoder(z_BZ)
        return logits_BI

    def objective(self, batch: SparseBatch, kl_weight: float, noise: Noise) -> Objective:
        """Give the negative ELBO with a weighted KL term, estimated from one sample."""
        drawn = self.encode(batch, noise).draw(noise)
        return _negative_elbo(self.decoder, drawn, batch, kl_weight, noise)


def _negative_elbo(
    decoder: ItemDecoder, drawn: Draw, batch: SparseBatch, kl_weight: float, noise: Noise
) -> Objective:
    reconstruction = decoder.nll(drawn.z_BZ, batch, noise).mean()
    kl = drawn.kl_B.mean()
    return Objective(reconstruction + kl_weight * kl, {"reconstruction": reconstruction, "kl": kl})


class TwoLevelVampVAENetwork(Autoencoder):
    """H+Vamp: q(z2|x) q(z1|x, z2), p(x|z1, z2) p(z1|z2) p(z2) with a VampPrior on z2.

    Args:
        config: widths, dropout and pseudo-inputs.
        n_items: I.
        generator: draws the initial weights.
    """

    def __init__(self, config: VampVAEConfig, n_items: int, generator: torch.Generator) -> None:
        """Build the layers and draw their weights."""
        super().__init__()
        (first, *more), gated = config.hidden, config.gated
        self.gated = gated
        self.encoder = _VampEncoder(config, n_items)
        self.lower_tower = GatedEncoder(
            n_items,
            [first],
            config.dropout,
            stream=_LOWER_DROPOUT,
            sparse_gradient=config.negatives_for(n_items) is not None,
            gated=gated,
        )
        # One hidden layer sees x and z2 at once; of more, the first sees each by itself.
        self.lower_upper = (
            GatedLinear(config.latent, first, gated=gated)
            if more
            else nn.Linear(config.latent, pre_width(first, gated=gated))
        )
        self.lower_joint = gated_layers([2 * first, *more], gated=gated) if more else None
        self.lower_posterior = _GaussianHead(config.hidden[-1], config.latent)
        self.prior_layers = gated_layers([config.latent, *config.hidden], gated=gated)
        self.lower_prior = _GaussianHead(config.hidden[-1], config.latent)
        pair: nn.Module = (
            PairDecoder(config.latent, config.hidden[::-1], gated=gated)
            if more
            else GatedLinear(2 * config.latent, first, gated=gated)
        )
        self.decoder = _decoder(config, n_items, 2 * config.latent, pair)
        initialise(self, generator)
        initialise_gates(self, generator)
        self.encoder.add_pseudo_inputs(config, n_items, generator)

    def encode(self, batch: SparseBatch, noise: Noise | None = None) -> TwoLevelPosterior:
        """Give q(z1, z2|x); with `noise`, inputs are dropped."""
        joint = self.lower_joint
        seen_BH = (
            self.lower_tower.before_gate(batch, noise)
            if joint is None
            else self.lower_tower(batch, noise)
        )

        def lower(upper_BZ: Tensor) -> DiagonalGaussian:
            above_BH = self.lower_upper(upper_BZ)
            if joint is None:
                hidden_BH = passed(seen_BH + above_BH, gated=self.gated)
            else:
                hidden_BH = joint(torch.cat([seen_BH, above_BH], dim=1))
            gaussian: DiagonalGaussian = self.lower_posterior(hidden_BH)
            return gaussian

        return TwoLevelPosterior(self.encoder(batch, noise), lower, self.prior_of_lower)

    def prior_of_lower(self, upper_BZ: Tensor) -> DiagonalGaussian:
        """Give p(z1|z2)."""
        gaussian: DiagonalGaussian = self.lower_prior(self.prior_layers(upper_BZ))
        return gaussian

    def decode(self, z_BZ: Tensor) -> Tensor:
        """Give logits_BI of (B, 2 Z) points, z1 first."""
        logits_BI: Tensor = self.decoder(z_BZ)
        return logits_BI

    def objective(self, batch: SparseBatch, kl_weight: float, noise: Noise) -> Objective:
        """Give the negative ELBO with a weighted KL term, estimated from one sample."""
        drawn = self.encode(batch, noise).draw(noise)
        return _negative_elbo(self.decoder, drawn, batch, kl_weight, noise)


class VampVAE(NeuralRecommender):
    r"""VampVAE of Kim & Suh: H+Vamp gated with two levels, Vamp gated with one.

    p(z2) = 1/K sum_k q(z2|u_k) with learned pseudo-inputs u_k, z1 ~ p(z1|z2), x_u ~ Mult(N_u,
    softmax(f(z1, z2))); trained on E_q[log p(x|z1, z2)] - beta (log q(z2|x) - log p(z2) +
    KL(q(z1|x, z2) || p(z1|z2))), one sample a step, beta annealed from 0 to a cap, with layers
    h = (A x) * sigmoid(B x) throughout (or, with `layers` tanh, h = tanh(A x), as the paper's
    members without gates). With one level z1 is left out. At prediction time z2 is
    the mean of q(z2|x), and z1 that of q(z1|x, z2).

    From the authors' program differ: the likelihood, the multinomial one that the family shares
    (theirs was Bernoulli in the run that they document); pseudo-inputs, normalised to length 1 as
    histories are and never dropped from; the KL of z1, in closed form instead of by a sample; the
    first and the output layer's weights, drawn as in the rest of the family; the optimiser, Adam
    without normalised gradients; and early stopping, which may come before beta is at its cap
    unless patience is long enough.

    Source: D. Kim, B. Suh, Enhancing VAEs for Collaborative Filtering: Flexible Priors & Gating
    Mechanisms, RecSys 2019, arXiv 1911.00936; J. M. Tomczak, M. Welling, VAE with a VampPrior,
    AISTATS 2018, arXiv 1705.07120.

    >>> VampVAE(VampVAEConfig(levels=1)).config.levels
    1
    """

    name: ClassVar[str] = "vamp-vae"

    def __init__(self, config: VampVAEConfig | None = None) -> None:
        """Describe a VampVAE."""
        self._vamp_vae = config or VampVAEConfig()
        super().__init__(self._vamp_vae)

    def build(self, n_items: int, generator: torch.Generator) -> Autoencoder:
        """Make the network of one level or of two."""
        networks: dict[int, Any] = {1: VampVAENetwork, 2: TwoLevelVampVAENetwork}
        network: Autoencoder = networks[self._vamp_vae.levels](self._vamp_vae, n_items, generator)
        return network
