"""Importing the package is cheap."""

import subprocess
import sys

import pytest

_HEAVY = (
    "torch", "mlflow", "implicit", "matplotlib", "pandas", "pyarrow", "scipy", "numpy", "pyspark"
)  # fmt: skip


def _loaded_by(statement: str) -> set[str]:
    program = (
        f"import sys\n{statement}\nprint(*sorted({{m.partition('.')[0] for m in sys.modules}}))"
    )
    command = [sys.executable, "-W", "error", "-c", program]
    return set(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())


def test_importing_the_package_pulls_in_nothing_heavy() -> None:
    loaded = _loaded_by("import recsys_vae")
    assert "recsys_vae" in loaded
    assert loaded.isdisjoint(_HEAVY)


def test_the_command_line_is_told_of_before_anything_heavy_is_imported() -> None:
    assert _loaded_by("import recsys_vae.cli").isdisjoint(_HEAVY)


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("recsys_vae.models.zoo", {"mlflow", "implicit", "matplotlib"}),
        ("recsys_vae.nn.towers", {"mlflow", "implicit", "matplotlib", "pandas"}),
        ("recsys_vae.interactions", {"torch", "mlflow", "implicit", "matplotlib"}),
        ("recsys_vae.ingest.drift", {"torch", "mlflow", "implicit", "matplotlib"}),
        ("recsys_vae.ranking", {"mlflow", "matplotlib", "faiss"}),
        ("recsys_vae.reports.profile_plots", {"torch", "mlflow", "implicit"}),
        ("recsys_vae.reports.kl_plots", {"torch", "mlflow", "implicit"}),
    ],
)
def test_a_room_pulls_in_only_what_it_needs(module: str, absent: set[str]) -> None:
    assert _loaded_by(f"import {module}").isdisjoint(absent)


def test_plots_leave_the_state_of_pyplot_alone() -> None:
    program = "import sys, recsys_vae.reports.profile_plots; print(*sys.modules)"
    command = [sys.executable, "-W", "error", "-c", program]
    loaded = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert "matplotlib.figure" in loaded
    assert "matplotlib.pyplot" not in loaded
