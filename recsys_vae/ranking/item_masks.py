"""Which items everybody may be given: lists, availability and required attributes.

Legend: I items of the model.
"""

from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np
import numpy.typing as npt

from recsys_vae.errors import InputError
from recsys_vae.ranking.item_attributes import Attributes
from recsys_vae.ranking.known import KnownItems, texts_of
from recsys_vae.ranking.rule_file import Id, RuleFile

Flags = npt.NDArray[np.bool_]
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ALWAYS: Final = np.iinfo(np.int64)


def permitted_items(
    file: RuleFile, items: KnownItems, attributes: Attributes | None, at: datetime
) -> Flags | None:
    """Say which items, (I,), everybody may be given.

    Args:
        file: what was read.
        items: of the model.
        attributes: of the items.
        at: the moment at which they must be available, with a zone.

    Returns:
        The flags, or None where nothing limits them.

    Raises:
        InputError: the model knows no item of a list, a time or attribute cannot be read, or a
            label or attribute does not exist.
    """
    masks = []
    lists = file.content.items
    allowed = _listed(file, items, "items.allow", lists.allow)
    if allowed is not None:
        masks.append(allowed)
    denied = _listed(file, items, "items.deny", lists.deny)
    if denied is not None:
        masks.append(~denied)
    if "availability.file" in file.tables:
        masks.append(_available(file, items, at))
    if attributes is not None:
        masks += [
            attributes.fulfilling(rule, f"require, number {number}")
            for number, rule in enumerate(file.content.require, 1)
        ]
    if not masks:
        return None
    permitted: Flags = np.logical_and.reduce(masks)
    return permitted


def _listed(
    file: RuleFile, items: KnownItems, key: str, ids: tuple[Id, ...] | None
) -> Flags | None:
    """Say which items a list and its file name; None where there are neither."""
    table = file.tables.get(f"{key}_file")
    if ids is None and table is None:
        return None
    flags = np.zeros(len(items.items), dtype=bool)
    if ids is not None:
        _set(flags, items.numbers(key, texts_of(ids)))
    if table is not None:
        if not table.table.num_rows and key == "items.allow":
            raise InputError(f"{table.path} has no rows, so that no item is allowed: name some")
        if table.table.num_rows:
            _set(flags, items.numbers(f"{key}_file", table.ids("item")))
    return flags


def _available(file: RuleFile, items: KnownItems, at: datetime) -> Flags:
    """Say which items are available: not listed at all, or in one of their windows."""
    table = file.tables["availability.file"]
    available = np.ones(len(items.items), dtype=bool)
    if not table.table.num_rows:  # nor does it tell of what type its columns would be
        return available
    begins = table.times("from", missing=_ALWAYS.min)
    ends = table.times("until", missing=_ALWAYS.max)
    table.refuse_rows(begins >= ends, "'until' is not after 'from': correct one of them")
    numbers = items.numbers("availability.file", table.ids("item"))
    now = (at - _EPOCH) // timedelta(milliseconds=1)
    _set(available, numbers, value=False)
    _set(available, numbers[(begins <= now) & (now < ends)])
    return available


def _set(flags: Flags, numbers: npt.NDArray[np.int64], *, value: bool = True) -> None:
    flags[numbers[numbers >= 0]] = value
