"""The report: everything on one page, safe to open, written whole or not at all."""

import base64
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest

from recsys_vae.cli import main
from tests.conftest import Refused


class _Page(HTMLParser):
    """What a browser makes of a page: tags with attributes, and text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.source = path.read_text("utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def _evaluated(folder: str) -> str:
    if not Path(folder).exists():
        main(["evaluate", "--split", "ratings/split", "--model", "vae,popular", "--out", folder])
    return folder


@pytest.fixture
def run(workspace: Path, tmp_path: Path) -> Path:
    """A folder as `main` leaves it, with titles that would like to be markup."""
    folder = tmp_path / "line <b>"
    shutil.copytree(workspace / "ratings" / "data", folder / "data")
    shutil.copytree(_evaluated("judged"), folder / "evaluation")
    titles = ['0,"<script>alert(1)</script>",a', '8,"""onload=x"" & <img src=x>",b']
    (tmp_path / "titles.csv").write_text("\n".join(["item,title,genres", *titles]))
    lists = ["--items", str(tmp_path / "titles.csv"), "--k", "9", "--first", "3"]
    histories = ["--histories", "ratings/split/test-given"]
    out = ["--out", str(folder / "lists" / "examples.csv")]
    main(["recommend", "--model", "vae", *histories, *lists, *out])
    return folder


def test_data_models_pictures_and_lists_stand_on_the_page(run: Path, tmp_path: Path) -> None:
    main(["report", "--run", str(run), "--out", str(tmp_path / "report.html")])
    page = _Page(tmp_path / "report.html")
    text = " ".join(page.texts)
    for words in ("Data", "Models", "linear-vae", "popularity", "NDCG@100", "(best)", "Examples"):
        assert words in text
    pictures = [attributes for tag, attributes in page.tags if tag == "img"]
    for picture, name in zip(pictures, ("models", "activity", "long-tail"), strict=True):
        kind, _, encoded = str(picture["src"]).partition(",")
        assert kind == "data:image/png;base64"
        assert base64.b64decode(encoded) == (run / "evaluation" / f"{name}.png").read_bytes()
        assert picture["alt"]


def test_titles_stay_text_and_nothing_is_fetched(run: Path, tmp_path: Path) -> None:
    main(["report", "--run", str(run), "--out", str(tmp_path / "report.html")])
    page = _Page(tmp_path / "report.html")
    assert "<script>alert(1)</script>" in page.texts
    assert '"onload=x" & <img src=x>' in "".join(page.texts)
    assert {tag for tag, _ in page.tags} & {"script", "link", "iframe", "b", "object"} == set()
    named = [value for _, attributes in page.tags for value in attributes.values() if value]
    assert not [value for value in named if re.match(r"(https?:|//|file:)", value)]
    assert {name for _, attributes in page.tags for name in attributes if name[:2] == "on"} == set()


def test_the_same_run_gives_the_same_page(run: Path, tmp_path: Path) -> None:
    pages = []
    for name in ("one.html", "two.html"):
        main(["report", "--run", str(run), "--out", str(tmp_path / name)])
        pages.append((tmp_path / name).read_bytes())
    assert pages[0] == pages[1]


@pytest.mark.usefixtures("workspace")
def test_a_run_of_evaluate_is_enough_and_the_page_is_kept_with_the_report(tmp_path: Path) -> None:
    _evaluated("judged")
    client: Any = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("recsys-vae").experiment_id
    steps = client.search_runs([experiment], "tags.`recsys_vae.step` = 'evaluate'")
    main(["report", "--run", steps[0].info.run_id, "--out", str(tmp_path / "report.html")])
    page = _Page(tmp_path / "report.html")
    assert "Models" in page.texts
    assert "Data" not in page.texts
    (made,) = client.search_runs(
        [experiment], f"params.`report.run` = '{steps[0].info.run_id}'", max_results=2
    )
    kept = mlflow.artifacts.download_artifacts(
        run_id=made.info.run_id, artifact_path="report/report.html"
    )
    assert Path(kept).read_bytes() == (tmp_path / "report.html").read_bytes()


@pytest.mark.usefixtures("workspace")
def test_an_evaluation_without_pictures_still_gives_a_page(tmp_path: Path) -> None:
    shutil.copytree(_evaluated("judged"), tmp_path / "older")
    for picture in (tmp_path / "older").glob("*.png"):
        picture.unlink()
    main(["report", "--run", str(tmp_path / "older"), "--out", str(tmp_path / "report.html")])
    assert "img" not in {tag for tag, _ in _Page(tmp_path / "report.html").tags}


@pytest.mark.usefixtures("workspace")
def test_where_nobody_or_all_lists_together_were_judged_the_page_says_so(tmp_path: Path) -> None:
    coverage = ["--metrics", "coverage@10", "--out", str(tmp_path / "coverage")]
    main(["evaluate", "--split", "ratings/split", "--model", "vae,popular", *coverage])
    shutil.copytree(_evaluated("judged"), tmp_path / "nobody")
    path = tmp_path / "nobody" / "per_user.parquet"
    frame = pd.read_parquet(path)
    frame[[str(name) for name in frame if name not in ("model", "user")]] = float("nan")
    frame.to_parquet(path, index=False)
    for folder, said in (("coverage", "has the best Coverage@10."), ("nobody", "0 users were")):
        page = ["--out", str(tmp_path / f"{folder}.html")]
        main(["report", "--run", str(tmp_path / folder), *page])
        text = " ".join(_Page(tmp_path / f"{folder}.html").texts)
        assert said in text
        assert ("no model has a NDCG" in text) == (folder == "nobody")


def test_what_cannot_be_reported_is_refused_in_a_sentence(refused: Refused, tmp_path: Path) -> None:
    page = ["--out", str(tmp_path / "page.html")]
    assert "neither a folder" in refused("report", "--run", "{tmp}/nothing", *page, out=False)
    assert "is not an evaluation" in refused("report", "--run", "ratings/data", *page, out=False)
    _evaluated("judged")
    assert "another suffix than .html" in refused("report", "--run", "judged")
    (tmp_path / "folder.html").mkdir()
    folder = ["--out", "{tmp}/folder.html"]
    assert "is a folder" in refused("report", "--run", "judged", *folder, out=False)
    damaged = tmp_path / "damaged"
    shutil.copytree("judged", damaged / "evaluation")
    (damaged / "data").mkdir()
    (damaged / "data" / "ingest.json").write_text('{"steps": [{}]}')
    assert "ingest.json is damaged" in refused("report", "--run", str(damaged), *page, out=False)
    assert not (tmp_path / "page.html").exists()
