"""What tells this program from another of the same version."""

import hashlib
import json
from functools import lru_cache
from pathlib import Path

import recsys_vae
from recsys_vae.interactions.store import file_sum


@lru_cache(maxsize=1)
def program_sum() -> str:
    """Give the SHA-256 of the package's source: of the files' names and contents."""
    folder = Path(recsys_vae.__file__).parent
    sums = {str(file.relative_to(folder)): file_sum(file) for file in folder.rglob("*.py")}
    return hashlib.sha256(json.dumps(sums, sort_keys=True).encode()).hexdigest()
