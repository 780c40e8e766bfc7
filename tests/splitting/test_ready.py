import math
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from recsys_vae.errors import InputError
from recsys_vae.interactions import Interactions
from recsys_vae.splitting import Halves, Split, ready_made, ready_made_strong
from tests.splitting.histories import (
    History,
    equal,
    frame_of,
    history,
    ids_of,
    interactions_of,
    pairs,
    random_histories,
)

SMALL: st.SearchStrategy[History] = st.dictionaries(
    st.integers(0, 20), st.sets(st.integers(0, 25), min_size=1), min_size=1, max_size=12
)
SEEDS = st.integers(0, 2**32)


def split_or_pass(train: History, test: History, **more: Any) -> Split:
    """Split; data that are refused, because nobody can be judged, say nothing about the laws."""
    try:
        return ready_made(interactions_of(train), interactions_of(test), **more)
    except InputError:
        assume(False)
        raise


def pairs_of(histories: History) -> set[tuple[int, int]]:
    return {(user, item) for user, items in histories.items() for item in items}


@given(SMALL, SMALL, SEEDS)
def test_parts_are_taken_over_and_the_rest_is_counted(
    train: History, test: History, seed: int
) -> None:
    split = split_or_pass(train, test, validation_share=0.4, seed=seed)
    catalogue = set().union(*train.values())
    assert set(ids_of(split.train.items)) == catalogue
    learned, chosen = pairs(split.train), pairs(split.validation.held_out)
    # The file of train is parted in two, whole.
    assert learned | chosen == pairs_of(train)
    assert not learned & chosen
    for user, items in train.items():
        assert sum(one == user for one, _ in chosen) == math.floor(0.4 * len(items))
    # Of the file of test is asked what can be asked.
    asked = {
        (user, item)
        for user, item in pairs_of(test) - pairs_of(train)
        if user in train and item in catalogue
    }
    assert pairs(split.test.held_out) == asked
    counts = split.description["counts"]
    again = pairs_of(test) & pairs_of(train)
    assert counts["test_interactions_dropped_already_given"] == len(again)
    left = sum(counts[f"test_interactions_dropped_{why}"] for why in ("unknown_item", "new_user"))
    assert left == len(pairs_of(test) - again - asked)
    assert history(split.test.given) == {user: train[user] for user, _ in asked}
    assert (split.kind, split.generalization) == ("ready-made", "weak")


@given(SMALL, SMALL, SMALL)
@settings(max_examples=25)
def test_a_validation_file_stands_between_train_and_test(
    train: History, validation: History, test: History
) -> None:
    split = split_or_pass(train, test, validation=interactions_of(validation))
    catalogue = set().union(*train.values())
    assert pairs(split.train) == pairs_of(train)
    wanted = {p for p in pairs_of(validation) - pairs_of(train) if p[1] in catalogue}
    assert pairs(split.validation.held_out) == {p for p in wanted if p[0] in train}
    for user, shown in history(split.test.given).items():
        assert shown == train.get(user, set()) | {i for u, i in wanted if u == user}
    assert not pairs(split.test.held_out) & pairs_of(validation)


def test_a_published_pair_of_files() -> None:
    train = {1: {1, 2, 3, 4, 5}, 2: {1, 2, 3, 4, 6}}
    test = {1: {6, 5, 99}, 2: {5}, 3: {1}}
    split = ready_made(interactions_of(train), interactions_of(test), validation_share=0.2)
    assert history(split.test.given) == train
    assert history(split.test.held_out) == {1: {6}, 2: {5}}
    assert {user: len(items) for user, items in history(split.train).items()} == {1: 4, 2: 4}
    assert {user: len(one) for user, one in history(split.validation.held_out).items()} == {
        1: 1,
        2: 1,
    }
    counts = split.description["counts"]
    assert counts["test_interactions_dropped_already_given"] == 1  # user 1, item 5
    assert counts["test_interactions_dropped_unknown_item"] == 1  # item 99
    assert counts["test_interactions_dropped_new_user"] == 1  # user 3
    assert counts["test_new_users"] == 1


@given(SMALL, SMALL, SEEDS, st.randoms())
@settings(max_examples=25)
def test_the_order_of_the_rows_does_not_matter(
    train: History, test: History, seed: int, random: Any
) -> None:
    one = split_or_pass(train, test, validation_share=0.4, seed=seed)
    shuffled = []
    for histories in (train, test):
        frame = frame_of(histories)
        rows = list(range(len(frame)))
        random.shuffle(rows)
        shuffled.append(Interactions.from_frame(frame.iloc[rows]))
    other = ready_made(*shuffled, validation_share=0.4, seed=seed)
    assert equal(one, other)
    assert one.description == other.description


def test_the_seed_decides_what_validates() -> None:
    train, test = (interactions_of(random_histories(seed)) for seed in (0, 1))
    one, again, other = (ready_made(train, test, seed=seed) for seed in (1, 1, 2))
    assert equal(one, again)
    assert not equal(one, other)
    assert one.test.held_out.fingerprint == other.test.held_out.fingerprint


def test_times_are_kept_where_all_parts_have_them() -> None:
    frames = [frame_of(random_histories(seed)).assign(timestamp=seed) for seed in (0, 1)]
    split = ready_made(*map(Interactions.from_frame, frames))
    assert split.train.times is not None
    assert set(split.train.times) == {0}
    assert split.test.held_out.times is not None
    assert set(split.test.held_out.times) == {1}
    bare = ready_made(Interactions.from_frame(frames[0]), interactions_of(random_histories(1)))
    assert bare.train.times is None


def shifted(histories: History, by: int) -> History:
    return {user + by: items for user, items in histories.items()}


@given(SMALL, SMALL, SMALL)
@settings(max_examples=25)
def test_folders_of_held_out_users_are_taken_over(
    train: History, shown: History, asked: History
) -> None:
    source = interactions_of(train)
    halves = [
        Halves(interactions_of(shifted(shown, by)), interactions_of(shifted(asked, by)))
        for by in (100, 200)
    ]
    try:
        split = ready_made_strong(source, *halves)
    except InputError:
        assume(False)
    assert (split.kind, split.generalization) == ("ready-made", "strong")
    assert split.train is source
    catalogue = set().union(*train.values())
    counts = split.description["counts"]
    for name, fold, by in (("validation", split.validation, 100), ("test", split.test, 200)):
        given_pairs = {p for p in pairs_of(shifted(shown, by)) if p[1] in catalogue}
        repeated = pairs_of(shifted(asked, by)) & pairs_of(shifted(shown, by))
        known = {p for p in pairs_of(shifted(asked, by)) - repeated if p[1] in catalogue}
        held = {p for p in known if p[0] in {user for user, _ in given_pairs}}
        assert pairs(fold.given) == given_pairs
        assert pairs(fold.held_out) == held
        assert counts[f"{name}_interactions_dropped_already_given"] == len(repeated)
        assert counts[f"{name}_interactions_dropped_new_user"] == len(known - held)


def test_a_held_out_user_who_trains_is_refused() -> None:
    train = interactions_of({1: {1, 2}, 2: {1, 3}})
    good = Halves(interactions_of({8: {1}}), interactions_of({8: {2}}))
    bad = Halves(interactions_of({2: {1}}), interactions_of({2: {2}}))
    with pytest.raises(InputError, match="user 2 of the test part is also in train"):
        ready_made_strong(train, good, bad)
    with pytest.raises(InputError, match="user 2 of the validation part is also in train"):
        ready_made_strong(train, bad, good)
    with pytest.raises(InputError, match="user 8 of the test part is also in validation"):
        ready_made_strong(train, good, good)


def test_parts_that_do_not_fit_together_are_refused() -> None:
    train = interactions_of({1: {1, 2, 3}})
    texts = Interactions.from_frame(frame_of({1: {1}}).astype({"item": str}))
    with pytest.raises(InputError, match="ids of items are integers in one part and strings"):
        ready_made(train, texts)
    held = Halves(texts, texts)
    with pytest.raises(InputError, match="ids of items are integers in one part and strings"):
        ready_made_strong(train, held, held)
    strangers = interactions_of({5: {1}})
    with pytest.raises(InputError, match="nobody is left for test"):
        ready_made(train, strangers, validation_share=0.4)
    unknown = Halves(interactions_of({7: {50}}), interactions_of({7: {51}}))
    with pytest.raises(InputError, match="nobody is left for validation"):
        ready_made_strong(train, unknown, unknown)


@pytest.mark.parametrize("share", [0.0, 1.0, float("nan")])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    train = interactions_of({1: {1, 2, 3}})
    with pytest.raises(InputError, match="--validation-share"):
        ready_made(train, train, validation_share=share)
