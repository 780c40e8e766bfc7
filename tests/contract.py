"""What every recommender must do; each model's test subclasses it and says how to make one."""

import pickletools
import shutil
import subprocess
import sys
import warnings
import zipfile
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.sparse import csr_array, load_npz, save_npz, vstack

from recsys_vae.errors import InputError
from recsys_vae.models.base import FitOptions, NotFittedError, Recommender
from recsys_vae.models.zoo import load_model, make_model, save_model
from tests.conftest import Checkerboard

_SCORE_ELSEWHERE = """
import sys, numpy, scipy.sparse
from pathlib import Path
from recsys_vae.models.zoo import load_model
folder, given, scores = map(Path, sys.argv[1:])
model = load_model(folder)
numpy.save(scores, model.score(scipy.sparse.csr_array(scipy.sparse.load_npz(given))))
"""


def pickled(folder: Path) -> list[Path]:
    """Find the files that are pickles, by name or by content (torch zips its own)."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    suffixes = {".pkl", ".pickle", ".pt", ".pth", ".joblib", ".bin"}
    return [path for path in files if path.suffix in suffixes or _is_pickle(path.read_bytes())]


def _is_pickle(content: bytes) -> bool:
    if zipfile.is_zipfile(BytesIO(content)):
        return True
    # A safetensors file may begin as a pickle, too (the length of its header), and text as an old
    # one: read on.
    needed = 3 if content.startswith(b"\x80") else None
    try:
        with warnings.catch_warnings(action="ignore"):  # what is no pickle may have odd escapes
            found = list(islice(pickletools.genops(content), needed))
    except ValueError:
        return False
    return len(found) == needed or found[-1][2] == len(content) - 1


def rounding(scores: Any) -> float:
    """How far float32 sums of the same terms in another order may lie apart.

    Sums of up to some hundred terms, a few layers deep: some hundred units in the last place
    (2^-23) of the largest score.
    """
    return float(300 * 2.0**-23 * np.abs(scores).max())


class RecommenderContract:
    """Laws of every recommender.

    Attributes:
        learns_tastes: whether lists depend on the user's history.
        random: whether the fit draws random numbers.
    """

    learns_tastes: ClassVar[bool] = True
    random: ClassVar[bool] = True
    _fitted: ClassVar[dict[type, Recommender]] = {}

    def make(self) -> Recommender:
        """Make an unfitted model."""
        raise NotImplementedError

    def fit(self, checkerboard: Checkerboard, seed: int = 0) -> Recommender:
        return self.make().fit(checkerboard.train, FitOptions(seed=seed, device="cpu"))

    @pytest.fixture
    def fitted(self, checkerboard: Checkerboard) -> Recommender:
        """One fitted model for all tests of a class: no test changes it."""
        if type(self) not in self._fitted:
            self._fitted[type(self)] = self.fit(checkerboard)
        return self._fitted[type(self)]

    @pytest.fixture
    def given(self, checkerboard: Checkerboard) -> csr_array:
        """Histories that were not trained on: single items, everything, nothing."""
        n_items = len(checkerboard.train.items)
        few = np.zeros((4, n_items), dtype=np.float32)
        few[0, [0, 2, 4]] = 1
        few[1, 1] = 1
        few[2] = 1
        return csr_array(few)

    def test_the_withheld_item_ranks_first(
        self, fitted: Recommender, checkerboard: Checkerboard
    ) -> None:
        if not self.learns_tastes:
            pytest.skip("the same list for everyone cannot follow a user's colour")
        scores = fitted.score(checkerboard.train.matrix).copy()
        scores[checkerboard.train.matrix.toarray() > 0] = -np.inf
        assert np.array_equal(scores.argmax(axis=1), checkerboard.withheld_U)

    def test_unseen_users_are_folded_in_by_their_histories(
        self, fitted: Recommender, checkerboard: Checkerboard
    ) -> None:
        if not self.learns_tastes:
            pytest.skip("the same list for everyone cannot follow a user's colour")
        for colour in (0, 1):
            own = np.flatnonzero(checkerboard.colour_I == colour)
            other = np.flatnonzero(checkerboard.colour_I != colour)
            # Half of a colour: no training user has so short a history.
            history = np.zeros((1, len(checkerboard.colour_I)), dtype=np.float32)
            history[0, own[::2]] = 1
            scores = fitted.score(csr_array(history))[0]
            assert scores[own[1::2]].min() > scores[other].max()

    def test_scores_are_one_finite_float32_for_each_user_and_item(
        self, fitted: Recommender, given: csr_array
    ) -> None:
        scores = fitted.score(given)
        assert scores.shape == given.shape
        assert scores.dtype == np.float32
        assert np.isfinite(scores).all()

    def test_a_user_without_history_gets_finite_scores_and_disturbs_nobody(
        self, fitted: Recommender, given: csr_array
    ) -> None:
        assert given[[3]].nnz == 0
        alone = fitted.score(given[[3]])
        assert np.isfinite(alone).all()
        without, with_them = fitted.score(given[:3]), fitted.score(given)[:3]
        assert np.abs(without - with_them).max() <= rounding(without)

    def test_scoring_leaves_the_histories_as_they_were(
        self, fitted: Recommender, given: csr_array
    ) -> None:
        before = given.toarray()
        fitted.score(given)
        assert np.array_equal(given.toarray(), before)

    def test_who_else_is_in_the_batch_does_not_matter(
        self, fitted: Recommender, given: csr_array, checkerboard: Checkerboard
    ) -> None:
        together = csr_array(vstack([checkerboard.train.matrix, given], format="csr"))
        order = np.random.default_rng(0).permutation(together.shape[0])
        scores = fitted.score(together)
        shuffled = fitted.score(together[order])
        assert np.abs(shuffled - scores[order]).max() <= rounding(scores)
        for row in (0, 1, 60, 63):
            alone = fitted.score(together[[row]])[0]
            assert np.abs(alone - scores[row]).max() <= rounding(scores)

    def test_the_same_seed_gives_the_same_bits(
        self, fitted: Recommender, checkerboard: Checkerboard
    ) -> None:
        again = self.fit(checkerboard).arrays()
        assert {name: value.tobytes() for name, value in again.items()} == {
            name: value.tobytes() for name, value in fitted.arrays().items()
        }

    def test_another_seed_gives_another_model(
        self, fitted: Recommender, checkerboard: Checkerboard, given: csr_array
    ) -> None:
        if not self.random:
            pytest.skip("counting draws no random numbers")
        other = self.fit(checkerboard, seed=1)
        assert not np.array_equal(other.score(given), fitted.score(given))

    def test_saved_and_loaded_it_scores_the_same_bits(
        self, fitted: Recommender, given: csr_array, tmp_path: Path
    ) -> None:
        save_model(fitted, tmp_path / "model")
        loaded = load_model(tmp_path / "model")
        assert loaded.score(given).tobytes() == fitted.score(given).tobytes()
        assert loaded.config == fitted.config
        assert loaded.items.fingerprint == fitted.items.fingerprint

    def test_moved_and_loaded_in_a_fresh_process_it_needs_no_training_data(
        self, fitted: Recommender, given: csr_array, tmp_path: Path
    ) -> None:
        elsewhere = tmp_path / "elsewhere"
        save_model(fitted, tmp_path / "model")
        elsewhere.mkdir()
        shutil.move(tmp_path / "model", elsewhere / "moved")
        save_npz(elsewhere / "given.npz", given)
        names = ["moved", "given.npz", "scores.npy"]
        command = [sys.executable, "-W", "error", "-c", _SCORE_ELSEWHERE, *names]
        subprocess.run(command, check=True, cwd=elsewhere)
        there = np.load(elsewhere / "scores.npy")
        assert (load_npz(elsewhere / "given.npz") != given).nnz == 0
        assert there.tobytes() == fitted.score(given).tobytes()

    def test_the_saved_folder_holds_no_pickle(self, fitted: Recommender, tmp_path: Path) -> None:
        save_model(fitted, tmp_path / "model")
        assert list((tmp_path / "model").iterdir())
        assert pickled(tmp_path / "model") == []

    def test_an_unknown_setting_is_refused(self) -> None:
        config = type(self.make().config)
        with pytest.raises(ValidationError, match="no_such_setting"):
            config.model_validate({"no_such_setting": 1})
        with pytest.raises(InputError, match="no_such_setting"):
            make_model(self.make().name, {"no_such_setting": 1})

    def test_asked_before_it_was_fitted_it_says_so(
        self, checkerboard: Checkerboard, tmp_path: Path
    ) -> None:
        model = self.make()
        with pytest.raises(NotFittedError, match=model.name):
            _ = model.items
        with pytest.raises(NotFittedError, match=model.name):
            model.score(checkerboard.train.matrix)
        with pytest.raises(NotFittedError, match=model.name):
            save_model(model, tmp_path / "model")
        assert list(tmp_path.iterdir()) == []

    def test_it_says_that_it_folds_in(self) -> None:
        assert self.make().folds_in
