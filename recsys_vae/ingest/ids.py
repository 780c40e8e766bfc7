"""Ids as they come from files: text or integers, numbered as they appear, sorted at the end."""

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recsys_vae.errors import InputError
from recsys_vae.interactions import IdMap

_KEPT_BACK: Final = 1 << 20


def is_canonical(texts: pa.Array | pa.ChunkedArray) -> bool:
    """Say whether every text is how its 64-bit integer is written: "7", not "007" or ""."""
    try:
        again = texts.cast(pa.int64()).cast(texts.type)
    except pa.ArrowInvalid:
        return False
    return bool(pc.all(pc.equal(again, texts), skip_nulls=False, min_count=0).as_py())


def integers_if_canonical(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Turn texts into integers where no spelling is lost by it."""
    textual = pa.types.is_string(texts.type) or pa.types.is_large_string(texts.type)
    return texts.cast(pa.int64()) if textual and is_canonical(texts) else texts


@dataclass(slots=True)
class Numbering:
    """Gives ids numbers in the order in which they appear, block by block.

    Every block brings its own dictionary. They are joined from time to time, so that ids which
    appear in many blocks are kept once, and the work stays in proportion to the rows.

    Attributes:
        role: "user" or "item", for messages.
        text: whether all ids came from text, where an integer is known by its spelling.
    """

    role: str
    text: bool = True
    _known: pa.Array | None = None
    _waiting: list[pa.Array] = field(default_factory=list)
    _count: int = 0

    def add(self, ids: pa.Array, *, text: bool, name: str) -> bool:
        """Take a block's distinct ids.

        Args:
            ids: int64 or large_string, without nulls.
            text: whether they came from text.
            name: of the file, for messages.

        Returns:
            Whether so many ids wait that `join` should be called.

        Raises:
            InputError: earlier ids are of another type.
        """
        before = self._known if self._known is not None else next(iter(self._waiting), None)
        if before is not None and before.type != ids.type and self.text and text:
            # From text an integer is its spelling: some block has an id that is none.
            ids = ids.cast(pa.large_string())
            self._known = None if self._known is None else self._known.cast(ids.type)
            self._waiting = [one.cast(ids.type) for one in self._waiting]
            before = ids
        if before is not None and before.type != ids.type:
            kinds = {pa.int64(): "integers"}
            raise InputError(
                f"{name}: the {self.role} ids are {kinds.get(ids.type, 'text')} here and "
                f"{kinds.get(before.type, 'text')} before: write them all in one way"
            )
        self.text = self.text and text
        self._waiting.append(ids)
        self._count += len(ids)
        return self._count > max(_KEPT_BACK, 0 if self._known is None else len(self._known))

    def join(self) -> list[npt.NDArray[np.int32]]:
        """Number the ids that wait.

        Returns:
            For each block since the last time, the number of each of its ids.
        """
        waiting, self._waiting, self._count = self._waiting, [], 0
        if not waiting:
            return []
        known = [] if self._known is None else [self._known]
        encoded = pa.concat_arrays([*known, *waiting]).dictionary_encode()
        self._known = encoded.dictionary
        numbers = np.asarray(encoded.indices)
        ends = np.cumsum([len(one) for one in [*known, *waiting]])
        return list(np.split(numbers, ends[:-1]))[len(known) :]

    def __len__(self) -> int:
        """Count the distinct ids that were joined."""
        return 0 if self._known is None else len(self._known)

    def ids(self) -> pa.Array:
        """Give the ids by number, as they came."""
        return pa.array([], pa.large_string()) if self._known is None else self._known


def sorted_map(
    ids: pa.Array, kept: npt.NDArray[np.bool_], *, integers: bool
) -> tuple[IdMap, npt.NDArray[np.int32]]:
    """Sort the ids that are kept.

    Args:
        ids: (n,) by provisional number.
        kept: (n,) which of them.
        integers: whether those are integers written as text.

    Returns:
        The map, and (n,) each provisional number's place in it, -1 for those that are not kept.
    """
    chosen = np.flatnonzero(kept)
    values = ids.take(pa.array(chosen))
    values = values.cast(pa.int64()) if integers else values
    order = np.asarray(pc.sort_indices(values))
    places = np.full(len(ids), -1, dtype=np.int32)
    places[chosen[order]] = np.arange(len(order), dtype=np.int32)
    return IdMap.from_arrow(values.take(pa.array(order))), places


def encoded(column: pa.ChunkedArray, *, fresh: bool) -> tuple[npt.NDArray[np.int32], pa.Array]:
    """Give a column of ids as codes and the ids they stand for, int64 or large_string.

    Nearly distinct: an id may stand there twice.

    Args:
        column: strings, integers or dictionaries of them, without nulls.
        fresh: whether a dictionary holds exactly the ids that occur, so that it can be taken.
    """
    kind = column.type
    if pa.types.is_dictionary(kind) and not (fresh and column.num_chunks == 1):
        column = column.cast(kind.value_type)
    array = column.combine_chunks()
    if pa.types.is_integer(array.type) and len(array):
        found = _encoded_integers(array.cast(pa.int64()))
        if found is not None:
            return found
    if not pa.types.is_dictionary(array.type):
        array = array.dictionary_encode()
    if isinstance(array, pa.ChunkedArray):
        array = array.unify_dictionaries().combine_chunks()
    wide = pa.int64() if pa.types.is_integer(array.type.value_type) else pa.large_string()
    return np.asarray(array.indices, dtype=np.int32), array.dictionary.cast(wide)


def _encoded_integers(array: pa.Array) -> tuple[npt.NDArray[np.int32], pa.Array] | None:
    """Encode integers that come in runs or lie close together; None where they do neither."""
    values = np.asarray(array)
    starts = np.empty(len(values), dtype=bool)
    starts[0] = True
    np.not_equal(values[1:], values[:-1], out=starts[1:])
    firsts = np.flatnonzero(starts)
    if 8 * len(firsts) <= len(values):
        # The ids of a file that is sorted by user; one that comes back is named twice, no harm.
        return np.cumsum(starts, dtype=np.int32) - np.int32(1), pa.array(values[firsts])
    low, high = int(values.min()), int(values.max())
    if low >= 0 and high < 2 * len(values):
        low = 0  # small as they are, they need not be shifted
    width = high - low + 1
    if width > 2 * len(values):
        return None
    offsets = values - low if low else values
    occurring = np.zeros(width, dtype=bool)
    occurring[offsets] = True
    places = np.cumsum(occurring, dtype=np.int32) - np.int32(1)
    return places.take(offsets), pa.array(np.flatnonzero(occurring) + low)
