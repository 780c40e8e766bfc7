"""Parts of the users, or of the items, that are judged by themselves."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from recsys_vae.errors import InputError
from recsys_vae.evaluation.catalogue import GROUPS, Catalogue
from recsys_vae.evaluation.intervals import estimates
from recsys_vae.evaluation.metrics import PerUser
from recsys_vae.interactions import IdMap
from recsys_vae.splitting import FoldIn

Flags = npt.NDArray[np.bool_]
MOST_SEGMENTS: Final = 50
UNKNOWN: Final = "(unknown)"
SEPARATOR: Final = "|"
"""Between several values of one attribute, as in MovieLens genres."""


@dataclass(frozen=True, slots=True)
class _Segments:
    """Some flags over users or items by label; they may overlap.

    Attributes:
        name: of the segmentation, such as "activity".
        flags: by label.
    """

    name: str
    flags: Mapping[str, Flags]

    def masks(self) -> Iterator[tuple[str, Flags]]:
        """Give the segments one by one."""
        yield from self.flags.items()


class UserSegments(_Segments):
    """Users who are judged apart: the metrics of these users alone."""


class ItemSegments(_Segments):
    """Items that are judged apart: of the held-out items only these count."""


def by_activity(fold: FoldIn) -> UserSegments:
    """Part the judged users into quarters by how many items are given of them.

    Quarters with the same bounds are one.
    """
    lengths = np.diff(fold.given.matrix.indptr)
    judged = lengths[np.diff(fold.held_out.matrix.indptr) > 0]
    if not len(judged):
        return UserSegments("activity", {})
    tops = np.unique(np.quantile(judged, [0.25, 0.5, 0.75, 1.0], method="higher").astype(int))
    flags, low = {}, int(judged.min())
    for top in tops.tolist():
        label = f"{low}-{top} given items" if low < top else f"{top} given items"
        flags[label] = (lengths >= low) & (lengths <= top)
        low = top + 1
    return UserSegments("activity", flags)


def by_popularity(catalogue: Catalogue) -> ItemSegments:
    """Part the items into head, middle and tail."""
    return ItemSegments(
        "popularity", {name: catalogue.group_I == code for code, name in enumerate(GROUPS)}
    )


def by_attribute(
    ids: IdMap, values: pd.Series, name: str, *, of_items: bool
) -> UserSegments | ItemSegments:
    """Part users or items by an attribute.

    Args:
        ids: of the users or items that are judged.
        values: the attribute by external id; several values may stand in one text, between "|".
        name: of the attribute.
        of_items: whether the ids are items.

    Returns:
        A segment a value, sorted; ids without a value are in the segment "(unknown)".

    Raises:
        InputError: no id has a value, or there are too many segments to be judged.
    """
    numbers = ids.numbers(values.index.to_numpy(), missing="mark")
    known = numbers >= 0
    if not known.any():
        what = "item" if of_items else "user"
        raise InputError(
            f"--by {name}: none of its ids is a judged {what}: give a file with the ids of the data"
        )
    texts = values[known].astype(object).map(text_of)
    pairs = texts.str.split(SEPARATOR, regex=False).explode().str.strip()
    places = pd.Series(numbers[known], index=texts.index)
    labels = sorted({label for label in pairs.unique() if label not in ("", UNKNOWN)})
    if len(labels) > MOST_SEGMENTS:
        raise InputError(
            f"--by {name} has {len(labels)} different values, at most {MOST_SEGMENTS} can be "
            "judged apart: give a column with fewer"
        )
    flags: dict[str, Flags] = {}
    having = np.zeros(len(ids), dtype=bool)
    for label in labels:
        chosen = np.zeros(len(ids), dtype=bool)
        chosen[places[pairs.index[pairs == label].unique()].to_numpy()] = True
        flags[label] = chosen
        having |= chosen
    if not having.all():
        flags[UNKNOWN] = ~having
    return (ItemSegments if of_items else UserSegments)(name, flags)


def text_of(value: Any) -> str:
    """Write a value as a label or id: missing ones empty, whole numbers without a point.

    >>> text_of(1995.0), text_of(None), text_of(["Drama", "War"])
    ('1995', '', 'Drama|War')
    """
    if isinstance(value, list | tuple | np.ndarray):
        return SEPARATOR.join(text_of(one) for one in value)
    if pd.isna(value):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def segment_rows(
    per_user: Mapping[str, PerUser],
    users: list[UserSegments],
    by_items: Mapping[tuple[str, str], Mapping[str, PerUser]],
) -> list[dict[str, Any]]:
    """Give means with intervals of each segment, as rows of a table.

    Args:
        per_user: all users' metrics.
        users: how to part the users.
        by_items: metrics of item segments, as `judge` gives them.

    Returns:
        Rows with `by`, `segment`, `metric`, `mean`, `low`, `high`, `users`, `left_out`.
    """
    parts: dict[tuple[str, str], Mapping[str, PerUser]] = {
        (one.name, label): {name: values[flags] for name, values in per_user.items()}
        for one in users
        for label, flags in one.masks()
    }
    parts.update(by_items)
    return [
        {
            "by": by,
            "segment": segment,
            "metric": metric,
            "mean": estimate.mean,
            "low": estimate.low,
            "high": estimate.high,
            "users": estimate.users,
            "left_out": estimate.left_out,
        }
        for (by, segment), values in parts.items()
        for metric, estimate in estimates(values).items()
    ]
