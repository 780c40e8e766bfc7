"""Spark's workers make the lists that the local engine makes, however the rows are spread."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pandas as pd
import pytest

from recsys_vae.errors import InputError
from recsys_vae.ingest.columns import ColumnNames
from recsys_vae.ingest.reading import ReadOptions
from recsys_vae.interactions import Interactions
from recsys_vae.models.base import FitOptions
from recsys_vae.models.zoo import make_model, save_model
from recsys_vae.scoring.spark.ahead import threads
from recsys_vae.scoring.spark.session import SparkOptions, spark_session
from recsys_vae.scoring.workplace import MANIFEST
from recsys_vae.steps.lists import ListOptions
from recsys_vae.steps.score import ScoreOptions, score
from recsys_vae.steps.score_spark import SparkScoreOptions, score_on_spark
from tests.conftest import tracking_store
from tests.scoring.cluster import standalone_cluster

_JAVA = shutil.which("java") or os.environ.get("JAVA_HOME")
needs_spark = pytest.mark.skipif(
    importlib.util.find_spec("pyspark") is None or not _JAVA,
    reason="needs pyspark (pip install 'recsys-vae[spark]') and Java 17",
)
needs_groups = pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs process groups")
N_USERS, N_ITEMS, K = 60, 30, 12
_CONF = {"spark.sql.shuffle.partitions": "3"}
SPARK = SparkOptions(conf=_CONF, users_per_block=16)


def rows(kind: str) -> pd.DataFrame:
    """Ratings of some users: rows in no order, some twice, some items that no model knows."""
    rng = np.random.default_rng(3)
    drawn = {
        "user": rng.integers(0, N_USERS - 4, 700),
        "item": rng.integers(0, N_ITEMS + 3, 700),
        "rating": rng.integers(1, 6, 700).astype(float),
    }
    everything = [(N_USERS - 3, item, 5.0) for item in range(N_ITEMS)]
    # Of a user only unknown items, of another one all items, of a third only bad ratings.
    more = [(N_USERS - 4, N_ITEMS, 5.0), *everything, (N_USERS - 2, 1, 1.0), (N_USERS - 1, 2, 5.0)]
    frame = pd.concat([pd.DataFrame(drawn), pd.DataFrame(more, columns=list(drawn))])
    frame = frame.sample(frac=1, random_state=1).reset_index(drop=True)
    frame.loc[rng.choice(len(frame), 20, replace=False), "rating"] = np.nan
    if kind == "large":
        frame["item"] += 2**53  # float64 does not hold every other one
    if kind == "string":
        frame["user"] = frame["user"].map("Müller {:02d}".format)
        frame["item"] = frame["item"].map('item "{:02d}", new'.format)
    return frame


@dataclass(frozen=True)
class Place:
    """A folder with a model for each kind of ids; its ratings count above 2.5."""

    folder: Path

    def write(self, name: str, kind: str) -> Path:
        frame, path = rows(kind), self.folder / name
        if path.exists():
            return path
        if name.endswith(".csv"):
            frame["item"] = frame["item"].astype(str)
            if kind == "integer":
                frame.loc[frame["item"] == "7", "item"] = "007"  # another id than 7
            frame.to_csv(path, index=False)
        elif "lists" in name:
            lists = frame.groupby("user")["item"].agg(list).rename("items").reset_index()
            lists["items"] = [items[1:] if len(items) == 1 else items for items in lists["items"]]
            lists.sample(frac=1, random_state=2).to_parquet(path)
        else:
            # Several files, and the rows of a user in all of them.
            path.mkdir()
            for number in range(3):
                frame[number::3].to_parquet(path / f"{number}.parquet")
        return path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("spark")
    with tracking_store(folder, empty_database):
        settings = {"hidden": [16], "latent": 4, "training": {"epochs": 1}}
        for kind in ("integer", "string", "large"):
            known = rows(kind).query("rating > 2.5")
            order = np.unique(known["item"])[:N_ITEMS]
            train = Interactions.from_frame(known[known["item"].isin(order)][["user", "item"]])
            model = make_model("mult-vae", settings).fit(train, FitOptions(device="cpu"))
            save_model(model, folder / f"model-{kind}", data={"threshold": 2.5})
        yield Place(folder)


_RULES = ("allow", "block", "mask_seen", "mask_rated")


def both(place: Place, histories: Path, kind: str, out: Path, **more: Any) -> SparkScoreOptions:
    """Score with both engines; the lists and what is counted must be the same."""
    rules = {name: more.pop(name) for name in _RULES if name in more}
    common = {"model": str(place.folder / f"model-{kind}"), "k": K, **more}
    local = ScoreOptions(
        histories=histories,
        out=out / "local",
        unsorted="lists" not in histories.name,
        lists=ListOptions(**rules),
        **common,
    )
    counts = score(local).counts
    options = SparkScoreOptions(
        histories=str(histories), out=str(out / "spark"), spark=SPARK, **rules, **common
    )
    assert asdict(score_on_spark(options)) == asdict(counts)
    compare(out / "local", out / "spark")
    return options


def to_score(place: Place, histories: Path, out: Path) -> SparkScoreOptions:
    """Ask for lists of the model with integer ids."""
    return SparkScoreOptions(
        model=str(place.folder / "model-integer"),
        histories=str(histories),
        out=str(out),
        k=K,
        spark=SPARK,
    )


def lists_in(folder: Path) -> pd.DataFrame:
    frame = pd.read_parquet(folder)
    by = ["user", "rank"] if "rank" in frame.columns else ["user"]
    return frame.sort_values(by, ignore_index=True)


def compare(local: Path, spark: Path) -> None:
    ours, theirs = lists_in(local), lists_in(spark)
    assert list(ours.columns) == list(theirs.columns)
    for name in ours.columns:
        if name in ("score", "scores"):
            scores = [np.hstack([*frame[name], []]) for frame in (ours, theirs)]
            # One thread adds in another order than two.
            np.testing.assert_allclose(scores[0], scores[1], rtol=0, atol=1e-6)
        else:
            assert ours[name].map(_plain).tolist() == theirs[name].map(_plain).tolist(), name
    manifests = [json.loads((one / MANIFEST).read_text("utf-8")) for one in (local, spark)]
    for name in ("model", "model_fingerprint", "items_fingerprint", "k", "form", "counts"):
        assert manifests[0][name] == manifests[1][name], name
    assert [one["engine"] for one in manifests] == ["local", "spark"]


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    return None if pd.isna(value) else value


@needs_spark
class TestOnTwoCores:
    @pytest.fixture(scope="class")
    @staticmethod
    def session() -> Iterator[Any]:
        """Local Spark, which every call within the class finds to be active."""
        own = SparkOptions(master="local[2]", conf={"spark.driver.memory": "700m"})
        with spark_session(own) as started:
            yield started

    @pytest.mark.parametrize("kind", ["integer", "string"])
    @pytest.mark.parametrize(
        ("name", "form"),
        [
            ("rows", "long"),
            ("rows.csv", "list"),
            ("lists.parquet", "list"),
            ("lists.parquet", "long"),
        ],
    )
    def test_the_lists_are_those_of_the_local_engine(
        self, name: str, form: str, kind: str, place: Place, session: Any, tmp_path: Path
    ) -> None:
        histories = place.write(f"{kind}-{name}", kind)
        both(place, histories, kind, tmp_path, form=form)
        manifest = json.loads((tmp_path / "spark" / MANIFEST).read_text("utf-8"))
        assert manifest["spark_master"] == "local[2]"
        assert manifest["spark_version"] == session.version
        assert manifest["counts"]["users"] == N_USERS
        assert manifest["counts"]["without_history"] >= 1
        assert manifest["counts"]["short_lists"] >= 1
        assert manifest["counts"]["unknown_items"] >= 1
        # Nothing but the lists and what is said of them.
        names = [one.name for one in (tmp_path / "spark").iterdir() if one.name != MANIFEST]
        assert names
        assert all(name.startswith("part-") and name.endswith(".parquet") for name in names)
        assert sorted(one.name for one in tmp_path.iterdir()) == ["local", "spark"]

    @pytest.mark.parametrize("form", ["long", "list"])
    def test_ids_that_are_no_floats_come_back_as_they_are(
        self, form: str, place: Place, session: Any, tmp_path: Path
    ) -> None:
        histories = place.write("large-rows", "large")
        both(place, histories, "large", tmp_path, form=form)
        column = "item" if form == "long" else "items"
        shown = np.hstack([*pd.read_parquet(tmp_path / "spark")[column]])
        assert (shown >= 2**53).all()
        assert (shown % 2 == 1).any()

    def test_workers_come_of_a_daemon_that_has_the_libraries(self, session: Any) -> None:
        def told(_: int) -> tuple[int, list[str], bool, list[str]]:
            import gc
            import sys

            kept = [name for name in sys.modules if name.startswith("recsys_vae")]
            command = Path(f"/proc/{os.getppid()}/cmdline")
            words = command.read_text().split("\0") if command.exists() else []
            return gc.get_freeze_count(), words, "torch" in sys.modules, kept

        frozen, words, torch, kept = session.sparkContext.parallelize([0], 1).map(told).first()
        assert frozen > 10_000
        assert torch
        # The code of the model's own version is imported, not that of the daemon.
        assert kept == []
        assert not words or "recsys_vae.scoring.spark.daemon" in words

    def test_all_jobs_are_in_the_callers_group(
        self, place: Place, session: Any, tmp_path: Path
    ) -> None:
        context = session.sparkContext
        tracker = context.statusTracker()
        before = set(tracker.getJobIdsForGroup(None))
        context.setJobGroup("mine", "by the caller")
        try:
            both(place, place.write("integer-rows.csv", "integer"), "integer", tmp_path)
        finally:
            context.setLocalProperty("spark.jobGroup.id", None)
        assert len(tracker.getJobIdsForGroup("mine")) >= 3
        assert set(tracker.getJobIdsForGroup(None)) == before

    def test_ratings_as_text_are_checked_in_parquet_too(
        self, place: Place, session: Any, tmp_path: Path
    ) -> None:
        path = tmp_path / "text.parquet"
        frame = pd.DataFrame({"user": [1, 1], "item": [2, 3], "rating": ["5", "5f"]})
        frame.to_parquet(path)
        options = to_score(place, path, tmp_path / "out")
        with pytest.raises(InputError, match="a rating is no number"):
            score_on_spark(options)

    def test_a_failure_does_not_wait_for_what_goes_on_beside_it(self, session: Any) -> None:
        done, begin = Event(), time.monotonic()

        def wrong() -> None:
            with threads(session, 2) as ahead:
                ahead.begin(lambda: done.wait(60))
                assert ahead.begin(lambda: 7).result() == 7
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            wrong()
        assert time.monotonic() - begin < 30
        done.set()

    def test_the_spread_of_the_rows_changes_no_list(
        self, place: Place, session: Any, tmp_path: Path
    ) -> None:
        histories = place.write("integer-rows", "integer")
        options = both(place, histories, "integer", tmp_path)
        for tasks, size in (("1", 1_000), ("11", 3)):
            conf = {**_CONF, "spark.sql.shuffle.partitions": tasks}
            other = replace(
                options,
                out=str(tmp_path / tasks),
                spark=SparkOptions(conf=conf, users_per_block=size),
            )
            score_on_spark(other)
            compare(tmp_path / "local", tmp_path / tasks)

    def test_rules_for_items_reach_the_workers(
        self, place: Place, session: Any, tmp_path: Path
    ) -> None:
        histories = place.write("string-rows", "string")
        names = sorted(set(rows("string")["item"]))[:20]
        both(
            place, histories, "string", tmp_path,
            allow=tuple(names), block=(names[3], names[5]), mask_seen=False,
        )  # fmt: skip
        shown = set(pd.read_parquet(tmp_path / "spark")["item"])
        assert shown == set(names) - {names[3], names[5]}

    def test_what_was_rated_low_may_be_recommended_if_so_asked(
        self, place: Place, session: Any, tmp_path: Path
    ) -> None:
        histories = place.write("integer-rows", "integer")
        frame = rows("integer").query("not (rating > 2.5)")
        for asked in (True, False):
            both(place, histories, "integer", tmp_path / str(asked), mask_rated=asked)
            lists = pd.read_parquet(tmp_path / str(asked) / "spark")
            found = lists.merge(frame, on=["user", "item"])
            liked = rows("integer").query("rating > 2.5")[["user", "item"]].drop_duplicates()
            found = found.merge(liked, on=["user", "item"], how="left", indicator=True)
            assert (found["_merge"] == "left_only").any() is np.bool_(not asked)

    def test_a_result_takes_the_place_of_the_one_before(
        self, place: Place, session: Any, tmp_path: Path
    ) -> None:
        histories = place.write("integer-rows", "integer")
        options = both(place, histories, "integer", tmp_path)
        fewer = replace(options, k=2, out=(tmp_path / "spark").as_uri())
        score_on_spark(fewer)
        assert pd.read_parquet(tmp_path / "spark")["rank"].max() == 2
        (tmp_path / "spark" / "mine.txt").write_text("mine")
        with pytest.raises(InputError, match=r"holds 'mine\.txt'"):
            score_on_spark(fewer)
        assert session.conf.get("spark.sql.execution.arrow.maxRecordsPerBatch") == "10000"

    @pytest.mark.parametrize(
        ("text", "sentence"),
        [
            ("user,item\n1,\n", "an item id is missing .user 1.: correct the row"),
            ("user,item\n1,2\n ,2\n", "a user id is missing: correct the row"),
            ("user,item,rating\n1,2,much\n", "a rating is no number"),
            ("user,item\n1,2\n1,2,3\n", "bad.csv cannot be read by Spark .*: correct the row"),
            ("user,item\n", "there is no user to score"),
            ("user,item\n1,no\n2,nor this\n", "the model knows none of the 2 items in the 2"),
            ("a,b\nx,y\n", "has no user column that could be recognised"),
            ("1 2\n2 3 4\n3 4\n", "holds adjacency text, which --engine spark does not read"),
        ],
    )
    def test_what_cannot_be_used_is_told_in_a_sentence(
        self, text: str, sentence: str, place: Place, session: Any, tmp_path: Path
    ) -> None:
        path = tmp_path / "bad.csv"
        path.write_text(text)
        options = to_score(place, path, tmp_path / "out")
        with pytest.raises(InputError, match=sentence):
            score_on_spark(options)
        assert [one.name for one in tmp_path.iterdir()] == ["bad.csv"]

    def test_a_file_that_is_not_there_and_other_options_are_refused(
        self, place: Place, session: Any, tmp_path: Path
    ) -> None:
        options = to_score(place, tmp_path / "none.csv", tmp_path / "out")
        there = str(place.write("integer-rows", "integer"))
        for changed, sentence in (
            ({}, "none.csv does not exist where Spark looks"),
            ({"k": 1_000}, "k = 1000 is out of range"),
            ({"block": ("none such",)}, "--block: .*unknown"),
            ({"histories": "nosuch://host/x"}, "cannot be used by Spark .*nosuch"),
            ({"spark": replace(SPARK, master="yarn")}, "a session on local.2. is active"),
            (
                {"spark": replace(SPARK, conf={"spark.executor.memory": "3g"})},
                "spark.executor.memory cannot be set in the session",
            ),
            ({"reading": ReadOptions(format="jsonl"), "histories": there}, "use --engine local"),
            (
                {"reading": ReadOptions(columns=ColumnNames(user="who")), "histories": there},
                "has no column 'who'",
            ),
        ):
            with pytest.raises(InputError, match=sentence):
                score_on_spark(replace(options, **changed))
        assert not any(tmp_path.iterdir())


@needs_spark
@needs_groups
def test_a_cluster_of_two_workers_makes_the_same_lists(place: Place, tmp_path: Path) -> None:
    histories = place.write("string-rows", "string")
    common = ["--model", str(place.folder / "model-string"), "--histories", str(histories)]
    local = ScoreOptions(
        model=common[1], histories=histories, out=tmp_path / "local", k=K, unsorted=True
    )
    score(local)
    settings = {
        **_CONF,
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.memory": "700m",
        "spark.executor.memory": "512m",
    }
    conf = [word for one in settings.items() for word in ("--spark-conf", "=".join(one))]
    with standalone_cluster(tmp_path) as cluster:
        done = subprocess.run(
            [
                sys.executable, "-m", "recsys_vae", "score", *common, "--k", str(K),
                "--engine", "spark", "--spark-master", cluster.master, *conf,
                "--out", str(tmp_path / "spark"),
            ],
            capture_output=True,
            text=True,
            timeout=300,
            env={**os.environ, "SPARK_LOCAL_IP": "127.0.0.1"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert f"{N_USERS} users" in done.stdout
        # Both have run a part of it.
        ran = [sorted(folder.glob("app-*/*/stderr")) for folder in cluster.folders]
        assert all(ran), ran
    compare(tmp_path / "local", tmp_path / "spark")
    manifest = json.loads((tmp_path / "spark" / MANIFEST).read_text("utf-8"))
    assert manifest["spark_master"] == cluster.master
