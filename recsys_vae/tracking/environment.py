"""What a result may depend on besides data and settings: versions, machine, state of the code."""

import platform
import subprocess
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import torch
from joblib import cpu_count

import recsys_vae
from recsys_vae.training.host import processor

_LIBRARIES: Final = (
    "implicit", "mlflow", "numpy", "pandas", "pyarrow", "safetensors", "scipy", "torch",
)  # fmt: skip


def environment() -> dict[str, Any]:
    """Give versions, threads and processor, as JSON has them."""
    return {
        "recsys-vae": recsys_vae.__version__,
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in _LIBRARIES},
        "system": platform.platform(),
        "processor": processor(),
        "cores": int(cpu_count()),
        "threads": torch.get_num_threads(),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "git": git_state(),
    }


@lru_cache(maxsize=1)
def git_state() -> dict[str, str]:
    """Give commit and state of the working tree that this code runs from, as tags.

    Returns:
        `recsys_vae.git_commit` and `recsys_vae.git_dirty` ("true" where tracked files differ from
        the commit); nothing for an installed copy, which its version describes.
    """
    package = Path(recsys_vae.__file__).parent
    # Installed below another project's working tree, it is not that project's code.
    tracked = _git(package, "ls-files", "--error-unmatch", "__init__.py")
    lines = (_git(package, "status", "--porcelain=v2", "--branch", "-uno") or "").splitlines()
    commits = [line.split()[2] for line in lines if line.startswith("# branch.oid ")]
    if tracked is None or not commits:
        return {}
    dirty = any(not line.startswith("#") for line in lines)
    return {"recsys_vae.git_commit": commits[0], "recsys_vae.git_dirty": str(dirty).lower()}


def _git(folder: Path, *arguments: str) -> str | None:
    """Ask git; None where there is none, or no repository."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
