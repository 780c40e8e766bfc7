"""score --engine spark: lists for every user, made by the workers of a Spark cluster."""

import json
import time
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from recsys_vae import __version__
from recsys_vae.errors import InputError
from recsys_vae.ingest.reading import ReadOptions
from recsys_vae.interactions.store import MANIFEST as INTERACTIONS_MANIFEST
from recsys_vae.models.zoo import load_model, model_fingerprint, trained_threshold
from recsys_vae.ranking import ItemRules
from recsys_vae.ranking.topn import check_length
from recsys_vae.scoring.batch import ScoreCounts
from recsys_vae.scoring.spark.ahead import threads, waker
from recsys_vae.scoring.spark.histories import SparkHistories
from recsys_vae.scoring.spark.lists import write_lists
from recsys_vae.scoring.spark.session import (
    SparkOptions,
    scoring_settings,
    spark_session,
    told_by_spark,
)
from recsys_vae.scoring.spark.storage import Storage, fingerprint
from recsys_vae.scoring.tables import Form
from recsys_vae.scoring.workplace import CONTENTS, MANIFEST, check_no_result
from recsys_vae.tracking.registry import model_folder
from recsys_vae.tracking.runs import step_run
from recsys_vae.tracking.spark_model import spark_answers


@dataclass(frozen=True, slots=True, kw_only=True)
class SparkScoreOptions:
    """What to score, with what, where to, and on which Spark.

    Attributes:
        model: folder or MLflow URI.
        histories: path or URI of Parquet or delimited text, a file or a folder, as Spark sees it.
        out: path or URI of the folder to write.
        k: list length.
        form: "long", a row a user and rank, or "list", a row a user.
        allow: only these items; empty: all.
        block: not these items.
        mask_seen: whether items of the history are left out.
        mask_rated: whether items whose rating is not above the threshold are left out, too, where
            those of the history are.
        reading: what the files do not say about themselves.
        spark: which session.
    """

    model: str
    histories: str
    out: str
    k: int = 100
    form: Form = "long"
    allow: tuple[str, ...] = ()
    block: tuple[str, ...] = ()
    mask_seen: bool = True
    mask_rated: bool = True
    reading: ReadOptions = ReadOptions()
    spark: SparkOptions = field(default_factory=SparkOptions)


def score_on_spark(options: SparkScoreOptions) -> ScoreCounts:
    """Score every user on Spark; the lists are those of `score`.

    Args:
        options: what to do.

    Returns:
        What was counted; the lists and the manifest are in `options.out`.

    Raises:
        InputError: model, histories, options or Spark are unusable; nothing is left behind.
    """
    folder = model_folder(options.model)
    model = load_model(folder)
    check_length(options.k, len(model.items))
    # Here, not on a worker: an unknown item is told at once.
    chosen = {"allowed": list(options.allow), "blocked": list(options.block)}
    ItemRules.of(model.items, **chosen, mask_seen=options.mask_seen)
    threshold = trained_threshold(folder)
    with step_run("score") as run, spark_session(options.spark) as session:
        out = Storage.of(session, options.out)
        out.check_replaceable(CONTENTS, proof=MANIFEST)
        histories = SparkHistories.of(
            session,
            options.histories,
            options.reading,
            threshold,
            rated=options.mask_seen and options.mask_rated,
        )
        if histories.storage.holds(INTERACTIONS_MANIFEST):
            raise InputError(
                f"{options.histories} holds stored interactions, which --engine spark does not "
                "read: make a file of them with 'recsys-vae export', or use --engine local"
            )
        check_no_result(options.histories, histories.storage.holds(MANIFEST))
        started = time.perf_counter()
        settings: dict[str, Any] = {
            "k": options.k,
            "mask_seen": options.mask_seen,
            "allow": list(options.allow),
            "block": list(options.block),
        }
        size = sum(one.size for one in histories.files)
        with (
            scoring_settings(session, options.spark, size),
            threads(session, 2) as ahead,
            told_by_spark(options.histories),
        ):
            # Three things that do not need each other: workers, the query and the packed model.
            ahead.begin(waker(session))
            grouped = ahead.begin(partial(histories.by_user, model.items.kind))
            with (
                spark_answers(session, model, folder, settings) as answer,
                out.made_new(CONTENTS) as fresh,
            ):
                counts = write_lists(
                    grouped.result(),
                    answer,
                    fresh.path,
                    k=options.k,
                    form=options.form,
                )
                seconds = time.perf_counter() - started
                manifest = {
                    "version": __version__,
                    "engine": "spark",
                    "spark_version": session.version,
                    "spark_master": session.conf.get("spark.master", None),
                    "model": model.name,
                    "items_fingerprint": model.items.fingerprint,
                    "form": options.form,
                    "parts": len(fresh.files()),
                    "model_uri": options.model,
                    "histories_path": options.histories,
                    "model_fingerprint": model_fingerprint(folder),
                    "threshold": threshold,
                    "mask_rated": options.mask_rated,
                    **settings,
                    "histories": fingerprint(histories.files),
                    "counts": asdict(counts),
                    "seconds": round(seconds, 3),
                    "users_per_second": round(counts.users / seconds, 1),
                }
                fresh.write_json(MANIFEST, manifest)
        run.params("score", {"model": options.model, "k": options.k, "engine": "spark"})
        run.metrics({"users": counts.users, "rows": counts.rows})
        with TemporaryDirectory() as scratch:
            copy = Path(scratch) / MANIFEST
            copy.write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", "utf-8")
            run.artifact(copy)
        return counts
