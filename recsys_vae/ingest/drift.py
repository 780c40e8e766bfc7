"""Drift: how far today's interactions are from those of an earlier profile."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
from scipy.special import chdtri

from recsys_vae.ingest.counts import Counts
from recsys_vae.ingest.profile import Profile

FORMAT_VERSION: Final = 1
Verdict = Literal["stable", "moderate", "large", "unknown"]

MODERATE: Final = 0.1
LARGE: Final = 0.25
"""Below `MODERATE` a measure is stable, above `LARGE` it is large.

For the population stability index these are the rule of thumb of credit scoring (N. Siddiqi, Credit
Risk Scorecards, 2006): a convention without derivation. For all other measures they are our own
choice, to have one rule.
"""
_ORDER: Final[tuple[Verdict, ...]] = ("stable", "unknown", "moderate", "large")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One comparison.

    Attributes:
        name: of what is compared.
        value: how far apart, 0 on equal data; None: it cannot be said.
        chance: what a value on unchanged data stays below in 95 of 100 draws, roughly; None where
            that is not worked out.
        exact: whether the value is exact, or estimated from the profiles' sketches.
        verdict: "stable" up to 0.1 or up to chance, "large" above 0.25, "moderate" between.
    """

    name: str
    value: float | None
    chance: float | None
    exact: bool
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """How two profiles differ.

    Attributes:
        before: fingerprint of the earlier data.
        after: fingerprint of the later data.
        measures: in a fixed order.
    """

    before: str
    after: str
    measures: tuple[Measure, ...]

    @property
    def verdict(self) -> Verdict:
        """The gravest verdict of all measures."""
        return max((one.verdict for one in self.measures), key=_ORDER.index)

    def to_json(self) -> dict[str, Any]:
        """Give the drift as plain values, with the format version."""
        return {"format_version": FORMAT_VERSION, "verdict": self.verdict, **asdict(self)}


def drift(before: Profile, after: Profile) -> Drift:
    """Compare two profiles.

    Args:
        before: of the earlier data.
        after: of the later data.

    Returns:
        Relative changes of the counts; the population stability index of activity and popularity;
        the Jensen-Shannon distance of the items' shares; the shares of new and gone ids. All are 0
        if the profiles are of the same data.
    """
    pairs: tuple[tuple[str, Callable[[Profile], float]], ...] = (
        ("change of users", lambda one: one.users),
        ("change of items", lambda one: one.items),
        ("change of interactions", lambda one: one.interactions),
        ("change of density", lambda one: one.density),
    )
    measures = [_measure(name, relative_change(get(before), get(after))) for name, get in pairs]
    for name, one, other in (
        ("activity of users (PSI)", before.activity, after.activity),
        ("popularity of items (PSI)", before.popularity, after.popularity),
    ):
        value, chance = stability_index(one, other)
        measures.append(_measure(name, value, chance=chance))
    cells_before, cells_after, exact = before.top_items.aligned(after.top_items)
    value, chance = jensen_shannon(cells_before, cells_after)
    measures.append(_measure("shares of items (JS distance)", value, chance=chance, exact=exact))
    for role, one_sample, other_sample in (
        ("users", before.user_sample, after.user_sample),
        ("items", before.item_sample, after.item_sample),
    ):
        new, new_exact = other_sample.share_outside(one_sample)
        gone, gone_exact = one_sample.share_outside(other_sample)
        measures.append(_measure(f"new {role}", new, exact=new_exact))
        measures.append(_measure(f"gone {role}", gone, exact=gone_exact))
    return Drift(before=before.fingerprint, after=after.fingerprint, measures=tuple(measures))


def relative_change(before: float, after: float) -> float | None:
    """Give (after - before) / before, or None where something came from nothing.

    >>> relative_change(200, 250)
    0.25
    """
    if before == after:
        return 0.0
    return None if before == 0 else (after - before) / before


def stability_index(before: Counts, after: Counts) -> tuple[float | None, float]:
    r"""Compare two distributions by the population stability index over the logarithmic bins.

    :math:`\mathrm{PSI} = \sum_b (q_b - p_b) \ln(q_b / p_b)` with the shares :math:`p_b` before and
    :math:`q_b` after. Half a user is added to each bin that either side uses, so that an empty one
    does not make it infinite.

    Sources: N. Siddiqi, Credit Risk Scorecards, 2006; for the distribution on unchanged data,
    :math:`(1/N + 1/M) \chi^2_{B-1}`, B. Yurdakul, Statistical Properties of Population Stability
    Index, Western Michigan University, 2018.

    Returns:
        The index (None where one side has nobody and the other has), and its 95 % quantile on
        unchanged data.
    """
    size = max(len(before.histogram), len(after.histogram))
    p_B, q_B = (
        np.pad(np.array(one.histogram, dtype=np.float64), (0, size - len(one.histogram)))
        for one in (before, after)
    )
    if not (before.number and after.number):
        return (0.0 if before.number == after.number else None), 0.0
    used = (p_B + q_B) > 0
    p_B, q_B = p_B[used] + 0.5, q_B[used] + 0.5
    p_B, q_B = p_B / p_B.sum(), q_B / q_B.sum()
    value = float(((q_B - p_B) * np.log(q_B / p_B)).sum())
    return value, _chance(before.number, after.number, int(used.sum()))


def jensen_shannon(
    before: npt.NDArray[np.int64], after: npt.NDArray[np.int64]
) -> tuple[float | None, float]:
    r"""Compare two distributions by the Jensen-Shannon distance, 0 to 1.

    :math:`\sqrt{\tfrac12 KL(p \| m) + \tfrac12 KL(q \| m)}` with :math:`m = (p + q)/2` and
    logarithms to base 2. For small differences its square is :math:`\chi^2 / (8 \ln 2)`, from which
    the chance level is taken; users do not take items independently, so it is rough.

    Source: D. Endres, J. Schindelin, A New Metric for Probability Distributions, IEEE Trans. Inf.
    Theory 49(7), 2003.

    Args:
        before: (C,) counts.
        after: (C,) counts of the same cells.

    Returns:
        The distance (None where one side is empty and the other is not), and its 95 % quantile on
        unchanged data.
    """
    n_before, n_after = int(before.sum()), int(after.sum())
    if not (n_before and n_after):
        return (0.0 if n_before == n_after else None), 0.0
    p_C, q_C = before / n_before, after / n_after
    middle_C = (p_C + q_C) / 2
    divergence = (_relative_entropy(p_C, middle_C) + _relative_entropy(q_C, middle_C)) / 2
    cells = int((middle_C > 0).sum())
    chance = float(np.sqrt(_chance(n_before, n_after, cells) / (8 * np.log(2))))
    return float(np.sqrt(min(max(divergence, 0.0), 1.0))), min(chance, 1.0)


def _relative_entropy(p: npt.NDArray[np.float64], q: npt.NDArray[np.float64]) -> float:
    used = p > 0
    return float((p[used] * np.log2(p[used] / q[used])).sum())


def _chance(n_before: int, n_after: int, cells: int) -> float:
    if cells < 2:
        return 0.0
    return (1 / n_before + 1 / n_after) * float(chdtri(cells - 1, 0.05))


def _measure(
    name: str, value: float | None, *, chance: float | None = None, exact: bool = True
) -> Measure:
    return Measure(
        name=name, value=value, chance=chance, exact=exact, verdict=_verdict(value, chance)
    )


def _verdict(value: float | None, chance: float | None) -> Verdict:
    if value is None:
        return "unknown"
    size = abs(value)
    if size <= max(MODERATE, chance or 0.0):
        return "stable"
    return "large" if size > LARGE else "moderate"
