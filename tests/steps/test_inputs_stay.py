"""What is read is never replaced by what is made of it."""

import shutil
from pathlib import Path

import pytest

from recsys_vae.cli import main
from recsys_vae.interactions import load_interactions
from tests.conftest import Refused, made_up_ratings


@pytest.mark.parametrize(
    ("data", "arguments"),
    [
        ("lake/interactions/part-0.csv", "ingest --data lake/interactions --out lake"),
        ("lake/quarantine.csv", "ingest --data lake/quarantine.csv --out lake"),
        ("lake/quarantine.csv", "ingest --data {other} --out lake"),
        ("lake/items.parquet", "ingest --data {other} --items lake/items.parquet --out lake"),
        ("lake/data/part-0.csv", "main --data lake/data --recipes popularity --out lake"),
        ("lake/data/part-0.csv", "main --data lake/data --recipes popularity --out lake/data/x"),
        ("lake/train/tr.csv", "ready --train lake/train --test {other} --out lake"),
    ],
)
def test_inputs_within_out_are_refused_and_stay(
    data: str, arguments: str, refused: Refused, tmp_path: Path
) -> None:
    lake, other = tmp_path / "lake", tmp_path / "other.csv"
    made_up_ratings(20, 12).to_csv(other, index=False)
    path = tmp_path / data
    path.parent.mkdir(parents=True)
    shutil.copy(other, path)
    words = [one.format(other=other).replace("lake", str(lake), 1) for one in arguments.split(" ")]
    said = refused(*words, out=False)
    why = ("would be lost", "is no earlier result", "lies in --data", "is no part of what is to be")
    assert any(one in said for one in why), said
    assert path.read_bytes() == other.read_bytes()
    assert [one for one in lake.rglob("*") if one.is_file()] == [path]


@pytest.mark.usefixtures("workspace")
def test_an_earlier_result_is_replaced_as_ever(tmp_path: Path) -> None:
    made_up_ratings(20, 12).to_csv(tmp_path / "r.csv", index=False)
    for _ in range(2):
        main(["ingest", "--data", str(tmp_path / "r.csv"), "--out", str(tmp_path / "data")])
        kind = ["--kind", "random", "--validation-share", "0.2"]
        main(["split", "--data", str(tmp_path / "data"), *kind, "--out", str(tmp_path / "split")])
    assert len(load_interactions(tmp_path / "data" / "interactions").users) == 20
