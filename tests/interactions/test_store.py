import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_vae.errors import InputError
from recsys_vae.files import atomic_file, atomic_folder, read_json, write_json
from recsys_vae.interactions import Interactions, load_interactions, save_interactions

FILES = ("data.npy", "indices.npy", "indptr.npy", "users.arrow", "items.arrow", "interactions.json")
ROWS = st.one_of(
    st.lists(st.tuples(st.integers(), st.text()), min_size=1, max_size=20).map(
        lambda rows: [(user % 2**63, item) for user, item in rows]
    ),
    st.lists(st.tuples(st.text(), st.integers(0, 9)), min_size=1, max_size=20),
)


def interactions_of(rows: list[tuple[Any, Any]]) -> Interactions:
    return Interactions.from_frame(pd.DataFrame(rows, columns=["user", "item"]))


SMALL = interactions_of([("anna", 3), ("bo", 3), ("bo", 5), ("cy", 9)])
OTHER = interactions_of([("anna", 3), ("bo", 9), ("bo", 5), ("cy", 9)])


@given(ROWS)
@settings(deadline=None, max_examples=30)
def test_interactions_survive_the_disk(rows: list[tuple[Any, Any]]) -> None:
    interactions = interactions_of(rows)
    with TemporaryDirectory() as folder:
        save_interactions(interactions, Path(folder) / "a")
        again = load_interactions(Path(folder) / "a")
        assert sorted(path.name for path in Path(folder).iterdir()) == ["a"]
    assert again.fingerprint == interactions.fingerprint
    assert again.frame().equals(interactions.frame())


def test_interactions_without_rows_survive_the_disk(tmp_path: Path) -> None:
    nothing = Interactions.from_frame(pd.DataFrame({"user": [], "item": []}))
    save_interactions(nothing, tmp_path / "a")
    assert load_interactions(tmp_path / "a").fingerprint == nothing.fingerprint


def refused(folder: Path) -> None:
    with pytest.raises(InputError) as caught:
        load_interactions(folder)
    assert str(folder) in str(caught.value)
    assert "make it with" in str(caught.value)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_refused(name: str, tmp_path: Path) -> None:
    save_interactions(SMALL, tmp_path / "a")
    (tmp_path / "a" / name).unlink()
    refused(tmp_path / "a")


@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_anywhere_is_refused(name: str, tmp_path: Path) -> None:
    save_interactions(SMALL, tmp_path / "a")
    file = tmp_path / "a" / name
    whole = file.read_bytes()
    # The last byte of the JSON is a newline, which says nothing; of the others all count.
    last = len(whole.rstrip(b"\n")) if name.endswith(".json") else len(whole)
    for length in {0, 1, last // 3, last // 2, last - 9, last - 1}:
        file.write_bytes(whole[:length])
        refused(tmp_path / "a")


# In a process of its own: a damaged file must not hang or crash the reader either.
FLIPS = """
import sys
from pathlib import Path
from recsys_vae.errors import InputError
from recsys_vae.interactions import load_interactions

folder, name = Path(sys.argv[1]), sys.argv[2]
fingerprint = load_interactions(folder).fingerprint
file = folder / name
whole = file.read_bytes()
for place in range(0, len(whole), 3):
    for flip in (0x01, 0x10, 0xFF):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ flip]) + whole[place + 1 :])
        try:
            # Padding may change without consequence.
            assert load_interactions(folder).fingerprint == fingerprint, (place, flip)
        except InputError as error:
            assert str(folder) in str(error), error
        except Exception as error:
            raise SystemExit(f"{name}: byte {place} ^ {flip}: {error!r}")
"""


@pytest.mark.parametrize("name", FILES)
def test_no_flipped_byte_leads_to_other_interactions(name: str, tmp_path: Path) -> None:
    save_interactions(SMALL, tmp_path / "a")
    command = [sys.executable, "-c", FLIPS, str(tmp_path / "a"), name]
    # About a second; a reader that believes a damaged length may go on for ever.
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_other_interactions_is_refused_or_equal(name: str, tmp_path: Path) -> None:
    save_interactions(SMALL, tmp_path / "a")
    save_interactions(OTHER, tmp_path / "b")
    theirs, mine = tmp_path / "b" / name, tmp_path / "a" / name
    differ = theirs.read_bytes() != mine.read_bytes()
    shutil.copy(theirs, mine)
    assert differ == (name in {"indices.npy", "interactions.json"})
    if differ:
        refused(tmp_path / "a")


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"format_version": 1}', "{}"])
def test_a_manifest_that_says_something_else_is_refused(content: str, tmp_path: Path) -> None:
    save_interactions(SMALL, tmp_path / "a")
    (tmp_path / "a" / "interactions.json").write_text(content)
    refused(tmp_path / "a")


@pytest.mark.parametrize("name", ["users", "items"])
@pytest.mark.parametrize("count", [-1, 0, True, 1.5])
def test_a_manifest_that_counts_wrong_is_refused(name: str, count: float, tmp_path: Path) -> None:
    save_interactions(SMALL, tmp_path / "a")
    file = tmp_path / "a" / "interactions.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), name: count}))
    refused(tmp_path / "a")


def test_another_format_version_is_refused(tmp_path: Path) -> None:
    save_interactions(SMALL, tmp_path / "a")
    file = tmp_path / "a" / "interactions.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "format_version": 9}))
    with pytest.raises(InputError, match="format version 9"):
        load_interactions(tmp_path / "a")


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    refused(tmp_path / "absent")
    (tmp_path / "file").write_text("x")
    refused(tmp_path / "file")


def write_two(folder: Path) -> None:
    (folder / "a").write_text("new")
    (folder / "deep").mkdir()
    (folder / "deep" / "b").write_text("new")


def failing(folder: Path) -> None:
    write_two(folder)
    raise KeyboardInterrupt


ANYTHING = ("*",)


@pytest.mark.parametrize("old", [False, True])
def test_a_folder_that_fails_leaves_only_what_was_there(old: bool, tmp_path: Path) -> None:
    target = tmp_path / "target"
    if old:
        target.mkdir()
        (target / "old").write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic_folder(target, ANYTHING) as temporary:
        failing(temporary)
    names = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))
    assert names == (["target", "target/old"] if old else [])


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "new" / "target"
    for _ in range(2):
        with atomic_folder(target, ANYTHING) as temporary:
            write_two(temporary)
        (target / "left from before").touch()
    with atomic_folder(target, ANYTHING) as temporary:
        (temporary / "c").touch()
    names = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))
    assert names == ["new", "new/target", "new/target/c"]


def test_the_old_folder_survives_when_the_last_step_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (target / "old").write_text("old")
    rename: Callable[[Path, Path], Path] = Path.replace

    def no_room(self: Path, other: Path) -> Path:
        if "partial" in self.name:
            raise OSError("no space left on device")
        return rename(self, other)

    monkeypatch.setattr(Path, "replace", no_room)
    with pytest.raises(OSError, match="no space"), atomic_folder(target, ANYTHING) as temporary:
        write_two(temporary)
    names = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))
    assert names == ["target", "target/old"]


def interrupted(file: Path) -> None:
    file.write_text("new")
    raise KeyboardInterrupt


def test_a_file_that_fails_leaves_only_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic_file(target) as temporary:
        interrupted(temporary)
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert target.read_text() == "old"


@pytest.mark.parametrize("name", ["lists", "lists.csv"])
def test_a_file_being_written_has_a_name_of_its_own(name: str, tmp_path: Path) -> None:
    with atomic_file(tmp_path / name) as one, atomic_file(tmp_path / name) as other:
        assert one != other
        assert one.name.endswith(Path(name).suffix)  # writers choose a format by suffix
        one.write_text("one")
        other.write_text("other")


def test_a_hidden_neighbour_of_the_same_name_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / ".lists").write_text("mine")
    with atomic_file(tmp_path / "lists") as temporary:
        temporary.write_text("new")
    assert (tmp_path / ".lists").read_text() == "mine"


@given(st.dictionaries(st.text(), st.one_of(st.integers(), st.text(), st.booleans())))
@settings(deadline=None, max_examples=30)
def test_json_survives_the_disk(content: dict[str, Any]) -> None:
    with TemporaryDirectory() as folder:
        write_json(Path(folder) / "a.json", content)
        assert read_json(Path(folder) / "a.json", what="", remedy="") == content
