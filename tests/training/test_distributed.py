"""Two processes train what one trains."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

ROOT = Path(__file__).parents[2]


def fit(out: Path, processes: int, *options: str) -> None:
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command = [sys.executable, *launcher, "-m", "tests.training.fit_process", "--out", str(out)]
    command += options
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    subprocess.run(command, cwd=ROOT, env=environment, check=True, timeout=300)


def test_two_processes_equal_one_to_rounding(tmp_path: Path) -> None:
    fit(tmp_path / "one.safetensors", 1)
    fit(tmp_path / "two.safetensors", 2)
    one, two = (load_file(tmp_path / f"{name}.safetensors") for name in ("one", "two"))
    for name, value in one.items():
        # Gradients are summed in another order; Adam's quotient of moments carries a relative
        # 1e-7 on to the weights, some hundred times over a hundred steps of size 1e-3.
        np.testing.assert_allclose(two[name], value, rtol=1e-3, atol=2e-5)


def test_two_processes_keep_one_codebook(tmp_path: Path) -> None:
    fit(tmp_path / "one.safetensors", 1, "--codes")
    fit(tmp_path / "two.safetensors", 2, "--codes")
    one, two = (load_file(tmp_path / f"{name}.safetensors") for name in ("one", "two"))
    # Uses are weighted counts of users: equal unless a user has changed codes.
    np.testing.assert_allclose(two["quantizer.use_GK"], one["quantizer.use_GK"], rtol=1e-5)
    for name, value in one.items():
        # As above, over sixteen steps.
        np.testing.assert_allclose(two[name], value, rtol=1e-3, atol=2e-5)
