import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from matplotlib.image import imread

from recsys_vae.errors import InputError
from recsys_vae.reports.kl_plots import HEIGHT, WIDTH, plot_kl_curve


def curve(betas: list[float]) -> pd.DataFrame:
    """Less KL and more reconstruction with every beta, as training brings it."""
    kl = [60 / (1 + beta) for beta in betas]
    reconstruction = [200 + 40 * beta / (1 + beta) for beta in betas]
    return pd.DataFrame({"beta": betas, "kl": kl, "reconstruction": reconstruction})


def pixels(path: Path) -> npt.NDArray[np.float32]:
    """Read the picture with a reader that did not write it beside a look at its header."""
    header = path.read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", header[16:24]) == (WIDTH, HEIGHT)
    image: npt.NDArray[np.float32] = np.asarray(imread(path))[..., :3]
    assert image.shape == (HEIGHT, WIDTH, 3)
    return image


def blue(image: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    found: npt.NDArray[np.bool_] = (image[..., 2] > 0.5) & (image[..., 0] < 0.3)
    return found


def test_the_curve_falls_from_upper_left_to_lower_right(tmp_path: Path) -> None:
    plot_kl_curve(curve([0.1, 0.5, 1.0, 2.0, 4.0]), tmp_path / "p.png")
    rows, columns = np.nonzero(blue(pixels(tmp_path / "p.png")))
    assert len(rows) > 1_000  # a line of two pixels over half of 900
    # Little KL and much reconstruction on the left, above (row 0 is at the top).
    assert rows[columns.argmin()] < rows[columns.argmax()]
    assert [path.name for path in tmp_path.iterdir()] == ["p.png"]


def test_the_order_of_the_rows_and_other_columns_do_not_matter(tmp_path: Path) -> None:
    ordered = curve([0.1, 1.0, 4.0])
    plot_kl_curve(ordered, tmp_path / "one.png")
    plot_kl_curve(ordered.iloc[::-1].assign(seed=3), tmp_path / "other.png")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "other.png").read_bytes()


_EXTREMES: dict[str, dict[str, list[Any]]] = {
    "one model": {"beta": [1.0], "kl": [3.0], "reconstruction": [90.0]},
    "a collapsed posterior": {"beta": [1, 10], "kl": [0, 0], "reconstruction": [90, 90]},
    "the same beta twice": {"beta": [1, 1], "kl": [3, 4], "reconstruction": [90, 91]},
    "large numbers": {"beta": [0, 1e3], "kl": [1e9, 0], "reconstruction": [1e6, 1e9]},
    "a density above one": {"beta": [0.5, 1], "kl": [5, 2], "reconstruction": [-30, -20]},
}


@pytest.mark.parametrize("case", _EXTREMES)
def test_strange_curves_are_drawn_too(tmp_path: Path, case: str) -> None:
    plot_kl_curve(pd.DataFrame(_EXTREMES[case]), tmp_path / "p.png")
    assert blue(pixels(tmp_path / "p.png")).any()


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (curve([]), "at least one row"),
        (curve([1.0]).drop(columns="kl"), "kl is missing"),
        (curve([1.0, 2.0]).assign(kl=[1.0, np.nan]), "row 2 has kl nan"),
        (curve([1.0]).assign(reconstruction=np.inf), "row 1 has reconstruction inf"),
        (curve([1.0]).assign(beta="much"), "row 1 has beta much"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_one_sentence(
    tmp_path: Path, frame: pd.DataFrame, words: str
) -> None:
    with pytest.raises(InputError, match=words) as error:
        plot_kl_curve(frame, tmp_path / "p.png")
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_picture_never_takes_the_place_of_a_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--out"):
        plot_kl_curve(curve([1.0]), tmp_path)
