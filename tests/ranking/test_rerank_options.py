"""Methods as written on the command line, what they need, and what is refused."""

import math
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array

from recsys_vae.errors import InputError
from recsys_vae.interactions import Interactions
from recsys_vae.models.base import FitOptions
from recsys_vae.models.zoo import make_model
from recsys_vae.ranking.calibrate import Calibration, ItemShares, calibrate
from recsys_vae.ranking.dpp import DPP
from recsys_vae.ranking.item_vectors import ItemVectors, model_vectors
from recsys_vae.ranking.mmr import MMR, mmr
from recsys_vae.ranking.rerank import Reranking, parse_reranking, rerank
from tests.ranking.made_up import (
    NEUTRAL,
    SOME,
    changed,
    made_up_given,
    made_up_pool,
    made_up_shares,
)


@pytest.mark.parametrize(
    ("text", "how"),
    [
        ("mmr:0.7", MMR(0.7)),
        ("mmr", MMR()),
        ("dpp:1.0", DPP(1.0)),
        ("dpp:inf", DPP(math.inf)),
        ("dpp", DPP()),
        ("calibrate:0.5", Calibration(0.5)),
        ("calibrate", Calibration()),
    ],
)
def test_a_method_is_read_from_the_command_line(text: str, how: Reranking) -> None:
    assert parse_reranking(text) == how


@pytest.mark.parametrize(
    "text",
    [
        "", "x", "MMR:0.7", "mmr:", "mmr:x", "mmr:nan", "mmr:1.1", "mmr:-0.1", "mmr:inf", "mmr:1:2",
        "dpp:-1", "dpp:-inf", "dpp:1e7", "dpp:nan", "calibrate:2", "calibrate:", ":0.5",
    ],
)  # fmt: skip
def test_rubbish_is_refused_in_one_sentence_that_names_option_and_remedy(text: str) -> None:
    with pytest.raises(InputError, match=f"--rerank {text}: ") as refused:
        parse_reranking(text)
    sentence = str(refused.value)
    assert "choose " in sentence or "write " in sentence
    assert ". " not in sentence
    assert "\n" not in sentence


@pytest.mark.parametrize("smoothing", [0.0, 1.0, -1.0, math.nan])
def test_a_smoothing_that_leaves_nothing_or_an_infinite_divergence_is_refused(
    smoothing: float,
) -> None:
    with pytest.raises(InputError, match="smoothing"):
        Calibration(0.5, smoothing)


@pytest.mark.parametrize("how", [*NEUTRAL, SOME[0], SOME[3], SOME[6]])
@pytest.mark.parametrize("k", [0, -1, 10])
def test_a_length_that_the_pool_cannot_fill_is_refused(how: Reranking, k: int) -> None:
    with pytest.raises(InputError, match="choose 1 to 9"):
        changed(made_up_pool(0), k, how, 0)


def test_what_a_method_needs_and_does_not_get_is_named() -> None:
    pool, history = made_up_pool(0), made_up_given(0)
    for how, word in ((MMR(), "vectors"), (DPP(), "vectors"), (Calibration(), "attributes")):
        with pytest.raises(InputError, match=word):
            rerank(pool, 3, how, given=history)


def test_parts_that_do_not_fit_together_are_errors() -> None:
    pool, shares = made_up_pool(0), made_up_shares(0)
    with pytest.raises(ValueError, match="do not fit"):
        calibrate(pool, 3, shares, made_up_given(0, 5))
    with pytest.raises(ValueError, match="vectors of 2 items"):
        mmr(pool, 3, ItemVectors.of(np.eye(2)))
    with pytest.raises(ValueError, match="finite"):
        ItemVectors.of(np.array([[np.nan]]))
    with pytest.raises(InputError, match="negative"):
        ItemShares.of(csr_array(np.array([[-1.0]])))


@pytest.mark.parametrize("name", ["mult-vae", "latent-diffusion", "als"])
def test_a_model_that_has_vectors_of_items_gives_them(
    name: str, small: Interactions, quick: dict[str, Any]
) -> None:
    settings_of = {"factors": 2} if name == "als" else quick
    model = make_model(name, settings_of).fit(small, FitOptions(device="cpu"))
    vectors = model_vectors(model)
    assert isinstance(vectors.unit_ID, np.ndarray)
    assert len(vectors.unit_ID) == 4
    # Rows of float32.
    assert np.linalg.norm(vectors.unit_ID, axis=1) == pytest.approx(np.ones(4), abs=1e-6)


def test_a_model_without_vectors_of_items_is_named(small: Interactions) -> None:
    model = make_model("popularity", {}).fit(small, FitOptions(device="cpu"))
    with pytest.raises(InputError, match="popularity"):
        model_vectors(model)
