"""What all autoencoders share: the shape of the network, and how one becomes a recommender.

Legend: B users in the batch, I items, H hidden width, Z latent width.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import csr_array
from torch import Tensor, nn

from recsys_vae.interactions import IdMap, Interactions
from recsys_vae.models.base import FitOptions, FloatMatrix, ModelConfig, NotFittedError
from recsys_vae.nn.gaussian import Distribution
from recsys_vae.nn.noise import Noise
from recsys_vae.nn.sparse_linear import SparseBatch
from recsys_vae.training.batches import BatchPlan, sparse_batch
from recsys_vae.training.config import TrainingConfig
from recsys_vae.training.device import choose_device
from recsys_vae.training.trainer import EpochRecord, Objective, Phase, RunContext, train


class Autoencoder(nn.Module, ABC):
    """A network that encodes a history into a distribution and decodes a point into logits."""

    @abstractmethod
    def encode(self, batch: SparseBatch) -> Distribution:
        """Give q(z|x) of each user."""

    @abstractmethod
    def decode(self, z_BZ: Tensor) -> Tensor:
        """Give logits_BI."""

    @abstractmethod
    def objective(self, batch: SparseBatch, kl_weight: float, noise: Noise) -> Objective:
        """Give the training loss of a batch."""

    def phases(self) -> Sequence[Phase]:
        """Train everything at once, unless a model says otherwise."""
        return [Phase("all", tuple(self.parameters()))]


class NeuralConfig(ModelConfig):
    """The config of a model that is trained by gradient steps."""

    training: TrainingConfig = TrainingConfig()

    def kl_schedule(self, total_steps: int) -> Callable[[int], float]:
        """Give the KL weight by step; without a KL term it does not matter."""
        return lambda _step: 0.0


class NeuralRecommender(ABC):
    """Fits, scores and keeps an `Autoencoder`; a model says only how to build its network."""

    name: ClassVar[str]
    folds_in: ClassVar[bool] = True

    def __init__(self, config: NeuralConfig) -> None:
        """Describe a model; it can score once fitted or restored."""
        self._config = config
        self._items: IdMap | None = None
        self._network: Autoencoder | None = None
        self.history: list[EpochRecord] = []

    @abstractmethod
    def build(self, n_items: int, generator: torch.Generator) -> Autoencoder:
        """Make the network with initial weights drawn from `generator`."""

    @property
    def config(self) -> NeuralConfig:
        """The hyper-parameters."""
        return self._config

    @property
    def items(self) -> IdMap:
        """The items that the columns of the scores stand for."""
        if self._items is None:
            raise NotFittedError(f"{self.name} has not been fitted")
        return self._items

    @property
    def network(self) -> Autoencoder:
        """The trained network."""
        if self._network is None:
            raise NotFittedError(f"{self.name} has not been fitted")
        return self._network

    def fit(self, train_data: Interactions, options: FitOptions) -> Self:
        """Train on the given users; the best weights by `options.validate` are kept."""
        device = choose_device(options.device)
        config = self.config.training
        self._items = train_data.items
        generator = torch.Generator().manual_seed(options.seed)
        self._network = self.build(len(train_data.items), generator).to(device)
        n_users = len(train_data.users)
        size = config.users_per_step(n_users)
        plan = BatchPlan(train_data.matrix, size, options.seed, device)
        passes = sum(phase.passes for phase in self._network.phases())
        validate = options.validate
        run = RunContext(
            seed=options.seed,
            device=device,
            validate=None if validate is None else lambda: validate(self),
            on_epoch=options.on_epoch,
            progress=self.name if options.progress else None,
        )
        schedule = self.config.kl_schedule(config.epochs * plan.steps_per_epoch * passes)
        self.history = train(self._network, plan, config, schedule, run)
        return self

    @torch.inference_mode()
    def score(self, given: csr_array) -> FloatMatrix:
        """Score by the decoder's logits at the posterior mean: scores_BI."""
        network = self.network
        network.eval()
        device = next(network.parameters()).device
        batch = sparse_batch(csr_array(given, dtype=np.float32), device)
        scores: FloatMatrix = network.decode(network.encode(batch).mean_BZ).float().cpu().numpy()
        return scores

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Give the weights by name."""
        return {name: value.cpu().numpy() for name, value in self.network.state_dict().items()}

    def restore(self, items: IdMap, arrays: dict[str, npt.NDArray[Any]]) -> Self:
        """Take up weights; returns itself, on the CPU, ready to score."""
        network = self.build(len(items), torch.Generator())
        network.load_state_dict({name: torch.from_numpy(value) for name, value in arrays.items()})
        self._items, self._network = items, network.eval()
        return self
