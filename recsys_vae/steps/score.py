"""score: lists for every user of a history file, into Parquet."""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from recsys_vae.errors import InputError
from recsys_vae.files import read_json
from recsys_vae.ingest.pieces import pieces_of
from recsys_vae.ingest.readers import PassedOver, pass_over, read_interactions
from recsys_vae.ingest.reading import ReadOptions
from recsys_vae.interactions import IdMap, load_interactions
from recsys_vae.interactions.store import MANIFEST as INTERACTIONS_MANIFEST
from recsys_vae.interactions.store import REMEDY, file_sum, low_ratings_beside, stored_or
from recsys_vae.scoring.batch import Result, ScoreCounts, score_users
from recsys_vae.scoring.changes import Before
from recsys_vae.scoring.histories import HistoryBlock, HistorySource, stored_blocks
from recsys_vae.scoring.list_form import ListRows, damaged_histories
from recsys_vae.scoring.tables import Form
from recsys_vae.scoring.workplace import MANIFEST, Workplace, check_no_result, check_out
from recsys_vae.steps.lists import ListOptions, list_maker
from recsys_vae.tracking.runs import step_run
from recsys_vae.training.host import prepare_host


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreOptions:
    """What to score, with what, and where to.

    Attributes:
        model: folder or MLflow URI.
        histories: a file in long form (any that ingestion reads) or in list form (Parquet), a
            folder of such files, or stored interactions.
        out: the folder to write.
        k: list length.
        form: "long", a row a user and rank, or "list", a row a user.
        lists: how lists are made.
        reading: what the files do not say about themselves.
        unsorted: whether the file's rows are not grouped by user and must be sorted in memory.
        users_per_block: users scored at once; it does not change the lists.
        users_per_part: users of a file.
        skip_damaged: whether files of a folder of histories that cannot be read are left out, and
            told of; each is read twice then.
        since: an earlier result of the same model and options; only users whose history is
            another than there are scored.
    """

    model: str
    histories: Path
    out: Path
    k: int = 100
    form: Form = "long"
    lists: ListOptions = ListOptions()
    reading: ReadOptions = ReadOptions()
    unsorted: bool = False
    users_per_block: int = 2_048
    users_per_part: int = 100_000
    skip_damaged: bool = False
    since: Path | None = None


@dataclass(frozen=True, slots=True)
class Scored:
    """What was done.

    Attributes:
        counts: of the users that were scored.
        unchanged: users left out because their history is what it was; None: nobody was asked.
        gone: users of the earlier result who have no history now; None likewise.
        unknown: ids and labels of the rules that the model does not know, counted by rule.
        damaged: what is wrong with files that were left out.
        passed_over: rows that are no interactions; None: any would have been refused.
    """

    counts: ScoreCounts
    unchanged: int | None
    gone: int | None
    unknown: dict[str, int]
    damaged: list[str]
    passed_over: PassedOver | None


def score(options: ScoreOptions, say: Callable[[str], None] = lambda _line: None) -> Scored:
    """Score every user of a file.

    Killed, it goes on where it was when it is called again with the same options.

    Args:
        options: what to do.
        say: is told of every part, where no progress bar is shown.

    Returns:
        What was counted; the lists and the manifest are in `options.out`.

    Raises:
        InputError: model, histories or options are unusable; complete parts stay.
    """
    check_out(options.out, options.histories)
    if options.since is not None and options.since.resolve() == options.out.resolve():
        raise InputError(
            f"--since and --out are both {options.out}, and the lists of all others would be lost: "
            "give another --out"
        )
    options = replace(options, histories=stored_or(options.histories))
    with step_run("score") as run:
        made = list_maker(options.model, _same_moment(options), options.reading)
        settings = made.settings
        damaged = (
            damaged_histories(options.histories, options.reading) if options.skip_damaged else {}
        )
        if damaged:
            leave_out = frozenset(damaged)
            options = replace(options, reading=replace(options.reading, leave_out=leave_out))
        passed_over = _passed_over(options)
        before = (
            None
            if options.since is None
            else _before(options.since, {**settings, "k": options.k, "form": options.form})
        )
        identity = {
            **settings,
            "histories": _fingerprint(options),
            "reading": _read_as(options.reading),
            "unsorted": options.unsorted,
            "since": None if options.since is None else file_sum(options.since / MANIFEST),
            "users_per_block": options.users_per_block,
        }
        result = Result(
            out=options.out,
            k=options.k,
            form=options.form,
            users_per_part=options.users_per_part,
            identity=identity,
            manifest={
                "engine": "local",
                "model_uri": options.model,
                "histories_path": str(options.histories),
                "since_path": None if options.since is None else str(options.since),
                "damaged": {path.name: why for path, why in damaged.items()},
                "passed_over": {} if passed_over is None else dict(passed_over.reasons),
                **identity,
            },
            progress=True,
            say=say,
            at_end=None if before is None else before.carry_forward,
        )
        prepare_host()
        with _blocks(options, made.model.items, made.threshold) as blocks:
            if before is not None:
                blocks = before.changed(blocks, options.users_per_block)
            counts = score_users(
                made.model, blocks, result, made.making, may_be_empty=before is not None
            )
        run.params("score", {"model": options.model, "k": options.k})
        run.metrics({"users": counts.users, "rows": counts.rows})
        if counts.recall.mean is not None:
            run.metrics({"approximate_recall": counts.recall.mean})
        run.artifact(options.out / MANIFEST)
        unchanged, gone = (None, None) if before is None else (before.unchanged, before.gone)
        return Scored(counts, unchanged, gone, made.unknown, list(damaged.values()), passed_over)


def _same_moment(options: ScoreOptions) -> ListOptions:
    """Judge availability as of when an unfinished run judged it, if there is one to go on with."""
    begun = Workplace.begun(options.out).get("at")
    if options.lists.rules is None or options.lists.at is not None or not begun:
        return options.lists
    return replace(options.lists, at=datetime.fromisoformat(begun))


def _before(since: Path, settings: dict[str, Any]) -> Before:
    # What is available changes from run to run; the lists of others are then of another day.
    settings = {name: value for name, value in settings.items() if name != "at"}
    remedy = "give the folder of a complete result, or leave out --since to score everybody"
    manifest = read_json(since / MANIFEST, what="a result of scoring", remedy=remedy)
    if manifest.get("engine") == "spark":
        raise InputError(
            f"{since} was made by --engine spark, which does not note whose histories they were: "
            "give a result of --engine local, or leave out --since to score everybody"
        )
    other = next(
        (name for name in settings if name not in manifest or manifest[name] != settings[name]),
        None,
    )
    if other is not None:
        raise InputError(
            f"{since} was made with different {other}, so that everybody's list may have changed: "
            "leave out --since"
        )
    return Before.read(since)


def _fingerprint(options: ScoreOptions) -> str:
    """Give what tells these histories from others: names, sizes and times of change of the files.

    Their content would take as long to read as to score.
    """
    stored = options.histories / INTERACTIONS_MANIFEST
    if stored.is_file():
        # Loading them, a little later, checks that this is true.
        beside = _low_ratings(options)
        folders = [options.histories, *([] if beside is None else [beside])]
        found = [
            read_json(one / INTERACTIONS_MANIFEST, what="a folder of interactions", remedy=REMEDY)
            for one in folders
        ]
        return "+".join(str(one.get("fingerprint")) for one in found)
    reading = options.reading
    pieces = pieces_of(options.histories, reading.format, leave_out=reading.leave_out)
    files = sorted({piece.path for piece in pieces})
    stats = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return hashlib.sha256(json.dumps(stats).encode()).hexdigest()


def _low_ratings(options: ScoreOptions) -> Path | None:
    return low_ratings_beside(options.histories) if options.lists.mask_rated else None


def _passed_over(options: ScoreOptions) -> PassedOver | None:
    """Count rows that are no interactions, where they are allowed; refuse too many of them."""
    stored = (options.histories / INTERACTIONS_MANIFEST).is_file()
    if stored or not options.reading.max_rejected:
        return None
    if ListRows.of(options.histories, options.reading) is not None:
        return None
    return pass_over(options.histories, options.reading)


def _read_as(reading: ReadOptions) -> dict[str, Any]:
    """Write down how the histories are read."""
    found = asdict(reading)
    if not reading.max_rejected:
        del found["max_rejected"]  # as it was written before there was such a thing
    found["leave_out"] = sorted(path.name for path in reading.leave_out)
    return found


@contextmanager
def _blocks(
    options: ScoreOptions, items: IdMap, threshold: float | None
) -> Iterator[Iterator[HistoryBlock]]:
    """Open the histories: stored interactions, a grouped file, or one to be grouped first."""
    size = options.users_per_block
    check_no_result(str(options.histories), (options.histories / MANIFEST).is_file())
    if (options.histories / INTERACTIONS_MANIFEST).is_file():
        beside = _low_ratings(options)
        yield stored_blocks(
            load_interactions(options.histories),
            items,
            low=None if beside is None else load_interactions(beside),
            users_per_block=size,
        )
        return
    source = HistorySource(
        path=options.histories,
        reading=options.reading,
        threshold=threshold,
        rated=options.lists.mask_rated,
        users_per_block=size,
    )
    if not options.unsorted:
        yield source.blocks(items)
        return
    frame = read_interactions(options.histories, options.reading)
    frame = frame.sort_values("user", kind="stable")
    frame = frame[[name for name in ("user", "item", "rating") if name in frame.columns]]
    with TemporaryDirectory() as scratch:
        grouped = Path(scratch) / "grouped.parquet"
        pa.parquet.write_table(pa.Table.from_pandas(frame, preserve_index=False), grouped)
        yield replace(source, path=grouped, reading=ReadOptions()).blocks(items)
