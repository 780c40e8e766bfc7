"""One picture of a data profile, beside an earlier one if there is one."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, PercentFormatter

from recsys_vae.files import atomic_file
from recsys_vae.ingest.counts import Counts
from recsys_vae.ingest.profile import Profile
from recsys_vae.ingest.timeline import Timeline

WIDTH: Final = 1_200
HEIGHT: Final = 900
"""Pixels."""

# Blue and vermilion of M. Okabe and K. Ito's palette: told apart with every colour vision.
_NOW: Final = "#0072B2"
_EARLIER: Final = "#D55E00"
_QUIET: Final = "#767676"
_INK: Final = "#262626"
_TITLE: Final[dict[str, Any]] = {"loc": "left", "fontsize": 13, "color": _INK, "fontweight": "bold"}
_DPI: Final = 100
_HEAD: Final = 0.2
_CALENDAR: Final = (np.datetime64("0001-01-02"), np.datetime64("9999-01-01"))


@dataclass(frozen=True, slots=True)
class _Series:
    """A profile and how it is drawn."""

    profile: Profile
    label: str
    colour: str
    filled: bool


def plot_profile(profile: Profile, path: Path, *, earlier: Profile | None = None) -> None:
    """Draw four panels: long tail, activity, popularity, and time (or the users' curve).

    Args:
        profile: what to draw.
        path: the PNG file, 1200 x 900 pixels; it appears only when complete.
        earlier: another profile to draw beside it, for drift.
    """
    series = [_Series(profile, "now", _NOW, True)]
    if earlier is not None:
        series.append(_Series(earlier, "earlier", _EARLIER, False))
    layout = ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.15)
    figure = Figure(figsize=(WIDTH / _DPI, HEIGHT / _DPI), dpi=_DPI, layout=layout)
    FigureCanvasAgg(figure)  # no pyplot: nothing global, no window, no display needed
    figure.suptitle(_headline(profile), fontsize=15, color=_INK, x=0.012, ha="left")
    (tail, users), (items, last) = figure.subplots(2, 2)
    _concentration(tail, series, "items", [one.profile.popularity for one in series])
    _histogram(users, series, "User", "items per user", [one.profile.activity for one in series])
    _histogram(items, series, "Item", "users per item", [one.profile.popularity for one in series])
    if profile.timeline is not None:
        _time(last, series, profile.timeline)
    else:
        _concentration(last, series, "users", [one.profile.activity for one in series])
    for axes in (tail, users, items, last):
        _plain(axes)
        if earlier is not None and axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False, fontsize=11, labelcolor=_INK)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=_DPI, metadata={"Software": None})


def _headline(profile: Profile) -> str:
    return (
        f"{profile.users:,} users, {profile.items:,} items, {profile.interactions:,} interactions, "
        f"density {profile.density:.3%}"
    )


def _concentration(
    axes: Axes, series: Sequence[_Series], what: str, counts: Sequence[Counts]
) -> None:
    """Draw which share of interactions the top share of items or users holds."""
    axes.plot([0, 1], [0, 1], color=_QUIET, linewidth=1, linestyle=(0, (1, 2)))
    for one, count in zip(series, counts, strict=True):
        axes.plot(count.top, count.held, color=one.colour, linewidth=2, label=one.label)
    now = counts[0]
    held = now.held_by(_HEAD)
    top, curve = np.array(now.top), np.array(now.held)
    axes.fill_between(
        top, curve, where=(top <= _HEAD).tolist(), color=_NOW, alpha=0.15, linewidth=0
    )
    axes.plot([_HEAD], [held], "o", color=_NOW, markersize=7)
    # Below the diagonal, where no curve ever runs.
    axes.text(
        0.97, 0.05, f"the top {_HEAD:.0%} of {what} hold {held:.0%}",
        ha="right", fontsize=12, color=_INK,
    )  # fmt: skip
    axes.set(xlim=(0, 1), ylim=(0, 1.02))
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    order = "most popular" if what == "items" else "most active"
    axes.set_xlabel(f"share of {what}, {order} first")
    axes.set_ylabel("share of interactions")
    name = "Long tail of items" if what == "items" else "Concentration on users"
    axes.set_title(f"{name} (Gini {now.gini:.2f})", **_TITLE)


def _histogram(
    axes: Axes, series: Sequence[_Series], title: str, label: str, counts: Sequence[Counts]
) -> None:
    """Draw shares of users or items in bins that double in width, both axes logarithmic."""
    for one, count in zip(series, counts, strict=True):
        shares = np.array(count.histogram[1:]) / max(1, count.number)
        if not len(shares):
            continue
        # Bins start half below their smallest count, so that 1 does not stand on the border.
        edges = np.array([*count.histogram_from[1:], 2 * count.histogram_from[-1]]) - 0.5
        shown = np.where(shares > 0, shares, np.nan)
        if one.filled:
            axes.bar(
                edges[:-1], shown, width=np.diff(edges), align="edge", color=one.colour, alpha=0.55,
                edgecolor="white", linewidth=1, label=one.label,
            )  # fmt: skip
        else:
            axes.stairs(shown, edges, color=one.colour, linewidth=2, label=one.label, baseline=None)
    now = counts[0]
    if now.total:
        median = now.quantiles["50%"]
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_ylim(top=min(1.3, axes.get_ylim()[1]))
        axes.xaxis.set_major_locator(_ticks(*axes.get_xlim(), least=1.0))
        axes.yaxis.set_major_locator(_ticks(*axes.get_ylim(), most=1.0))
        axes.xaxis.set_major_formatter(FuncFormatter(_short))
        axes.yaxis.set_major_formatter(FuncFormatter(_percent))
        if median > 0:
            axes.axvline(median, color=_INK, linewidth=1, linestyle=(0, (4, 3)))
    unused = f", {now.none:,} have none" if now.none else ""
    name = "activity" if title == "User" else "popularity"
    axes.set_title(
        f"{title} {name} (median {now.quantiles['50%']:,.0f}, most {now.quantiles['max']:,.0f}"
        f"{unused})",
        **_TITLE,
    )
    axes.set_xlabel(f"{label} (bins double in width; dashed: median)")
    axes.set_ylabel(f"share of {title.lower()}s")


def _time(axes: Axes, series: Sequence[_Series], now: Timeline) -> None:
    """Draw interactions per period."""
    lines = [(one, one.profile.timeline) for one in series if one.profile.timeline is not None]
    calendar = all(_in_calendar(line.edges()) for _, line in lines)
    highest = 1
    for one, line in lines:
        edges = line.edges()
        # Beyond the years 1 to 9999 matplotlib knows no calendar; years are plain numbers then.
        places = date2num(edges) if calendar else _years(edges)
        # Where the periods differ, so do the heights: rates can be compared, counts cannot.
        per = _per_period(line, now)
        axes.stairs(
            per, places, fill=one.filled, color=one.colour, alpha=0.55 if one.filled else 1,
            linewidth=0 if one.filled else 1, label=one.label,
        )  # fmt: skip
        highest = max(highest, per.max())
    if calendar:
        locator = AutoDateLocator()
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    axes.set_ylim(0, 1.08 * highest)
    axes.yaxis.set_major_formatter(FuncFormatter(_thousands))
    period = now.unit if now.step == 1 else f"{now.step:,} {now.unit}s"
    unknown = f" ({now.missing:,} without a time)" if now.missing else ""
    axes.set_title(f"Interactions over time{unknown}", **_TITLE)
    axes.set_ylabel(f"interactions per {period}")
    axes.set_xlabel("time (UTC)" if calendar else "year")


def _per_period(line: Timeline, now: Timeline) -> npt.NDArray[np.float64]:
    days = {"day": 1.0, "month": 30.44, "year": 365.25}
    scale = (days[now.unit] * now.step) / (days[line.unit] * line.step)
    return np.array(line.counts) * scale


def _in_calendar(edges: npt.NDArray[np.datetime64]) -> bool:
    return bool(edges[0] >= _CALENDAR[0] and edges[-1] <= _CALENDAR[1])


def _years(edges: npt.NDArray[np.datetime64]) -> npt.NDArray[np.float64]:
    return edges.astype("datetime64[M]").astype(np.int64) / 12 + 1970


def _thousands(value: float, _place: int | None = None) -> str:
    return f"{value:,.0f}" if value >= 1 or value <= 0 else ""


def _percent(value: float, _place: int | None = None) -> str:
    return f"{100 * value:.6f}".rstrip("0").rstrip(".") + "%"


def _short(value: float, _place: int | None = None) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def _ticks(low: float, high: float, *, least: float = 0.0, most: float = np.inf) -> FixedLocator:
    """Mark powers of ten, and 2 and 5 times them where there are few, within least and most."""
    places = LogLocator(subs=(1.0, 2.0, 5.0) if high < 3_000 * low else (1.0,))
    return FixedLocator([one for one in places.tick_values(low, high) if least <= one <= most])


def _plain(axes: Axes) -> None:
    """Take away what carries nothing; make the rest readable."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(_QUIET)
    axes.tick_params(colors=_INK, labelsize=11, which="major")
    axes.minorticks_off()
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.xaxis.label.set(size=12, color=_INK)
    axes.yaxis.label.set(size=12, color=_INK)
