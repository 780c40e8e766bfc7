"""`mlflow models serve`: real requests over HTTP, good ones and bad ones."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import requests

from benchmarks.server import served_model
from recsys_vae.models.base import FitOptions
from recsys_vae.models.zoo import load_model, make_model, save_model
from recsys_vae.ranking import Ranker
from recsys_vae.tracking.given import Given
from recsys_vae.tracking.registry import log_model
from recsys_vae.tracking.runs import step_run
from tests.conftest import Checkerboard, tracking_store

_JSON = {"Content-Type": "application/json"}
_MEGABYTES_10 = 10_000_000


@dataclass(frozen=True)
class Server:
    """Where the model answers, and the folder that it was logged from."""

    address: str
    model: Path

    def post(self, body: bytes | str, headers: dict[str, str] | None = None) -> requests.Response:
        """Send a body as it is."""
        data = body.encode() if isinstance(body, str) else body
        url = f"{self.address}/invocations"
        return requests.post(url, data=data, headers=headers or _JSON, timeout=120)

    def ask(self, histories: list[Any], **params: Any) -> requests.Response:
        """Ask for lists."""
        frame = {"columns": ["history"], "data": [[one] for one in histories]}
        return self.post(json.dumps({"dataframe_split": frame, "params": params}))


@pytest.fixture(scope="module")
def server(
    checkerboard: Checkerboard, empty_database: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("serving")
    with tracking_store(folder, empty_database):
        settings = {"hidden": [16], "latent": 4, "training": {"epochs": 2}}
        model = make_model("mult-vae", settings).fit(checkerboard.train, FitOptions(device="cpu"))
        save_model(model, folder / "model")
        with step_run("train"):
            uri = log_model(model, folder / "model")
        with served_model(uri, folder) as address:
            yield Server(address, folder / "model")


def _offline(folder: Path, histories: list[list[int]], k: int) -> list[list[int]]:
    model = load_model(folder)
    given = Given.of(histories, model.items).matrix(len(model.items))
    lists = Ranker(model, k).lists(given)
    return [model.items.ids(row[row >= 0]).tolist() for row in lists.items_BK]


def test_it_answers_with_the_lists_of_the_offline_model(server: Server) -> None:
    histories = [[1, 3, 5], [], [2], [0, 2, 4, 6, 23]]
    answer = server.ask(histories, k=6)
    assert answer.status_code == 200
    predictions = answer.json()["predictions"]
    assert [one["items"] for one in predictions] == _offline(server.model, histories, 6)
    for one in predictions:
        assert one["scores"] == sorted(one["scores"], reverse=True)


def test_many_at_once_are_answered_as_one_by_one(server: Server) -> None:
    histories = [
        [[item % 24, (item * 7) % 24] for item in range(row, row + 9)] for row in range(40)
    ]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda one: server.ask(one, k=5), histories))
    for asked, answer in zip(histories, answers, strict=True):
        assert answer.status_code == 200
        lists = [one["items"] for one in answer.json()["predictions"]]
        assert lists == _offline(server.model, asked, 5)


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": {"columns": ["history"], "data": [[[1, 3]], [[5]]]}},
        {"dataframe_records": [{"history": [1, 3]}, {"history": [5]}]},
        {"inputs": {"history": [[1, 3], [5]]}},
        {"inputs": [{"history": [1, 3]}, {"history": [5]}]},
        {"dataframe_records": [{"history": ["1", 3]}, {"history": [5, "no such item", 10**30]}]},
        {"dataframe_records": [{"history": [1, 3, 3]}, {"history": [5] * 100_000}]},
        {"dataframe_records": [{"history": [3, 1], "name": "Ann"}, {"history": ["5"]}]},
    ],
)
def test_a_history_may_come_in_any_form(server: Server, body: dict[str, Any]) -> None:
    answer = server.post(json.dumps({**body, "params": {"k": 4}}))
    assert answer.status_code == 200
    lists = [one["items"] for one in answer.json()["predictions"]]
    assert lists == _offline(server.model, [[1, 3], [5]], 4)


def test_nobody_and_nothing_are_answered(server: Server) -> None:
    assert server.ask([]).json() == {"predictions": []}
    answer = server.ask([None, [], ["no such item"]], k=3).json()["predictions"]
    assert [one["items"] for one in answer] == _offline(server.model, [[]], 3) * 3


def test_a_list_is_no_longer_than_there_are_items(server: Server) -> None:
    for k in (24, 10**6, 10**30):
        assert len(server.ask([[1]], k=k).json()["predictions"][0]["items"]) == 23


@pytest.mark.parametrize(
    ("histories", "params", "said"),
    [
        ([5], {}, "history 0, counted from 0, is 5 and not a list of item ids"),
        ([[1], "1,2"], {}, "history 1, counted from 0, is '1,2' and not a list of item ids"),
        ([{"a": 1}], {}, "is {'a': 1} and not a list of item ids"),
        ([[1.5]], {}, "history 0, counted from 0, holds 1.5, which is no item id"),
        ([[None]], {}, "holds None, which is no item id"),
        ([[[1]]], {}, "holds [1], which is no item id"),
        ([[1]], {"k": 0}, "k = 0 is out of range: choose 1 to 24"),
        ([[1]], {"k": -1}, "k = -1 is out of range: choose 1 to 24, the number of items"),
        ([[1]], {"k": "ten"}, "Can not safely convert `<class 'str'>`"),
        ([[1]], {"k": 2.5}, "Can not safely convert `<class 'float'>`"),
        ([[1]], {"k": [1]}, "Value must be a scalar"),
        ([[1]], {"mask_seen": "maybe"}, "Can not safely convert"),
        ([[1]], {"allow": "1"}, "Value must be a 1D array"),
        ([[1]], {"allow": ["1", "99"]}, "allow holds ids that the model does not know, 1 of 2"),
        ([[1]], {"block": ["x"]}, "block holds ids that the model does not know, 1 of 1"),
        ([[1]], {"allow": ["1"], "block": ["1"]}, "allow and block leave no item to recommend"),
    ],
)
def test_what_cannot_be_answered_is_said_with_400(
    server: Server, histories: list[Any], params: dict[str, Any], said: str
) -> None:
    _refused(server.ask(histories, **params), 400, said)


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ("", 400, "Ensure that input is a valid JSON"),
        ("{", 400, "Ensure that input is a valid JSON"),
        ("[1]", 400, "The input must be a JSON dictionary"),
        ("{}", 400, "The input must be a JSON dictionary"),
        ('{"dataframe_split": {"columns": ["items"], "data": [[[1]]]}}', 400, "missing inputs"),
        ('{"dataframe_split": {"columns": ["history"], "data": 5}}', 400, "not a valid dataframe"),
        ('{"inputs": {"history": [[1]]}, "params": [1]}', 400, "Parameters must be a dictionary"),
        ('{"prompt": "hello"}', 400, "missing inputs"),
        ("x" * _MEGABYTES_10, 400, "Ensure that input is a valid JSON"),
    ],
)
def test_a_bad_body_is_refused(server: Server, body: str, status: int, said: str) -> None:
    _refused(server.post(body), status, said)


def test_ten_megabytes_of_history_are_answered(server: Server) -> None:
    answer = server.ask([list(range(1_400_000))], k=3)
    assert answer.status_code == 200
    assert answer.json() == {"predictions": [{"items": [], "scores": []}]}


@pytest.mark.parametrize("kind", ["text/plain", "application/json; charset=latin-1"])
def test_another_content_type_is_refused(server: Server, kind: str) -> None:
    answer = server.post('{"inputs": {"history": [[1]]}}', {"Content-Type": kind})
    _refused(answer, 415, "only supports")


def test_it_answers_on_after_all_of_that(server: Server) -> None:
    assert server.ask([[1]], k=1).status_code == 200


def _refused(answer: requests.Response, status: int, said: str) -> None:
    assert answer.status_code == status
    assert "Traceback" not in answer.text
    assert "stack_trace" not in answer.text
    text = answer.json()["message"] if status == 400 else answer.text
    assert said in text


def test_the_example_that_was_logged_can_be_sent(server: Server) -> None:
    logged = next(Path.cwd().rglob("serving_input_example.json"))
    answer = server.post(logged.read_bytes())
    assert answer.status_code == 200
    frame = pd.DataFrame(answer.json()["predictions"])
    assert frame["items"].map(len).tolist() == [10]
