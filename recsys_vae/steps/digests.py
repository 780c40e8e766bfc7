"""Short names of settings and the like, the same in every process."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def digest(value: Any) -> str:
    """Name what JSON can write by 64 hexadecimal digits; the order of keys does not matter.

    >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}), digest([1]) == digest([2])
    (True, False)
    """
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def digests(values: Mapping[str, Any]) -> dict[str, str]:
    """Shorten values, so that they can be told apart: a tag of MLflow's holds little."""
    return {name: digest(value)[:12] for name, value in values.items()}


def hashed(*numbers: int) -> int:
    """Make one seed of several numbers.

    >>> hashed(0, 1) == hashed(0, 1), hashed(0, 1) == hashed(1, 0)
    (True, False)
    """
    return int.from_bytes(bytes.fromhex(digest(numbers))[:4], "little")
