"""RecVAE: a composite prior, a KL weight for each user, encoder and decoder trained in turns.

Legend: B users in the batch, I items, H hidden width, Z latent width.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Annotated, Any, ClassVar, Final, Literal, Self

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from recsys_vae.interactions import IdMap
from recsys_vae.models.autoencoder import Autoencoder, NeuralConfig, NeuralRecommender
from recsys_vae.nn.dense_skip import DenseSkipEncoder
from recsys_vae.nn.gaussian import DiagonalGaussian
from recsys_vae.nn.noise import Noise
from recsys_vae.nn.precision import widened
from recsys_vae.nn.priors import CompositePrior, GaussianUnderPrior
from recsys_vae.nn.sparse_linear import SparseBatch
from recsys_vae.nn.towers import ItemDecoder, initialise_by_inputs
from recsys_vae.training.config import TrainingConfig
from recsys_vae.training.records import Objective, Phase

_WIDE_LOG_VARIANCE: Final = 10.0
_PREVIOUS: Final = "previous."
_Share = Annotated[float, Field(ge=0, le=1)]


class RecVAEConfig(NeuralConfig):
    """Hyper-parameters of RecVAE, by default the paper's for ML-20M but for the training's."""

    hidden: int = Field(
        default=600, ge=1, le=1_000_000, description="width of the encoder's layers"
    )
    layers: int = Field(default=5, ge=1, le=100, description="of the encoder")
    latent: int = Field(default=200, ge=1, le=1_000_000, description="Z, width of the latent space")
    dropout: float = Field(default=0.5, ge=0, lt=1, description="of the encoder's input entries")
    gamma: float = Field(
        default=0.005, ge=0, le=1_000, description="KL weight per interaction of a user"
    )
    mixture: tuple[_Share, _Share, _Share] = Field(
        default=(0.15, 0.75, 0.10),
        description="weights in the prior of the standard normal, the encoder before, the wide "
        "normal; sum 1",
    )
    mixing: Literal["coordinate", "point"] = Field(
        default="coordinate",
        description="whether each coordinate is such a mixture (as in the authors' program) or the "
        "latent point as a whole (as in the paper's formula)",
    )
    encoder_passes: int = Field(default=3, ge=1, le=1_000, description="over the users, an epoch")
    decoder_passes: int = Field(default=1, ge=1, le=1_000, description="over the users, an epoch")
    training: TrainingConfig = TrainingConfig(epochs=50, learning_rate=5e-4)

    @field_validator("mixture")
    @classmethod
    def _sums_to_one(cls, mixture: tuple[float, float, float]) -> tuple[float, float, float]:
        if abs(sum(mixture) - 1.0) > 1e-6:
            raise ValueError("the three weights must have the sum 1")
        return mixture

    def kl_schedule(self, total_steps: int) -> Callable[[int], float]:
        """Stay at gamma: the weight is not annealed."""
        return lambda _step: self.gamma


class _Inference(nn.Module):
    """The encoder with its posterior."""

    def __init__(self, config: RecVAEConfig, n_items: int) -> None:
        super().__init__()
        self.encoder = DenseSkipEncoder(
            n_items,
            config.hidden,
            config.layers,
            config.dropout,
            sparse_gradient=config.negatives_for(n_items) is not None,
        )
        self.posterior = nn.Linear(config.hidden, 2 * config.latent)

    def forward(self, batch: SparseBatch, noise: Noise | None = None) -> DiagonalGaussian:
        parameters = widened(self.posterior(self.encoder(batch, noise)))
        return DiagonalGaussian(*parameters.chunk(2, dim=1))


class RecVAENetwork(Autoencoder):
    """I -> H (dense skips, swish, layer norm) -> Z -> I, and the encoder of an epoch ago.

    Args:
        config: widths, dropout and the prior's mixture.
        n_items: I.
        generator: draws the initial weights.
    """

    def __init__(self, config: RecVAEConfig, n_items: int, generator: torch.Generator) -> None:
        """Build the layers and draw their weights."""
        super().__init__()
        self._config = config
        self.inference = _Inference(config, n_items)
        self.decoder = ItemDecoder(
            n_items,
            [config.latent],
            precision=config.training.precision,
            buffer_mb=config.training.buffer_mb,
            negatives=config.negatives_for(n_items),
        )
        initialise_by_inputs(self, generator)
        # Parameters, though never trained: so they are in every checkpoint.
        self.previous = copy.deepcopy(self.inference).requires_grad_(False)

    def encode(self, batch: SparseBatch, noise: Noise | None = None) -> GaussianUnderPrior:
        """Give q(z|x) = N(mu(x), diag sigma(x)^2); with `noise`, inputs are dropped."""
        return GaussianUnderPrior(self.inference(batch, noise), lambda: self.prior(batch))

    def decode(self, z_BZ: Tensor) -> Tensor:
        """Give logits_BI."""
        logits_BI: Tensor = self.decoder(z_BZ)
        return logits_BI

    def prior(self, batch: SparseBatch) -> CompositePrior:
        """Give p(z) for each user, equation 8 of the paper; the encoder before sees all of x."""
        standard, previous, wide = self._config.mixture
        zero = self.inference.posterior.weight.new_zeros(1, self._config.latent)
        parts: list[tuple[float, Callable[[], DiagonalGaussian]]] = [
            (standard, lambda: DiagonalGaussian(zero, zero)),
            (previous, lambda: self.previous(batch)),
            (wide, lambda: DiagonalGaussian(zero, zero + _WIDE_LOG_VARIANCE)),
        ]
        used = [(weight, make) for weight, make in parts if weight > 0]
        with torch.no_grad():
            components = [make() for _, make in used]
        by_coordinate = self._config.mixing == "coordinate"
        return CompositePrior(components, [weight for weight, _ in used], by_coordinate)

    def objective(self, batch: SparseBatch, kl_weight: float, noise: Noise) -> Objective:
        """Give the negative ELBO as the encoder's passes see it: the decoder stays.

        The KL weight of a user is kl_weight (gamma) times the user's interactions N_u.
        """
        drawn = self.encode(batch, noise).draw(noise)
        reconstruction = self.decoder.nll(drawn.z_BZ, batch, noise, frozen=True).mean()
        weighted = (kl_weight * batch.row_sums() * drawn.kl_B).mean()
        terms = {"reconstruction": reconstruction, "kl": drawn.kl_B.mean()}
        return Objective(reconstruction + weighted, terms)

    def decoder_objective(self, batch: SparseBatch, kl_weight: float, noise: Noise) -> Objective:
        """Give the reconstruction term at a sample from the whole input; the encoder stays."""
        with torch.no_grad():
            z_BZ = self.encode(batch).sample(noise)
        reconstruction = self.decoder.nll(z_BZ, batch, noise).mean()
        return Objective(reconstruction, {"reconstruction": reconstruction})

    def remember_encoder(self) -> None:
        """Let the prior follow the encoder."""
        self.previous.load_state_dict(self.inference.state_dict())

    def phases(self) -> Sequence[Phase]:
        """The encoder first, after which the prior follows it; then the decoder."""
        return [
            Phase(
                "encoder",
                tuple(self.inference.parameters()),
                self._config.encoder_passes,
                at_end=self.remember_encoder,
            ),
            Phase(
                "decoder",
                tuple(self.decoder.parameters()),
                self._config.decoder_passes,
                objective=self.decoder_objective,
            ),
        ]


class RecVAE(NeuralRecommender):
    r"""RecVAE of Shenbin et al.

    x_u ~ Mult(N_u, softmax(W z_u + b)); trained on
    E_q[log p(x_u|z_u)] - gamma N_u (log q(z_u|x_u) - log p(z_u)), one sample z_u a step, with
    p(z_u) a mixture of N(0, I), the posterior q'(z_u|x_u) of the encoder of an epoch ago, and
    N(0, e^10 I). An epoch is three passes for the encoder, with input dropout, and one for the
    decoder, without. At prediction time z_u is the mean of q.

    The paper writes the mixture over the latent point as a whole; the authors' program mixes in
    each coordinate (`mixing`). Weights are drawn as there. The layer norms' epsilon of 0.1 is that
    of its later version, which its authors tell apart from the one of the paper; that one had
    PyTorch's. Before the first epoch q' is the encoder as initialised.

    Source: I. Shenbin, A. Alekseev, E. Tutubalina, V. Malykh, S. I. Nikolenko, RecVAE: a New
    Variational Autoencoder for Top-N Recommendations with Implicit Feedback, WSDM 2020,
    arXiv 1912.11160.

    >>> RecVAE().config.training.learning_rate
    0.0005
    """

    name: ClassVar[str] = "recvae"

    def __init__(self, config: RecVAEConfig | None = None) -> None:
        """Describe a RecVAE."""
        self._recvae = config or RecVAEConfig()
        super().__init__(self._recvae)

    def build(self, n_items: int, generator: torch.Generator) -> RecVAENetwork:
        """Make the network."""
        return RecVAENetwork(self._recvae, n_items, generator)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Give the weights by name, without the encoder of an epoch ago, which only trains."""
        arrays = super().arrays()
        return {name: value for name, value in arrays.items() if not name.startswith(_PREVIOUS)}

    def restore(self, items: IdMap, arrays: dict[str, npt.NDArray[np.float32]]) -> Self:
        """Take up weights; returns itself, on the CPU, ready to score."""
        inference = {name: a for name, a in arrays.items() if name.startswith("inference.")}
        previous = {_PREVIOUS + name.removeprefix("inference."): a for name, a in inference.items()}
        return super().restore(items, {**arrays, **previous})
