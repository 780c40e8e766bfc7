"""What `recommend` and `score` share: which model makes the lists, and under which rules."""

from dataclasses import dataclass
from typing import Protocol

from recsys_vae.models.base import Recommender
from recsys_vae.models.zoo import load_model, model_fingerprint, trained_threshold
from recsys_vae.ranking import ItemRules
from recsys_vae.tracking.registry import model_folder


class ListOptions(Protocol):
    """The options that both verbs have."""

    @property
    def model(self) -> str:
        """Folder or MLflow URI."""
        ...

    @property
    def allow(self) -> tuple[str, ...]:
        """Only these items; empty: all."""
        ...

    @property
    def block(self) -> tuple[str, ...]:
        """Not these items."""
        ...

    @property
    def mask_seen(self) -> bool:
        """Whether items of the history are left out."""
        ...


@dataclass(frozen=True, slots=True)
class ListMaker:
    """A loaded model with its rules.

    Attributes:
        model: ready to score.
        fingerprint: of the model as saved.
        threshold: ratings above it count in a history; None: all do.
        rules: what may stand in a list.
    """

    model: Recommender
    fingerprint: str
    threshold: float | None
    rules: ItemRules


def list_maker(options: ListOptions) -> ListMaker:
    """Load the model and look the rules' items up.

    Raises:
        InputError: the model is unusable or an item is unknown.
    """
    folder = model_folder(options.model)
    model = load_model(folder)
    rules = ItemRules.of(
        model.items,
        allowed=list(options.allow),
        blocked=list(options.block),
        mask_seen=options.mask_seen,
    )
    return ListMaker(model, model_fingerprint(folder), trained_threshold(folder), rules)
