"""A run that is broken off goes on where it was and ends with the bytes of an unbroken one."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.sparse import csr_array

from recsys_vae.errors import InputError
from recsys_vae.interactions import IdMap, Interactions
from recsys_vae.models.base import FitOptions
from recsys_vae.models.mult_vae import MultVAE, MultVAEConfig
from recsys_vae.scoring.batch import Result, score_users
from recsys_vae.scoring.changes import Before
from recsys_vae.scoring.histories import HistoryBlock, stored_blocks
from recsys_vae.scoring.workplace import MANIFEST
from tests.neighbours import Neighbours

N_USERS, N_ITEMS = 60, 13


def histories(n_users: int = N_USERS, seed: int = 1) -> Interactions:
    dense = (np.random.default_rng(seed).random((n_users, N_ITEMS)) < 0.3).astype(np.float32)
    return Interactions(IdMap.of(range(n_users)), IdMap.of(range(N_ITEMS)), csr_array(dense))


MODEL = Neighbours().fit(histories(), FitOptions())


def result(folder: Path, **more: Any) -> Result:
    return Result(out=folder / "out", k=4, users_per_part=14, **more)


def blocks(size: int = 7) -> Iterator[HistoryBlock]:
    return stored_blocks(histories(), MODEL.items, users_per_block=size)


class BrokenOffError(Exception):
    pass


def broken_off(after: int) -> Iterator[HistoryBlock]:
    for number, block in enumerate(blocks()):
        if number == after:
            raise BrokenOffError
        yield block


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.parquet"))}


@pytest.fixture(scope="module", params=["long", "list"])
def form(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory, form: Any) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("unbroken")
    score_users(MODEL, blocks(), result(folder, form=form))
    return files(folder / "out")


def test_parts_have_the_size_that_was_asked_for(unbroken: dict[str, bytes]) -> None:
    parts = [name for name in unbroken if name.startswith("part-")]
    assert parts == [f"part-{number:05d}.parquet" for number in range(5)]


@pytest.mark.parametrize("after", [0, 1, 2, 3, 5, 8])
def test_broken_off_anywhere_it_ends_the_same(
    after: int, form: Any, unbroken: dict[str, bytes], tmp_path: Path
) -> None:
    with pytest.raises(BrokenOffError):
        score_users(MODEL, broken_off(after), result(tmp_path, form=form))
    assert not (tmp_path / "out").exists()
    before = files(tmp_path / "out.unfinished")
    # Only complete parts are there, and they are those of the unbroken run.
    assert all(unbroken[name] == content for name, content in before.items())
    said: list[str] = []
    counts = score_users(MODEL, blocks(), result(tmp_path, form=form, say=said.append))
    assert files(tmp_path / "out") == unbroken
    assert counts.users == N_USERS
    n_before = sum(name.startswith("part-") for name in before)
    assert sum("(was there)" in line for line in said) == n_before
    rated = [line for line in said if "(was there)" not in line]
    assert all(re.fullmatch(r"part \d+: \d+ users, [1-9][\d,]* a second", line) for line in rated)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("size", [1, 2, 14])
def test_the_size_of_blocks_changes_no_byte(
    size: int, form: Any, unbroken: dict[str, bytes], tmp_path: Path
) -> None:
    score_users(MODEL, blocks(size), result(tmp_path, form=form))
    assert files(tmp_path / "out") == unbroken


def test_blocks_made_side_by_side_change_no_byte(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    dense = (rng.random((90, 700)) < rng.random((90, 1)) / 9).astype(np.float32)
    given = Interactions(IdMap.of(range(90)), IdMap.of(range(700)), csr_array(dense))
    model = MultVAE(MultVAEConfig(hidden=(32,), latent=8))
    network = model.build(700, torch.Generator().manual_seed(0))
    arrays = {name: value.numpy() for name, value in network.state_dict().items()}
    model.restore(given.items, arrays)
    usual, found = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            each = stored_blocks(given, model.items, users_per_block=5)
            score_users(model, each, Result(out=tmp_path / str(threads), k=30, users_per_part=40))
            found.append(files(tmp_path / str(threads)))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(usual)
    assert found[0] == found[1]


def test_the_size_of_parts_changes_no_list(form: Any, tmp_path: Path) -> None:
    frames = []
    for users_per_part in (7, 1_000):
        one = replace(result(tmp_path, form=form), users_per_part=users_per_part)
        score_users(MODEL, blocks(), one)
        paths = sorted((tmp_path / "out").glob("part-*.parquet"))
        frames.append(pd.concat([pd.read_parquet(path) for path in paths], ignore_index=True))
    pd.testing.assert_frame_equal(frames[0], frames[1])


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"k": 5}, "k"),
        ({"form": "list"}, "form"),
        ({"users_per_part": 28}, "users_per_part"),
        ({"identity": {"model_fingerprint": "other"}}, "model_fingerprint"),
    ],
)
def test_what_was_begun_otherwise_is_not_gone_on_with(
    changed: dict[str, Any], named: str, tmp_path: Path
) -> None:
    begun = result(tmp_path, identity={"model_fingerprint": "one"})
    with pytest.raises(BrokenOffError):
        score_users(MODEL, broken_off(5), begun)
    before = files(tmp_path / "out.unfinished")
    with pytest.raises(InputError, match=f"was begun with different {named}: give the options"):
        score_users(MODEL, blocks(), replace(begun, **changed))
    assert files(tmp_path / "out.unfinished") == before


def test_histories_of_another_number_are_noticed(tmp_path: Path) -> None:
    with pytest.raises(BrokenOffError):
        score_users(MODEL, broken_off(5), result(tmp_path))
    fewer = stored_blocks(histories(20), MODEL.items, users_per_block=7)
    with pytest.raises(InputError, match="begun with other histories"):
        score_users(MODEL, fewer, result(tmp_path))


def test_a_damaged_part_is_named(tmp_path: Path) -> None:
    with pytest.raises(BrokenOffError):
        score_users(MODEL, broken_off(5), result(tmp_path))
    part = tmp_path / "out.unfinished" / "part-00001.parquet"
    part.write_bytes(part.read_bytes()[:-9])
    with pytest.raises(InputError, match=r"part-00001\.parquet is damaged .* delete part-00001"):
        score_users(MODEL, blocks(), result(tmp_path))


@pytest.mark.parametrize("how", ["missing", "empty"])
def test_a_damaged_state_is_named(how: str, tmp_path: Path) -> None:
    with pytest.raises(BrokenOffError):
        score_users(MODEL, broken_off(5), result(tmp_path))
    state = tmp_path / "out.unfinished" / "_history-00001.parquet"
    if how == "missing":
        state.unlink()
    else:
        state.write_bytes(b"")
    with pytest.raises(InputError, match=r"_history-00001\.parquet is damaged .* part-00001"):
        score_users(MODEL, blocks(), result(tmp_path))


def test_a_part_of_other_users_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(BrokenOffError):
        score_users(MODEL, broken_off(5), result(tmp_path))
    left = tmp_path / "out.unfinished"
    for name in ("part-{}.parquet", "_history-{}.parquet"):
        (left / name.format("00001")).write_bytes((left / name.format("00000")).read_bytes())
    with pytest.raises(InputError, match="begun with other histories"):
        score_users(MODEL, blocks(), result(tmp_path))


@pytest.mark.parametrize("size", [1, 10, 1_000])
def test_parts_are_cut_whatever_the_blocks(size: int, tmp_path: Path) -> None:
    score_users(MODEL, blocks(size), replace(result(tmp_path), users_per_part=9))
    parts = sorted((tmp_path / "out").glob("part-*.parquet"))
    assert [pd.read_parquet(path)["user"].nunique() for path in parts] == [9] * 6 + [6]


def test_a_full_disk_leaves_what_was_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unbroken: dict[str, bytes], form: Any
) -> None:
    from recsys_vae.scoring import workplace

    write, tables = workplace.PartWriter.write, 0

    def full(self: Any, table: Any, states: Any) -> None:
        nonlocal tables
        tables += 1
        if tables == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, table, states)

    with monkeypatch.context() as patch:
        patch.setattr(workplace.PartWriter, "write", full)
        with pytest.raises(OSError, match="No space left"):
            score_users(MODEL, blocks(), result(tmp_path, form=form))
    assert len(list((tmp_path / "out.unfinished").glob("part-*"))) == 2
    score_users(MODEL, blocks(), result(tmp_path, form=form))
    assert files(tmp_path / "out") == unbroken


def test_two_at_a_time_do_not_share_a_folder(tmp_path: Path) -> None:
    def meanwhile() -> Iterator[HistoryBlock]:
        for number, block in enumerate(blocks()):
            if number == 3:
                with pytest.raises(InputError, match="another process is working in"):
                    score_users(MODEL, blocks(), result(tmp_path))
            yield block

    assert score_users(MODEL, meanwhile(), result(tmp_path)).users == N_USERS


def test_the_result_before_stays_until_the_new_one_is_complete(tmp_path: Path) -> None:
    score_users(MODEL, blocks(), result(tmp_path))
    before = files(tmp_path / "out")
    with pytest.raises(BrokenOffError):
        score_users(MODEL, broken_off(5), replace(result(tmp_path), k=2))
    assert files(tmp_path / "out") == before
    score_users(MODEL, blocks(), replace(result(tmp_path), k=2))
    assert json.loads((tmp_path / "out" / MANIFEST).read_text())["k"] == 2


def test_only_those_whose_history_has_changed_are_scored(tmp_path: Path) -> None:
    score_users(MODEL, blocks(), result(tmp_path))
    dense = histories().matrix.toarray()
    dense[5, dense[5] == 0] = 1
    dense[41] = 0
    users = IdMap.of([*range(3, N_USERS), 100, 101])
    dense = np.concatenate([dense[3:], dense[:2]])
    now = Interactions(users, IdMap.of(range(N_ITEMS)), csr_array(dense))
    before = Before.read(tmp_path / "out")
    changed = before.changed(stored_blocks(now, MODEL.items, users_per_block=7), 7)
    delta = replace(
        result(tmp_path), out=tmp_path / "delta", form="list", at_end=before.carry_forward
    )
    counts = score_users(MODEL, changed, delta, may_be_empty=True)
    assert pd.read_parquet(tmp_path / "delta")["user"].tolist() == [5, 41, 100, 101]
    assert (counts.users, before.unchanged, before.gone) == (4, N_USERS - 3 - 2, 3)
    # Tomorrow's run goes by this one: it knows those who were left out, too.
    tomorrow = Before.read(tmp_path / "delta")
    nobody = list(tomorrow.changed(stored_blocks(now, MODEL.items), 7))
    assert [len(block.users) for block in nobody] == [0]
    again = Before.read(tmp_path / "out")
    none = again.changed(blocks(), 7)
    counts = score_users(
        MODEL, none, replace(delta, out=tmp_path / "none", at_end=None), may_be_empty=True
    )
    assert (counts.users, again.unchanged, again.gone) == (0, N_USERS, 0)
    assert not len(pd.read_parquet(tmp_path / "none"))


_CHILD = """
import sys, time
from pathlib import Path
from tests.scoring import test_restart as t
def slow():
    for block in t.blocks():
        time.sleep(0.005)
        yield block
print("begin", flush=True)
t.score_users(t.MODEL, slow(), t.result(Path(sys.argv[1]), form="list"))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_killed_at_random_moments_it_ends_with_the_same_bytes(tmp_path: Path) -> None:
    score_users(MODEL, blocks(), replace(result(tmp_path, form="list"), out=tmp_path / "whole"))
    rng, kills = np.random.default_rng(7), 0
    for _attempt in range(60):
        child = subprocess.Popen(
            [sys.executable, "-c", _CHILD, str(tmp_path)],
            stdout=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert child.stdout is not None
        child.stdout.readline()
        if kills < 20:
            time.sleep(float(rng.uniform(0, 0.06)))
            child.send_signal(signal.SIGKILL)
            kills += 1
        code = child.wait()
        child.stdout.close()
        if code == 0:
            break
        left = tmp_path / "out.unfinished"
        for path in left.glob("part-*.parquet"):
            assert path.read_bytes() == (tmp_path / "whole" / path.name).read_bytes()
    assert files(tmp_path / "out") == files(tmp_path / "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "whole"]
