"""A model of another catalogue, asked about this one."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from recsys_vae.errors import InputError
from recsys_vae.interactions import IdMap, Interactions
from recsys_vae.models.base import FitOptions, Recommender
from recsys_vae.models.translated import translated
from recsys_vae.models.zoo import make_model


def _taken(*rows: list[int]) -> csr_array:
    return csr_array(np.array(rows, dtype=np.float32))


def _model() -> Recommender:
    # Items b, d, f of six users: b goes with d.
    matrix = _taken([1, 1, 0], [1, 1, 0], [1, 1, 0], [0, 0, 1], [1, 0, 1], [0, 1, 0])
    data = Interactions(IdMap.of(range(6)), IdMap.of(["b", "d", "f"]), matrix)
    return make_model("ease", {"ridge": 1.0}).fit(data, FitOptions())


def test_known_items_have_the_models_scores_and_others_come_last() -> None:
    model: Recommender = _model()
    other: Recommender = translated(model, IdMap.of(["a", "b", "c", "d"]))
    assert other.name == "ease"
    # Of the history a, b only b is known; the model itself would see b alone.
    found = other.score(_taken([1, 1, 0, 0], [0, 0, 0, 0]))
    own = model.score(_taken([1, 0, 0], [0, 0, 0]))
    assert np.array_equal(found[:, [1, 3]], own[:, :2])
    assert (found[:, [0, 2]] < own.min(axis=1, keepdims=True)).all()
    assert np.isfinite(found).all()


def test_histories_in_its_words_are_sorted_by_its_items() -> None:
    # Numbers go by the order of the ids, and both catalogues have one.
    other = translated(_model(), IdMap.of(["f", "e", "b"]))
    own = other.in_its_words(_taken([1, 1, 1]))
    assert own.toarray().tolist() == [[1, 0, 1]]
    assert own.has_sorted_indices
    assert other.known == 2


def test_a_catalogue_of_which_it_knows_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="model 'ease' knows none of the 2 items"):
        translated(_model(), IdMap.of(["x", "y"]))
    with pytest.raises(TypeError, match="fitted already"):
        translated(_model(), IdMap.of(["b"])).restore(IdMap.of(["b"]), {})
