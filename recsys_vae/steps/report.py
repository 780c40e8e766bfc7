"""report: what a run brought, as one HTML page."""

from pathlib import Path
from typing import Any, Final

import pandas as pd

from recsys_vae import __version__
from recsys_vae.errors import InputError, reason
from recsys_vae.evaluation.comparison import MARKS, Comparison, compare
from recsys_vae.evaluation.measures import metric_label
from recsys_vae.files import read_json
from recsys_vae.reports.page import Picture, Section, Table, write_page
from recsys_vae.steps.file_out import check_file_out
from recsys_vae.steps.ingest import REPORT as INGEST_REPORT
from recsys_vae.steps.judged import MANIFEST, PLOTS, first_choice, read_entries
from recsys_vae.tracking.evaluations import evaluation_folders
from recsys_vae.tracking.runs import step_run

SUFFIXES: Final = (".html", ".htm")
_ARTIFACT: Final = "report"
_SAYS: Final = (
    "models with 95 % intervals, metric by metric",
    "the first metric by how much is known of the users",
    "how much of the lists goes to which share of the items",
)
_METRICS_SHOWN: Final = 6


def write_report(*, run: str, out: Path) -> None:
    """Write a page of data, models with intervals and tests, pictures and examples of lists.

    Args:
        run: a folder that `main` or `evaluate` wrote, or an MLflow run of either.
        out: the HTML file.

    Raises:
        InputError: there is no such run, it evaluated nothing, or it is damaged.
    """
    check_file_out(out, SUFFIXES)
    whole = Path(run)
    own = (whole / "evaluation" / MANIFEST).is_file()
    folders = [whole / "evaluation"] if own else evaluation_folders(run)
    with step_run("report") as tracked:
        entries = read_entries([(run, folder) for folder in folders])
        comparison = compare(entries, first_choice(entries))
        sections = [*_data(whole), _models(comparison), *_pictures(folders), *_lists(whole)]
        manifest = read_json(
            folders[0] / MANIFEST, what="an evaluation", remedy="make it with 'recsys-vae evaluate'"
        )
        footer = (
            f"recsys-vae {__version__}; made from {run}; judged on held-out interactions "
            f"{str(manifest.get('held_out'))[:16]}"
        )
        write_page(f"Recommendations: {whole.name or run}", sections, footer, out)
        tracked.params("report", {"run": run})
        tracked.artifact(out, _ARTIFACT)


def _data(folder: Path) -> list[Section]:
    """Say what became of the rows, where `main` left it."""
    if not (folder / "data" / INGEST_REPORT).is_file():
        return []
    path = folder / "data" / INGEST_REPORT
    found = read_json(path, what="ingested data", remedy="make it with 'recsys-vae ingest'")
    try:
        rows = [
            [one["name"], *(f"{one[key]:,}" for key in ("rows_in", "rows_out", "users", "items"))]
            for one in found["steps"]
        ]
        warnings = [[one["sentence"]] for one in found["warnings"]]
        source, threshold = found["source"], found["threshold"]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is damaged ({reason(error)}): ingest the data again") from error
    tables = [Table(heads=("step", "rows in", "rows out", "users", "items"), rows=rows)]
    if warnings:
        tables.append(Table(heads=("what may not be meant",), rows=warnings))
    text = f"Read from {source}; ratings above {threshold} count as liking."
    return [Section(title="Data", text=text, tables=tables)]


def _models(comparison: Comparison) -> Section:
    board = comparison.leaderboard
    names = [comparison.primary, *(m for m in board["metric"].unique() if m != comparison.primary)]
    shown = names[:_METRICS_SHOWN]
    table = comparison.table(shown)
    marks = ", ".join(f"{stars} p < {bound:g}" for bound, stars in reversed(MARKS))
    tables = [
        Table(
            heads=["model", *map(metric_label, shown)],
            rows=table.to_numpy().tolist(),
            note="Means over the same users with 95 % bootstrap intervals. Behind the best: "
            f"{marks} (paired randomisation test, Holm's correction for the number of models).",
        )
    ]
    own = comparison.against_best()
    bests = board[(board["metric"] == comparison.primary) & board["best"]]["model"]
    if len(own) and len(bests):
        rows = [
            [
                row["model"],
                f"{row['difference']:+.4f} "
                f"[{row['difference_low']:+.4f}, {row['difference_high']:+.4f}]",
                f"{row['wins']:,.0f} / {row['losses']:,.0f}",
                f"{row['p_holm']:.4f}",
            ]
            for _, row in own.iterrows()
        ]
        title = f"{metric_label(comparison.primary)} against {bests.iloc[0]}"
        heads = ("model", "difference", "users better / worse", "p")
        tables.append(Table(title=title, heads=heads, rows=rows))
    label, users = metric_label(comparison.primary), int(board["users"].max())
    text = f"{bests.iloc[0]} has the best {label}" if len(bests) else f"no model has a {label}"
    # Measures of all lists together have no users of their own.
    text += f"; {users:,} users were judged." if users or not len(bests) else "."
    return Section(title="Models", text=text, tables=tables)


def _pictures(folders: list[Path]) -> list[Section]:
    found = [
        Picture(path=folder / name, says=says)
        for folder in folders
        for name, says in zip(PLOTS, _SAYS, strict=True)
        if (folder / name).is_file()
    ]
    return [Section(title="Pictures", pictures=found)] if found else []


def _lists(folder: Path) -> list[Section]:
    path = folder / "lists" / "examples.csv"
    if not path.is_file():
        return []
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
        groups = [(str(user), rows) for user, rows in frame.groupby("user", sort=False)]
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"{path} is damaged ({reason(error)}): recommend again") from error
    tables = []
    for user, rows in groups:
        own: Any = rows.drop(columns="user")
        cells = own.to_numpy().tolist()
        tables.append(Table(title=f"user {user}", heads=list(own.columns), rows=cells))
    return [Section(title="Examples of lists", tables=tables)]
