"""What a user has rated without liking it is neither a history nor a recommendation."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from recsys_vae.cli import cli
from recsys_vae.models.base import FitOptions
from recsys_vae.models.zoo import make_model, save_model
from tests.models.made_up import made_up

N_USERS, N_ITEMS, THRESHOLD = 60, 40, 3.5
SETTINGS: dict[str, dict[str, Any]] = {
    "ease": {"ridge": 10.0},
    "linear-vae": {"hidden": [16], "latent": 8, "training": {"epochs": 2}, "gate": 0.1},
    "mult-vae": {"hidden": [16], "latent": 8, "training": {"epochs": 2}},
}
RULES = "[[at_most]]\nattribute = 'genres'\ncount = 5\n[attributes]\nfile = 'films.csv'\n"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rated")
    data = made_up(N_USERS, N_ITEMS, 0.2, 1)
    for name, settings in SETTINGS.items():
        model = make_model(name, settings).fit(data, FitOptions(device="cpu"))
        save_model(model, folder / name, data={"threshold": THRESHOLD})
    users, items = data.matrix.nonzero()
    liked = pd.DataFrame({"user": users, "item": items, "rating": 5.0})
    rng = np.random.default_rng(0)
    ids, films = rng.integers(N_USERS, size=600), rng.integers(N_ITEMS, size=600)
    low = pd.DataFrame({"user": ids, "item": films, "rating": rng.choice([0.5, 3.5, np.nan], 600)})
    both = pd.concat([liked, low]).drop_duplicates(["user", "item"])
    both.sort_values("user", kind="stable").to_csv(folder / "ratings.csv", index=False)
    liked.sort_values("user", kind="stable").to_csv(folder / "liked.csv", index=False)
    finite = both[both["rating"].notna()].sort_values("user", kind="stable")
    finite.to_csv(folder / "finite.csv", index=False)
    genres = ["Drama" if item % 2 else "Comedy" for item in range(N_ITEMS)]
    pd.DataFrame({"item": range(N_ITEMS), "genres": genres}).to_csv(folder / "films.csv")
    return folder


def run(home: Path, verb: str, model: str, *options: str, histories: str = "ratings.csv") -> str:
    given = ["--model", str(home / model), "--histories", str(home / histories), "--k", "10"]
    done = CliRunner().invoke(cli, [verb, *given, *options])
    assert done.exit_code == 0, done.output
    return done.output


def scored(home: Path, out: Path, model: str, *options: str, **files: str) -> pd.DataFrame:
    run(home, "score", model, *options, "--out", str(out), **files)
    return pd.concat([pd.read_parquet(path) for path in sorted(out.glob("part-*.parquet"))])


def rated(home: Path, lists: pd.DataFrame, file: str = "ratings.csv") -> int:
    """Count the places with something that the user has rated."""
    return len(lists.merge(pd.read_csv(home / file), on=["user", "item"]))


@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("ease", ()),
        ("linear-vae", ()),
        ("mult-vae", ()),
        ("mult-vae", ("--approximate", "ivf:4")),
        ("mult-vae", ("--rules", "rules.toml")),
        ("mult-vae", ("--rerank", "mmr:0.7")),
        ("mult-vae", ("--rules", "deny.toml", "--rerank", "mmr:0.7")),
        ("mult-vae", ("--explore", "1")),
        ("mult-vae", ("--unsorted", "true", "--users-per-block", "7")),
    ],
)
def test_what_was_rated_low_is_left_out_of_the_lists(
    model: str, options: tuple[str, ...], home: Path, tmp_path: Path
) -> None:
    if "ivf:4" in options:
        pytest.importorskip("faiss", reason="the extra 'approximate' is not installed")
    (home / "rules.toml").write_text(RULES)
    (home / "deny.toml").write_text("[items]\ndeny = [3]\n")
    options = tuple(str(home / one) if one.endswith(".toml") else one for one in options)
    lists = scored(home, tmp_path / "out", model, *options)
    assert rated(home, lists) == 0
    assert len(lists) > 5 * N_USERS
    asked = scored(home, tmp_path / "asked", model, *options, "--mask-rated", "false")
    assert rated(home, asked) > 50  # there was something to leave out
    shown = scored(home, tmp_path / "shown", model, *options, "--mask-rated", "false",
                   histories="liked.csv")  # fmt: skip
    both = asked.merge(shown, on=["user", "rank"])
    users = set(shown["user"])
    assert len(both) == len(shown) == int(asked["user"].isin(users).sum())
    assert (both["item_x"] == both["item_y"]).all()
    assert (both["score_x"] == both["score_y"]).all()  # a low rating is no history


def test_recommend_leaves_it_out_too(home: Path, tmp_path: Path) -> None:
    for asked, places in (("true", 0), ("false", 50)):
        out = tmp_path / f"{asked}.csv"
        run(home, "recommend", "mult-vae", "--first", "60", "--mask-rated", asked,
            "--out", str(out))  # fmt: skip
        found = rated(home, pd.read_csv(out))
        assert found == 0 if places == 0 else found > places


def test_who_rates_something_low_is_scored_again(home: Path, tmp_path: Path) -> None:
    scored(home, tmp_path / "first", "mult-vae")
    frame = pd.read_csv(home / "ratings.csv")
    none_yet = sorted(set(range(N_ITEMS)) - set(frame[frame["user"] == 7]["item"]))
    more = pd.DataFrame({"user": [7], "item": none_yet[:1], "rating": [1.0]})
    frame = pd.concat([frame, more]).sort_values("user", kind="stable")
    frame.to_csv(home / "tomorrow.csv", index=False)
    since = ("--since", str(tmp_path / "first"))
    again = scored(home, tmp_path / "again", "mult-vae", *since, histories="tomorrow.csv")
    assert set(again["user"]) == {7}
    assert none_yet[0] not in set(again["item"])


@pytest.fixture(scope="module")
def line(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything that `main` makes of the ratings."""
    out, recipe = tmp_path_factory.mktemp("line"), home / "recipe.toml"
    recipe.write_text("model = 'ease'\nridge = 10.0\n")
    done = CliRunner().invoke(
        cli,
        ["main", "--data", str(home / "finite.csv"), "--threshold", "3.5", "--recipes",
         str(recipe), "--min-user-items", "1", "--out", str(out)],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "lower ratings of these users and items" in done.output
    return out


def test_the_whole_line_leaves_it_out_of_every_list(home: Path, line: Path) -> None:
    every = pd.concat([pd.read_parquet(one) for one in (line / "lists/all-users").glob("part-*")])
    assert len(every) > 5 * N_USERS
    assert rated(home, every, "finite.csv") == 0
    held_out = pd.read_csv(home / "liked.csv")[["user", "item"]]
    examples = pd.read_csv(line / "lists" / "examples.csv")
    low = pd.read_csv(home / "finite.csv").merge(held_out, how="left", indicator=True)
    low = low[(low["_merge"] == "left_only")]
    assert len(low) > 200
    assert examples.merge(low, on=["user", "item"]).empty


def test_stored_interactions_give_the_lists_of_the_file(
    home: Path, line: Path, tmp_path: Path
) -> None:
    made = {}
    for mask in ("true", "false"):
        for name, histories in (
            ("file", home / "finite.csv"), ("data", line / "data"),
            ("stored", line / "data" / "interactions"),
        ):  # fmt: skip
            out = tmp_path / f"{name}-{mask}"
            lists = scored(home, out, "mult-vae", "--mask-rated", mask, histories=str(histories))
            made[name, mask] = lists.sort_values(["user", "rank"], ignore_index=True)
        users = set(made["data", mask]["user"])
        of_file = made["file", mask][made["file", mask]["user"].isin(users)]
        pd.testing.assert_frame_equal(made["data", mask], of_file.reset_index(drop=True))
        pd.testing.assert_frame_equal(made["data", mask], made["stored", mask])
    assert rated(home, made["stored", "true"], "finite.csv") == 0
    assert rated(home, made["stored", "false"], "finite.csv") > 50
    asked = tmp_path / "asked.csv"
    run(home, "recommend", "mult-vae", "--first", "60", "--out", str(asked),
        histories=str(line / "data"))  # fmt: skip
    assert rated(home, pd.read_csv(asked), "finite.csv") == 0


def test_a_new_low_rating_beside_stored_interactions_is_a_change(
    home: Path, line: Path, tmp_path: Path
) -> None:
    stored = str(line / "data")
    lists = scored(home, tmp_path / "first", "mult-vae", histories=stored)
    frame = pd.read_csv(home / "finite.csv")
    first = int(lists[lists["user"] == 7]["item"].iloc[0])
    more = pd.DataFrame({"user": [7], "item": [first], "rating": [1.0]})
    pd.concat([frame, more]).to_csv(tmp_path / "r.csv", index=False)
    done = CliRunner().invoke(
        cli,
        ["ingest", "--data", str(tmp_path / "r.csv"), "--threshold", "3.5", "--min-user-items", "1",
         "--out", str(tmp_path / "data")],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    since = ("--since", str(tmp_path / "first"))
    again = scored(home, tmp_path / "again", "mult-vae", *since, histories=str(tmp_path / "data"))
    assert set(again["user"]) == {7}
    assert first not in set(again["item"])
