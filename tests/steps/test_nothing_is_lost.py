"""What somebody else made stays, whatever is asked for; what cannot work is refused at once."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

from recsys_vae.cli import main
from tests.conftest import made_up_ratings, tracking_store

Refused = Callable[..., str]


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("lost")
    with tracking_store(folder, empty_database):
        made_up_ratings(40, 20).to_csv("ratings.csv", index=False)
        main(["ingest", "--data", "ratings.csv", "--out", "data"])
        main(["split", "--data", "data", "--held-out-users", "8", "--out", "split"])
        main(["train", "--split", "split", "--recipe", "item-knn", "--out", "model"])
        main(["evaluate", "--model", "model", "--split", "split", "--out", "judged"])
        yield folder


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Refused:
    """Run a verb that must refuse; gives the sentence."""

    def run(*arguments: str) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main(list(arguments))
        assert stopped.value.code == 2
        return capsys.readouterr().err

    return run


_FOREIGN = [
    ("model.json", ["train", "--split", "split", "--recipe", "popularity"]),
    ("metrics.csv", ["evaluate", "--model", "model", "--split", "split"]),
    ("leaderboard.csv", ["compare", "judged"]),
    ("kl-curve.csv", ["kl-curve", "--split", "split", "--betas", "0.1,0.2"]),
]


@pytest.mark.parametrize(("name", "command"), _FOREIGN)
def test_a_folder_with_one_file_of_a_known_name_is_no_earlier_result(
    name: str, command: list[str], refused: Refused, tmp_path: Path
) -> None:
    (tmp_path / name).write_text("mine")
    assert "so that it is no earlier result" in refused(*command, "--out", str(tmp_path))
    assert (tmp_path / name).read_text() == "mine"


@pytest.mark.parametrize("table", ["split/split.json", "ratings.csv", "ratings.csv/x.md"])
def test_a_leaderboards_table_is_markdown_in_a_folder(table: str, refused: Refused) -> None:
    before = Path("split/split.json").read_bytes(), Path("ratings.csv").read_bytes()
    command = ["leaderboard", "--split", "split", "--recipes", "popularity", "--out", "lb"]
    said = refused(*command, "--table", table)
    assert "name a Markdown file" in said or "is no folder: name a file in one" in said
    assert (Path("split/split.json").read_bytes(), Path("ratings.csv").read_bytes()) == before
    assert not Path("lb").exists()


def test_lists_do_not_replace_what_their_rules_read(refused: Refused, tmp_path: Path) -> None:
    deny = tmp_path / "deny.csv"
    deny.write_text("item\n1\n")
    (tmp_path / "rules.toml").write_text('[items]\ndeny_file = "deny.csv"\n')
    said = refused(
        "recommend", "--model", "model", "--histories", "data", "--k", "3", "--first", "1",
        "--rules", str(tmp_path / "rules.toml"), "--out", str(deny),
    )  # fmt: skip
    assert "is read by" in said
    assert deny.read_text() == "item\n1\n"


def test_what_drift_is_measured_against_stays(refused: Refused) -> None:
    main(["profile", "--data", "data", "--out", "profile"])
    before = Path("profile/profile.json").read_bytes()
    for against in ("profile", "profile/profile.json"):
        said = refused("profile", "--data", "data", "--against", against, "--out", "profile")
        assert "would be lost" in said
    assert Path("profile/profile.json").read_bytes() == before


def test_a_report_does_not_lie_where_it_would_be_in_the_way(refused: Refused) -> None:
    said = refused("report", "--run", "judged", "--out", "judged/report.html")
    assert "lies beside or below evaluation.json" in said
    assert not Path("judged/report.html").exists()


@pytest.mark.parametrize("recipe", ["popularity", "ease"])
def test_a_model_without_epochs_leaves_anothers_unfinished_training(recipe: str) -> None:
    unfinished = Path("mine.unfinished")
    unfinished.mkdir(exist_ok=True)
    (unfinished / "last.safetensors").write_text("weights")
    main(["train", "--split", "split", "--recipe", recipe, "--out", "mine"])
    assert (unfinished / "last.safetensors").read_text() == "weights"


def test_main_refuses_what_is_not_there_before_it_makes_anything(refused: Refused) -> None:
    for command in (["--data", "nope.csv"], ["--data", "ratings.csv", "--items", "nope.csv"]):
        assert "nope.csv does not exist: check the path" in refused(
            "main", *command, "--recipes", "ease", "--out", "whole"
        )
    said = refused(
        "main", "--data", "ratings.csv", "--recipes", "ease", "--out", "split/split.json"
    )
    assert "is no folder: choose another --out" in said
    assert not Path("whole").exists()


def test_the_folder_of_ingest_serves_as_histories(tmp_path: Path) -> None:
    for number, histories in enumerate(("data", "data/interactions")):
        command = ["--model", "model", "--histories", histories, "--k", "3"]
        main(["score", *command, "--out", str(tmp_path / f"all-{number}")])
        out = str(tmp_path / f"some-{number}.csv")
        main(["recommend", *command, "--first", "2", "--out", out])
    first, second = (pd.read_parquet(tmp_path / f"all-{number}") for number in range(2))
    pd.testing.assert_frame_equal(first, second)
    some = [(tmp_path / f"some-{number}.csv").read_text() for number in range(2)]
    assert some[0] == some[1]


def test_a_weight_that_is_no_number_is_refused_before_any_fit(refused: Refused) -> None:
    said = refused("kl-curve", "--split", "split", "--betas", "0.1,inf", "--out", "kl")
    assert "--betas must be at least two different numbers from 0" in said


def test_a_recipe_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "bom.toml").write_bytes(b'\xef\xbb\xbfmodel = "popularity"\n')
    command = ["train", "--split", "split", "--recipe", str(tmp_path / "bom.toml")]
    main([*command, "--out", str(tmp_path / "out")])
    assert json.loads((tmp_path / "out" / "model.json").read_text())


def test_trials_of_another_study_are_not_gone_on_with() -> None:
    recipe = "search.toml"
    Path(recipe).write_text('model = "mult-vae"\nlatent = 4\n[search]\nlatent = [4, 6]\n')
    common = ["tune", "--split", "split", "--recipe", recipe, "--trials", "1", "--out", "tuned"]
    other = Path("tuned/unfinished/01234567/trial-0")
    other.mkdir(parents=True)
    (other / "last.safetensors").write_text("weights")
    main([*common, "--study", "two", "--set", "training.epochs=1; hidden=[8]"])
    assert (other / "last.safetensors").read_text() == "weights"
    assert [one.name for one in Path("tuned/unfinished").iterdir()] == ["01234567"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["promote", "--rollback", "--force"], "--rollback and --force exclude each other"),
        (["promote", "--rollback", "--split", "split"], "--rollback and --split exclude each"),
        (["promote", "--rollback", "--dry-run"], "--rollback and --dry-run exclude each other"),
        (
            ["reproduce", "a", "--run", "b"],
            "rebuilds one run, and two are named, a and b",
        ),
        (
            ["ingest", "--data", "ratings.csv", "--title-column", "name", "--out", "other"],
            "--title-column name is a column of a file of titles: name the file as --items",
        ),
    ],
)
def test_an_option_that_would_be_passed_over_is_refused(
    refused: Refused, arguments: list[str], told: str
) -> None:
    assert told in refused(*arguments)
    assert not Path("other").exists()
