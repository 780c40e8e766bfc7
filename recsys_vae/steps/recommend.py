"""recommend: lists for named users, to read or to hand on."""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet

from recsys_vae.errors import InputError
from recsys_vae.files import atomic_file
from recsys_vae.ingest.catalogue import Catalogue, read_catalogue
from recsys_vae.ingest.readers import PassedOver, pass_over, read_interactions
from recsys_vae.ingest.reading import ReadOptions
from recsys_vae.interactions import IdArray, IdMap, Interactions, load_interactions
from recsys_vae.interactions.store import MANIFEST, low_ratings_beside, stored_or
from recsys_vae.ranking.approximation import Recall
from recsys_vae.ranking.rule_file import read_rules
from recsys_vae.scoring.histories import stored_blocks
from recsys_vae.scoring.tables import long_table
from recsys_vae.steps.lists import ListOptions, list_maker
from recsys_vae.tracking.runs import step_run


@dataclass(frozen=True, slots=True, kw_only=True)
class RecommendOptions:
    """For whom, from what, and how many.

    Attributes:
        model: folder or MLflow URI.
        histories: a long file (CSV, TSV, Parquet) or a folder of stored interactions.
        users: ids to recommend for; empty: the first `first` users of the histories.
        first: how many users where none are named.
        k: list length.
        lists: how lists are made; its file of items also has the titles.
        reading: what the files do not say about themselves.
        low_ratings: stored interactions with what users rated low; None: those beside stored
            histories, and those in a file of histories.
        out: file to write, `.csv`, `.parquet` or `.jsonl`; None: screen only.
    """

    model: str
    histories: Path
    users: tuple[str, ...] = ()
    first: int = 3
    k: int = 10
    lists: ListOptions = ListOptions()
    reading: ReadOptions = ReadOptions()
    low_ratings: Path | None = None
    out: Path | None = None


@dataclass(frozen=True, slots=True)
class Recommended:
    """Lists and what they were made from.

    Attributes:
        frame: columns user, rank, item, score and, where titles are known, title and genres.
        histories: titles of what each user took, by user id.
        genres: genres of the same items, empty where none are known.
        short: users whose list is shorter than k.
        unknown: interactions of these users whose item the model does not know.
        relaxed: by rule, users for whom it could not be kept.
        recall: how much of the exact lists approximate ones hold, for the first of these users;
            None: lists are exact.
        passed_over: rows of the histories that are no interactions; None: any would have been
            refused.
    """

    frame: pd.DataFrame
    histories: dict[Any, list[str]]
    genres: dict[Any, list[str]]
    short: list[Any]
    unknown: int
    relaxed: dict[str, int]
    recall: Recall | None
    passed_over: PassedOver | None


def recommend(options: RecommendOptions) -> Recommended:
    """Make lists for named users.

    Returns:
        The lists with titles; also in `options.out` and in the MLflow run.

    Raises:
        InputError: a user is unknown, or model, histories or options are unusable.
    """
    if options.out is not None and options.out.suffix not in _WRITERS:
        raise InputError(
            f"--out {options.out} has the unknown suffix '{options.out.suffix}': "
            f"choose {', '.join(_WRITERS)}"
        )
    for given in (options.histories, options.lists.items):
        if options.out is not None and given is not None and same_file(options.out, given):
            raise InputError(f"--out {options.out} is also an input: choose another --out")
    rules = options.lists.rules
    if options.out is not None and rules is not None:
        for table in read_rules(rules).tables.values():
            if same_file(options.out, table.path):
                raise InputError(f"--out {options.out} is read by {rules}: choose another --out")
    options = replace(options, histories=stored_or(options.histories))
    with step_run("recommend") as run:
        made = list_maker(options.model, options.lists, options.reading)
        model, threshold = made.model, made.threshold
        passed_over = _passed_over(options)
        known, low = _histories(options, threshold)
        rows = _chosen(known.users, options)
        catalogue = Catalogue.empty()
        if options.lists.items is not None:
            catalogue = read_catalogue(options.lists.items, options.reading)
        ranker, relaxed = made.ranker(options.k), Counter[str]()
        tables, short, unknown = list[pa.Table](), list[Any](), 0
        recall: Recall | None = None
        asked = known.rows(rows)
        for block in stored_blocks(asked, model.items, low=low):
            unknown += block.unknown
            one = ranker.make(block.users, block.given, block.seen, compared=not tables)
            recall = recall or one.recall
            lists = one.lists
            relaxed += Counter(one.relaxed)
            tables.append(long_table(block.users, lists, model.items, one.because))
            short += block.users[lists.short].tolist()
        if unknown and unknown == len(asked):
            raise InputError(
                f"{options.histories}: the model knows none of these users' {unknown} items: give "
                "histories of the data that it was trained on"
            )
        frame = pa.concat_tables(tables).to_pandas()
        if len(catalogue.frame):
            frame["title"] = pd.Series(catalogue.titles(frame["item"]), frame.index, object)
            frame["genres"] = pd.Series(catalogue.genres(frame["item"]), frame.index, object)
        if "because" in frame:
            frame["because"] = [_reasons(some, catalogue) for some in frame["because"]]
        if options.out is not None:
            with atomic_file(options.out) as temporary:
                _WRITERS[options.out.suffix](frame, temporary)
        run.params("recommend", {"model": options.model, "k": options.k, "users": len(rows)})
        run.table(frame.astype({"user": str, "item": str}), "lists.json")
        users = known.users.ids(rows).tolist()
        taken = [known.items.ids(known.matrix[[row]].indices) for row in rows]
        titles = {user: catalogue.titles(ids) for user, ids in zip(users, taken, strict=True)}
        genres = {user: catalogue.genres(ids) for user, ids in zip(users, taken, strict=True)}
        return Recommended(
            frame, titles, genres, short, unknown, dict(relaxed), recall, passed_over
        )


def _reasons(some: Any, catalogue: Catalogue) -> str:
    titles = catalogue.titles([one["item"] for one in some])
    return ", ".join(
        f"{title} ({one['share']:.0%})" for title, one in zip(titles, some, strict=True)
    )


def same_file(one: Path, other: Path) -> bool:
    """Say whether two paths are the same existing file."""
    return one.exists() and other.exists() and one.samefile(other)


def _passed_over(options: RecommendOptions) -> PassedOver | None:
    """Count rows that are no interactions, where they are allowed; refuse too many of them."""
    if (options.histories / MANIFEST).is_file() or not options.reading.max_rejected:
        return None
    return pass_over(options.histories, options.reading)


def _histories(
    options: RecommendOptions, threshold: float | None
) -> tuple[Interactions, Interactions | None]:
    """Give what the users took, and what they rated low where lists leave it out."""
    path, masked = options.histories, options.lists.mask_rated
    if (path / MANIFEST).is_file():
        beside = options.low_ratings or low_ratings_beside(path)
        low = load_interactions(beside) if masked and beside is not None else None
        return load_interactions(path), low
    frame = read_interactions(path, options.reading)
    if threshold is None or "rating" not in frame.columns:
        return Interactions.from_frame(frame[["user", "item"]]), None
    liked_rows = (frame["rating"] > threshold) & (frame["rating"] < np.inf)
    # Of a pair that is there twice, the larger value counts.
    frame = frame.assign(value=liked_rows.astype(np.float32))
    rated = Interactions.from_frame(frame[["user", "item", "value"]])
    liked = rated.matrix.data > 0
    return rated.where(liked), rated.where(~liked) if masked else None


def _chosen(users: IdMap, options: RecommendOptions) -> Any:
    if not options.users:
        return np.arange(min(options.first, len(users)))
    asked: IdArray = np.asarray(options.users, dtype=object)
    numbers = users.numbers(asked, missing="mark")
    if (numbers < 0).any():
        raise InputError(
            f"--users {asked[int(np.argmax(numbers < 0))]}: {options.histories} has no such user: "
            "check the id, or give the file that holds the user's history"
        )
    return np.unique(numbers)


def _write_parquet(frame: pd.DataFrame, path: Path) -> None:
    pa.parquet.write_table(pa.Table.from_pandas(frame, preserve_index=False), path)


_WRITERS: Any = {
    ".csv": lambda frame, path: frame.to_csv(path, index=False),
    ".parquet": _write_parquet,
    ".jsonl": lambda frame, path: frame.to_json(
        path, orient="records", lines=True, force_ascii=False
    ),
}
