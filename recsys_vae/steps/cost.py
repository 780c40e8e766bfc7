"""What a fit costs: seconds over all attempts, and the most memory held."""

import platform
import resource
import time
from pathlib import Path

from recsys_vae.errors import InputError
from recsys_vae.files import read_json, write_json
from recsys_vae.training.records import EpochRecord


class Spent:
    """Counts the seconds of a fit that may be interrupted and go on later.

    Args:
        path: remembers what earlier attempts took, up to their last epoch; it is no longer needed
            once the fit is done.
    """

    def __init__(self, path: Path) -> None:
        """Begin another attempt."""
        self._path = path
        self._before = _read(path)
        self._started = time.perf_counter()

    def seconds(self) -> float:
        """Give the seconds of all attempts so far."""
        return self._before + time.perf_counter() - self._started

    def epoch(self, _record: EpochRecord) -> None:
        """Remember what was spent: should the fit stop here, it goes on with the next epoch."""
        write_json(self._path, {"seconds": self.seconds()})


def _read(path: Path) -> float:
    if not path.is_file():
        return 0.0
    try:
        found = read_json(path, what="what a fit has taken", remedy="delete it").get("seconds")
    except InputError:  # damaged: what this attempt takes is known, at least
        return 0.0
    return float(found) if isinstance(found, int | float) else 0.0


def forget_peak() -> None:
    """Begin to measure memory anew, where the system can."""
    if platform.system() == "Linux":
        try:
            Path("/proc/self/clear_refs").write_text("5")
        except OSError:
            return


def peak_mb() -> float:
    """Give the most memory that was held since `forget_peak`, in MB."""
    if platform.system() == "Linux":
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
