"""recommend and score with rules, re-ranking, exploration and reasons, from the command line."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from recsys_vae.cli import cli
from recsys_vae.models.base import FitOptions
from recsys_vae.models.zoo import make_model, save_model, trained_counts
from recsys_vae.scoring.workplace import MANIFEST
from tests.models.made_up import made_up

N_ITEMS = 40


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    data = made_up(60, N_ITEMS, 0.2, 1)
    training = {"epochs": 3, "batch_size": 16}
    model = make_model("mult-vae", {"hidden": [16], "latent": 8, "training": training})
    model.fit(data, FitOptions(device="cpu"))
    counts_I = np.bincount(data.matrix.indices, minlength=N_ITEMS)
    save_model(model, folder / "model", counts_I=counts_I)
    users, items = data.matrix.nonzero()
    pd.DataFrame({"user": users, "item": items}).to_csv(folder / "histories.csv", index=False)
    lists = [group.tolist() for _, group in pd.Series(items).groupby(users)]
    frame = pd.DataFrame({"user": np.unique(users), "items": lists})
    frame.to_parquet(folder / "histories.parquet")
    genres = ["Drama" if item % 2 else "Comedy|Crime" for item in range(N_ITEMS)]
    titles = {"item": range(N_ITEMS), "title": [f"Film {n}" for n in range(N_ITEMS)]}
    pd.DataFrame(titles | {"genres": genres}).to_csv(folder / "films.csv", index=False)
    return folder


def run(home: Path, verb: str, *options: str, histories: str = "histories.csv") -> Result:
    given = ["--model", str(home / "model"), "--histories", str(home / histories)]
    return CliRunner().invoke(cli, [verb, *given, "--k", "5", *options])


def scored(home: Path, out: Path, *options: str, histories: str = "histories.csv") -> pd.DataFrame:
    done = run(home, "score", *options, "--out", str(out), histories=histories)
    assert done.exit_code == 0, done.output
    return pd.concat([pd.read_parquet(path) for path in sorted(out.glob("part-*.parquet"))])


def test_the_counts_are_kept_with_the_model(home: Path) -> None:
    counts_I = trained_counts(home / "model")
    assert counts_I is not None
    assert (
        counts_I.tolist()
        == np.bincount(pd.read_csv(home / "histories.csv")["item"], minlength=N_ITEMS).tolist()
    )


def test_long_and_list_histories_and_forms_give_the_same_lists(home: Path, tmp_path: Path) -> None:
    frames = []
    for number, histories in enumerate(["histories.csv", "histories.parquet"]):
        long = scored(home, tmp_path / f"long-{number}", histories=histories)
        listed = scored(home, tmp_path / f"list-{number}", "--form", "list", histories=histories)
        exploded = listed.explode(["items", "scores"]).rename(
            columns={"items": "item", "scores": "score"}
        )
        assert long["item"].tolist() == exploded["item"].tolist()
        assert long["score"].tolist() == exploded["score"].tolist()
        frames.append(long)
    pd.testing.assert_frame_equal(frames[0], frames[1])


def test_rules_hold_and_stand_in_the_manifest(home: Path, tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text(
        f"[items]\ndeny = [0, 2, 999]\n[attributes]\nfile = {json.dumps(str(home / 'films.csv'))}\n"
        '[[at_most]]\nattribute = "genres"\nvalue = "Drama"\ncount = 2\n'
        "[popularity]\ndiscount = 0.3\n"
    )
    frame = scored(home, tmp_path / "out", "--rules", str(rules), "--explain", "2")
    assert not set(frame["item"]) & {0, 2}
    assert (frame[frame["item"] % 2 == 1].groupby("user").size() <= 2).all()
    manifest = json.loads((tmp_path / "out" / MANIFEST).read_text())
    assert manifest["rules"]
    assert manifest["at"]
    # Reasons come from the history, their shares are of the whole.
    taken = pd.read_csv(home / "histories.csv").groupby("user")["item"].agg(set)
    for user, reasons in zip(frame["user"], frame["because"], strict=True):
        assert {one["item"] for one in reasons} <= taken[user]
        assert sum(one["share"] for one in reasons) <= 1 + 1e-6
    done = run(home, "recommend", "--rules", str(rules), "--items", str(home / "films.csv"))
    assert done.exit_code == 0, done.output
    assert "Film" in done.output


def test_a_damaged_file_in_list_form_is_left_out(home: Path, tmp_path: Path) -> None:
    frame = pd.read_parquet(home / "histories.parquet")
    folder = tmp_path / "parts"
    folder.mkdir()
    frame[:30].to_parquet(folder / "a.parquet")
    frame[30:].to_parquet(folder / "b.parquet")
    (folder / "b.parquet").write_bytes((folder / "b.parquet").read_bytes()[:-20])
    scores = scored(home, tmp_path / "out", "--skip-damaged", histories=str(folder))
    assert set(scores["user"]) == set(frame["user"][:30])


def test_a_file_of_any_name_is_scored_where_its_format_is_given(home: Path, tmp_path: Path) -> None:
    (tmp_path / "plays").write_bytes((home / "histories.csv").read_bytes())
    named = scored(home, tmp_path / "out", "--format", "csv", histories=str(tmp_path / "plays"))
    pd.testing.assert_frame_equal(named, scored(home, tmp_path / "usual"))


def test_columns_may_be_folders(home: Path, tmp_path: Path) -> None:
    frame = pd.read_csv(home / "histories.csv")
    frame.to_parquet(tmp_path / "hive", partition_cols=["user"])
    hive = ["--skip-damaged", "--unsorted"]
    found = scored(home, tmp_path / "out", *hive, histories=str(tmp_path / "hive"))
    usual = scored(home, tmp_path / "usual").sort_values(["user", "rank"], ignore_index=True)
    # What a folder is called is text.
    found = found.astype({"user": int}).sort_values(["user", "rank"], ignore_index=True)
    assert found["item"].tolist() == usual["item"].tolist()


@pytest.mark.parametrize("how", ["mmr:0.3", "dpp:1", "calibrate:0.9"])
def test_lists_are_re_ranked(how: str, home: Path, tmp_path: Path) -> None:
    plain = scored(home, tmp_path / "plain")
    frame = scored(home, tmp_path / "out", "--rerank", how, "--items", str(home / "films.csv"))
    assert len(frame) == len(plain)
    assert frame["item"].tolist() != plain["item"].tolist()


def test_exploration_follows_its_seed(home: Path, tmp_path: Path) -> None:
    plain = scored(home, tmp_path / "plain")["item"].tolist()
    one, again, other = (
        scored(home, tmp_path / name, "--explore", seed, "--users-per-block", size)["item"].tolist()
        for name, seed, size in [("1", "7", "1024"), ("2", "7", "3"), ("3", "8", "1024")]
    )
    assert one == again
    assert len({str(some) for some in (plain, one, other)}) == 3


def test_a_run_with_rules_goes_on_with_the_moment_it_began(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text("[items]\ndeny = [0]\n")
    from recsys_vae.scoring import batch

    whole = batch._Work._one_part

    def second_fails(self: Any, part: Any, number: int) -> Any:
        if number == 1:
            raise KeyboardInterrupt
        return whole(self, part, number)

    options = ["--rules", str(rules), "--users-per-part", "16", "--users-per-block", "16"]
    with monkeypatch.context() as patch:
        patch.setattr(batch._Work, "_one_part", second_fails)
        run(home, "score", *options, "--out", str(tmp_path / "out"))
    assert (tmp_path / "out.unfinished").is_dir()
    frame = scored(home, tmp_path / "out", *options)
    assert len(frame) == len(scored(home, tmp_path / "whole", "--rules", str(rules)))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--rules", "r.toml", "--block", "3"], "--rules stands in the place of --allow"),
        (["--rerank", "best"], "--rerank best: there is no method 'best'"),
        (["--rerank", "calibrate"], "give a file with them as --items"),
        (["--explain", "2", "--explore", "1"], "leave out --explain or --explore"),
        (["--at", "noon"], "--at noon is no time: write it like 2026-12-24"),
        (["--at", "2026-12-24"], "--at is the time that rules ask for: give --rules"),
        (["--since", "nowhere"], "nowhere"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(
    options: list[str], sentence: str, home: Path, tmp_path: Path
) -> None:
    from recsys_vae.errors import InputError

    done = run(home, "score", *options, "--out", str(tmp_path / "out"))
    shown = done.output + (str(done.exception) if isinstance(done.exception, InputError) else "")
    assert sentence in shown
    assert done.exit_code != 0
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_of_a_folder_is_refused_or_left_out(home: Path, tmp_path: Path) -> None:
    frame = pd.read_csv(home / "histories.csv")
    folder = tmp_path / "parts"
    folder.mkdir()
    frame[frame["user"] < 30].to_parquet(folder / "a.parquet")
    frame[frame["user"] >= 30].to_parquet(folder / "b.parquet")
    whole = (folder / "b.parquet").read_bytes()
    (folder / "b.parquet").write_bytes(whole[:-20])
    refused = run(home, "score", "--out", str(tmp_path / "out"), histories=str(folder))
    assert "b.parquet" in str(refused.exception)
    assert not (tmp_path / "out").exists()
    scores = scored(home, tmp_path / "out", "--skip-damaged", histories=str(folder))
    assert scores["user"].max() < 30
    manifest = json.loads((tmp_path / "out" / MANIFEST).read_text())
    assert list(manifest["damaged"]) == ["b.parquet"]


def test_only_what_changed_is_scored(home: Path, tmp_path: Path) -> None:
    scored(home, tmp_path / "before")
    frame = pd.read_csv(home / "histories.csv")
    changed = pd.concat([frame, pd.DataFrame({"user": [3, 1_000], "item": [N_ITEMS - 1, 1]})])
    changed = changed.drop_duplicates().sort_values("user", kind="stable")
    changed.to_csv(tmp_path / "now.csv", index=False)
    since = ["--since", str(tmp_path / "before")]
    delta = scored(home, tmp_path / "delta", *since, histories=str(tmp_path / "now.csv"))
    assert set(delta["user"]) <= {3, 1_000}
    assert 1_000 in set(delta["user"])
    for options, named in (
        (["--explain", "1"], "was made with different explain"),
        (["--form", "list"], "was made with different form"),
        (["--k", "4"], "was made with different k"),
        (["--out", str(tmp_path / "before")], "give another --out"),
    ):
        other = run(home, "score", *since, "--out", str(tmp_path / "x"), *options)
        assert named in other.output + str(other.exception)
    assert (tmp_path / "before").is_dir()
