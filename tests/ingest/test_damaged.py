"""Damaged files: each ends in a correct result or in one sentence that names the file."""

import gzip
import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from recsys_vae.errors import InputError
from recsys_vae.ingest.cleaning import CleaningOptions
from recsys_vae.ingest.engine import store_rows
from recsys_vae.ingest.source import FileSource
from recsys_vae.interactions import load_interactions

ROWS = [(user, item, (user * item) % 5 + 1) for user in range(1, 9) for item in range(1, 6)]
PAIRS = {(str(user), str(item)) for user, item, _ in ROWS}
TEXT = "user,item,rating\n" + "".join(f"{u},{i},{r}\n" for u, i, r in ROWS)
JSONL = "".join(json.dumps({"user": u, "item": i, "rating": r}) + "\n" for u, i, r in ROWS)
OPTIONS = CleaningOptions(threshold=0, min_user_items=1)


def parquet() -> bytes:
    sink = io.BytesIO()
    pd.DataFrame(ROWS, columns=["user", "item", "rating"]).to_parquet(sink)
    return sink.getvalue()


def compressed(kind: str, data: bytes) -> bytes:
    if kind == "gz":
        return gzip.compress(data, mtime=0)
    if kind == "zst":
        return bytes(pa.compress(data, codec="zstd", asbytes=True))
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("r.csv", data)
    return sink.getvalue()


def _cuts(data: bytes, count: int) -> Iterator[tuple[int, bytes]]:
    for place in sorted({round(len(data) * n / count) for n in range(count)}):
        yield place, data[:place]


def _flips(data: bytes, count: int) -> Iterator[tuple[int, bytes]]:
    rng = np.random.default_rng(7)
    for place in rng.choice(len(data), count, replace=False).tolist():
        changed = bytearray(data)
        changed[place] ^= 1 << int(rng.integers(8))
        yield place, bytes(changed)


def damaged() -> Iterator[tuple[str, str, bytes]]:
    """Give (what is wrong, file name, content)."""
    plain, whole = TEXT.encode(), parquet()
    wholes = {"r.csv": plain, "r.jsonl": JSONL.encode(), "r.parquet": whole}
    for kind in ("gz", "zst", "zip"):
        wholes[f"r.csv.{kind}" if kind != "zip" else "r.zip"] = compressed(kind, plain)
    for name, data in wholes.items():
        for place, content in _cuts(data, 25):
            yield f"cut at {place}", name, content
        if name != "r.csv" and name != "r.jsonl":  # a digit for another is no damage to see
            for place, content in _flips(data, 15):
                yield f"bit flipped at {place}", name, content
    lines = TEXT.splitlines()
    texts: dict[str, bytes] = {
        "latin-1": TEXT.replace("user", "üser").encode("latin-1"),
        "utf-16": TEXT.encode("utf-16"),
        "utf-16 without mark": TEXT.encode("utf-16-le"),
        "utf-32": TEXT.encode("utf-32"),
        "NULs in the middle": plain[:40] + b"\0" * 8 + plain[40:],
        "NULs at the end": plain + b"\0" * 4096,
        "only NULs": b"\0" * 512,
        "a huge field": plain + b"9," + b"x" * 3_000_000 + b",4\n",
        "no rows": b"user,item,rating\n",
        "a header without line end": b"user,item,rating",
        "only line ends": b"\n\n\r\n",
        "only spaces": b"   ",
        "a header twice": plain + plain,
        "two columns of one name": plain.replace(b"user,item,rating", b"user,item,item", 1),
        "three of one name": plain.replace(b"user,item,rating", b"user,user,user", 1),
        "byte order mark": b"\xef\xbb\xbf" + plain,
        "two byte order marks": b"\xef\xbb\xbf" * 2 + plain,
        "CRLF": plain.replace(b"\n", b"\r\n"),
        "CR": plain.replace(b"\n", b"\r"),
        "mixed line ends": plain.replace(b"\n", b"\r\n", 9),
        "blank lines": plain.replace(b"\n", b"\n\n"),
        "a quote never closed": plain.replace(b"3,", b'"3,', 1),
        "quotes within fields": plain.replace(b"\n3,", b'\n3"x,', 1),
        "line ends within quotes": plain + b'"9\n9",5,4\n',
        "ragged rows": "\n".join([*lines[:9], "1", "1,2,3,4,5", *lines[9:], ""]).encode(),
        "mixed types": "\n".join([*lines, "u9,i9,4", "x,y,z", ""]).encode(),
        "infinite and negative": "\n".join([*lines, "9,9,inf", "9,8,-4", "9,7,nan", ""]).encode(),
        "binary junk": bytes(np.random.default_rng(1).integers(1, 256, 4096, dtype=np.uint8)),
        "junk after rows": plain + bytes(range(128, 256)),
        "semicolons": plain.replace(b",", b";"),
        "tabs": plain.replace(b",", b"\t"),
        "decimal commas": plain.replace(b",", b";").replace(b";4\n", b";4,0\n"),
        "ids beyond 64 bits": plain + b"99999999999999999999,1,4\n",
        "a comment first": b"# made by hand\n" + plain,
        "HTML": b"<!DOCTYPE html><html><body>404 Not Found</body></html>\n",
        "JSON in CSV": JSONL.encode(),
        "Parquet in CSV": whole,
        "gzip in CSV": compressed("gz", plain),
    }
    yield from ((what, "r.csv", content) for what, content in texts.items())
    yield "CSV in Parquet", "r.parquet", plain
    yield "CSV in gzip", "r.csv.gz", plain
    yield "CSV in zip", "r.zip", plain
    yield "a JSON array", "r.jsonl", json.dumps([1, 2, 3]).encode()
    yield "one JSON object over lines", "r.jsonl", json.dumps({"a": {"b": 1}}, indent=1).encode()
    yield "JSON of mixed types", "r.jsonl", JSONL.encode() + b'{"user": "x", "item": [1]}\n'
    yield "broken JSON lines", "r.jsonl", JSONL.replace("}", "", 2).encode()


DAMAGED = list(damaged())


def test_there_are_at_least_two_hundred() -> None:
    assert len({(name, content) for _, name, content in DAMAGED}) >= 200


@pytest.mark.parametrize(
    ("name", "content"),
    [(name, content) for _, name, content in DAMAGED],
    ids=[f"{name} {what}" for what, name, _ in DAMAGED],
)
def test_a_damaged_file_ends_in_a_correct_result_or_one_sentence(
    name: str, content: bytes, tmp_path: Path
) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    work = tmp_path / "work"
    work.mkdir()
    try:
        done = store_rows(FileSource(file), OPTIONS, work / "out", work)
    except InputError as error:
        sentence = str(error)
        assert name in sentence
        assert "\n" not in sentence
        assert len(sentence) < 1_000
        # A library's own reason may be quoted in brackets, of whatever form it is.
        assert not re.search(r"[.!?]\s+[A-Z]", re.sub(r"\(.*\)|'.*'", "", sentence)), sentence
        assert not (work / "out").exists()
        return
    kept = load_interactions(work / "out").frame()
    found = set(zip(kept["user"].astype(str), kept["item"].astype(str), strict=True))
    # What was cut may leave the beginning of a number; what was added is not in the rows.
    strange = found - PAIRS
    assert len(strange) <= 2, strange
    read = done.account.steps[0]
    assert read.rows_in - sum(done.account.rejected.values()) == done.account.steps[1].rows_out
