"""Latent diffusion: a Mult-VAE whose latent points are completed by a denoiser.

Legend: B users in the batch, I items, Z latent width, T steps of the noise.
"""

from typing import ClassVar

import torch
from pydantic import Field, ValidationInfo, field_validator
from torch import Tensor

from recsys_vae.models.autoencoder import Autoencoder, NeuralRecommender
from recsys_vae.models.mult_vae import MultVAEConfig, MultVAENetwork
from recsys_vae.nn.diffusion import LatentDenoiser, NoiseSchedule
from recsys_vae.nn.gaussian import DiagonalGaussian
from recsys_vae.nn.noise import Noise
from recsys_vae.nn.sparse_linear import SparseBatch
from recsys_vae.nn.towers import ItemDecoder, initialise
from recsys_vae.training.records import Objective

# Streams of `Noise` for the denoiser's times and noise, apart from those of the VAE.
_TIMES, _NOISE = 32, 33


class LatentDiffusionConfig(MultVAEConfig):
    """Hyper-parameters of latent diffusion: those of Mult-VAE, and of the denoiser."""

    denoiser: int = Field(default=400, ge=1, le=1_000_000, description="its hidden width")
    noise_steps: int = Field(default=50, ge=1, le=10_000, description="T, levels of the noise")
    noise_share: float = Field(
        default=0.5, gt=0, lt=1, description="of the variance that is noise at the last level"
    )
    inference_steps: int = Field(
        default=3,
        ge=1,
        le=10_000,
        validate_default=True,
        description="back to no noise when scoring, at most T",
    )

    @field_validator("inference_steps")
    @classmethod
    def _at_most_the_levels(cls, value: int, info: ValidationInfo) -> int:
        levels = info.data.get("noise_steps", value)
        if value > levels:
            raise ValueError(f"must be at most noise_steps ({levels})")
        return value


class LatentDiffusionNetwork(Autoencoder):
    """A Mult-VAE, and a denoiser over its latent space that is conditioned on the history.

    Args:
        config: widths, dropout and noise.
        n_items: I.
        generator: draws the initial weights, the VAE's first.
    """

    def __init__(
        self, config: LatentDiffusionConfig, n_items: int, generator: torch.Generator
    ) -> None:
        """Build both and draw their weights."""
        super().__init__()
        self.schedule = NoiseSchedule(config.noise_steps, config.noise_share)
        self.inference_steps = config.inference_steps
        self.vae = MultVAENetwork(config, n_items, generator)
        self.denoiser = LatentDenoiser(config.latent, config.denoiser, self.schedule)
        initialise(self.denoiser, generator)

    def encode(self, batch: SparseBatch, noise: Noise | None = None) -> DiagonalGaussian:
        """Give the VAE's posterior with its mean completed; with `noise`, inputs are dropped.

        The way back starts where the forward process leads on average, a_T times the mean.
        """
        return self._completed(self.vae.encode(batch, noise))

    def _completed(self, posterior: DiagonalGaussian) -> DiagonalGaussian:
        condition_BZ = posterior.mean_BZ
        last_B = torch.full((len(condition_BZ),), self.schedule.steps, device=condition_BZ.device)
        completed_BZ = self.schedule.restore(
            self.schedule.levels(last_B)[0].to(condition_BZ.dtype) * condition_BZ,
            lambda z_BZ, times_B: self.denoiser(z_BZ, condition_BZ, times_B),
            self.inference_steps,
        )
        return DiagonalGaussian(completed_BZ, posterior.log_variance_BZ)

    def decode(self, z_BZ: Tensor) -> Tensor:
        """Give logits_BI."""
        return self.vae.decode(z_BZ)

    def item_decoder(self) -> ItemDecoder:
        """Give the VAE's layers."""
        return self.vae.item_decoder()

    def objective(self, batch: SparseBatch, kl_weight: float, noise: Noise) -> Objective:
        """Give the negative ELBO of the completed posterior's points, and the denoiser's loss.

        The KL term is that of the VAE's own posterior. For its loss, which does not move the VAE,
        the denoiser sees the noisy point of the whole history and, as the condition, the mean of
        what dropout left of it: it learns to complete.
        """
        posterior = self.vae.encode(batch, noise)
        drawn_BZ = self._completed(posterior).sample(noise)
        reconstruction = self.vae.decoder.nll(drawn_BZ, batch, noise).mean()
        kl = posterior.kl().mean()
        # An encoding more: little against the decoder's products over all items.
        with torch.no_grad():
            x0_BZ = self.vae.encode(batch).mean_BZ
        denoising = self.denoising_loss(x0_BZ, posterior.mean_BZ.detach(), noise).mean()
        terms = {"reconstruction": reconstruction, "kl": kl, "denoising": denoising}
        return Objective(reconstruction + kl_weight * kl + denoising, terms)

    def denoising_loss(self, x0_BZ: Tensor, condition_BZ: Tensor, noise: Noise) -> Tensor:
        """Give 1/2 |x_0 - x_0'|^2 at a time 1..T of each user's own, (B,)."""
        n_users, width = x0_BZ.shape
        rows_B = torch.arange(n_users, device=x0_BZ.device)
        drawn_B = noise.uniform(rows_B, torch.zeros_like(rows_B), stream=_TIMES)
        times_B = 1 + (drawn_B * self.schedule.steps).long()
        epsilon_BZ = noise.normal(width, stream=_NOISE).to(x0_BZ.dtype)
        start_B = torch.zeros_like(times_B)
        z_BZ = self.schedule.diffuse(x0_BZ, start_B, times_B, epsilon_BZ)
        guess_BZ: Tensor = self.denoiser(z_BZ, condition_BZ, times_B)
        return 0.5 * (x0_BZ - guess_BZ).square().sum(dim=1)


class LatentDiffusion(NeuralRecommender):
    r"""Diffusion in the latent space of a Mult-VAE, conditioned on the history.

    mu(x_u) is the VAE's posterior mean. z_t = a_t mu(x_u) + b_t e, e ~ N(0, I); a denoiser g is
    trained on 1/2 |mu(x_u) - g(z_t, mu(drop(x_u)), t)|^2, t uniform on 1..T. A few deterministic
    steps lead from a_T mu(x_u) back to t = 0, where the result takes mu's place: it is decoded at
    prediction time, and in training the negative ELBO is taken at draws around it. So decoder,
    denoiser and encoder learn of each other, while the denoiser's own loss leaves the VAE alone.

    Source: W. Wang, Y. Xu, F. Feng, X. Lin, X. He, T.-S. Chua, Diffusion Recommender Model,
    SIGIR 2023, arXiv 2304.04971 (L-DiffRec), of which this takes the idea, not the letter: the
    clusters of items with a VAE each are left out; the decoder learns from the end of the way back,
    not from a single guess; the noise is far stronger (their program adds variances of
    1e-4 to 2.5e-3); times are uniform and unweighted; and the condition, what it is trained to
    complete, and the DDIM steps are not theirs.

    >>> LatentDiffusion(LatentDiffusionConfig(inference_steps=2)).config.noise_steps
    50
    """

    name: ClassVar[str] = "latent-diffusion"

    def __init__(self, config: LatentDiffusionConfig | None = None) -> None:
        """Describe a latent diffusion."""
        self._latent_diffusion = config or LatentDiffusionConfig()
        super().__init__(self._latent_diffusion)

    @property
    def config(self) -> LatentDiffusionConfig:
        """The hyper-parameters."""
        return self._latent_diffusion

    def build(self, n_items: int, generator: torch.Generator) -> LatentDiffusionNetwork:
        """Make the network."""
        return LatentDiffusionNetwork(self._latent_diffusion, n_items, generator)
