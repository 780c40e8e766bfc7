"""The one interface that ranking, evaluation and scoring depend on."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, model_validator
from scipy.sparse import csr_array

from recsys_vae.errors import InputError
from recsys_vae.interactions import IdMap, Interactions
from recsys_vae.models.gated_scores import GatedScores
from recsys_vae.nn.linear_scores import LinearScores
from recsys_vae.training.records import EpochRecord

FloatMatrix = npt.NDArray[np.float32]


class ModelConfig(BaseModel):
    """Hyper-parameters of a model: frozen, by keyword, unknown keys refused.

    Of a table of settings, such as `training`, what is not given is the model's own default.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _over_own_tables(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        tables = {
            name: field.default.model_dump(exclude_unset=True) | given[name]
            for name, field in cls.model_fields.items()
            if isinstance(field.default, BaseModel) and isinstance(given.get(name), dict)
        }
        return {**given, **tables}


@dataclass(frozen=True, slots=True, kw_only=True)
class FitOptions:
    """The context of one fit; hyper-parameters are the config's.

    Attributes:
        seed: of everything random in the fit.
        device: "auto", "cpu" or "cuda".
        threads: of a network's training on the CPU; None: the cores that this process may use.
        validate: judges the model during the fit, higher is better (for early stopping).
        on_epoch: is told of every epoch, after a resume also of those before it.
        progress: whether a progress bar may be shown (on terminals only).
        checkpoint: folder of the checkpoints; an unfinished training of the same model, data and
            seed goes on from there. None: no checkpoints. Only trained networks make any.
    """

    seed: int = 0
    device: str = "auto"
    threads: int | None = None
    validate: "Callable[[Recommender], float] | None" = None
    on_epoch: Callable[[EpochRecord], None] | None = None
    progress: bool = False
    checkpoint: Path | None = None


class Recommender(Protocol):
    """Scores items for users, given nothing but their histories."""

    name: ClassVar[str]
    folds_in: ClassVar[bool]
    """Whether it scores users that it was not trained on."""

    @property
    def config(self) -> ModelConfig:
        """The hyper-parameters."""
        ...

    @property
    def items(self) -> IdMap:
        """The items that the columns of the scores stand for."""
        ...

    def fit(self, train: Interactions, options: FitOptions) -> Self:
        """Learn from the training users; returns itself."""
        ...

    @property
    def chooses(self) -> bool:
        """Whether a fit has anything to choose on validation: open settings, or when to stop."""
        ...

    def settled(self) -> ModelConfig:
        """Give the hyper-parameters after a fit, with what validation chose in them.

        A fit with them needs no validation: it makes the same choices, on whatever data.
        """
        ...

    def score(self, given: csr_array) -> FloatMatrix:
        """Score all items for some users.

        Args:
            given: (B, I) histories; an empty row is a user without history.

        Returns:
            scores_BI, finite, not masked, higher is better.
        """
        ...

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Give what was learned, by name, to be written to disk."""
        ...

    def restore(self, items: IdMap, arrays: dict[str, npt.NDArray[Any]]) -> Self:
        """Take up what `arrays` gave; returns itself, ready to score."""
        ...


@runtime_checkable
class LinearRecommender(Protocol):
    """A `Recommender` whose scores are a product of what it knows of users and of items."""

    def linear_scores(self, given: csr_array) -> LinearScores:
        """Give the factors of the scores of some users, which `score` multiplies.

        Args:
            given: (B, I) histories.

        Returns:
            The factors; those of the items are the same object for every call.
        """
        ...


@runtime_checkable
class GatedRecommender(Protocol):
    """A `Recommender` whose scores are a sparse part and an exponential of a product."""

    def gated_scores(self, given: csr_array) -> GatedScores:
        """Give the factors of the scores of some users, from which `score` makes them.

        Args:
            given: (B, I) histories.

        Returns:
            The factors; those of the items are the same objects for every call.
        """
        ...


class NotFittedError(RuntimeError):
    """The model was asked before it was fitted or loaded."""


def check_items(model: Recommender, items: IdMap, what: str) -> None:
    """Refuse data whose item numbering is not the model's.

    Raises:
        InputError: the two disagree.
    """
    if model.items.fingerprint != items.fingerprint:
        raise InputError(
            f"the items of {what} are not those that model '{model.name}' was trained on: "
            "train it again on this split, or evaluate it on its own"
        )
