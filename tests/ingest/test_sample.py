from pathlib import Path

import numpy as np
import pandas as pd

from recsys_vae.ingest.cleaning import CleaningOptions
from recsys_vae.ingest.sample import make_sample
from tests.ingest.cleaned import clean

SAMPLE = make_sample()
RATINGS = SAMPLE.ratings
ITEMS = SAMPLE.catalogue.frame


def test_there_are_about_5000_users_and_2000_items() -> None:
    assert RATINGS["user"].nunique() == 5_000
    assert len(ITEMS) == 2_000
    assert set(RATINGS["item"]) <= set(ITEMS.index)
    # Films are drawn by appeal; hardly any is so unloved that none of 5,000 viewers took it.
    assert RATINGS["item"].nunique() > 0.95 * 2_000


def test_the_same_seed_gives_the_same_rows_and_titles() -> None:
    again = make_sample()
    pd.testing.assert_frame_equal(again.ratings, RATINGS)
    pd.testing.assert_frame_equal(again.catalogue.frame, ITEMS)


def test_another_seed_gives_other_rows() -> None:
    one, other = (make_sample(n_users=40, n_items=80, seed=seed).ratings for seed in (1, 2))
    assert not one.equals(other)


def test_popularity_has_a_long_tail() -> None:
    per_item = RATINGS["item"].value_counts().reindex(ITEMS.index, fill_value=0).to_numpy()
    head = np.sort(per_item)[::-1][: len(per_item) // 5]
    # The habit of the field: a fifth of the items has most, but not all, of the interactions.
    assert 0.5 < head.sum() / per_item.sum() < 0.9
    assert np.median(per_item) < per_item.mean()


def test_nobody_takes_a_film_twice() -> None:
    assert not RATINGS.duplicated(["user", "item"]).any()


def test_titles_are_unique_and_genres_known() -> None:
    assert ITEMS["title"].is_unique
    assert ITEMS["title"].str.len().min() > 0
    assert 5 <= ITEMS["genres"].str.split("|").explode().nunique() <= 30


def test_ratings_are_stars() -> None:
    assert sorted(RATINGS["rating"].unique()) == [1, 2, 3, 4, 5]


def test_viewers_have_a_few_tastes_each() -> None:
    genre = ITEMS["genres"].str.split("|").str[0]
    shares = (
        RATINGS.assign(genre=RATINGS["item"].map(genre))
        .groupby("user")["genre"]
        .value_counts(normalize=True)
        .groupby("user")
        .nlargest(3)
    )
    top_three = shares.groupby(level=0).sum().mean()
    # Nine films in ten come from one to three genres; second genres blur it a little. Three of
    # twelve genres picked blindly would hold about a quarter.
    assert top_three > 0.75


def test_cleaning_leaves_most_of_it() -> None:
    frame = RATINGS.assign(row=range(1, len(RATINGS) + 1))
    cleaned = clean(frame, CleaningOptions(), Path("sample"))
    assert cleaned.threshold == 3.5
    assert cleaned.frame["user"].nunique() > 0.9 * 5_000
