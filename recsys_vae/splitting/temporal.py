"""Temporal: one point in time for everyone, nothing learned or given from beyond it."""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from recsys_vae.errors import InputError
from recsys_vae.interactions import Interactions
from recsys_vae.splitting.holdout import NEEDS_TIMES
from recsys_vae.splitting.parts import TEST, TRAIN, VALIDATION, assemble
from recsys_vae.splitting.split import TEST_FROM, VALIDATION_FROM, Split

_SHARE = 0.9
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_REMEDY = (
    "write a date or time such as 2020-01-31 or 2020-01-31T12:00:00Z, or a share of the "
    "interactions such as 0.9"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TemporalOptions:
    """Where to cut.

    Attributes:
        split_at: the test begins here: an ISO 8601 date or time (UTC unless it says otherwise), or
            the share of the interactions that lie before.
        validation_at: the validation begins here, in the same notation; None: the last tenth of
            the interactions before `split_at`.
        new_users: whether users without history are left out of the judgement ("leave-out") or
            judged with nothing given ("include").

    Raises:
        InputError: a point is neither a time nor a share.
    """

    kind: ClassVar[str] = "temporal"
    split_at: str = str(_SHARE)
    validation_at: str | None = None
    new_users: Literal["leave-out", "include"] = "leave-out"

    def __post_init__(self) -> None:
        """Refuse what is no point in time before any data are read."""
        parse_point(self.split_at, "--split-at")
        if self.validation_at is not None:
            parse_point(self.validation_at, "--validation-at")


def parse_point(text: str, option: str) -> int | float:
    """Read a point in time.

    Args:
        text: an ISO 8601 date or time, or a share.
        option: for the error sentence.

    Returns:
        Milliseconds since 1970-01-01 UTC (int), or a share strictly between 0 and 1 (float).

    Raises:
        InputError: it is neither.

    >>> parse_point("1970-01-02", "--split-at"), parse_point("0.9", "--split-at")
    (86400000, 0.9)
    """
    try:
        share = float(text)
    except ValueError:
        share = np.nan
    if 0.0 < share < 1.0:
        return share
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(f"{option} {text} is no point in time: {_REMEDY}") from error
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    # Rounded up: what lies before the moment lies before it in whole milliseconds, too.
    return -((_EPOCH - moment) // timedelta(milliseconds=1))


def split_temporal(interactions: Interactions, options: TemporalOptions) -> Split:
    """Split everyone at the same points in time, T_validation < T_test.

    Train is what happened before T_validation; in the validation, that is given and what happened
    in [T_validation, T_test) is to be found; in the test, everything before T_test is given and
    the rest is to be found. The items are those of train. Users without anything to give are
    counted, and judged only on request.

    Args:
        interactions: with times.
        options: where to cut. Nothing is drawn, so there is no seed.

    Returns:
        The split; its description names both points, and its construction checks that no time
        leaks over them.

    Raises:
        InputError: times are not known, or a part is empty.
    """
    if interactions.times is None:
        raise InputError(f"a temporal split needs times, {NEEDS_TIMES}")
    times = interactions.times
    if not len(times):
        raise InputError("there are no interactions to split: give data with at least three")
    test_from = _point(times, options.split_at, "--split-at")
    before = times[times < test_from]
    if options.validation_at is not None:
        validation_from = _point(times, options.validation_at, "--validation-at")
    else:
        validation_from = _quantile(before, _SHARE) if len(before) else test_from
    part = np.full(len(times), TRAIN, dtype=np.int8)
    part[times >= validation_from] = VALIDATION
    part[times >= test_from] = TEST
    for number, where in (
        (TRAIN, f"before {_iso(validation_from)}, to learn from"),
        (VALIDATION, f"from {_iso(validation_from)} to before {_iso(test_from)}, to validate on"),
        (TEST, f"from {_iso(test_from)} on, to test on"),
    ):
        if not (part == number).any():
            raise InputError(
                f"no interaction lies {where}: choose other --split-at and --validation-at between "
                f"{_iso(int(times.min()))} and {_iso(int(times.max()))}"
            )
    description: dict[str, Any] = {
        "kind": options.kind,
        "generalization": "weak",
        **asdict(options),
        "validation_from": _iso(validation_from),
        "test_from": _iso(test_from),
        VALIDATION_FROM: validation_from,
        TEST_FROM: test_from,
        "source_fingerprint": interactions.fingerprint,
    }
    return assemble(interactions, part, description, keep_new_users=options.new_users == "include")


def _point(times: npt.NDArray[np.int64], text: str, option: str) -> int:
    point = parse_point(text, option)
    return point if isinstance(point, int) else _quantile(times, point)


def _quantile(times: npt.NDArray[np.int64], share: float) -> int:
    """Give the time before which at most this share of the times lies, and no time is cut."""
    place = int(share * len(times))
    return int(np.partition(times, place)[place])


def _iso(milliseconds: int) -> str:
    return f"{np.datetime64(milliseconds, 'ms')}Z"
