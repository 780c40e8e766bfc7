import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from matplotlib.image import imread

from recsys_vae.errors import InputError
from recsys_vae.ingest.profile import Profile, profile
from recsys_vae.ingest.timeline import Timeline
from recsys_vae.interactions import IdMap, Interactions
from recsys_vae.reports.profile_plots import HEIGHT, WIDTH, _per_period, plot_profile
from tests.ingest.test_profile import empty, of_pairs

DAY = 86_400_000


def skewed(users: int, *, years: int = 10, seed: int = 0) -> Profile:
    rng = np.random.default_rng(seed)
    pairs = {
        (user, int(item))
        for user in range(users)
        for item in rng.geometric(0.02, size=rng.integers(1, 40))
    }
    interactions = of_pairs(pairs)
    return profile(interactions, rng.integers(0, years * 365 * DAY, size=len(interactions)))


def pixels(path: Path) -> npt.NDArray[np.float32]:
    """Read the picture with a reader that did not write it beside a look at its header."""
    header = path.read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", header[16:24]) == (WIDTH, HEIGHT)
    image: npt.NDArray[np.float32] = np.asarray(imread(path))[..., :3]
    assert image.shape == (HEIGHT, WIDTH, 3)
    return image


def inked(image: npt.NDArray[np.float32]) -> list[float]:
    """Give the coloured share of each quarter: blue or vermilion, not grey."""
    colourful = np.ptp(image, axis=2) > 0.2
    halves = [half for rows in np.split(colourful, 2) for half in np.split(rows, 2, axis=1)]
    return [float(half.mean()) for half in halves]


@pytest.mark.parametrize("with_times", [True, False])
@pytest.mark.parametrize("with_earlier", [True, False])
def test_the_picture_is_whole_and_every_panel_has_something(
    tmp_path: Path, with_times: bool, with_earlier: bool
) -> None:
    made, earlier = skewed(60), skewed(30, years=2, seed=1)
    if not with_times:
        made, earlier = replace(made, timeline=None), replace(earlier, timeline=None)
    plot_profile(made, tmp_path / "p.png", earlier=earlier if with_earlier else None)
    image = pixels(tmp_path / "p.png")
    assert min(inked(image)) > 0.001  # a curve alone is some 500 pixels of 270,000
    vermilion = (image[..., 0] > 0.6) & (image[..., 2] < 0.3)
    assert vermilion.any() == with_earlier
    assert [path.name for path in tmp_path.iterdir()] == ["p.png"]


def test_the_same_profile_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one.png", "other.png"):
        plot_profile(skewed(20), tmp_path / name)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "other.png").read_bytes()


_EXTREMES = {
    "no data": lambda: profile(empty(), np.zeros(0, dtype=np.int64)),
    "one interaction": lambda: profile(of_pairs({(0, 0)}), np.zeros(1, dtype=np.int64)),
    "one day": lambda: profile(of_pairs({(0, 0), (1, 1)}), np.array([0, 5])),
    "times beyond the calendar": lambda: profile(
        of_pairs({(0, 0), (1, 1)}), np.array([-(2**63) + 1, 2**63 - 1])
    ),
    "everybody alike": lambda: profile(of_pairs({(u, i) for u in range(9) for i in range(9)})),
    "users without items": lambda: profile(
        Interactions.from_frame(
            pd.DataFrame({"user": [1, 2, 3], "item": [7, 8, 8]}), items=IdMap.of([6, 7])
        )
    ),
}


@pytest.mark.parametrize("case", _EXTREMES)
def test_strange_data_are_drawn_too(tmp_path: Path, case: str) -> None:
    made = _EXTREMES[case]()
    for now, earlier in ((made, None), (made, skewed(10)), (skewed(10), made)):
        plot_profile(now, tmp_path / "p.png", earlier=earlier)
        pixels(tmp_path / "p.png")


def test_rates_are_comparable_where_the_periods_differ() -> None:
    daily = Timeline.of(np.arange(31) * DAY)
    yearlong = Timeline.of(np.arange(365) * DAY)
    assert daily is not None
    assert yearlong is not None
    assert (daily.unit, yearlong.unit) == ("day", "month")
    # One a day, whichever way it was counted; months have 28 to 31 days of 30.44 on average.
    assert _per_period(daily, daily).tolist() == [1.0] * 31
    assert _per_period(yearlong, daily) == pytest.approx(np.ones(12), rel=3 / 30)


def test_a_picture_never_takes_the_place_of_a_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--out"):
        plot_profile(skewed(5), tmp_path)
