"""Seeded draws that depend on ids alone: whatever the order of the rows or the company."""

from typing import Final

import numpy as np
import numpy.typing as npt
from pandas.util import hash_array

from recsys_vae.interactions import IdMap, Interactions

_TEXT_KEY: Final = "recsys-vae-texts"
_SEEDS: Final = 2**64
_BITS: Final = 64

Keys = npt.NDArray[np.uint64]


def mix(value: Keys) -> Keys:
    """Scramble 64-bit numbers (the finaliser of SplitMix64: Steele et al., OOPSLA 2014)."""
    value = value + np.uint64(0x9E3779B97F4A7C15)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def id_keys(ids: IdMap, seed: int) -> Keys:
    """Hash every id with the seed: the same user or item draws the same numbers anywhere.

    Args:
        ids: n ids. Integers are scrambled as they are; texts become 64 bits first
            (SipHash-2-4 of their UTF-8 bytes under a fixed key, scrambled, as pandas does it).
        seed: any integer; it counts modulo 2**64.

    Returns:
        (n,) keys, alike on every platform.

    >>> id_keys(IdMap.of([4, 9]), seed=1)[1] == id_keys(IdMap.of([9]), seed=1)[0]
    np.True_
    """
    values = ids.ids(np.arange(len(ids)))
    if ids.kind == "integer":
        numbers = values.astype(np.int64).view(np.uint64)
    else:
        texts = np.asarray(values, dtype=object)
        numbers = hash_array(texts, hash_key=_TEXT_KEY, categorize=False)
    salt = mix(np.array([seed % _SEEDS], dtype=np.uint64))
    return mix(mix(numbers) ^ salt)


def pair_noise(interactions: Interactions, seed: int) -> Keys:
    """Draw a number for every interaction from the seed, its user's id and its item's.

    Returns:
        (nnz,) numbers of 40 bits, aligned with `matrix.data`: short enough to be sorted together
        with the user's number, and equal for a given pair of a user's items once in 2**40 seeds.
    """
    users_N = id_keys(interactions.users, seed)[interactions.row_numbers]
    noise_N = mix(users_N + id_keys(interactions.items, seed)[interactions.matrix.indices])
    return noise_N >> np.uint64(24)


def order_within_users(
    interactions: Interactions, *by: npt.NDArray[np.int64] | Keys
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Sort each user's interactions; what is equal stays in the order of the items.

    Args:
        interactions: of all users.
        by: (nnz,) each, 64-bit numbers to sort by, the first first.

    Returns:
        Two arrays (nnz,): the interactions sorted by user and then by `by`, as places in
        `matrix.data`; and the place of each interaction in its user's order, from 0.
    """
    rows = interactions.row_numbers
    order = np.arange(len(rows))
    for key in reversed(by):
        # Interactions move within their user only, so that `rows` holds for every order.
        order = order[_stable_order(rows, key[order])]
    places = np.empty(len(rows), dtype=np.int64)
    places[order] = np.arange(len(rows)) - interactions.matrix.indptr[rows]
    return order, places


def _stable_order(
    rows: npt.NDArray[np.int64], key: npt.NDArray[np.int64] | Keys
) -> npt.NDArray[np.int64]:
    if not len(rows):
        return np.arange(0)
    # Modulo 2**64 the difference is right even where that of signed numbers would overflow.
    above = key.view(np.uint64) - key.min(keepdims=True).view(np.uint64)
    low, high = int(above.max()).bit_length(), int(rows[-1]).bit_length()
    if low + high > _BITS:
        return np.lexsort((above, rows))
    # One number for both: several times faster than sorting by one after the other.
    packed = (rows.astype(np.uint64) << np.uint64(low)) | above
    return np.argsort(packed, kind="stable")
