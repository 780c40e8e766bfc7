"""A VAE with a linear path: what one item says of another, and what the whole history says.

Legend: B users in the batch, I items, K items asked for, Z latent width.
"""

import math
from collections.abc import Callable
from typing import Any, ClassVar, Final, Self

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from scipy.sparse import csr_array
from torch import Tensor

from recsys_vae.interactions import IdMap, Interactions
from recsys_vae.models.autoencoder import NeuralRecommender
from recsys_vae.models.base import FitOptions, FloatMatrix, Recommender
from recsys_vae.models.choosing import better, clearly_better
from recsys_vae.models.closed_form import join_parts, sparse_parts
from recsys_vae.models.gated_scores import GatedScores
from recsys_vae.models.mult_vae import MultVAEConfig, MultVAENetwork
from recsys_vae.models.sparse_ease import SparseEASE, SparseEASEConfig
from recsys_vae.nn.linear_scores import LinearScores
from recsys_vae.training.config import TrainingConfig

_PATH: Final = "path_II"
_GATES: Final = (0.05, 0.0, 0.02, 0.1, 0.2, 0.5, 1.0)
_STEPS: Final = 1_000
"""Optimiser steps that a default training takes, within the bounds on its epochs."""
_FEWEST_EPOCHS: Final = 15
_MOST_EPOCHS: Final = 100
_VALIDATIONS: Final = 15
_SCORES_AT_ONCE: Final = 2**26
"""Scores that are made where only some items' are asked for, 256 MB."""


class LinearVAEConfig(MultVAEConfig):
    """Hyper-parameters; what is None adapts to the data."""

    latent: int = Field(default=512, ge=1, le=1_000_000, description="Z, width of the latent space")
    dropout: float = Field(default=0.8, ge=0, lt=1, description="of the input's entries")
    kl_annealing_steps: int | None = Field(
        default=6_000,
        ge=0,
        le=10**15,
        description="steps at which an uncapped KL weight would reach 1; None: so many that the "
        "cap is reached after half of the planned steps",
    )
    ridge: float | None = Field(
        default=None,
        gt=0,
        le=1e9,
        description="lambda of the linear path, in users of median activity; None: 60, or what is "
        "clearly better on validation among 20, 180, 540, and beyond if that is best",
    )
    neighbours: int = Field(default=128, ge=1, le=4096, description="items that speak for an item")
    damping: float = Field(
        default=0.3, ge=0, le=2, description="gamma, a user of n items counts n^-gamma in the path"
    )
    source_damping: float = Field(
        default=0.2,
        ge=0,
        le=2,
        description="alpha, what an item of n users says in the path counts n^-alpha",
    )
    gate: float | None = Field(
        default=None,
        ge=0,
        le=1e6,
        description="g, what the likeliest item of the VAE adds to its score; None: 0.05, or what "
        "is clearly better on validation among 0, 0.02, 0.1, 0.2, 0.5, 1",
    )
    training: TrainingConfig = Field(
        default=TrainingConfig(learning_rate=2e-3, lr_schedule="cosine"),
        description="by default as many epochs as have 1,000 steps, within 15 and 100",
    )

    def path(self) -> SparseEASEConfig:
        """Give the config of the linear path."""
        own = ("ridge", "neighbours", "damping", "source_damping")
        return SparseEASEConfig(**{name: getattr(self, name) for name in own})

    def planned(self, n_users: int) -> Self:
        """Write down the epochs of a training on so many users, unless they were given."""
        per_epoch = -(-n_users // self.training.users_per_step(n_users))
        epochs = min(max(round(_STEPS / per_epoch), _FEWEST_EPOCHS), _MOST_EPOCHS)
        if "epochs" in self.training.model_fields_set:
            epochs = self.training.epochs
        planned = {"epochs": epochs, "validate_every": max(1, epochs // _VALIDATIONS)}
        rest = {name: planned[name] for name in planned.keys() - self.training.model_fields_set}
        return self.model_copy(update={"training": self.training.model_copy(update=rest)})


class LinearVAE(NeuralRecommender):
    r"""Mult-VAE and a sparse linear item-to-item path over the same history.

    .. math:: s_{ui} = x_u B_{\cdot i} + g \, e^{l_{ui} - \max_j l_{uj}}

    B is sparse EASE (`item_ridge`): in closed form, frozen, without a diagonal, so that it cannot
    copy its input. l are the logits of a Mult-VAE at the posterior mean; the second term is the
    likelihood of each item relative to the likeliest. Both terms are near what they estimate, a
    probability, and so they are added as such and not as logits. The path sees pairs of items,
    down to the rare ones; the VAE sees the history as a whole, and answers an empty one. The
    epochs are chosen on validation; ridge and g leave their defaults only for what validation users
    clearly tell from them (`clearly_better`).

    Sources: D. Liang et al., Variational Autoencoders for Collaborative Filtering, WWW 2018 (the
    VAE); H. Steck, Embarrassingly Shallow Autoencoders for Sparse Data, WWW 2019 (the path);
    V. Vancura, P. Kordik, Deep Variational Autoencoder with Shallow Parallel Path for Top-N
    Recommendation (VASP), ICANN 2021 (the idea of a linear path beside a VAE).

    >>> LinearVAE(LinearVAEConfig(gate=0.1)).config.gate
    0.1
    """

    name: ClassVar[str] = "linear-vae"
    # The scores are no product of users and items, as those of other autoencoders are.
    linear_scores: ClassVar[None] = None  # type: ignore[assignment] # tells LinearRecommender so

    def __init__(self, config: LinearVAEConfig | None = None) -> None:
        """Describe the model."""
        self._linear_vae = self._asked = config or LinearVAEConfig()
        self._path_II = csr_array((0, 0), dtype=np.float32)
        super().__init__(self._linear_vae)

    @property
    def config(self) -> LinearVAEConfig:
        """The hyper-parameters, after a fit with what was chosen."""
        return self._linear_vae

    @property
    def chooses(self) -> bool:
        """Whether ridge, gate or the time to stop are open."""
        config = self._linear_vae
        return config.ridge is None or config.gate is None or super().chooses

    def settled(self) -> LinearVAEConfig:
        """Give the hyper-parameters with what validation chose in them."""
        settled = super().settled()
        assert isinstance(settled, LinearVAEConfig)  # it is made from the config
        return settled

    def build(self, n_items: int, generator: torch.Generator) -> MultVAENetwork:
        """Make the network."""
        return MultVAENetwork(self._linear_vae, n_items, generator)

    def fit(self, train_data: Interactions, options: FitOptions) -> Self:
        """Solve the path, train the VAE beside it, and choose the weight of the two."""
        path = SparseEASE(self._asked.path()).fit(train_data, options)
        asked = self._asked.planned(len(train_data.users))
        asked = asked.model_copy(update={"ridge": path.config.model_dump()["ridge"]})
        self._path_II = path.weights
        # While it trains it is judged with the weight that is asked for, or the usual one.
        gate = _GATES[0] if asked.gate is None else asked.gate
        self._take(asked.model_copy(update={"gate": gate}))
        super().fit(train_data, options)
        if asked.gate is None and options.validate is not None:
            self._choose_gate(options.validate)
        return self

    def _choose_gate(self, validate: Callable[[Recommender], float]) -> None:
        first = best = -math.inf
        chosen = _GATES[0]
        for gate in _GATES:
            self._take(self._linear_vae.model_copy(update={"gate": gate}))
            metric = validate(self)
            if gate == _GATES[0]:
                first = best = metric
            elif better(metric, best) and clearly_better(metric, first):
                best, chosen = metric, gate
        self._take(self._linear_vae.model_copy(update={"gate": chosen}))

    def _take(self, config: LinearVAEConfig) -> None:
        self._linear_vae = self._config = config

    @torch.inference_mode()
    def score(self, given: csr_array) -> FloatMatrix:
        """Score at the posterior mean: scores_BI."""
        return self.scores_at(given, self.posterior(given).mean_BZ)

    @torch.inference_mode()
    def scores_at(self, given: csr_array, z_BZ: Tensor) -> FloatMatrix:
        """Score at latent points: what the VAE says of them, and the path of the histories."""
        scores: FloatMatrix = self._factors(given, z_BZ).scores().numpy()
        return scores

    @torch.inference_mode()
    def gated_scores(self, given: csr_array) -> GatedScores:
        """Give the factors of the scores at the posterior mean."""
        return self._factors(given, self.posterior(given).mean_BZ)

    def _factors(self, given: csr_array, z_BZ: Tensor) -> GatedScores:
        decoder = self.network.item_decoder()
        logits = LinearScores(decoder.hidden(z_BZ), decoder.weight_IH, decoder.bias_I)
        gate = self._linear_vae.gate
        return GatedScores(
            logits,
            csr_array(given, dtype=np.float32),
            self._path_II,
            _GATES[0] if gate is None else gate,
        )

    def score_items(self, given: csr_array, items_BK: npt.NDArray[np.integer[Any]]) -> FloatMatrix:
        """Score some items for each user: scores_BK, those of `score`.

        The largest logit is one of all items, so all are scored, of few users at a time.
        """
        at_once = max(1, _SCORES_AT_ONCE // len(self.items))
        scores_BK = np.empty(items_BK.shape, dtype=np.float32)
        for start in range(0, len(items_BK), at_once):
            rows = slice(start, start + at_once)
            own_BK = items_BK[rows].astype(np.intp)
            scores_BK[rows] = np.take_along_axis(self.score(given[rows]), own_BK, axis=1)
        return scores_BK

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Give the weights of both by name."""
        return {**super().arrays(), **sparse_parts(_PATH, self._path_II)}

    def restore(self, items: IdMap, arrays: dict[str, npt.NDArray[Any]]) -> Self:
        """Take up weights; returns itself, on the CPU, ready to score."""
        self._path_II = join_parts(_PATH, arrays, len(items))
        own = {name: value for name, value in arrays.items() if not name.startswith(f"{_PATH}.")}
        return super().restore(items, own)
