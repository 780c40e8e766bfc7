"""Seeded draws that depend on ids alone: whatever the order of the rows or the company."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from pandas.util import hash_array

from recsys_vae.interactions import IdMap, Interactions

_TEXT_KEY: Final = "recsys-vae-texts"
_SEEDS: Final = 2**64

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
        ids: n ids. Integers are scrambled as they are; texts become 64 bits first (SipHash-2-4 of
            their UTF-8 bytes under a fixed key, as pandas computes it).
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
    """Draw a 64-bit number for every interaction from the seed, its user's id and its item's.

    Returns:
        (nnz,) aligned with `matrix.data`.
    """
    users_N = id_keys(interactions.users, seed)[interactions.row_numbers]
    return mix(users_N + id_keys(interactions.items, seed)[interactions.matrix.indices])


def order_within_users(
    interactions: Interactions, *by: npt.NDArray[Any]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Sort each user's interactions.

    Args:
        interactions: of all users.
        by: (nnz,) each, what to sort by, the first first.

    Returns:
        Two arrays (nnz,): the interactions sorted by user and then by `by`, as places in
        `matrix.data`; and the place of each interaction in its user's order, from 0.
    """
    rows = interactions.row_numbers
    order = np.lexsort((*reversed(by), rows))
    places = np.empty(len(rows), dtype=np.int64)
    # Rows come in order, so that the n-th of the sorted interactions belongs to the n-th row.
    places[order] = np.arange(len(rows)) - interactions.matrix.indptr[rows]
    return order, places
