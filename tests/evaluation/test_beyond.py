"""Measures beyond accuracy in visible arithmetic, and what is known of the items."""

import math

import numpy as np
import pytest
from scipy.sparse import csr_array

from recsys_vae.evaluation import catalogue as catalogue_module
from recsys_vae.evaluation.catalogue import Catalogue
from recsys_vae.evaluation.evaluate import UntrustworthyError, judge
from recsys_vae.evaluation.measures import Metric
from recsys_vae.ranking import TopN
from recsys_vae.splitting import FoldIn
from tests.evaluation.made_up import interactions

TRAIN = interactions(
    np.array(
        [
            # items 0 to 4, taken by 4, 2, 2, 1 and 0 of the four users
            [1, 1, 0, 0, 0],
            [1, 1, 0, 0, 0],
            [1, 0, 1, 0, 0],
            [1, 0, 1, 1, 0],
        ],
        dtype=bool,
    )
)
GIVEN = interactions(np.array([[1, 0, 0, 0, 0]], dtype=bool))
HELD = interactions(np.array([[0, 0, 1, 1, 0]], dtype=bool))


def value(name: str, k: int, *shown: int) -> float:
    items = np.array([shown], dtype=np.int32)
    lists = TopN(items, np.zeros(items.shape, dtype=np.float32))
    found = judge([lists], FoldIn(GIVEN, HELD), [Metric(name, k)], catalogue=Catalogue.of(TRAIN))
    whole = {**{key: one[0] for key, one in found.per_user.items()}, **found.overall}
    return float(whole[f"{name}@{k}"])


def test_novelty_is_the_mean_surprise_in_bits() -> None:
    assert value("novelty", 2, 1, 3) == pytest.approx((-math.log2(2 / 4) - math.log2(1 / 4)) / 2)


def test_an_item_that_nobody_took_surprises_like_one_that_one_user_took() -> None:
    assert value("novelty", 1, 4) == value("novelty", 1, 3) == pytest.approx(-math.log2(1 / 4))


def test_popularity_is_the_mean_share_of_users() -> None:
    assert value("popularity", 2, 1, 3) == pytest.approx((2 / 4 + 1 / 4) / 2)


def test_padding_does_not_count() -> None:
    assert value("popularity", 3, 1, 3, -1) == pytest.approx((2 / 4 + 1 / 4) / 2)
    assert value("diversity", 3, 1, 2, -1) == pytest.approx(value("diversity", 2, 1, 2))


def test_diversity_is_1_minus_the_mean_cosine() -> None:
    # Items 1 and 2 share no user; items 2 and 3 share one: 1 / (sqrt(2) sqrt(1)).
    assert value("diversity", 2, 1, 2) == pytest.approx(1.0)
    assert value("diversity", 2, 2, 3) == pytest.approx(1 - 1 / math.sqrt(2))
    cosines = [0, 0, 1 / math.sqrt(2)]
    assert value("diversity", 3, 1, 2, 3) == pytest.approx(1 - sum(cosines) / 3)


def test_a_list_of_one_item_has_no_diversity() -> None:
    assert math.isnan(value("diversity", 1, 2))


def test_serendipity_counts_hits_that_popularity_would_not_show() -> None:
    # Without the given item 0 popularity shows 1, 2, 3, 4; both hits, 2 and 3, are held out.
    assert value("serendipity", 1, 2) == 1 / min(1, 2)
    assert value("serendipity", 2, 2, 3) == 1 / min(2, 2)  # 2 is among popularity's two
    assert value("serendipity", 3, 2, 3, 1) == 0 / min(3, 2)


def test_miscalibration_is_0_for_the_history_s_mix_and_1_for_another() -> None:
    # 9 interactions: the head is item 0 (what precedes it is 0), the tail begins at 80 %.
    assert Catalogue.of(TRAIN).group_I.tolist() == [0, 1, 1, 2, 2]
    head = interactions(np.array([[0, 1, 0, 0, 0]], dtype=bool))
    lists = TopN(np.array([[2]], dtype=np.int32), np.zeros((1, 1), dtype=np.float32))
    asked = [Metric("miscalibration", 1)]
    same = judge([lists], FoldIn(head, HELD), asked, catalogue=Catalogue.of(TRAIN))
    assert same.per_user["miscalibration@1"][0] == pytest.approx(0.0, abs=1e-12)
    assert value("miscalibration", 1, 3) == pytest.approx(1.0)


def test_coverage_and_gini_look_at_all_lists_together() -> None:
    assert value("coverage", 2, 1, 2) == 2 / 5
    # Counts 0, 0, 0, 1, 1: (sum of (2 i - n - 1) x_i) / (n sum x) = (2 + 4) / (5 * 2)
    assert value("gini", 2, 1, 2) == pytest.approx(6 / 10)


def test_item_features_may_tell_what_is_alike() -> None:
    features = csr_array(np.array([[1, 0], [1, 0], [0, 1], [0, 1], [1, 1]], dtype=np.float32))
    vectors = Catalogue.of(TRAIN, features).vectors_ID
    np.testing.assert_allclose(vectors[0] @ vectors[1], 1.0)
    np.testing.assert_allclose(vectors[0] @ vectors[4], 1 / math.sqrt(2), rtol=1e-6)


def test_the_sketch_is_near_the_cosine_and_does_not_depend_on_the_pieces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(0)
    dense = rng.random((3_000, 40)) < rng.random(40) * 0.3
    unit = dense / np.sqrt(dense.sum(axis=0))
    exact = unit.T @ unit
    sketch = Catalogue.of(interactions(dense)).vectors_ID
    assert sketch.shape == (40, 256)
    away = (sketch @ sketch.T - exact)[np.triu_indices(40, 1)]
    # Each has a standard deviation of about 1/16; of 780, none lies beyond five of them.
    assert np.abs(away).max() < 5 / 16
    assert away.std() < 1.2 / 16
    assert abs(away.mean()) < 0.02
    monkeypatch.setattr(catalogue_module, "_WIDTH", 3_000)
    precise = Catalogue.of(interactions(dense)).vectors_ID
    np.testing.assert_allclose(precise @ precise.T, exact, atol=1e-5)


def test_what_tells_similar_items_is_made_for_diversity_alone() -> None:
    catalogue = Catalogue.of(TRAIN)
    lists = TopN(np.array([[1, 2]], dtype=np.int32), np.zeros((1, 2), dtype=np.float32))
    for name, made in (("coverage", False), ("novelty", False), ("diversity", True)):
        judge([lists], FoldIn(GIVEN, HELD), [Metric(name, 2)], catalogue=catalogue)
        assert ("vectors_ID" in vars(catalogue)) == made, name


def test_measures_beyond_accuracy_need_the_catalogue() -> None:
    lists = TopN(np.array([[1]], dtype=np.int32), np.zeros((1, 1), dtype=np.float32))
    with pytest.raises(ValueError, match="need the catalogue"):
        judge([lists], FoldIn(GIVEN, HELD), [Metric("novelty", 1)])


@pytest.mark.parametrize(
    ("shown", "message"),
    [([0, 1], "1 recommended items were given"), ([1, 1], "1 places of the lists repeat an item")],
)
def test_lists_that_cannot_be_trusted_are_refused(shown: list[int], message: str) -> None:
    items = np.array([shown], dtype=np.int32)
    lists = TopN(items, np.zeros(items.shape, dtype=np.float32))
    with pytest.raises(UntrustworthyError, match=message):
        judge([lists], FoldIn(GIVEN, HELD), [Metric("recall", 2)])


def test_lists_of_too_few_users_or_too_short_ones_are_a_mistake_of_the_caller() -> None:
    lists = TopN(np.array([[1]], dtype=np.int32), np.zeros((1, 1), dtype=np.float32))
    with pytest.raises(ValueError, match="0 lists do not fit 1 users"):
        judge([], FoldIn(GIVEN, HELD), [Metric("recall", 1)])
    with pytest.raises(ValueError, match="too short for recall@2"):
        judge([lists], FoldIn(GIVEN, HELD), [Metric("recall", 2)])
