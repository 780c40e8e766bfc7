"""What a person reads at the end of a step."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from recsys_vae.ingest.counts import Counts
from recsys_vae.ingest.drift import Drift
from recsys_vae.ingest.profile import Profile
from recsys_vae.ingest.quarantine import QUARANTINE
from recsys_vae.steps.evaluate import Judged
from recsys_vae.steps.ingest import Ingested
from recsys_vae.steps.main import Outcome
from recsys_vae.steps.profile import Profiled
from recsys_vae.steps.recommend import Recommended
from recsys_vae.tracking.runs import tracking_uri

_TITLES_SHOWN = 4


def metric_label(name: str) -> str:
    """Write a metric as papers do.

    >>> metric_label("ndcg@100"), metric_label("recall@20")
    ('NDCG@100', 'Recall@20')
    """
    metric, at, k = name.partition("@")
    return ("NDCG" if metric == "ndcg" else metric.capitalize()) + at + k


def leaderboard(judged: Sequence[Judged], seconds: dict[str, float] | None = None) -> str:
    """Give the table of models: means, 95 % intervals and seconds of fitting."""
    rows = []
    for one in judged:
        row = {"model": one.model}
        row |= {metric_label(name): str(value) for name, value in one.estimates.items()}
        if seconds is not None:
            row["seconds"] = f"{seconds[one.model]:.1f}"
        rows.append(row)
    return pd.DataFrame(rows).to_string(index=False)


def account(ingested: Ingested) -> str:
    """Give the account of the rows, step by step, and what is worth knowing."""
    steps = pd.DataFrame(ingested.account.report())
    named = steps.rename(columns={"rows_in": "rows in", "rows_out": "rows out"})
    lines = [named.to_string(index=False, justify="left")]
    rejected = ingested.account.rejected
    if rejected:
        reasons = ", ".join(f"{count:,} because {why}" for why, count in sorted(rejected.items()))
        lines.append(f"set aside in {ingested.folder / QUARANTINE}: {reasons}")
    lines += [f"note: {one.sentence}" for one in ingested.warnings]
    return "\n".join(lines)


def profiled(done: Profiled) -> str:
    """Give what the data are like, how they have drifted, and what is probably not meant."""
    one = done.profile
    blocks = [
        f"{one.users:,} users, {one.items:,} items, {one.interactions:,} interactions, "
        f"density {one.density:.3%}{_span(one)}",
        _counts_table({"items per user": one.activity, "users per item": one.popularity}),
    ]
    if done.drift is not None:
        blocks.append(f"Drift: {done.drift.verdict}\n{_drift_table(done.drift)}")
    blocks += [f"warning: {warning.sentence}" for warning in done.warnings]
    return "\n\n".join(blocks)


def _span(profile: Profile) -> str:
    if profile.timeline is None:
        return ""
    edges = profile.timeline.edges()
    return f", {edges[0]} to {edges[-1] - 1}"


def _counts_table(counts: dict[str, Counts]) -> str:
    rows = [
        {
            "": name,
            "mean": f"{one.mean:,.1f}",
            **{level: f"{value:,.0f}" for level, value in one.quantiles.items()},
            "only 1": f"{one.one:,}",
            "Gini": f"{one.gini:.2f}",
            "top 20% hold": f"{one.held_by(0.2):.0%}",
        }
        for name, one in counts.items()
    ]
    return pd.DataFrame(rows).to_string(index=False)


def _drift_table(drift: Drift) -> str:
    rows = [
        {
            "measure": one.name,
            "value": "-" if one.value is None else f"{one.value:.4f}",
            "by chance": "" if one.chance is None else f"< {one.chance:.4f}",
            "": "" if one.exact else "estimated",
            "verdict": one.verdict,
        }
        for one in drift.measures
    ]
    return pd.DataFrame(rows).to_string(index=False)


def lists(recommended: Recommended) -> str:
    """Give each user's history in short and the list with titles."""
    blocks = []
    for user, taken in recommended.histories.items():
        shown = ", ".join(taken[:_TITLES_SHOWN])
        more = f" and {len(taken) - _TITLES_SHOWN} more" if len(taken) > _TITLES_SHOWN else ""
        counts = Counter(one for text in recommended.genres[user] for one in text.split("|") if one)
        tastes = ", ".join(f"{genre} ({count})" for genre, count in counts.most_common(3))
        mostly = f"; mostly {tastes}" if tastes else ""
        rows = recommended.frame[recommended.frame["user"] == user]
        named = [name for name in ("title", "genres") if name in rows and rows[name].any()]
        columns = ["rank", "item", *named, "score"]
        body = rows[columns].to_string(index=False, float_format="{:.3f}".format)
        note = " (short: too few items are left)" if user in recommended.short else ""
        blocks.append(f"user {user}, who took {shown or 'nothing'}{more}{mostly}{note}\n{body}")
    return "\n\n".join(blocks)


def outcome(result: Outcome) -> str:
    """Give the end of the whole line: leaderboard, lists, and where everything is."""
    users = next(iter(result.judged[0].estimates.values())).users
    seconds = {name: one.seconds for name, one in result.trained.items()}
    first = next(iter(result.trained.values()))
    uri = tracking_uri()
    ui = uri
    if uri.startswith("sqlite:///"):
        ui = f"sqlite:///{Path(uri.removeprefix('sqlite:///')).resolve()}"
    folder = result.lists.parent
    return "\n".join(
        [
            account(result.ingested),
            "",
            f"Test users: {users}; means with 95 % intervals; seconds of fitting",
            leaderboard(result.judged, seconds),
            "",
            f"Lists of {first.model.name} for three test users",
            "",
            lists(result.recommended),
            "",
            f"Lists of everyone: {result.lists} (Parquet); of these three: {folder}/examples.csv",
            f"Model: {result.version}, which is now @challenger (MLflow), {first.folder} (folder)",
            f"MLflow run {result.run_id}; to look at it: make ui, or",
            f"  mlflow ui --backend-store-uri {ui}",
        ]
    )
