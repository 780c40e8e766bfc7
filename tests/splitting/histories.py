"""Histories as plain sets, to state the laws of splits with."""

from typing import Any

import numpy as np
import pandas as pd
from hypothesis import strategies as st

from recsys_vae.interactions import IdMap, Interactions
from recsys_vae.splitting import Split

History = dict[Any, set[int]]
HISTORIES = st.dictionaries(
    st.integers(0, 99), st.sets(st.integers(0, 25), min_size=1), min_size=3, max_size=25
)


Times = dict[Any, dict[int, int]]
"""By user and item: when."""
TIMES = st.dictionaries(
    st.integers(0, 99),
    # Few moments, so that many interactions happen at the same time.
    st.dictionaries(st.integers(0, 12), st.integers(-3, 20), min_size=1),
    min_size=3,
    max_size=20,
)
Pairs = set[tuple[Any, Any]]


def ids_of(ids: IdMap) -> list[Any]:
    listed: list[Any] = ids.ids(range(len(ids))).tolist()
    return listed


def timed(times: Times) -> pd.DataFrame:
    rows = [(u, i, t) for u, taken in times.items() for i, t in taken.items()]
    return pd.DataFrame(rows, columns=["user", "item", "timestamp"])


def pairs(interactions: Interactions) -> Pairs:
    frame = interactions.frame()
    return set(zip(frame["user"], frame["item"], strict=True))


def frame_of(histories: History) -> pd.DataFrame:
    rows = [(user, item) for user, items in histories.items() for item in sorted(items)]
    return pd.DataFrame(rows, columns=["user", "item"])


def interactions_of(histories: History) -> Interactions:
    return Interactions.from_frame(frame_of(histories))


def history(interactions: Interactions) -> History:
    found: History = {user: set() for user in ids_of(interactions.users)}
    for user, item in interactions.frame()[["user", "item"]].itertuples(index=False):
        found[user].add(item)
    return found


def random_histories(seed: int = 0, users: int = 60, items: int = 40) -> History:
    rng = np.random.default_rng(seed)
    return {
        user: set(rng.choice(items, size=rng.integers(1, 30), replace=False).tolist())
        for user in range(users)
    }


def equal(one: Split, other: Split) -> bool:
    return all(
        part.fingerprint == other.parts[name].fingerprint for name, part in one.parts.items()
    )
