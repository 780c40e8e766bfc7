"""Whether a challenger takes the champion's place: a paired test, and guard rails beside it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from recsys_vae.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Rails:
    """What a challenger must keep to.

    Attributes:
        alpha: p of the test below which being ahead counts, between 0 and 1.
        margin: how far behind a challenger may be at most, with certainty, in units of the metric;
            0: it must be ahead.
        coverage: least share of the champion's catalogue coverage.
        latency: most milliseconds a user, as a multiple of the champion's.
        latency_floor: milliseconds a user that are always allowed.
        size: largest size on disk, as a multiple of the champion's.
        size_floor: megabytes that are always allowed.

    Raises:
        InputError: a value is out of range.
    """

    alpha: float = 0.05
    margin: float = 0.0
    coverage: float = 0.8
    latency: float = 2.0
    latency_floor: float = 1.0
    size: float = 2.0
    size_floor: float = 100.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not 0 < self.alpha < 1:
            raise InputError(f"--alpha {self.alpha:g} is no level of a test: give one such as 0.05")
        for option, value in (
            ("--margin", self.margin),
            ("--min-coverage", self.coverage),
            ("--max-latency", self.latency),
            ("--latency-floor", self.latency_floor),
            ("--max-size", self.size),
            ("--size-floor", self.size_floor),
        ):
            if not 0 <= value < float("inf"):
                raise InputError(f"{option} {value:g} is out of range: give a number from 0 on")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a model shows and takes, beside its accuracy.

    Attributes:
        coverage: share of the catalogue in somebody's list, 0..1.
        latency: milliseconds a user.
        size: megabytes on disk.
    """

    coverage: float
    latency: float
    size: float


@dataclass(frozen=True, slots=True)
class Check:
    """One condition of a promotion.

    Attributes:
        name: what is looked at.
        champion: its value.
        challenger: its value.
        limit: what the challenger's may be at least or at most; of the metric, the p or the
            difference that was asked for.
        kept: whether it is.
        sentence: the finding, as a part of a sentence.
    """

    name: str
    champion: float
    challenger: float
    limit: float
    kept: bool
    sentence: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether to promote, and why.

    Attributes:
        promote: whether the challenger takes the champion's place.
        reason: in a sentence, without a full stop.
        checks: what it rests on.
    """

    promote: bool
    reason: str
    checks: tuple[Check, ...] = ()

    @classmethod
    def of(cls, checks: tuple[Check, ...]) -> Self:
        """Promote where every check is kept.

        >>> Verdict.of((Check("size", 1, 9, 2, False, "9 MB are more than 2"),)).reason
        '9 MB are more than 2'
        """
        broken = [one.sentence for one in checks if not one.kept]
        return cls(not broken, "; ".join(broken) or checks[0].sentence, checks)


def decide(
    difference: Mapping[str, Any],
    metric: str,
    champion: Cost,
    challenger: Cost,
    rails: Rails,
    *,
    means: tuple[float, float],
) -> Verdict:
    """Decide by the difference of the metric and the guard rails.

    Args:
        difference: challenger minus champion, a row of `Comparison.pairs`.
        metric: higher is better.
        champion: what it costs.
        challenger: what it costs.
        rails: what to keep to.
        means: of the metric, champion's and challenger's.
    """
    return Verdict.of(
        (
            _ahead(difference, metric, rails, means),
            _coverage(champion.coverage, challenger.coverage, rails),
            _at_most(
                "latency", "ms a user", champion.latency, challenger.latency,
                max(rails.latency * champion.latency, rails.latency_floor),
            ),
            _at_most(
                "size", "MB", champion.size, challenger.size,
                max(rails.size * champion.size, rails.size_floor),
            ),
        )
    )  # fmt: skip


def _ahead(
    difference: Mapping[str, Any], metric: str, rails: Rails, means: tuple[float, float]
) -> Check:
    old, new = means
    mean, low, p = difference["difference"], difference["difference_low"], difference["p"]
    found = (
        f"{metric} is {new:.4f} against {old:.4f} ({mean:+.4f} [{low:+.4f}, "
        f"{difference['difference_high']:+.4f}], p = {p:.4f})"
    )
    if mean > 0 and p < rails.alpha:
        return Check(metric, old, new, rails.alpha, True, found)
    if rails.margin > 0:
        kept = low > -rails.margin
        verb = "which is surely" if kept else "which is not surely"
        sentence = f"{found}, {verb} within {rails.margin:g}"
        return Check(metric, old, new, -rails.margin, kept, sentence)
    sentence = f"{found}, which is not surely ahead (p < {rails.alpha:g} is asked for)"
    return Check(metric, old, new, rails.alpha, False, sentence)


def _coverage(old: float, new: float, rails: Rails) -> Check:
    limit = rails.coverage * old
    kept = new >= limit
    verb = "keeps to" if kept else "is less than"
    sentence = f"its lists cover {new:.1%} of the catalogue, which {verb} {limit:.1%}"
    return Check("coverage", old, new, limit, kept, sentence)


def _at_most(name: str, unit: str, old: float, new: float, limit: float) -> Check:
    kept = new <= limit
    verb = "keeps to" if kept else "is more than"
    sentence = f"its {name} is {new:.3g} {unit}, which {verb} {limit:.3g}"
    return Check(name, old, new, limit, kept, sentence)
