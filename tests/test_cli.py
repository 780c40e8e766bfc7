"""The command line: wrong input ends in one sentence, exit code 2, and nothing written."""

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from recsys_vae.cli import cli, main
from recsys_vae.options import SPLIT_KINDS
from recsys_vae.splitting import SPLITTERS
from tests.conftest import Refused, made_up_ratings

# `datasets` has verbs of its own, tested in tests/ingest; `models` is tested beside this file.
_VERBS = [verb for verb in cli.commands if verb not in ("datasets", "models")]
_HEADER = "userId,movieId,rating\n"
_BAD_FILES = {
    "empty file": ("bad.csv", "", "empty"),
    "no rows": ("bad.csv", _HEADER, "no rows"),
    "no item column": ("bad.csv", "userId,rating\n1,4\n", "--item-column"),
    "no known column": ("bad.csv", "a,b\n1,4\n", "--user-column"),
    "a word for a rating": ("bad.csv", _HEADER + "1,2,4\n1,3,good\n", "row 2.*good"),
    "a negative rating": ("bad.csv", _HEADER + "1,2,4\n1,3,-1\n", "row 2.*-1.*--max-rejected"),
    "a NaN rating": ("bad.csv", _HEADER + "1,2,4\n1,3,nan\n", "row 2.*missing.*--max-rejected"),
    "a missing rating": ("bad.csv", _HEADER + "1,2,4\n1,3,\n", "row 2.*missing.*--max-rejected"),
    "an infinite rating": ("bad.csv", _HEADER + "1,2,4\n1,3,inf\n", "row 2.*inf.*--max-rejected"),
    "a missing id": ("bad.csv", _HEADER + "1,2,4\n1,,4\n", "row 2.*item id is missing"),
    "a row too long": ("bad.csv", _HEADER + "1,2,4\n1,2,3,4\n", "bad.csv"),
    "ratings all too low": ("bad.csv", _HEADER + "1,2,1\n1,3,2\n", "--threshold"),
    "users with too few items": ("bad.csv", _HEADER + "1,2,5\n1,3,5\n", "--min-user-items"),
    "no Parquet": ("bad.parquet", "PAR1 or so", "bad.parquet"),
    "unknown format": ("bad.xlsx", "1", r"\.xlsx"),
}


@pytest.mark.parametrize("case", _BAD_FILES)
def test_ingest_refuses_a_bad_file(refused: Refused, tmp_path: Path, case: str) -> None:
    name, content, words = _BAD_FILES[case]
    (tmp_path / name).write_text(content)
    sentence = refused("ingest", "--data", f"{{tmp}}/{name}")
    assert name in sentence
    assert re.search(words, sentence)


def test_ingest_refuses_bytes_that_are_no_text(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_bytes(_HEADER.encode() + b"\xff\xfe\x00,2,4\n\xff,3,4\n")
    assert "bad.csv" in refused("ingest", "--data", "{tmp}/bad.csv")


@pytest.mark.parametrize("verb", ["ingest", "recommend", "score"])
def test_a_truncated_parquet_file_is_refused(refused: Refused, tmp_path: Path, verb: str) -> None:
    path = tmp_path / "cut.parquet"
    made_up_ratings().to_parquet(path)
    path.write_bytes(path.read_bytes()[:-20])
    source = ["--data"] if verb == "ingest" else ["--model", "popular", "--histories"]
    out = ["--out", "{tmp}/result/out.csv"] if verb == "recommend" else []
    assert "cut.parquet" in refused(verb, *source, str(path), *out, out=not out)


_ASKED = ("recommend", "--model", "popular", "--histories", "ratings.csv")
_SCORED = ("score", "--model", "popular", "--histories", "ratings.csv")
_TRAINED = ("train", "--split", "ratings/split")
_JUDGED = ("evaluate", "--split", "ratings/split", "--model")
_BAD_OPTIONS = {
    "missing file": (("ingest", "--data", "nowhere.csv"), "nowhere.csv"),
    "a folder of something else": (("ingest", "--data", "ratings"), "unknown suffix"),
    "missing titles": (("ingest", "--data", "ratings.csv", "--items", "no.csv"), "no.csv"),
    "a column that is not there": (
        ("ingest", "--data", "ratings.csv", "--user-column", "who"),
        "who.*--user-column",
    ),
    "nothing above the threshold": (
        ("ingest", "--data", "ratings.csv", "--threshold", "9"),
        "threshold 9",
    ),
    "a date of which nobody knows the month": (
        ("ingest", "--data", "ratings.csv", "--since", "01/02/2020"),
        "--since 01/02/2020 can be read in two ways.*2024-01-31",
    ),
    "a threshold in words": (("ingest", "--threshold", "high"), "--threshold.*high"),
    "an unknown option": (("ingest", "--treshold", "3"), "--treshold"),
    "an unknown verb": (("ingst",), "ingst"),
    "no data": (("split",), "--data"),
    "data never ingested": (("split", "--data", "nowhere"), "nowhere"),
    "more held-out users than users": (
        ("split", "--data", "ratings/data", "--held-out-users", "20"),
        "20.*40 users",
    ),
    "no held-out users": (("split", "--data", "ratings/data", "--held-out-users", "0"), "0"),
    "a share above one": (("split", "--data", "ratings/data", "--held-out-share", "1.5"), "1.5"),
    "a share of nan": (("split", "--data", "ratings/data", "--held-out-share", "nan"), "nan"),
    "an unknown kind of split": (("split", "--data", "ratings/data", "--kind", "week"), "--kind"),
    "a last of no split by users": (
        ("split", "--data", "ratings/data", "--last", "2"),
        "--last does not belong to --kind strong.*--kind leave-last-out",
    ),
    "held-out users of a random split": (
        ("split", "--data", "ratings/data", "--kind", "random", "--held-out-users", "2"),
        "--held-out-users does not belong to --kind random.*--kind strong",
    ),
    "a seed where nothing is drawn": (
        ("split", "--data", "ratings/data", "--kind", "temporal", "--split-seed", "2"),
        "--split-seed does not belong to --kind temporal.*strong or leave-last-out or random",
    ),
    "a moment that is none": (
        ("split", "--data", "ratings/data", "--kind", "temporal", "--split-at", "today"),
        "--split-at today.*2020-01-31",
    ),
    "shares of everything": (
        ("split", "--data", "ratings/data", "--kind", "random", "--validation-share", "0.8"),
        "--held-out-share 0.2 and --validation-share 0.8",
    ),
    "the last of data without times": (
        ("split", "--data", "ratings/data", "--kind", "leave-last-out"),
        "times.*--timestamp-column",
    ),
    "a point in time of data without times": (
        ("split", "--data", "ratings/data", "--kind", "temporal"),
        "times.*--timestamp-column",
    ),
    "all of it with an option of another split": (
        ("main", "--data", "ratings.csv", "--split-kind", "random", "--new-users", "include"),
        "--new-users does not belong to --split-kind random.*--split-kind temporal",
    ),
    "an unknown model": ((*_TRAINED, "--recipe", "mult-vea"), "mult-vea.*mult-vae"),
    "a missing recipe": ((*_TRAINED, "--recipe", "mine.toml"), "mine.toml"),
    "an unknown setting": ((*_TRAINED, "--set", "latnet=3"), "latnet"),
    "a setting out of range": ((*_TRAINED, "--set", "latent=0"), "latent.*0"),
    "a hidden layer of no width": ((*_TRAINED, "--set", "hidden=[0]"), "hidden"),
    "no setting": ((*_TRAINED, "--set", "latent"), "latent"),
    "an unknown device": ((*_TRAINED, "--device", "abacus"), "--device abacus"),
    "a device that is not there": ((*_TRAINED, "--device", "cuda:99"), "cuda:99"),
    "a negative seed": ((*_TRAINED, "--seed", "-1"), "--seed"),
    "diverging training": (
        (*_TRAINED, "--set", "training.learning_rate=3e38; training.validate_every=1"),
        "learning_rate",
    ),
    "a split never made": (("train", "--split", "nowhere"), "nowhere"),
    "a model never trained": ((*_JUDGED, "nowhere"), "nowhere"),
    "a model of other items": (
        ("evaluate", "--split", "others/split", "--model", "popular"),
        "popularity",
    ),
    "no model at all": ((*_JUDGED, ","), "--model"),
    "an unknown metric": ((*_JUDGED, "popular", "--metrics", "hits@3"), "hits@3.*ndcg"),
    "a metric at zero": ((*_JUDGED, "popular", "--metrics", "recall@0"), "recall@0"),
    "no metric at all": ((*_JUDGED, "popular", "--metrics", ","), "--metrics"),
    "an unknown part": ((*_JUDGED, "popular", "--part", "train"), "--part"),
    "scoring k beyond the catalogue": ((*_SCORED, "--k", "16"), "k = 16.*1 to 15"),
    "scoring k of zero": ((*_SCORED, "--k", "0"), "k = 0"),
    "scoring with an unknown item": ((*_SCORED, "--allow", "777"), "--allow.*777"),
    "scoring with the model of nobody": (
        ("score", "--model", "nowhere", "--histories", "ratings.csv"),
        "nowhere",
    ),
    "scoring no file": (("score", "--model", "popular", "--histories", "no.csv"), "no.csv"),
    "all of it with an unknown model": (("main", "--recipes", "mult-vae,no-such"), "no-such"),
    "all of it with no model": (("main", "--data", "ratings.csv", "--recipes", ","), "--recipes"),
    "all of it with k of zero": (("main", "--k", "0"), "--k"),
}


@pytest.mark.parametrize("case", _BAD_OPTIONS)
def test_a_bad_option_is_refused(refused: Refused, case: str) -> None:
    arguments, words = _BAD_OPTIONS[case]
    assert re.search(words, refused(*arguments))


_BAD_LISTS = {
    "an unknown user": (("--users", "1,4711"), "4711"),
    "a word for a number": (("--users", "nobody"), "nobody"),
    "k beyond the catalogue": (("--k", "16"), "k = 16.*1 to 15"),
    "k of zero": (("--k", "0"), "k = 0"),
    "k below zero": (("--k", "-3"), "k = -3"),
    "an unknown item": (("--block", "777"), "--block.*777"),
    "nothing allowed": (("--allow", "3", "--block", "3"), "--allow"),
    "missing titles": (("--items", "no.csv"), "no.csv"),
}


@pytest.mark.parametrize("case", _BAD_LISTS)
def test_recommend_refuses_what_it_cannot_answer(refused: Refused, case: str) -> None:
    arguments, words = _BAD_LISTS[case]
    sentence = refused(*_ASKED, *arguments, "--out", "{tmp}/result/out.csv", out=False)
    assert re.search(words, sentence)


def test_recommend_refuses_an_unknown_output_format(refused: Refused) -> None:
    sentence = refused(*_ASKED, "--out", "{tmp}/result/out.xls", out=False)
    assert re.search(r"\.xls.*\.csv", sentence)


@pytest.mark.parametrize(
    "uri",
    [
        "models:/no-such-model@challenger", "models:/no-such-model/1", "models:/", "models:/x@",
        "runs:/0123456789abcdef/model",
    ],
)  # fmt: skip
def test_a_model_that_the_registry_does_not_have_is_refused(refused: Refused, uri: str) -> None:
    assert uri in refused("score", "--model", uri, "--histories", "ratings.csv")


@pytest.mark.parametrize("file", ["train/data.npy", "test-given/items.arrow", "split.json"])
@pytest.mark.parametrize("how", ["cut", "gone"])
def test_a_damaged_split_is_refused(
    refused: Refused, workspace: Path, tmp_path: Path, file: str, how: str
) -> None:
    shutil.copytree(workspace / "ratings" / "split", tmp_path / "split")
    _damage(tmp_path / "split" / file, how)
    assert "split" in refused("train", "--split", "{tmp}/split", "--recipe", "popularity")


@pytest.mark.parametrize("file", ["weights.safetensors", "items.arrow", "model.json"])
@pytest.mark.parametrize("how", ["cut", "gone"])
def test_a_damaged_model_is_refused(
    refused: Refused, workspace: Path, tmp_path: Path, file: str, how: str
) -> None:
    shutil.copytree(workspace / "vae", tmp_path / "model")
    _damage(tmp_path / "model" / file, how)
    assert "model" in refused("score", "--model", "{tmp}/model", "--histories", "ratings.csv")


def _damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    path.unlink()
    if how == "cut":
        path.write_bytes(content[: len(content) // 2])


def test_scoring_refuses_rows_that_are_not_grouped_by_user(
    refused: Refused, tmp_path: Path
) -> None:
    made_up_ratings().sort_values("movieId").to_csv(tmp_path / "mixed.csv", index=False)
    sentence = refused("score", "--model", "popular", "--histories", "{tmp}/mixed.csv")
    assert "--unsorted" in sentence


def test_scoring_does_not_overwrite_a_folder_of_other_things(
    refused: Refused, tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.tex").write_text("years of work")
    assert "mine" in refused(*_SCORED, "--out", "{tmp}/mine", out=False)
    assert [path.name for path in mine.iterdir()] == ["thesis.tex"]


def test_an_out_folder_that_cannot_be_made_is_refused(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    data = ("ingest", "--data", "ratings.csv")
    assert "file" in refused(*data, "--out", "{tmp}/file/out", out=False)


@pytest.mark.usefixtures("workspace")
def test_bad_rows_can_be_dropped_and_repeated_rows_are_counted(tmp_path: Path) -> None:
    good = made_up_ratings()
    bad = pd.DataFrame({"userId": [1, 1], "movieId": [1, 2], "rating": [-1.0, float("nan")]})
    pd.concat([good, good.head(7), bad]).to_csv(tmp_path / "rough.csv", index=False)
    rough = ["--data", str(tmp_path / "rough.csv"), "--max-rejected", "1"]
    main(["ingest", *rough, "--out", str(tmp_path / "out")])
    steps = json.loads((tmp_path / "out" / "ingest.json").read_text())["steps"]
    lost = {step["name"]: step["rows_in"] - step["rows_out"] for step in steps}
    assert [count for count in lost.values() if count] == [2, 7]
    assert lost["keep the largest rating of each user and item"] == 7
    ingested = json.loads((tmp_path / "out/interactions/interactions.json").read_text())
    assert ingested["interactions"] == len(good)


@pytest.mark.usefixtures("workspace")
def test_an_empty_option_means_not_given(tmp_path: Path) -> None:
    plain = ["ingest", "--data", "ratings.csv"]
    empty = ["--items", "", "--threshold", "", "--user-column=", "--rating-column", ""]
    main([*plain, "--out", str(tmp_path / "one")])
    main([*plain, *empty, "--out", str(tmp_path / "other")])
    one, other = (json.loads((tmp_path / n / "ingest.json").read_text()) for n in ("one", "other"))
    assert one == other


def test_the_kinds_of_splits_are_those_of_the_package() -> None:
    assert list(SPLITTERS) == list(SPLIT_KINDS)


def test_every_option_of_a_split_is_on_the_command_line() -> None:
    fields = {name for made, _ in SPLITTERS.values() for name in made.__dataclass_fields__} - {
        "seed",
        "kind",
    }
    for verb in ("split", "main"):
        assert fields < {str(option.name) for option in cli.commands[verb].params}


def test_a_required_option_that_is_empty_is_missing(refused: Refused) -> None:
    assert "--out" in refused("ingest", "--data", "ratings.csv", "--out", "", out=False)


@pytest.mark.parametrize("verb", _VERBS)
def test_the_help_of_every_verb_explains_and_shows_an_example(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    main([verb, "--help"])
    shown = capsys.readouterr().out
    assert f"Example: recsys-vae {verb} --" in " ".join(shown.split())
    assert "Options:" in shown


def test_the_help_lists_the_verbs_in_the_order_of_the_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    main(["--help"])
    shown = capsys.readouterr().out
    places = [shown.index(f"\n  {verb} ") for verb in _VERBS]
    assert _VERBS == [
        "ingest", "profile", "export", "split", "ready", "train", "refit", "evaluate",
        "compare", "leaderboard", "kl-curve", "recommend", "score", "promote", "tidy", "report",
        "tune", "reproduce", "main",
    ]  # fmt: skip
    assert places == sorted(places)


def test_a_split_with_nothing_to_find_is_refused(refused: Refused) -> None:
    asked = ("split", "--data", "ratings/data", "--held-out-users", "10")
    assert "--held-out-share" in refused(*asked, "--held-out-share", "0.01")


@pytest.mark.parametrize("name", ["a\udcff.csv", "a\0.csv"])
@pytest.mark.parametrize("option", ["--data", "--out"])
def test_a_name_that_is_no_text_is_refused(refused: Refused, option: str, name: str) -> None:
    sentence = refused("ingest", "--data", "ratings.csv", option, name, out=option == "--data")
    assert "no UTF-8 text" in sentence


def test_repeated_rows_of_published_files_are_counted(tmp_path: Path) -> None:
    pairs = [(user, item) for user in range(5) for item in range(12)]
    rows = [f"{user},{item}" for user, item in pairs if (user, item) not in ((1, 11), (2, 11))]
    (tmp_path / "train.csv").write_text("\n".join(["user,item", *rows, *rows[:7]]) + "\n")
    (tmp_path / "test.csv").write_text("user,item\n1,11\n1,11\n2,11\n")
    files = ["--train", str(tmp_path / "train.csv"), "--test", str(tmp_path / "test.csv")]
    main(["ready", *files, "--out", str(tmp_path / "out")])
    counts = json.loads((tmp_path / "out" / "split.json").read_text())["counts"]
    assert counts["train_rows_repeated"] == 7
    assert counts["test_rows_repeated"] == 1


def test_what_nobody_expected_has_an_exit_code_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_arguments: object, **_options: object) -> None:
        raise RuntimeError("nobody expected it")

    monkeypatch.setattr("recsys_vae.cli.cli.main", broken)
    with pytest.raises(SystemExit) as stopped:
        main(["models"])
    # 1 is a verb's no, such as that of `promote`.
    assert stopped.value.code == 70
    assert "RuntimeError: nobody expected it" in capsys.readouterr().err
