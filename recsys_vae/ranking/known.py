"""The items that a model knows, as rules look them up: what it does not know is counted."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recsys_vae.errors import InputError
from recsys_vae.interactions import IdMap
from recsys_vae.interactions.id_map import UNKNOWN


@dataclass(frozen=True, slots=True)
class KnownItems:
    """Items of a model, looked up for the lists of a rule file.

    Attributes:
        path: of the rule file, for messages.
        items: of the model.
        unknown: distinct ids that the model does not know, by the key of their list; counted as
            they are looked up.
    """

    path: Path
    items: IdMap
    unknown: dict[str, int] = field(default_factory=dict)

    def numbers(self, key: str, ids: pa.Array) -> npt.NDArray[np.int64]:
        """Give the numbers of ids.

        Args:
            key: of the list in the rule file, such as "items.deny".
            ids: (n,) int64 or text.

        Returns:
            (n,) numbers, -1 for ids that the model does not know.

        Raises:
            InputError: there are ids, and the model knows none of them.
        """
        numbers = self.items.numbers(ids, missing="mark")
        strange = ids.filter(pa.array(numbers == UNKNOWN))
        if len(ids) and len(strange) == len(ids):
            raise InputError(
                f"rules {self.path}, {key}: the model knows none of these items, the first is "
                f"{ids[0].as_py()!r}: give ids of the data that it was trained on"
            )
        self.unknown[key] = len(strange.unique())
        return numbers


def texts_of(ids: Iterable[int | str]) -> pa.Array:
    """Give ids of a TOML file as text, by which integers are known, too."""
    return pa.array([str(one) for one in ids], pa.large_string())
