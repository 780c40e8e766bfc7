"""What all autoencoders share: the shape of the network, and how one becomes a recommender.

Legend: B users in the batch, I items, K items asked for, H hidden width, Z latent width.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Final, Literal, Self

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from scipy.sparse import csr_array
from torch import Tensor, nn

from recsys_vae.errors import InputError
from recsys_vae.interactions import IdMap, Interactions
from recsys_vae.models.base import FitOptions, FloatMatrix, ModelConfig, NotFittedError
from recsys_vae.nn.gaussian import Distribution
from recsys_vae.nn.linear_scores import LinearScores
from recsys_vae.nn.noise import Noise
from recsys_vae.nn.sparse_linear import SparseBatch, SparseLinear
from recsys_vae.nn.towers import ItemDecoder
from recsys_vae.training.batches import BatchPlan, sparse_batch
from recsys_vae.training.config import TrainingConfig
from recsys_vae.training.device import choose_device
from recsys_vae.training.distributed import join_world
from recsys_vae.training.host import prepare_host
from recsys_vae.training.records import EpochRecord, Objective, Phase, RunContext
from recsys_vae.training.trainer import Trainer, steps_per_epoch

_LARGE_CATALOGUE: Final = 200_000


class Autoencoder(nn.Module, ABC):
    """A network that encodes a history into a distribution and decodes a point into logits."""

    @abstractmethod
    def encode(self, batch: SparseBatch) -> Distribution:
        """Give q(z|x) of each user."""

    @abstractmethod
    def decode(self, z_BZ: Tensor) -> Tensor:
        """Give logits_BI."""

    def item_decoder(self) -> ItemDecoder:
        """Give the layers that `decode` consists of."""
        decoder = self.decoder
        assert isinstance(decoder, ItemDecoder)  # every member of the family names it so
        return decoder

    def decode_items(self, z_BZ: Tensor, items_BK: Tensor) -> Tensor:
        """Give the logits of some items, and decode no others: logits_BK.

        Args:
            z_BZ: latent points.
            items_BK: int64, for each point its items, each within 0..I-1.
        """
        return self.item_decoder().of_items(z_BZ, items_BK)

    @abstractmethod
    def objective(self, batch: SparseBatch, kl_weight: float, noise: Noise) -> Objective:
        """Give the training loss of a batch."""

    def phases(self) -> Sequence[Phase]:
        """Train everything at once, unless a model says otherwise."""
        return [Phase("all", tuple(self.parameters()))]

    def learn_counts(self, counts_I: Tensor) -> None:
        """Be told before training how often each item was taken."""
        for module in self.modules():
            if isinstance(module, ItemDecoder):
                module.learn_counts(counts_I)

    def row_sparse(self) -> list[nn.Parameter]:
        """Give the parameters whose gradients are row-sparse."""
        found: list[nn.Parameter] = []
        for module in self.modules():
            if isinstance(module, SparseLinear) and module.sparse_gradient:
                found.append(module.weight_IH)
            if isinstance(module, ItemDecoder) and module.negatives is not None:
                found += [module.weight_IH, module.bias_I]
        return found


class NeuralConfig(ModelConfig):
    """The config of a model that is trained by gradient steps."""

    softmax: Literal["auto", "exact", "sampled"] = Field(
        default="auto",
        description="over the items in training: exact, or sampled with row-sparse updates, whose "
        "cost does not grow with the catalogue; auto: sampled above 200,000 items",
    )
    negatives: int = Field(
        default=8192, ge=1, le=10**8, description="draws a step of the sampled softmax"
    )
    training: TrainingConfig = TrainingConfig()

    def negatives_for(self, n_items: int) -> int | None:
        """Give the draws a step, or None for the exact softmax."""
        sampled = (
            n_items > _LARGE_CATALOGUE if self.softmax == "auto" else self.softmax == "sampled"
        )
        return self.negatives if sampled else None

    def kl_schedule(self, total_steps: int) -> Callable[[int], float]:
        """Give the KL weight by step; without a KL term it does not matter."""
        return lambda _step: 0.0

    def settled(self, total_steps: int) -> Self:
        """Write down what would follow from the number of planned steps, which may change."""
        return self


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
    def chooses(self) -> bool:
        """When to stop, unless it is only looked at in the end."""
        training = self.config.training
        return bool(training.patience) or training.validate_every < training.epochs

    def settled(self) -> NeuralConfig:
        """Give the hyper-parameters that train to the best epoch and stop there."""
        best = next((one for one in reversed(self.history) if one.best), None)
        if best is None:
            return self.config
        per_epoch = best.step // best.epoch
        config = self.config.settled(self.config.training.epochs * per_epoch)
        return config.model_copy(update={"training": config.training.until(best.epoch)})

    @property
    def network(self) -> Autoencoder:
        """The trained network."""
        if self._network is None:
            raise NotFittedError(f"{self.name} has not been fitted")
        return self._network

    def fit(self, train_data: Interactions, options: FitOptions) -> Self:
        """Train on the given users; the best weights by `options.validate` are kept.

        Raises:
            InputError: interactions have negative weights, of which the likelihood knows nothing.
            DivergenceError: loss, weights or validation are not finite.
        """
        likelihood = getattr(self.config, "likelihood", "multinomial")
        if likelihood != "gaussian" and (train_data.matrix.data < 0).any():
            raise InputError(
                f"the interactions hold negative weights, which the {likelihood} likelihood does "
                "not know: leave those rows out, or take a model with likelihood=gaussian"
            )
        device = choose_device(options.device)
        prepare_host(options.threads)
        config = self.config.training
        self._items = train_data.items
        generator = torch.Generator().manual_seed(options.seed)
        network = self._network = self.build(len(train_data.items), generator).to(device)
        counts_I = np.bincount(train_data.matrix.indices, minlength=len(train_data.items))
        network.learn_counts(torch.from_numpy(counts_I).to(device))
        size = config.users_per_step(len(train_data.users))
        plan = BatchPlan(train_data.matrix, size, options.seed, device, join_world(device))
        validate = options.validate
        identity = {
            "model": self.name,
            "config": self.config.model_dump_json(),
            "data": train_data.fingerprint,
            "seed": str(options.seed),
        }
        run = RunContext(
            seed=options.seed,
            device=device,
            validate=None if validate is None else lambda: validate(self),
            on_epoch=options.on_epoch,
            progress=self.name if options.progress else None,
            checkpoint=options.checkpoint,
            identity=identity,
        )
        total_steps = config.epochs * steps_per_epoch(plan, network.phases())
        schedule = self.config.kl_schedule(total_steps)
        self.history = Trainer(network, plan, config, schedule, run).train()
        plan.world.leave()
        return self

    @torch.inference_mode()
    def posterior(self, given: csr_array) -> Distribution:
        """Give q(z|x) of some users, as it is without dropout.

        Args:
            given: (B, I) histories.
        """
        network = self.network
        network.eval()
        device = next(network.parameters()).device
        histories = csr_array(given, dtype=np.float32)
        if not histories.has_canonical_format:
            # An item twice is an item of twice the weight, also where lengths are taken.
            histories = histories.copy()
            histories.sum_duplicates()
        return network.encode(sparse_batch(histories, device))

    @torch.inference_mode()
    def score(self, given: csr_array) -> FloatMatrix:
        """Score by the decoder's logits at the posterior mean: scores_BI."""
        posterior = self.posterior(given)
        scores: FloatMatrix = self.network.decode(posterior.mean_BZ).float().cpu().numpy()
        return scores

    @torch.inference_mode()
    def scores_at(self, given: csr_array, z_BZ: Tensor) -> FloatMatrix:
        """Score users of these histories at latent points: scores_BI."""
        scores: FloatMatrix = self.network.decode(z_BZ).float().cpu().numpy()
        return scores

    @torch.inference_mode()
    def score_items(self, given: csr_array, items_BK: npt.NDArray[np.integer[Any]]) -> FloatMatrix:
        """Score some items for each user, without scoring the others where that can be avoided.

        Args:
            given: (B, I) histories.
            items_BK: each user's items, each within 0..I-1.

        Returns:
            scores_BK, those of `score` up to rounding.
        """
        z_BZ = self.posterior(given).mean_BZ
        items = torch.from_numpy(items_BK.astype(np.int64)).to(z_BZ.device)
        scores: FloatMatrix = self.network.decode_items(z_BZ, items).float().cpu().numpy()
        return scores

    @torch.inference_mode()
    def linear_scores(self, given: csr_array) -> LinearScores:
        """Give the decoder's last hidden layer at the posterior mean, and its item layer."""
        decoder = self.network.item_decoder()
        hidden_BH = decoder.hidden(self.posterior(given).mean_BZ)
        return LinearScores(hidden_BH, decoder.weight_IH, decoder.bias_I)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Give the weights by name."""
        return {name: value.cpu().numpy() for name, value in self.network.state_dict().items()}

    def restore(self, items: IdMap, arrays: dict[str, npt.NDArray[Any]]) -> Self:
        """Take up weights; returns itself, on the CPU, ready to score."""
        network = self.build(len(items), torch.Generator())
        network.load_state_dict({name: torch.from_numpy(value) for name, value in arrays.items()})
        self._items, self._network = items, network.eval()
        return self
