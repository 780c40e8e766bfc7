"""An interrupted training ends with the bits of the unbroken one."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy.typing as npt
import pytest
import torch
from safetensors.numpy import load_file
from torch import nn

from recsys_vae.errors import InputError
from recsys_vae.training import checkpoint
from recsys_vae.training.checkpoint import BEST, LAST, optimiser_tensors, restore_optimiser
from tests.training.fit_process import fitted, weights_of

ROOT = Path(__file__).parents[2]
FIT = [sys.executable, "-m", "tests.training.fit_process"]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def run_to_the_end(out: Path, folder: Path) -> None:
    command = [*FIT, "--checkpoint", str(folder), "--out", str(out)]
    subprocess.run(command, cwd=ROOT, env=environment(), check=True, timeout=300)


def run_and_kill(out: Path, folder: Path, seconds_after_the_first_epoch: float) -> bool:
    """Kill with SIGKILL some time after a checkpoint appeared; say whether it was still running."""
    command = [*FIT, "--checkpoint", str(folder), "--out", str(out)]
    process = subprocess.Popen(command, cwd=ROOT, env=environment())
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if (folder / LAST).exists():
            time.sleep(seconds_after_the_first_epoch)
            break
        time.sleep(0.002)
    running = process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=60)
    return running


def loaded(path: Path) -> dict[str, npt.NDArray[Any]]:
    return load_file(path)


def assert_same_bits(one: Path, other: Path) -> None:
    first, second = loaded(one), loaded(other)
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert value.tobytes() == second[name].tobytes(), name


def prove_resume(tmp_path: Path, kills: int, seed: int) -> None:
    run_to_the_end(tmp_path / "unbroken.safetensors", tmp_path / "unbroken")
    draw = random.Random(seed)
    hit = 0
    for number in range(kills):
        folder, out = tmp_path / f"killed-{number}", tmp_path / f"resumed-{number}.safetensors"
        hit += run_and_kill(out, folder, draw.uniform(0.0, 0.25))
        run_to_the_end(out, folder)
        assert_same_bits(tmp_path / "unbroken.safetensors", out)
        assert not list(folder.glob(".*.partial*")) or (folder / LAST).exists()
    # A kill after the end proves nothing; most must have struck a running training.
    assert hit >= kills // 2


def test_a_killed_run_resumes_to_the_same_bits(tmp_path: Path) -> None:
    prove_resume(tmp_path, kills=2, seed=1)


@pytest.mark.slow
def test_a_run_killed_at_twenty_random_moments_resumes_to_the_same_bits(tmp_path: Path) -> None:
    prove_resume(tmp_path, kills=20, seed=2)


def test_a_run_stopped_after_every_epoch_ends_as_the_unbroken_one(tmp_path: Path) -> None:
    unbroken = weights_of(fitted(None).network)
    # Resuming a finished run does nothing; a run resumed epoch by epoch does everything once.
    first = fitted(tmp_path / "c")
    again = fitted(tmp_path / "c")
    for model in (first, again):
        for name, value in weights_of(model.network).items():
            assert torch.equal(value, unbroken[name]), name
    assert len(again.history) == len(first.history)
    assert [record.terms for record in again.history] == [r.terms for r in first.history]


@pytest.mark.parametrize(
    ("change", "named"),
    [({"data_seed": 1}, "data"), ({"latent": 9}, "config"), ({"seed": 4}, "seed")],
)
def test_resuming_with_something_else_is_refused(
    tmp_path: Path, change: dict[str, int], named: str
) -> None:
    fitted(tmp_path / "c")
    with pytest.raises(InputError, match=f"another {named}: go back to what it was") as caught:
        fitted(tmp_path / "c", **change)
    assert "--fresh" in str(caught.value)


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    fitted(tmp_path / "c")
    whole = (tmp_path / "c" / LAST).read_bytes()
    (tmp_path / "c" / LAST).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"last.safetensors is damaged .* --fresh"):
        fitted(tmp_path / "c")


def test_a_checkpoint_of_another_format_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "FORMAT_VERSION", checkpoint.FORMAT_VERSION - 1)
    fitted(tmp_path / "c")
    monkeypatch.undo()
    # Moments were once kept by a number, which another version gave to another parameter.
    with pytest.raises(InputError, match=r"has format version 1: delete it, or .* --fresh"):
        fitted(tmp_path / "c")


def test_moments_go_to_the_parameter_of_their_name_and_of_no_other_shape() -> None:
    module = nn.ModuleDict({"narrow": nn.Linear(2, 3), "wide": nn.Linear(5, 3)})
    forth = torch.optim.Adam(module.parameters())
    torch.stack([one.square().sum() for one in module.parameters()]).sum().backward()
    forth.step()
    kept = optimiser_tensors("phase.0", forth, module)
    back = torch.optim.Adam(list(module.parameters())[::-1])
    restore_optimiser("phase.0", back, module, kept)
    for parameter in module.parameters():
        assert torch.equal(back.state[parameter]["exp_avg"], forth.state[parameter]["exp_avg"])
    kept["phase.0.wide.weight.exp_avg"] = kept["phase.0.narrow.weight.exp_avg"]
    with pytest.raises(InputError, match=r"exp_avg has shape \(3, 2\), its parameter \(3, 5\)"):
        restore_optimiser("phase.0", back, module, kept)


def test_best_and_last_are_kept(tmp_path: Path) -> None:
    fitted(tmp_path / "c")
    assert {path.name for path in (tmp_path / "c").iterdir()} == {BEST, LAST}
