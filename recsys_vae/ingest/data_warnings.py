"""What in the data is probably not meant: told, never mended without being asked."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recsys_vae.interactions import IdMap, Interactions

SMALLEST_CATALOGUE: Final = 20
"""With fewer items it is no wonder that somebody took half of them."""
SHORTEST_HISTORY: Final = 10
"""Shorter histories are the same by chance."""
_EXAMPLES: Final = 5
_LONGEST_ID: Final = 60
# White space of all scripts, and what is not seen at all: zero-width characters, byte order mark.
_BLANK: Final = r"[\s\pZ\x{85}\x{180E}\x{200B}-\x{200D}\x{2060}\x{FEFF}]+"


@dataclass(frozen=True, slots=True, kw_only=True)
class DataWarning:
    """Something that is probably not meant.

    Attributes:
        name: of the kind, for programs: "users-with-half-the-catalogue",
            "items-with-one-user", "equal-histories", "user-ids-..." or "item-ids-..." with
            "white-space", "case", "unicode-form" or "spelling".
        count: users, items or ids concerned.
        examples: up to five of them, as text; ids that are alike stand together as
            "'a' and 'a '", so that white space is seen.
        sentence: what it is, and what to do about it.
    """

    name: str
    count: int
    examples: tuple[str, ...]
    sentence: str


def warnings_of(interactions: Interactions) -> tuple[DataWarning, ...]:
    """Look for what is probably not meant.

    Args:
        interactions: the data, as they would be trained on.

    Returns:
        One record for each kind of finding, none where all is well.
    """
    found = [
        _half_the_catalogue(interactions),
        _one_user(interactions),
        _equal_histories(interactions),
        *_spellings(interactions.users, "user"),
        *_spellings(interactions.items, "item"),
    ]
    return tuple(one for one in found if one is not None)


def titles_warning(known: int, items: IdMap, titled: str) -> DataWarning | None:
    """Say that a file of titles is of other items than the data; None where it knows some.

    Args:
        known: items of the data of which the file says something.
        items: of the data.
        titled: an id of the file.
    """
    if known:
        return None
    own = str(items.ids(np.array([0]))[0])
    return DataWarning(
        name="titles-of-other-items",
        count=len(items),
        examples=(own, titled),
        sentence=f"the titles know none of the {len(items):,} items (one of the data is {own!r}, "
        f"one of the titles {titled!r}): name --item-column, or the file that belongs to the data",
    )


def _half_the_catalogue(interactions: Interactions) -> DataWarning | None:
    n_items = len(interactions.items)
    if n_items < SMALLEST_CATALOGUE:
        return None
    counts = np.diff(interactions.matrix.indptr)
    who = np.flatnonzero(2 * counts >= n_items)
    if not len(who):
        return None
    examples = _named(interactions.users, who[np.argsort(-counts[who], kind="stable")])
    return DataWarning(
        name="users-with-half-the-catalogue",
        count=len(who),
        examples=examples,
        sentence=f"{_number(len(who), 'user')} took at least half of the {n_items:,} items "
        f"({_listed(examples, len(who))}): look whether they are people, robots or shared accounts",
    )


def _one_user(interactions: Interactions) -> DataWarning | None:
    n_items = len(interactions.items)
    who = np.flatnonzero(np.bincount(interactions.matrix.indices, minlength=n_items) == 1)
    if not len(who):
        return None
    examples = _named(interactions.items, who)
    return DataWarning(
        name="items-with-one-user",
        count=len(who),
        examples=examples,
        sentence=f"{_number(len(who), 'item')} ({len(who) / n_items:.1%} of all) "
        f"{'has' if len(who) == 1 else 'have'} a single user ({_listed(examples, len(who))}): "
        "little can be learned of them, --min-item-users leaves them out",
    )


def _equal_histories(interactions: Interactions) -> DataWarning | None:
    """Find users of the same items, by the sum of their items' random 64-bit numbers."""
    matrix = interactions.matrix
    long = np.flatnonzero(np.diff(matrix.indptr) >= SHORTEST_HISTORY)
    numbers = np.random.default_rng(0).integers(2**64, size=matrix.shape[1], dtype=np.uint64)
    # Sums that wrap around: any difference of two of them is right modulo 2^64.
    sums = np.zeros(matrix.nnz + 1, dtype=np.uint64)
    np.cumsum(numbers[matrix.indices], out=sums[1:])
    history = (sums[matrix.indptr[1:]] - sums[matrix.indptr[:-1]])[long]
    _, codes, sizes = np.unique(history, return_inverse=True, return_counts=True)
    shared = sizes[codes] >= 2
    if not shared.any():
        return None
    groups = np.flatnonzero(sizes >= 2)
    examples = tuple(_alike(interactions.users, long[codes == one]) for one in groups[:_EXAMPLES])
    return DataWarning(
        name="equal-histories",
        count=int(shared.sum()),
        examples=examples,
        sentence=f"{int(shared.sum()):,} users have a history of at least {SHORTEST_HISTORY} items "
        f"that another user has, too ({_listed(examples, len(groups))}): look whether rows were "
        "imported twice or accounts are run by a program",
    )


def _spellings(ids: IdMap, role: str) -> Iterable[DataWarning]:
    """Find text ids that become one when a difference is taken away."""
    if ids.kind != "string" or not len(ids):
        return
    text = ids.to_arrow()
    folded = pc.utf8_lower(pc.utf8_normalize(_without_blanks(text), form="NFKC"))
    # Most data have no such ids at all: one look at the coarsest spelling settles it.
    suspects = np.flatnonzero(_repeated(folded))
    if not len(suspects):
        return
    few = text.take(pa.array(suspects))
    kinds = {
        "white-space": ("white space or invisible characters", _without_blanks(few)),
        "case": ("upper and lower case", pc.utf8_lower(few)),
        "unicode-form": ("the Unicode form of a character", pc.utf8_normalize(few, form="NFKC")),
    }
    explained = np.zeros(len(suspects), dtype=bool)
    for name, (what, keys) in kinds.items():
        explained |= _repeated(keys)
        yield from _spelling(ids, suspects, keys, np.ones(len(suspects), bool), role, name, what)
    whole = folded.take(pa.array(suspects))
    what = "several of white space, case and Unicode form"
    yield from _spelling(ids, suspects, whole, ~explained, role, "spelling", what)


def _spelling(
    ids: IdMap,
    suspects: npt.NDArray[np.intp],
    keys: pa.Array,
    counted: npt.NDArray[np.bool_],
    role: str,
    name: str,
    what: str,
) -> Iterable[DataWarning]:
    codes = keys.dictionary_encode().indices.to_numpy()
    sizes = np.bincount(codes)
    open_codes = np.unique(codes[counted & (sizes[codes] >= 2)])
    if not len(open_codes):
        return
    count = int(sizes[open_codes].sum())
    shown = open_codes[:_EXAMPLES]
    examples = tuple(_alike(ids, suspects[codes == code]) for code in shown)
    yield DataWarning(
        name=f"{role}-ids-{name}",
        count=count,
        examples=examples,
        sentence=f"{count:,} {role} ids differ from another only by {what} "
        f"({_listed(examples, len(open_codes))}): if they mean the same {role}, make them one "
        "before ingest",
    )


def _without_blanks(text: pa.Array) -> pa.Array:
    return pc.replace_substring_regex(text, pattern=_BLANK, replacement="")


def _repeated(keys: pa.Array) -> npt.NDArray[np.bool_]:
    codes = keys.dictionary_encode().indices.to_numpy()
    return np.asarray(np.bincount(codes)[codes] >= 2)


def _named(ids: IdMap, numbers: npt.NDArray[np.intp]) -> tuple[str, ...]:
    return tuple(_short(one) for one in ids.ids(numbers[:_EXAMPLES]))


def _alike(ids: IdMap, numbers: npt.NDArray[np.intp]) -> str:
    return " and ".join(ascii(_short(one)) for one in ids.ids(numbers[:2]))


def _short(one: object) -> str:
    text = str(one)
    return text if len(text) <= _LONGEST_ID else text[: _LONGEST_ID - 1] + "…"


def _listed(examples: tuple[str, ...], count: int) -> str:
    return ", ".join(examples) + (", ..." if count > len(examples) else "")


def _number(count: int, what: str) -> str:
    return f"{count:,} {what}" + ("" if count == 1 else "s")
