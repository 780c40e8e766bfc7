"""The model that a process serves, kept from one load to the next.

Spark has the model loaded anew for every task; whoever loads the same one again is given the one
that is there, with what it has prepared.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Self

from recsys_vae.errors import InputError
from recsys_vae.models.base import Recommender
from recsys_vae.models.zoo import load_model, model_fingerprint
from recsys_vae.ranking import ItemRules, Making, Ranker
from recsys_vae.ranking.topn import check_length

_RANKERS: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ListParams:
    """What a caller may ask of a list.

    Attributes:
        k: list length.
        mask_seen: whether items of the history are left out.
        allow: only these items, as text; empty: all.
        block: not these items.
    """

    k: int
    mask_seen: bool
    allow: tuple[str, ...]
    block: tuple[str, ...]

    @classmethod
    def of(cls, params: Mapping[str, Any], n_items: int) -> Self:
        """Read MLflow's params; a list is no longer than there are items, None is the default."""
        given = {name: value for name, value in params.items() if value is not None}
        return cls(
            k=min(int(given.get("k", 10)), n_items),
            mask_seen=bool(given.get("mask_seen", True)),
            allow=tuple(map(str, given.get("allow", ()))),
            block=tuple(map(str, given.get("block", ()))),
        )


@dataclass(slots=True)
class Kept:
    """A loaded model and its rankers, which prepare the items once.

    Attributes:
        model: ready to score.
    """

    model: Recommender
    _rankers: dict[ListParams, Ranker] = field(default_factory=dict)

    def ranker(self, asked: ListParams) -> Ranker:
        """Give the ranker for these parameters.

        Raises:
            InputError: `k` is less than 1, an item of `allow` or `block` is unknown, or none is
                left to recommend.
        """
        found = self._rankers.get(asked)
        if found is None:
            rules = self._rules(asked)
            # A server is asked for few lists; whoever asks for many must not fill the memory.
            if len(self._rankers) > _RANKERS:
                self._rankers.clear()
            found = self._rankers[asked] = Ranker(self.model, asked.k, Making(rules=rules))
        return found

    def _rules(self, asked: ListParams) -> ItemRules:
        """Make the rules, or refuse in the words of whoever calls a served model."""
        items = self.model.items
        check_length(asked.k, len(items))
        for name, ids in (("allow", asked.allow), ("block", asked.block)):
            try:
                numbers = items.numbers(ids, missing="mark")
            except UnicodeError as error:
                raise InputError(
                    f"{name} holds an id that is no text (half of a surrogate pair): give ids in "
                    "UTF-8"
                ) from error
            unknown = [one for one, number in zip(ids, numbers, strict=True) if number < 0]
            if unknown:
                raise InputError(
                    f"{name} holds ids that the model does not know, {len(unknown)} of {len(ids)}, "
                    f"the first is '{unknown[0]}': leave them out"
                )
        try:
            return ItemRules.of(
                items,
                allowed=list(asked.allow),
                blocked=list(asked.block),
                mask_seen=asked.mask_seen,
            )
        except InputError as error:
            raise InputError(
                "allow and block leave no item to recommend: relax one of them"
            ) from error


def kept_model(folder: Path) -> Kept:
    """Load a model, unless it is the one that was loaded last.

    Args:
        folder: where `save_model` wrote it, or any copy.

    Raises:
        InputError: the folder is no model, damaged, or of another format version.
    """
    return _loaded(model_fingerprint(folder), folder.resolve())


# One: an old version must not stay in memory beside the new one.
@lru_cache(maxsize=1)
def _loaded(_fingerprint: str, folder: Path) -> Kept:
    return Kept(load_model(folder))
