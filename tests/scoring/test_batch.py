import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array

from recsys_vae.errors import InputError
from recsys_vae.interactions import IdMap, Interactions
from recsys_vae.models.base import FitOptions
from recsys_vae.ranking import ItemRules, Making, rank
from recsys_vae.scoring.batch import Result, ScoreCounts, score_users
from recsys_vae.scoring.histories import HistoryBlock, stored_blocks
from recsys_vae.scoring.workplace import MANIFEST, part_name
from tests.neighbours import Neighbours

USERS, N_ITEMS = 41, 17
PART = part_name(0)


def histories() -> Interactions:
    rng = np.random.default_rng(0)
    dense = (rng.random((USERS, N_ITEMS)) < rng.random((USERS, 1))).astype(np.float32)
    dense[0] = 1  # has taken everything: an empty list
    dense[1] = 1
    dense[9] = 0  # no history
    users = IdMap.of([f"u{n:02d}" for n in range(USERS)])
    return Interactions(users, IdMap.of([f"i{n:02d}" for n in range(N_ITEMS)]), csr_array(dense))


HISTORIES = histories()
MODEL = Neighbours().fit(HISTORIES, FitOptions(seed=2))


def blocks(users_per_block: int) -> Iterator[HistoryBlock]:
    return stored_blocks(HISTORIES, MODEL.items, users_per_block=users_per_block)


def scored(
    given: Iterable[HistoryBlock], out: Path, k: int, rules: ItemRules | None = None, **more: Any
) -> ScoreCounts:
    making = Making(rules=rules or ItemRules())
    return score_users(MODEL, given, Result(out=out, k=k, **more), making)


def one_by_one(k: int, rules: ItemRules | None) -> list[tuple[str, int, str, float]]:
    rows = []
    for number, user in enumerate(HISTORIES.users.index):
        given = HISTORIES.matrix[[number]]
        lists = rank(MODEL.score(given), given, k, rules)
        for place in range(int(lists.lengths[0])):
            item = MODEL.items.index[lists.items_BK[0, place]]
            rows.append((user, place + 1, item, float(lists.scores_BK[0, place])))
    return rows


@pytest.mark.parametrize("users_per_block", [1, 2, 7, USERS, 1_000])
@pytest.mark.parametrize("k", [1, 5, N_ITEMS])
@pytest.mark.parametrize("blocked", [False, True])
def test_lists_are_those_of_each_user_alone(
    users_per_block: int, k: int, blocked: bool, tmp_path: Path
) -> None:
    rules = ItemRules.of(MODEL.items, blocked=["i03", "i04"]) if blocked else None
    scored(blocks(users_per_block), tmp_path / "out", k, rules)
    frame = pd.read_parquet(tmp_path / "out" / PART)
    assert list(frame.columns) == ["user", "rank", "item", "score"]
    assert list(frame.itertuples(index=False, name=None)) == one_by_one(k, rules)


@pytest.mark.parametrize("users_per_block", [3, USERS])
def test_the_manifest_counts_what_went_in_and_out(users_per_block: int, tmp_path: Path) -> None:
    k = 5
    counts = scored(blocks(users_per_block), tmp_path / "out", k, manifest={"note": "ä"})
    manifest = json.loads((tmp_path / "out" / MANIFEST).read_text("utf-8"))
    frame = pd.read_parquet(tmp_path / "out" / PART)
    taken = np.diff(HISTORIES.matrix.indptr)
    assert manifest["counts"] == {
        "users": USERS,
        "without_history": int((taken == 0).sum()),
        "short_lists": int((N_ITEMS - taken < k).sum()),
        "rows": len(frame),
        "unknown_items": 0,
        "below_threshold": 0,
        "compared": 0,
        "shares": 0.0,
        "relaxed": {},
    }
    assert counts.rows == int(np.minimum(k, N_ITEMS - taken).sum())
    assert (manifest["model"], manifest["k"], manifest["note"]) == ("neighbours", k, "ä")
    assert manifest["items_fingerprint"] == MODEL.items.fingerprint


def test_rows_that_were_left_out_are_counted(tmp_path: Path) -> None:
    given = csr_array((1, N_ITEMS), dtype=np.float32)
    known = csr_array(np.eye(1, N_ITEMS, dtype=np.float32))
    one = HistoryBlock(np.array(["a"], dtype=object), given, unknown=2, below=3)
    two = HistoryBlock(np.array(["b"], dtype=object), known, unknown=5, below=7)
    counts = scored([one, two], tmp_path / "out", 2)
    assert (counts.unknown_items, counts.below_threshold) == (2 + 5, 3 + 7)
    assert counts.without_history == 1


def test_histories_of_which_nothing_is_known_are_refused(tmp_path: Path) -> None:
    given = csr_array((1, N_ITEMS), dtype=np.float32)
    alone = HistoryBlock(np.array(["a"], dtype=object), given, unknown=2, below=0)
    with pytest.raises(InputError, match="knows none of the 2 items"):
        scored([alone], tmp_path / "out", 2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "error", [InputError("bad row"), RuntimeError("lost"), KeyboardInterrupt()]
)
@pytest.mark.parametrize("before", [False, True])
def test_a_failure_midway_leaves_only_what_was_there(
    error: BaseException, before: bool, tmp_path: Path
) -> None:
    def failing() -> Iterator[HistoryBlock]:
        for number, block in enumerate(blocks(10)):
            if number == 2:
                raise error
            yield block

    out = tmp_path / "out"
    if before:
        scored(blocks(10), out, 3)
    contents = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(type(error)):
        scored(failing(), out, 5)
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert after == contents
    assert [path.name for path in tmp_path.iterdir()] == (["out"] if before else [])


def test_a_result_is_replaced_by_the_next(tmp_path: Path) -> None:
    for k in (3, 2):
        scored(blocks(10), tmp_path / "out", k)
    assert pd.read_parquet(tmp_path / "out" / PART)["rank"].max() == 2
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_is_no_result_of_scoring_is_not_overwritten(kind: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    if kind == "folder":
        out.mkdir()
    theirs = out / "thesis.txt" if kind == "folder" else out
    theirs.write_text("mine")
    with pytest.raises(InputError, match=r"out (holds|is no folder).* choose another --out"):
        scored(blocks(10), out, 3)
    assert theirs.read_text() == "mine"


def test_an_empty_folder_may_be_filled(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert scored(blocks(10), tmp_path / "out", 3).users == USERS


def test_nobody_to_score_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no user to score"):
        scored([], tmp_path / "out", 3)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("k", [0, N_ITEMS + 1])
def test_a_list_length_beyond_the_items_is_refused(k: int, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"choose 1 to {N_ITEMS}"):
        scored(blocks(10), tmp_path / "out", k)
    assert list(tmp_path.iterdir()) == []
