"""VQ-VAE: tastes as a few discrete codes.

Legend: B users in the batch, I items, G groups, K codes of a group, D width of a group, Z = G D.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field, PositiveInt
from scipy.sparse import csr_array
from torch import Tensor, nn

from recsys_vae.models.autoencoder import Autoencoder, NeuralConfig, NeuralRecommender
from recsys_vae.nn.noise import Noise
from recsys_vae.nn.precision import widened
from recsys_vae.nn.quantize import Quantised, VectorQuantizer, perplexity
from recsys_vae.nn.sparse_linear import SparseBatch
from recsys_vae.nn.towers import HistoryEncoder, ItemDecoder, initialise
from recsys_vae.training.batches import sparse_batch
from recsys_vae.training.records import Objective, Phase

_CODES_AT_ONCE: Final = 64
"""Rows of logits that are held while codes are described."""


class VQVAEConfig(NeuralConfig):
    """Hyper-parameters of VQ-VAE; commitment and decay are those the paper advises."""

    hidden: tuple[PositiveInt, ...] = Field(
        default=(600,), min_length=1, description="widths of the encoder, mirrored in the decoder"
    )
    groups: int = Field(default=16, ge=1, le=4096, description="G, codes that make up a taste")
    codes: int = Field(default=64, ge=1, le=65_536, description="K, choices of each of them")
    width: int = Field(default=16, ge=1, le=65_536, description="D, numbers of a code")
    dropout: float = Field(default=0.5, ge=0, lt=1, description="of the input's entries")
    commitment: float = Field(
        default=0.25, ge=0, le=1_000, description="weight of |z - e|^2, averaged over the "
        "groups, which keeps the encoder near its codes"
    )  # fmt: skip
    decay: float = Field(
        default=0.99, ge=0, lt=1, description="share of the moving averages kept a step"
    )
    revive_below: float = Field(
        default=0.05, ge=0, lt=1, description="a code used less than this share of its group's "
        "mean is put beside one in use; 0: never"
    )  # fmt: skip


class VQVAENetwork(Autoencoder):
    """I -> hidden (tanh) -> Z, each of the G groups to its nearest code, and back.

    Args:
        config: widths, codes and dropout.
        n_items: I.
        generator: draws the initial weights and codes.
    """

    def __init__(self, config: VQVAEConfig, n_items: int, generator: torch.Generator) -> None:
        """Build the layers and draw their weights."""
        super().__init__()
        self.commitment = config.commitment
        negatives = config.negatives_for(n_items)
        latent = config.groups * config.width
        self.encoder = HistoryEncoder(
            n_items, config.hidden, config.dropout, sparse_gradient=negatives is not None
        )
        self.project = nn.Linear(config.hidden[-1], latent)
        self.quantizer = VectorQuantizer(
            config.groups,
            config.codes,
            config.width,
            decay=config.decay,
            revive_below=config.revive_below,
            generator=generator,
        )
        self.decoder = ItemDecoder(
            n_items,
            [latent, *reversed(config.hidden)],
            precision=config.training.precision,
            buffer_mb=config.training.buffer_mb,
            negatives=negatives,
        )
        initialise(self, generator)

    def encode(self, batch: SparseBatch, noise: Noise | None = None) -> Quantised:
        """Give the codes of each user; with `noise`, inputs are dropped."""
        quantised: Quantised = self.quantizer(widened(self.project(self.encoder(batch, noise))))
        return quantised

    def decode(self, z_BZ: Tensor) -> Tensor:
        """Give logits_BI."""
        logits_BI: Tensor = self.decoder(z_BZ)
        return logits_BI

    def objective(self, batch: SparseBatch, kl_weight: float, noise: Noise) -> Objective:
        """Give equation 3 of the paper, whose middle term the moving averages stand in for.

        The perplexity of the batch's codes is told, not minimised.
        """
        posterior = self.encode(batch, noise)
        reconstruction = self.decoder.nll(posterior.mean_BZ, batch, noise).mean()
        commitment = posterior.commitment_B.mean()
        terms = {
            "reconstruction": reconstruction,
            "commitment": commitment,
            "perplexity": perplexity(posterior.codes_BG, posterior.n_codes),
        }
        return Objective(reconstruction + self.commitment * commitment, terms)

    def phases(self) -> Sequence[Phase]:
        """Train everything at once; after every step the codes follow its users."""
        return [Phase("all", tuple(self.parameters()), after_step=self.quantizer.settle)]

    def mean_code(self) -> Tensor:
        """Give the average of each group's codes by their use, z_GD."""
        use_GK = self.quantizer.use_GK
        share_GK1 = (use_GK / use_GK.sum(dim=1, keepdim=True))[..., None]
        return (share_GK1 * self.quantizer.codes_GKD).sum(dim=1)

    def rises(self, group: int, codes: slice) -> Tensor:
        """Give how much each code of a group lifts every logit above those of the mean code."""
        mean_GD = self.mean_code()
        chosen_KD = self.quantizer.codes_GKD[group, codes]
        z_KGD = mean_GD.repeat(len(chosen_KD), 1, 1)
        z_KGD[:, group] = chosen_KD
        return self.decode(z_KGD.flatten(1)) - self.decode(mean_GD.flatten()[None])


@dataclass(frozen=True, slots=True)
class CodeProfile:
    """What one code stands for.

    Attributes:
        group: 0..G-1.
        code: 0..K-1.
        share: of the training users that have it, by the moving average; a group's sum to 1.
        items: ids of the items whose logits rise most, best first.
        rises: by how much, against the group's average code.
    """

    group: int
    code: int
    share: float
    items: list[Any]
    rises: list[float]


class VQVAE(NeuralRecommender):
    r"""VQ-VAE of van den Oord et al., over items, with several small codebooks for a user.

    z_u = f(x_u) is cut into G groups; e_ug is the nearest of K codes to z_ug; minimised is
    -sum_i x_ui log softmax_i(g(e_u)) + beta 1/G sum_g |z_ug - sg(e_ug)|^2, sg stopping the
    gradient (the paper averages over its latent variables, too); the gradient of the
    first term passes from e to z as it is; the codes are moving averages of the z that took them.
    At prediction time the codes are the nearest ones.

    Source: A. van den Oord, O. Vinyals, K. Kavukcuoglu, Neural Discrete Representation Learning,
    NeurIPS 2017, arXiv 1711.00937. Several codebooks side by side instead of codes over a plane,
    and the revival of dead codes, are not the paper's.

    A user whose z lies within rounding of the border between two codes may get either, and
    which one can depend on the shapes of the products that computed z.

    >>> VQVAE(VQVAEConfig(groups=8)).config.groups
    8
    """

    name: ClassVar[str] = "vq-vae"

    def __init__(self, config: VQVAEConfig | None = None) -> None:
        """Describe a VQ-VAE."""
        self._vq_vae = config or VQVAEConfig()
        super().__init__(self._vq_vae)

    @property
    def config(self) -> VQVAEConfig:
        """The hyper-parameters."""
        return self._vq_vae

    def build(self, n_items: int, generator: torch.Generator) -> VQVAENetwork:
        """Make the network."""
        return VQVAENetwork(self._vq_vae, n_items, generator)

    def _own_network(self) -> VQVAENetwork:
        network = self.network
        assert isinstance(network, VQVAENetwork)
        return network.eval()

    @torch.inference_mode()
    def codes_of(self, given: csr_array) -> npt.NDArray[np.int64]:
        """Give the codes of some users.

        Args:
            given: (B, I) histories.

        Returns:
            codes_BG.
        """
        network = self._own_network()
        device = network.quantizer.codes_GKD.device
        batch = sparse_batch(csr_array(given, dtype=np.float32), device)
        codes: npt.NDArray[np.int64] = network.encode(batch).codes_BG.cpu().numpy()
        return codes

    @torch.inference_mode()
    def code_profiles(self, n_items: int = 10) -> list[CodeProfile]:
        """List all codes, by group and number, with their typical items.

        Args:
            n_items: items of each code at most.
        """
        network = self._own_network()
        use_GK = network.quantizer.use_GK
        share_GK = (use_GK / use_GK.sum(dim=1, keepdim=True)).tolist()
        n_items = min(n_items, len(self.items))
        profiles = []
        for group in range(use_GK.shape[0]):
            for start in range(0, use_GK.shape[1], _CODES_AT_ONCE):
                rises_KI = network.rises(group, slice(start, start + _CODES_AT_ONCE))
                top = rises_KI.topk(n_items, dim=1)
                rows = zip(top.indices.tolist(), top.values.tolist(), strict=True)
                for code, (items, rises) in enumerate(rows, start):
                    typical = self.items.ids(items).tolist()
                    share = share_GK[group][code]
                    profiles.append(CodeProfile(group, code, share, typical, rises))
        return profiles
