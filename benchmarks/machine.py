"""What a measurement must carry with it: the machine, the versions and the date."""

import datetime
import resource
from pathlib import Path
from typing import Any

import torch

from recsys_vae.training.host import processor


def peak_mb() -> float:
    """Give the most memory that this process held, not the one that started it."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text("ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def stamp(device: torch.device | str) -> dict[str, Any]:
    """Give peak memory, device, threads, version and date."""
    device = torch.device(device)
    result: dict[str, Any] = {
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    if device.type == "cuda":
        result["peak_device_mb"] = round(torch.cuda.max_memory_allocated(device) / 2**20)
    return result
