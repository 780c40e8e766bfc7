import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_vae.errors import InputError
from recsys_vae.interactions import Interactions, save_interactions
from recsys_vae.splitting import (
    FoldIn,
    StrongOptions,
    load_split,
    save_split,
    split_strong,
)
from tests.splitting.histories import (
    HISTORIES,
    History,
    equal,
    frame_of,
    history,
    ids_of,
    interactions_of,
    random_histories,
)


@given(HISTORIES, st.integers(0, 2**32), st.data())
@settings(deadline=None)
def test_a_split_keeps_its_laws(histories: History, seed: int, data: Any) -> None:
    size = data.draw(st.integers(1, (len(histories) - 1) // 2))
    source = interactions_of(histories)
    split = split_strong(source, StrongOptions(held_out_users=size, seed=seed))

    train = history(split.train)
    folds = {"validation": split.validation, "test": split.test}
    held_out_users = [set(ids_of(fold.given.users)) for fold in folds.values()]
    # Every user stands in exactly one part.
    assert [len(users) for users in held_out_users] == [size, size]
    assert len(train) == len(histories) - 2 * size
    assert set(train) | held_out_users[0] | held_out_users[1] == set(histories)
    # Training users are whole, and their items are the catalogue.
    assert train == {user: histories[user] for user in train}
    items = set().union(*train.values())
    assert ids_of(split.train.items) == sorted(items)

    for name, fold in folds.items():
        shown, asked = history(fold.given), history(fold.held_out)
        assert list(shown) == list(asked)
        assert fold.given.items.fingerprint == split.train.items.fingerprint
        assert fold.held_out.items.fingerprint == split.train.items.fingerprint
        left_out = 0
        for user in shown:
            known = histories[user] & items
            left_out += len(histories[user]) - len(known)
            assert shown[user] | asked[user] == known
            assert not shown[user] & asked[user]
            n_held = math.floor(0.2 * len(known)) if len(known) >= 5 else 0
            assert len(asked[user]) == n_held
        assert split.description["counts"][f"{name}_interactions_dropped_unknown_item"] == left_out
    assert split.description["source_fingerprint"] == source.fingerprint


@given(HISTORIES, st.integers(0, 99))
@settings(deadline=None, max_examples=30)
def test_the_order_of_the_rows_does_not_matter(histories: History, seed: int) -> None:
    options = StrongOptions(held_out_users=1)
    shuffled = frame_of(histories).sample(frac=1, random_state=seed)
    one = split_strong(interactions_of(histories), options)
    assert equal(one, split_strong(Interactions.from_frame(shuffled), options))


def test_the_seed_decides() -> None:
    source = interactions_of(random_histories())
    one, again, other = (split_strong(source, StrongOptions(seed=seed)) for seed in (1, 1, 2))
    assert equal(one, again)
    assert one.description == again.description
    assert ids_of(one.validation.given.users) != ids_of(other.validation.given.users)


def test_held_out_items_depend_on_the_user_and_not_on_the_company() -> None:
    histories = random_histories()
    options = StrongOptions(held_out_users=10)
    split = split_strong(interactions_of(histories), options)
    # Trim another held-out user's history: nobody else notices.
    first, *others = ids_of(split.test.given.users)
    trimmed = {**histories, first: set(sorted(histories[first])[:1])}
    after = split_strong(interactions_of(trimmed), options)
    assert after.train.fingerprint == split.train.fingerprint
    before_held, after_held = history(split.test.held_out), history(after.test.held_out)
    assert {u: before_held[u] for u in others} == {u: after_held[u] for u in others}


def test_held_out_items_are_drawn_evenly() -> None:
    everyone = {user: set(range(20)) for user in range(3_000)}
    split = split_strong(interactions_of(everyone), StrongOptions(held_out_users=1_000))
    shares = np.asarray(split.test.held_out.matrix.mean(axis=0)).ravel()
    # Each item is held out with chance 4/20; five standard errors of a share among 1,000 users.
    assert np.abs(shares - 0.2).max() < 5 * math.sqrt(0.2 * 0.8 / 1_000)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_the_share_is_that_of_the_users_items(share: float) -> None:
    histories = random_histories()
    options = StrongOptions(held_out_users=10, held_out_share=share)
    split = split_strong(interactions_of(histories), options)
    for given_items, held_out in zip(
        history(split.test.given).values(), history(split.test.held_out).values(), strict=True
    ):
        n = len(given_items) + len(held_out)
        assert len(held_out) == (math.floor(share * n) if n >= 5 else 0)


@pytest.mark.parametrize(
    ("n_users", "size"),
    [(3, 1), (10, 2), (499, 99), (500, 100), (900, 100), (1_000, 100), (2_000, 200)],
)
def test_the_default_size_is_a_tenth_within_bounds(n_users: int, size: int) -> None:
    source = interactions_of({user: {0, 1} for user in range(n_users)})
    split = split_strong(source, StrongOptions())
    assert len(split.validation.given.users) == len(split.test.given.users) == size
    assert split.description["held_out_users"] == size


@pytest.mark.parametrize(
    ("n_users", "size"), [(1, None), (2, None), (2, 1), (4, 2), (9, 5), (9, 0), (9, -1)]
)
def test_too_few_users_are_refused(n_users: int, size: int | None) -> None:
    source = interactions_of({user: {0, 1} for user in range(n_users)})
    with pytest.raises(
        InputError, match=rf"{n_users} users( cannot be split|: choose --held-out-users)"
    ):
        split_strong(source, StrongOptions(held_out_users=size))


@pytest.mark.parametrize("share", [-0.1, 0.0, 1.0, 1.5, float("nan")])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(InputError, match="--held-out-share"):
        split_strong(interactions_of(random_histories()), StrongOptions(held_out_share=share))


def test_texts_are_split_like_integers() -> None:
    frame = frame_of(random_histories()).astype(str)
    split = split_strong(Interactions.from_frame(frame), StrongOptions(held_out_users=5))
    assert split.train.users.kind == split.train.items.kind == "string"
    assert len(split.test.given.users) == 5


def test_a_split_survives_the_disk(tmp_path: Path) -> None:
    split = split_strong(interactions_of(random_histories()), StrongOptions())
    save_split(split, tmp_path / "split")
    again = load_split(tmp_path / "split")
    assert equal(split, again)
    assert again.description == split.description
    assert [path.name for path in tmp_path.iterdir()] == ["split"]


PARTS = ("train", "validation-given", "validation-held-out", "test-given", "test-held-out")


@pytest.mark.parametrize("part", PARTS)
def test_parts_of_different_splits_are_refused(part: str, tmp_path: Path) -> None:
    source = interactions_of(random_histories())
    for seed in (1, 2):
        save_split(split_strong(source, StrongOptions(seed=seed)), tmp_path / str(seed))
    shutil.rmtree(tmp_path / "1" / part)
    with pytest.raises(InputError, match="make it with"):
        load_split(tmp_path / "1")
    shutil.copytree(tmp_path / "2" / part, tmp_path / "1" / part)
    with pytest.raises(InputError, match="parts of different splits are mixed"):
        load_split(tmp_path / "1")


def test_what_is_no_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a split"):
        load_split(tmp_path / "absent")
    save_interactions(interactions_of(random_histories()), tmp_path / "interactions")
    with pytest.raises(InputError, match="is not a split"):
        load_split(tmp_path / "interactions")


def test_a_fold_must_be_aligned_and_disjoint() -> None:
    one = interactions_of({1: {1, 2}, 2: {1}})
    with pytest.raises(ValueError, match="also given"):
        FoldIn(one, one)
    with pytest.raises(ValueError, match="same users"):
        FoldIn(one, interactions_of({1: {1, 2}, 3: {1}}))
    with pytest.raises(ValueError, match="same items"):
        FoldIn(one, interactions_of({1: {1, 3}, 2: {1}}))
