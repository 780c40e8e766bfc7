"""kl-curve fits with each weight, and more weight means less KL."""

from pathlib import Path

import pandas as pd
import pytest

from recsys_vae.errors import InputError
from recsys_vae.splitting import StrongOptions, save_split, split_strong
from recsys_vae.steps.kl_curve import PICTURE, TABLE, kl_curve
from tests.models.made_up import made_up


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("split") / "split"
    made = split_strong(made_up(120, 30, 0.3, 1), StrongOptions(held_out_users=20))
    save_split(made, folder)
    return folder


def recipe(folder: Path) -> str:
    path = folder / "small.toml"
    path.write_text(
        'model = "beta-vae"\nhidden = [16]\nlatent = 4\nschedule = "fixed"\n'
        "[training]\nepochs = 30\nbatch_size = 20\nlearning_rate = 1e-2\n"
    )
    return str(path)


def test_more_weight_means_less_kl_and_worse_reconstruction(split: Path, tmp_path: Path) -> None:
    said: list[str] = []
    frame = kl_curve(
        split=split, recipe=recipe(tmp_path), betas=[4, 0.05], out=tmp_path / "out", say=said.append
    )
    assert frame["beta"].tolist() == [0.05, 4]
    assert frame["kl"][0] > frame["kl"][1]
    assert frame["reconstruction"][0] < frame["reconstruction"][1]
    assert len(said) == 2
    assert pd.read_csv(tmp_path / "out" / TABLE).round(6).equals(frame.round(6))
    assert (tmp_path / "out" / PICTURE).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("betas", [[1.0], [1.0, 1.0], [1.0, -1.0], [1.0, float("nan")]])
def test_weights_that_make_no_curve_are_refused(
    betas: list[float], split: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="--betas must be at least two different numbers"):
        kl_curve(split=split, recipe=recipe(tmp_path), betas=betas, out=tmp_path / "out")


def test_another_model_is_refused(split: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no beta-vae"):
        kl_curve(split=split, recipe="als", betas=[1, 2], out=tmp_path / "out")
