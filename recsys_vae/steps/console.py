"""What a person reads at the end of a step."""

from collections import Counter
from collections.abc import Sequence

import pandas as pd

from recsys_vae.evaluation.comparison import MARKS, Comparison
from recsys_vae.evaluation.measures import metric_label
from recsys_vae.ingest.counts import Counts
from recsys_vae.ingest.drift import Drift
from recsys_vae.ingest.profile import Profile
from recsys_vae.ingest.quarantine import QUARANTINE
from recsys_vae.steps.ingest import Ingested
from recsys_vae.steps.judged import Judged
from recsys_vae.steps.profile import Profiled
from recsys_vae.steps.recommend import Recommended

_TITLES_SHOWN = 4
_METRICS_SHOWN = 4


def leaderboard(judged: Sequence[Judged], seconds: dict[str, float] | None = None) -> str:
    """Give the table of models: means, 95 % intervals and seconds of fitting.

    Many metrics stand below each other instead, so that the table fits a screen.
    """
    if len(judged[0].estimates) > _METRICS_SHOWN:
        columns = {
            one.model: {metric_label(name): str(value) for name, value in one.estimates.items()}
            for one in judged
        }
        return pd.DataFrame(columns).to_string()
    rows = []
    for one in judged:
        row = {"model": one.model}
        row |= {metric_label(name): str(value) for name, value in one.estimates.items()}
        if seconds is not None:
            row["seconds"] = f"{seconds[one.model]:.1f}"
        rows.append(row)
    return pd.DataFrame(rows).to_string(index=False)


def checks(judged: Sequence[Judged]) -> str:
    """Say what was checked of the lists, once for all models where it is the same."""
    lines: dict[str, list[str]] = {}
    for one in judged:
        found = one.evaluation.checks
        short = f", {found.short_lists:,} short lists" if found.short_lists else ""
        line = (
            f"checked: {found.judged:,} of {found.users:,} users have held-out items; no given "
            f"item is recommended, no item twice, every score is finite{short}"
        )
        lines.setdefault(line, []).append(one.model)
    told = list(lines)
    if len(lines) > 1:
        told = [f"{line} ({', '.join(models)})" for line, models in lines.items()]
    seen = [one.model for one in judged if one.may_have_seen]
    if seen:
        told.append(
            f"not trained on this split: {', '.join(seen)}, which may have learned what is held "
            "out here and look better than it is"
        )
    return "\n".join(told)


def comparison(done: Comparison) -> str:
    """Give the leaderboard with marks, and each model against the best."""
    board = done.leaderboard
    names = [done.primary, *(one for one in board["metric"].unique() if one != done.primary)]
    shown = _worth_showing(names)
    table = done.table(shown).rename(columns={name: metric_label(name) for name in shown})
    marks = ", ".join(f"{stars} p < {bound:g}" for bound, stars in reversed(MARKS))
    lines = [
        table.to_string(index=False),
        "",
        f"Means over the same users with 95 % intervals; behind the best: {marks}",
        "(paired randomisation test, Holm's correction for the number of models)",
    ]
    own = done.against_best()
    if len(own):
        best = board[(board["metric"] == done.primary) & board["best"]]["model"].iloc[0]
        rows = [
            {
                "model": row["model"],
                "difference": f"{row['difference']:+.4f} "
                f"[{row['difference_low']:+.4f}, {row['difference_high']:+.4f}]",
                "effect": f"{row['effect']:+.2f}",
                "better / worse": f"{row['wins']:,.0f} / {row['losses']:,.0f} users",
                "p": f"{row['p_holm']:.4f}",
            }
            for _, row in own.iterrows()
        ]
        lines += [
            "",
            f"{metric_label(done.primary)} against {best}",
            pd.DataFrame(rows).to_string(index=False),
        ]
    return "\n".join(lines)


def _worth_showing(names: Sequence[str]) -> list[str]:
    """Choose the metrics that fit on a screen: the first, and what people look at."""
    usual = [
        one for one in names[1:] if one in ("recall@20", "recall_all@20", "ndcg@20", "coverage@20")
    ]
    others = [one for one in names[1:] if one not in usual]
    return [names[0], *[*usual, *others][: _METRICS_SHOWN - 1]]


def account(ingested: Ingested) -> str:
    """Give the account of the rows, step by step, and what is worth knowing."""
    steps = pd.DataFrame(ingested.account.report())
    named = steps.rename(columns={"rows_in": "rows in", "rows_out": "rows out"})
    lines = [named.to_string(index=False, justify="left")]
    rejected = ingested.account.rejected
    if rejected:
        lines.append(f"set aside in {ingested.folder / QUARANTINE}:")
        lines += [f"  {count:,} because {why}" for why, count in sorted(rejected.items())]
    if ingested.low:
        lines.append(
            f"{ingested.low:,} lower ratings of these users and items are kept beside the "
            "interactions: lists leave them out"
        )
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
        columns = ["rank", "item", *named, "score", *(["because"] if "because" in rows else [])]
        body = rows[columns].to_string(index=False, float_format="{:.3f}".format)
        note = " (short: too few items are left)" if user in recommended.short else ""
        blocks.append(f"user {user}, who took {shown or 'nothing'}{more}{mostly}{note}\n{body}")
    return "\n\n".join(blocks)
