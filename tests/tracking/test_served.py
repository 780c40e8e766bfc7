"""The model as MLflow serves it: lists for histories never seen, without pickle."""

import json
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException

from recsys_vae.interactions import Interactions
from recsys_vae.models.base import FitOptions, Recommender
from recsys_vae.models.zoo import load_model, make_model, save_model
from recsys_vae.ranking import ItemRules, rank
from recsys_vae.tracking.registry import log_model, model_folder, register
from recsys_vae.tracking.runs import step_run
from tests.conftest import Checkerboard, tracking_store
from tests.contract import pickled

_SETTINGS: dict[str, Any] = {"hidden": [16], "latent": 4, "training": {"epochs": 2}}
_LOAD_ELSEWHERE = """
import json, sys
import mlflow, pandas
model = mlflow.pyfunc.load_model("models:/recsys-vae@challenger")
frame = pandas.DataFrame({"history": json.loads(sys.argv[1])})
print(json.dumps(model.predict(frame, params={"k": 3}).to_dict("list")))
"""


@dataclass(frozen=True)
class Served:
    """A fitted model, and the same one through MLflow."""

    model: Recommender
    pyfunc: Any
    uri: str
    folder: Path


def _serve(train: Interactions, folder: Path, database: Path) -> Iterator[Served]:
    with tracking_store(folder, database):
        model = make_model("mult-vae", _SETTINGS).fit(train, FitOptions(device="cpu"))
        save_model(model, folder / "model")
        with step_run("train"):
            uri = register(log_model(model, folder / "model"), "recsys-vae")
        # Served from its own copy: neither the model's folder nor any data are left.
        (folder / "model").rename(folder / "gone")
        yield Served(model, mlflow.pyfunc.load_model(uri), uri, folder)


class _Laws:
    """What holds for integer and string ids alike."""

    ids: ClassVar[list[Any]]
    unknown: ClassVar[Any]

    def test_it_answers_under_its_alias(self, served: Served) -> None:
        version = mlflow.MlflowClient().get_model_version_by_alias("recsys-vae", "challenger")
        assert served.uri == f"models:/recsys-vae/{version.version}"

    def test_it_ranks_histories_never_seen_as_the_model_itself_does(self, served: Served) -> None:
        history = self.ids[1:6:2]
        answer = served.pyfunc.predict(pd.DataFrame({"history": [history]}), params={"k": 4})
        items = served.model.items
        row = pd.DataFrame({"user": 0, "item": pd.Series(history, dtype=object).tolist()})
        given = Interactions.from_frame(row, items=items).matrix
        lists = rank(served.model.score(given), given, 4, ItemRules())
        assert answer["items"][0] == items.ids(lists.items_BK[0]).tolist()
        # Two ways to the same product, which round differently.
        assert answer["scores"][0] == pytest.approx(lists.scores_BK[0].tolist(), rel=1e-5)
        assert not set(answer["items"][0]) & set(history)

    def test_scores_fall_along_the_list(self, served: Served) -> None:
        answer = served.pyfunc.predict(pd.DataFrame({"history": [self.ids[:3], self.ids[5:7]]}))
        for scores in answer["scores"]:
            assert scores == sorted(scores, reverse=True)
            assert np.isfinite(scores).all()

    def test_unknown_ids_are_ignored(self, served: Served) -> None:
        both = [self.ids[:3], [*self.ids[:3], self.unknown]]
        answer = served.pyfunc.predict(pd.DataFrame({"history": both}))
        assert answer["items"][0] == answer["items"][1]

    @pytest.mark.parametrize("others", [False, True])
    def test_an_empty_history_is_answered_too(self, served: Served, others: bool) -> None:
        frame = pd.DataFrame({"history": [[], self.ids[:2]] if others else [[]]})
        answer = served.pyfunc.predict(frame)
        assert len(answer) == len(frame)
        assert len(answer["items"][0]) == 10
        assert np.isfinite(answer["scores"][0]).all()

    def test_k_is_the_length_of_the_list_up_to_what_there_is(self, served: Served) -> None:
        frame = pd.DataFrame({"history": [self.ids[:4]]})
        n_items = len(served.model.items)
        lengths = {
            k: len(served.pyfunc.predict(frame, params={"k": k})["items"][0])
            for k in (1, 7, n_items, 10 * n_items)
        }
        assert lengths == {1: 1, 7: 7, n_items: n_items - 4, 10 * n_items: n_items - 4}

    @pytest.mark.parametrize("k", [0, -1])
    def test_a_k_below_one_is_refused(self, served: Served, k: int) -> None:
        frame = pd.DataFrame({"history": [self.ids[:4]]})
        with pytest.raises(MlflowException, match=f"k = {k} is out of range") as refused:
            served.pyfunc.predict(frame, params={"k": k})
        assert refused.value.error_code == "INVALID_PARAMETER_VALUE"

    def test_a_history_may_be_written_in_any_way(self, served: Served) -> None:
        own = self.ids[:3]
        ways: list[Any] = [
            own, tuple(own), np.array(own), np.array(own, dtype=object), own * 2,
            [*own, 7, "no such item"], [self.unknown, *own], [*own, 10**30],
            [str(own[0]), own[1], *([str(own[2])] * 500_000)],
        ]  # fmt: skip
        asked = pd.DataFrame({"history": pd.Series(ways, dtype=object)})
        answer = served.pyfunc.predict(asked, params={"k": 5})
        for row, way in enumerate(ways):
            assert answer["items"][row] == answer["items"][0], way
            assert answer["scores"][row] == answer["scores"][0], way

    def test_no_history_is_an_empty_one(self, served: Served) -> None:
        ways = [[], None, float("nan"), [self.unknown], pd.NA, np.float32("nan")]
        frame = pd.DataFrame({"history": pd.Series(ways, dtype=object)})
        answer = served.pyfunc.predict(frame)
        assert answer["items"].tolist() == [answer["items"][0]] * len(frame)

    @pytest.mark.parametrize(
        ("history", "said"),
        [
            (5, "is 5 and not a list"),
            ("101", "is '101' and not a list"),
            ({"a": 1}, "is {'a': 1} and not a list"),
            ([1.5], "holds 1.5, which is no item id"),
            ([True], "holds True, which is no item id"),
            ([None], "holds None, which is no item id"),
            ([[101]], r"holds \[101\], which is no item id"),
            (np.array([[101]]), "not a list"),
            (["x" * 10_000, 2.5], "holds 2.5"),
        ],
    )
    def test_what_is_no_history_is_refused_with_its_row(
        self, served: Served, history: Any, said: str
    ) -> None:
        frame = pd.DataFrame({"history": pd.Series([self.ids[:2], history], dtype=object)})
        with pytest.raises(MlflowException, match=said) as refused:
            served.pyfunc.predict(frame)
        assert refused.value.error_code == "INVALID_PARAMETER_VALUE"
        assert "history 1, counted" in refused.value.message

    def test_a_parameter_that_is_null_is_the_default(self, served: Served) -> None:
        frame = pd.DataFrame({"history": [self.ids[:4]]})
        params = {"k": None, "mask_seen": None}
        answer = served.pyfunc.predict(frame, params=params)
        assert answer.to_dict("list") == served.pyfunc.predict(frame).to_dict("list")

    def test_the_history_is_shown_again_where_it_is_asked_for(self, served: Served) -> None:
        frame = pd.DataFrame({"history": [self.ids[:4]]})
        n_items = len(served.model.items)
        params = {"k": n_items, "mask_seen": False}
        answer = served.pyfunc.predict(frame, params=params)
        assert set(answer["items"][0]) == set(served.model.items.ids(range(n_items)).tolist())

    def test_what_is_rated_is_no_history_and_not_recommended(self, served: Served) -> None:
        frame = pd.DataFrame({"history": [self.ids[:2], self.ids[2:4]]})
        n_items = len(served.model.items)
        plain = served.pyfunc.predict(frame, params={"k": n_items})
        low = plain["items"][0][:3]
        rated = pd.Series([low, None], dtype=object)
        answer = served.pyfunc.predict(frame.assign(rated=rated), params={"k": n_items})
        assert answer["items"][0] == [one for one in plain["items"][0] if one not in low]
        assert answer["scores"][0] == plain["scores"][0][3:]
        assert answer["items"][1] == plain["items"][1]
        shown = served.pyfunc.predict(
            frame.assign(rated=rated), params={"k": n_items, "mask_seen": False}
        )
        assert set(low) <= set(shown["items"][0])
        with pytest.raises(MlflowException, match="rated 1, counted from 0, is 7 and not a list"):
            served.pyfunc.predict(
                frame.assign(rated=pd.Series([low, 7], dtype=object)), params={"k": 3}
            )

    def test_only_what_is_allowed_and_not_blocked_is_recommended(self, served: Served) -> None:
        frame = pd.DataFrame({"history": [self.ids[:1], []]})
        params = {"k": 9, "allow": [str(one) for one in self.ids[:5]], "block": [str(self.ids[3])]}
        answer = served.pyfunc.predict(frame, params=params)
        assert set(answer["items"][0]) == {self.ids[1], self.ids[2], self.ids[4]}
        assert set(answer["items"][1]) == {*self.ids[:3], self.ids[4]}
        with pytest.raises(MlflowException, match="block holds ids that the model does not know"):
            served.pyfunc.predict(frame, params={"block": [str(self.unknown)]})
        nothing = {"allow": [str(self.ids[0])], "block": [str(self.ids[0])]}
        with pytest.raises(MlflowException, match="leave no item to recommend"):
            served.pyfunc.predict(frame, params=nothing)

    def test_it_says_how_many_items_of_a_history_it_knows(self, served: Served) -> None:
        histories = [[*self.ids[:3], self.unknown], [self.unknown], [], [self.ids[0]] * 2]
        answer = served.pyfunc.predict(
            pd.DataFrame({"history": histories}), params={"count_known": True}
        )
        assert answer["known"].tolist() == [3, 0, 0, 2]

    def test_two_thousand_histories_are_answered_row_by_row(self, served: Served) -> None:
        histories = [self.ids[n % 5 : n % 5 + n % 4] for n in range(2_003)]
        answer = served.pyfunc.predict(pd.DataFrame({"history": histories}), params={"k": 2})
        assert len(answer) == 2_003
        # Row 1999 is like row 19 (n mod 20), in another block.
        assert answer["items"][1_999] == answer["items"][19]
        seen = [
            set(items) & set(taken) for items, taken in zip(answer["items"], histories, strict=True)
        ]
        assert not any(seen)

    def test_the_logged_artifacts_hold_the_model_and_no_pickle(self, served: Served) -> None:
        logged = Path(mlflow.artifacts.download_artifacts(served.uri))
        names = {path.name for path in logged.rglob("*")}
        assert {"MLmodel", "weights.safetensors", "model.json", "served.py"} <= names
        assert pickled(logged) == []
        example = json.loads((logged / "serving_input_example.json").read_text())
        assert example["dataframe_split"]["columns"] == ["history"]
        assert example["params"] == {"k": 10}

    def test_it_says_what_goes_in_and_out(self, served: Served) -> None:
        metadata = served.pyfunc.metadata
        assert [param.name for param in metadata.signature.params] == [
            "k", "mask_seen", "allow", "block", "count_known", "as_numbers",
        ]  # fmt: skip
        assert metadata.signature.inputs.input_names() == ["history", "rated"]
        assert metadata.signature.outputs.input_names() == ["items", "scores"]
        kind = served.model.items.kind
        assert metadata.metadata == {"history": f"list of {kind} ids", "items": 24}

    def test_its_folder_is_found_by_its_uri(self, served: Served) -> None:
        loaded = load_model(model_folder(served.uri))
        assert loaded.items.fingerprint == served.model.items.fingerprint

    def test_a_fresh_process_answers_alike(self, served: Served, tmp_path: Path) -> None:
        histories = [self.ids[:3], []]
        command = [sys.executable, "-c", _LOAD_ELSEWHERE, json.dumps(histories)]
        done = subprocess.run(command, check=True, cwd=tmp_path, capture_output=True, text=True)
        here = served.pyfunc.predict(pd.DataFrame({"history": histories}), params={"k": 3})
        assert json.loads(done.stdout.splitlines()[-1]) == here.to_dict("list")


class TestIntegerIds(_Laws):
    ids: ClassVar = list(range(100, 124))
    unknown = 999

    @pytest.fixture(scope="class")
    @staticmethod
    def served(
        checkerboard: Checkerboard,
        empty_database: Path,
        tmp_path_factory: pytest.TempPathFactory,
    ) -> Iterator[Served]:
        frame = checkerboard.train.frame()
        train = Interactions.from_frame(frame.assign(item=frame["item"] + 100))
        yield from _serve(train, tmp_path_factory.mktemp("integers"), empty_database)

    def test_as_numbers_it_says_the_same(self, served: Served) -> None:
        # The third knows so much that its list is short.
        histories = [self.ids[:3], [], self.ids[:20], [self.unknown]]
        frame, params = pd.DataFrame({"history": histories}), {"k": 6, "count_known": True}
        lists = served.pyfunc.predict(frame, params=params)
        numbers = served.pyfunc.predict(frame, params={"k": 6, "as_numbers": True}).to_numpy()
        assert numbers.shape == (4, 2 + 2 * 6)
        assert numbers.dtype == np.float64
        assert numbers[:, 0].tolist() == lists["known"].tolist()
        assert numbers[:, 1].tolist() == [6, 6, 4, 6]
        for row, (items, scores) in enumerate(zip(lists["items"], lists["scores"], strict=True)):
            length = len(items)
            assert numbers[row, 2 : 2 + length].tolist() == items
            assert numbers[row, 8 : 8 + length].tolist() == scores
            assert not numbers[row, 2 + length : 8].any()
            assert not numbers[row, 8 + length :].any()
        none = served.pyfunc.predict(frame.head(0), params={"k": 6, "as_numbers": True})
        assert none.shape == (0, 2 + 2 * 6)


class TestStringIds(_Laws):
    ids: ClassVar = [f"Übung {number:02d}" for number in range(24)]
    unknown = "no such item"

    @pytest.fixture(scope="class")
    @staticmethod
    def served(
        checkerboard: Checkerboard,
        empty_database: Path,
        tmp_path_factory: pytest.TempPathFactory,
    ) -> Iterator[Served]:
        frame = checkerboard.train.frame()
        names = frame["item"].map("Übung {:02d}".format)
        train = Interactions.from_frame(frame.assign(item=names))
        yield from _serve(train, tmp_path_factory.mktemp("strings"), empty_database)

    def test_names_are_no_numbers(self, served: Served) -> None:
        frame = pd.DataFrame({"history": [self.ids[:1]]})
        with pytest.raises(MlflowException, match=r"no integers within 2\^53: leave it out"):
            served.pyfunc.predict(frame, params={"as_numbers": True})

    def test_half_a_surrogate_pair_is_refused(self, served: Served) -> None:
        with pytest.raises(MlflowException, match="an id that is no text") as refused:
            served.pyfunc.predict(pd.DataFrame({"history": [["\ud800"]]}))
        assert refused.value.error_code == "INVALID_PARAMETER_VALUE"


def test_a_pickle_would_be_found(tmp_path: Path) -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        for name, value in {"list": [1, "a"], "none": None, "class": Served}.items():
            (tmp_path / f"{name}-{protocol}").write_bytes(pickle.dumps(value, protocol))
    with zipfile.ZipFile(tmp_path / "zipped", "w") as archive:
        archive.writestr("data", pickle.dumps([1]))
    hidden = sorted(tmp_path.iterdir())
    (tmp_path / "by-name.pkl").write_bytes(b"")
    (tmp_path / "none").write_text("{}")
    assert sorted(pickled(tmp_path)) == sorted([*hidden, tmp_path / "by-name.pkl"])


def test_a_second_version_takes_over_the_alias(store: Path, checkerboard: Checkerboard) -> None:
    popular = make_model("popularity", {}).fit(checkerboard.train, FitOptions())
    save_model(popular, store / "model")
    for _ in range(2):
        with step_run("train"):
            uri = register(log_model(popular, store / "model"), "recsys-vae")
    version = mlflow.MlflowClient().get_model_version_by_alias("recsys-vae", "challenger")
    assert int(version.version) == 2
    assert load_model(model_folder(uri)).name == "popularity"


def test_without_a_name_a_model_is_logged_but_not_registered(
    store: Path, checkerboard: Checkerboard
) -> None:
    popular = make_model("popularity", {}).fit(checkerboard.train, FitOptions())
    save_model(popular, store / "model")
    with step_run("train"):
        uri = log_model(popular, store / "model")
    assert list(mlflow.MlflowClient().search_registered_models()) == []
    answer = mlflow.pyfunc.load_model(uri).predict(pd.DataFrame({"history": [[1, 2]]}))
    assert len(answer["items"][0]) == 10
