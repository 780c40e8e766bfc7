"""score: what an unfinished or earlier result is gone on with, and what is never overwritten."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from recsys_vae.cli import main
from recsys_vae.errors import InputError
from recsys_vae.ingest.columns import ColumnNames
from recsys_vae.ingest.reading import ReadOptions
from recsys_vae.models.als import ALS
from recsys_vae.scoring import batch
from recsys_vae.scoring.batch import ScoreCounts
from recsys_vae.steps.lists import ListOptions
from recsys_vae.steps.score import Scored, ScoreOptions, score
from tests.conftest import made_up_ratings, tracking_store


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("goes-on")
    with tracking_store(folder, empty_database):
        made_up_ratings(30, 20).to_csv("ratings.csv", index=False)
        main(["ingest", "--data", "ratings.csv", "--out", "data"])
        main(["split", "--data", "data", "--held-out-users", "5", "--out", "split"])
        main(["train", "--split", "split", "--recipe", "item-knn", "--out", "model"])
        yield folder


@pytest.fixture
def taken() -> pd.DataFrame:
    frame = pd.read_csv("ratings.csv")
    frame.columns = ["user", "item", *frame.columns[2:]]
    return frame[["user", "item"]].sort_values("user", kind="stable")


def scored(histories: Path, out: Path, **more: Any) -> Scored:
    options: dict[str, Any] = {"k": 3, "users_per_part": 8, "users_per_block": 8} | more
    return score(ScoreOptions(model="model", histories=histories, out=out, **options))


def killed(monkeypatch: pytest.MonkeyPatch, histories: Path, out: Path, **more: Any) -> None:
    """Break off after the first part."""
    one_part = batch._Work._one_part

    def broken(self: Any, part: Any, number: int) -> ScoreCounts:
        if number == 1:
            raise KeyboardInterrupt
        return one_part(self, part, number)

    with monkeypatch.context() as patch:
        patch.setattr(batch._Work, "_one_part", broken)
        with pytest.raises(KeyboardInterrupt):
            scored(histories, out, **more)


def users_of(folder: Path) -> list[Any]:
    return sorted(pd.read_parquet(folder)["user"].unique().tolist())


@pytest.mark.parametrize("inside", [False, True])
def test_histories_are_never_replaced_by_their_lists(
    inside: bool, taken: pd.DataFrame, tmp_path: Path
) -> None:
    plays = tmp_path / "plays"
    plays.mkdir()
    taken.to_parquet(plays / "part-0.parquet")
    before = (plays / "part-0.parquet").read_bytes()
    with pytest.raises(InputError, match="holds the histories, which would be lost"):
        scored(plays / "part-0.parquet" if inside else plays, plays)
    with pytest.raises(InputError, match="so that it is no result of scoring"):
        scored(Path("ratings.csv"), plays)
    assert (plays / "part-0.parquet").read_bytes() == before


def test_what_a_process_of_the_same_number_left_is_cleared(
    monkeypatch: pytest.MonkeyPatch, taken: pd.DataFrame, tmp_path: Path
) -> None:
    taken.to_parquet(tmp_path / "h.parquet")
    killed(monkeypatch, tmp_path / "h.parquet", tmp_path / "out")
    # A container gives every run the number 1.
    left = tmp_path / "out.unfinished" / ".part-00001.parquet.partial-1-abcdef.parquet"
    left.write_text("half")
    scored(tmp_path / "h.parquet", tmp_path / "out")
    assert not list((tmp_path / "out").glob(".*"))
    scored(tmp_path / "h.parquet", tmp_path / "out")


@pytest.mark.parametrize("new", [[(1, 999)], [(1, 999), (77, 998)]])
def test_a_night_with_unknown_items_alone_is_no_error(
    new: list[tuple[int, int]], taken: pd.DataFrame, tmp_path: Path
) -> None:
    taken.to_parquet(tmp_path / "h.parquet")
    scored(tmp_path / "h.parquet", tmp_path / "first")
    more = pd.DataFrame(new, columns=["user", "item"])
    pd.concat([taken, more]).sort_values("user", kind="stable").to_parquet(tmp_path / "now.parquet")
    done = scored(tmp_path / "now.parquet", tmp_path / "second", since=tmp_path / "first")
    assert done.counts.users == len(new) - 1
    assert done.unchanged == 30


@pytest.mark.parametrize("form", ["long", "list"])
def test_a_night_without_changes_leaves_a_table_without_rows(
    form: str, taken: pd.DataFrame, tmp_path: Path
) -> None:
    taken.to_parquet(tmp_path / "h.parquet")
    scored(tmp_path / "h.parquet", tmp_path / "first", form=form)
    whole = pd.read_parquet(tmp_path / "first")
    for number in range(2):
        since = {"since": tmp_path / ("second" if number else "first"), "form": form}
        out = tmp_path / ("third" if number else "second")
        assert scored(tmp_path / "h.parquet", out, **since).unchanged == 30
        found = pd.read_parquet(out)
        assert not len(found)
        assert found.dtypes.to_dict() == whole.dtypes.to_dict()


_OTHERS: list[Callable[[pd.DataFrame], dict[str, Any]]] = [
    lambda _frame: {"unsorted": True},
    lambda _frame: {"reading": ReadOptions(columns=ColumnNames(item="bought"))},
]


@pytest.mark.parametrize("other", _OTHERS)
def test_other_ways_of_reading_do_not_go_on(
    other: Callable[[pd.DataFrame], dict[str, Any]], monkeypatch: pytest.MonkeyPatch,
    taken: pd.DataFrame, tmp_path: Path,
) -> None:  # fmt: skip
    taken.assign(bought=taken["item"].to_numpy()[::-1]).to_parquet(tmp_path / "h.parquet")
    killed(monkeypatch, tmp_path / "h.parquet", tmp_path / "out")
    with pytest.raises(InputError, match=r"was begun with different (unsorted|reading)"):
        scored(tmp_path / "h.parquet", tmp_path / "out", **other(taken))
    scored(tmp_path / "h.parquet", tmp_path / "out")


def test_an_earlier_result_that_has_changed_meanwhile_does_not_go_on(
    monkeypatch: pytest.MonkeyPatch, taken: pd.DataFrame, tmp_path: Path
) -> None:
    taken.to_parquet(tmp_path / "a.parquet")
    taken[taken["item"] > taken["item"].min()].to_parquet(tmp_path / "b.parquet")
    scored(tmp_path / "a.parquet", tmp_path / "latest")
    since = {"since": tmp_path / "latest"}
    killed(monkeypatch, tmp_path / "b.parquet", tmp_path / "out", **since, users_per_part=4)
    scored(tmp_path / "b.parquet", tmp_path / "latest")
    with pytest.raises(InputError, match="was begun with different since"):
        scored(tmp_path / "b.parquet", tmp_path / "out", **since, users_per_part=4)


def test_parts_without_users_that_still_come_are_noticed(
    monkeypatch: pytest.MonkeyPatch, taken: pd.DataFrame, tmp_path: Path
) -> None:
    taken.to_parquet(tmp_path / "h.parquet")
    killed(monkeypatch, tmp_path / "h.parquet", tmp_path / "out")
    begun = tmp_path / "out.unfinished" / "_begun.json"
    known = begun.read_text()
    for number in range(1, 9):
        for name in ("part", "_history"):
            path = tmp_path / "out.unfinished" / f"{name}-{number:05d}.parquet"
            path.write_bytes((path.parent / f"{name}-00000.parquet").read_bytes())
    begun.write_text(known)
    with pytest.raises(InputError, match="was begun with other histories"):
        scored(tmp_path / "h.parquet", tmp_path / "out")


def test_ids_may_become_text_between_nights(taken: pd.DataFrame, tmp_path: Path) -> None:
    taken.to_csv(tmp_path / "n1.csv", index=False)
    scored(tmp_path / "n1.csv", tmp_path / "one")
    named = pd.concat([taken, pd.DataFrame({"user": ["new"], "item": [taken["item"].iloc[0]]})])
    named.to_csv(tmp_path / "n2.csv", index=False)
    second = scored(tmp_path / "n2.csv", tmp_path / "two", since=tmp_path / "one")
    assert (second.counts.users, second.unchanged) == (1, 30)
    third = scored(tmp_path / "n2.csv", tmp_path / "three", since=tmp_path / "two")
    assert (third.counts.users, third.unchanged, third.gone) == (0, 31, 0)
    taken[taken["user"] != taken["user"].iloc[0]].to_csv(tmp_path / "n4.csv", index=False)
    fourth = scored(tmp_path / "n4.csv", tmp_path / "four", since=tmp_path / "three")
    assert (fourth.counts.users, fourth.unchanged, fourth.gone) == (0, 29, 2)


def test_ids_of_two_types_in_one_folder_are_one_sentence(
    taken: pd.DataFrame, tmp_path: Path
) -> None:
    (tmp_path / "h").mkdir()
    early = taken["user"] < taken["user"].median()
    taken[early].to_parquet(tmp_path / "h" / "a.parquet")
    taken[~early].astype({"user": str}).to_parquet(tmp_path / "h" / "b.parquet")
    with pytest.raises(InputError, match="integers in one file of the histories and text in"):
        scored(tmp_path / "h", tmp_path / "out")


def test_a_link_may_be_out_but_not_the_folder_one_is_in(
    monkeypatch: pytest.MonkeyPatch, taken: pd.DataFrame, tmp_path: Path
) -> None:
    taken.to_parquet(tmp_path / "h.parquet")
    (tmp_path / "elsewhere" / "real").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere" / "real")
    scored(tmp_path / "h.parquet", tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert len(users_of(tmp_path / "elsewhere" / "real")) == 30
    assert sorted(path.name for path in (tmp_path / "elsewhere").iterdir()) == ["real"]
    monkeypatch.chdir(tmp_path / "link")
    for here in (Path(), tmp_path / "elsewhere"):
        with pytest.raises(InputError, match="is the folder you are in"):
            scored(tmp_path / "h.parquet", here)


def test_files_of_no_bytes_are_damaged_and_where_all_are_it_is_said(
    taken: pd.DataFrame, tmp_path: Path
) -> None:
    (tmp_path / "h").mkdir()
    taken.to_parquet(tmp_path / "h" / "a.parquet")
    (tmp_path / "h" / "b.parquet").write_bytes(b"")
    with pytest.raises(InputError, match=r"b.parquet is empty"):
        scored(tmp_path / "h", tmp_path / "out")
    done = scored(tmp_path / "h", tmp_path / "out", skip_damaged=True)
    assert (done.counts.users, len(done.damaged)) == (30, 1)
    (tmp_path / "h" / "a.parquet").write_bytes(b"rubbish")
    with pytest.raises(InputError, match=r"none of the 2 files .* can be read; the first: .*a\.p"):
        scored(tmp_path / "h", tmp_path / "out", skip_damaged=True)


def test_where_what_is_available_has_changed_everybody_is_scored(
    taken: pd.DataFrame, tmp_path: Path
) -> None:
    taken.to_parquet(tmp_path / "h.parquet")
    item = taken["item"].iloc[0]
    (tmp_path / "windows.csv").write_text(f"item,from,until\n{item},,2026-06-01\n")
    (tmp_path / "rules.toml").write_text('[availability]\nfile = "windows.csv"\n')
    lists = ListOptions(rules=tmp_path / "rules.toml", at=pd.Timestamp("2026-05-31"))
    scored(tmp_path / "h.parquet", tmp_path / "one", lists=lists)
    found = json.loads((tmp_path / "one" / "_manifest.json").read_text())
    assert len(found["permitted_items"]) == 64
    since = {"since": tmp_path / "one"}
    same = replace(lists, at=pd.Timestamp("2026-05-30"))
    assert scored(tmp_path / "h.parquet", tmp_path / "two", lists=same, **since).unchanged == 30
    later = replace(lists, at=pd.Timestamp("2026-06-02"))
    with pytest.raises(InputError, match="made with different permitted_items"):
        scored(tmp_path / "h.parquet", tmp_path / "three", lists=later, **since)


def test_rules_for_everybody_need_no_score_of_all_items(
    monkeypatch: pytest.MonkeyPatch, taken: pd.DataFrame, tmp_path: Path
) -> None:
    main(["train", "--split", "split", "--recipe", "als", "--set", "factors=4", "--out", "als"])
    taken.to_parquet(tmp_path / "h.parquet")
    item = str(taken["item"].iloc[0])
    (tmp_path / "rules.toml").write_text(f"[items]\ndeny = [{item}]\n")
    options = ScoreOptions(model="als", histories=tmp_path / "h.parquet", out=Path(), k=3)
    score(replace(options, out=tmp_path / "plain", lists=ListOptions(block=(item,))))
    with monkeypatch.context() as patch:
        patch.setattr(ALS, "score", None)
        ruled = ListOptions(rules=tmp_path / "rules.toml")
        score(replace(options, out=tmp_path / "ruled", lists=ruled))
    plain, ruled_ = (pd.read_parquet(tmp_path / name) for name in ("plain", "ruled"))
    pd.testing.assert_frame_equal(plain, ruled_)


def test_lists_are_no_histories(taken: pd.DataFrame, tmp_path: Path) -> None:
    taken.to_parquet(tmp_path / "h.parquet")
    scored(tmp_path / "h.parquet", tmp_path / "lists")
    with pytest.raises(InputError, match="lists is a result of score, which holds lists and no"):
        scored(tmp_path / "lists", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_result_of_spark_does_not_say_whose_histories_changed(
    taken: pd.DataFrame, tmp_path: Path
) -> None:
    taken.to_parquet(tmp_path / "h.parquet")
    scored(tmp_path / "h.parquet", tmp_path / "earlier")
    manifest = tmp_path / "earlier" / "_manifest.json"
    known = json.loads(manifest.read_text("utf-8"))
    manifest.write_text(json.dumps({**known, "engine": "spark"}), "utf-8")
    with pytest.raises(InputError, match="was made by --engine spark, which does not note"):
        scored(tmp_path / "h.parquet", tmp_path / "out", since=tmp_path / "earlier")
