"""What a split promises is checked when it is made."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recsys_vae.errors import InputError
from recsys_vae.splitting import (
    SPLITTERS,
    FoldIn,
    RandomOptions,
    Split,
    StrongOptions,
    load_split,
    save_split,
    split_by,
    split_random,
    split_strong,
)
from recsys_vae.splitting.split import counts
from tests.splitting.histories import equal, history, interactions_of, random_histories

SOURCE = interactions_of(random_histories())
STRONG = split_strong(SOURCE, StrongOptions())
WEAK = split_random(SOURCE, RandomOptions())


def with_fold(split: Split, name: str, fold: FoldIn) -> Split:
    return replace(split, validation=fold) if name == "validation" else replace(split, test=fold)


def test_every_kind_says_what_it_is() -> None:
    assert (STRONG.kind, STRONG.generalization) == ("strong", "strong")
    assert (WEAK.kind, WEAK.generalization) == ("random", "weak")
    assert list(SPLITTERS) == ["strong", "leave-last-out", "temporal", "random"]
    assert all(name == options.kind for name, (options, _) in SPLITTERS.items())
    assert equal(split_by(SOURCE, RandomOptions()), WEAK)


@pytest.mark.parametrize("fold", ["validation", "test"])
def test_strong_means_that_no_held_out_user_trains(fold: str) -> None:
    # The fold of a weak split under the name of a strong one: its users train.
    description = STRONG.description
    with pytest.raises(ValueError, match="held-out users are also in train"):
        replace(WEAK, description=description)
    everyone = SOURCE.columns(
        SOURCE.items.numbers(STRONG.train.items.ids(range(len(STRONG.train.items))))
    )
    nothing = everyone.where(everyone.matrix.data < 0)
    with pytest.raises(ValueError, match="held-out users are also in train"):
        with_fold(STRONG, fold, FoldIn(everyone, nothing))


@pytest.mark.parametrize("fold", ["validation", "test"])
def test_weak_means_that_no_held_out_interaction_trains(fold: str) -> None:
    nothing = WEAK.train.where(WEAK.train.matrix.data < 0)
    with pytest.raises(ValueError, match="a held-out interaction is also in train"):
        with_fold(WEAK, fold, FoldIn(nothing, WEAK.train))
    # One interaction among thousands is enough, whatever its value.
    one = WEAK.train.matrix.copy()
    one.data[:] = 0.0
    single = replace(WEAK.train, matrix=one)
    chosen = single.where(single.row_numbers * 0 + range(len(single)) == 7)
    with pytest.raises(ValueError, match="a held-out interaction is also in train"):
        with_fold(WEAK, fold, FoldIn(nothing, chosen))


def test_all_parts_have_the_items_of_train() -> None:
    with pytest.raises(ValueError, match="the items of train"):
        replace(STRONG, train=SOURCE.columns(SOURCE.items.numbers([0, 1, 2])))


@pytest.mark.parametrize(
    ("description", "words"),
    [({"kind": "random"}, "generalization"), ({"generalization": "weak"}, "kind")],
)
def test_a_split_that_does_not_say_what_it_is_is_refused(
    description: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        replace(WEAK, description=description)


@pytest.mark.parametrize("split", [STRONG, WEAK], ids=["strong", "weak"])
def test_a_split_survives_the_disk(split: Split, tmp_path: Path) -> None:
    save_split(split, tmp_path / "split")
    again = load_split(tmp_path / "split")
    assert equal(split, again)
    assert again.description == split.description
    assert counts(again) == counts(split)


def test_a_split_whose_promise_was_changed_is_refused(tmp_path: Path) -> None:
    save_split(WEAK, tmp_path / "split")
    file = tmp_path / "split" / "split.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"generalization": "strong"}))
    with pytest.raises(InputError, match=r"held-out users are also in train.*make it with"):
        load_split(tmp_path / "split")


def test_counts_are_those_of_the_parts() -> None:
    counted = counts(WEAK)
    held = history(WEAK.test.held_out)
    assert counted["test_users"] == len(held)
    assert counted["test_held_out_interactions"] == sum(map(len, held.values()))
    assert counted["test_interactions_dropped_unknown_item"] == 0


@pytest.mark.parametrize("split", [STRONG, WEAK], ids=["strong", "weak"])
def test_with_validation_everything_but_the_test_is_known(split: Split) -> None:
    known = split.with_validation()
    assert known.items.fingerprint == split.train.items.fingerprint
    expected = {
        pair
        for part in (split.train, split.validation.given, split.validation.held_out)
        for pair in zip(part.frame()["user"], part.frame()["item"], strict=True)
    }
    found = known.frame()
    assert set(zip(found["user"], found["item"], strict=True)) == expected
    assert len(found) == len(expected)
    held = split.test.held_out.frame()
    assert not expected & set(zip(held["user"], held["item"], strict=True))
