"""The machine's own rate of multiplication at the decoder's shape."""

import statistics
import time

import torch


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Gemm:
    """One product ``(B, H) @ (H, I)``, timed a little at a time, between other measurements.

    Of numbers of eight bits the sums have 32.
    """

    def __init__(
        self, users: int, hidden: int, items: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        """Make the factors and room for the result."""
        self.flops = 2.0 * users * hidden * items
        self.device = device
        whole = dtype == torch.int8
        self.multiply = torch._int_mm if whole else torch.mm
        scale = 30.0 if whole else 1.0
        self.left = (scale * torch.randn(users, hidden, device=device)).to(dtype)
        self.right = (scale * torch.randn(items, hidden, device=device)).to(dtype).t()
        sums = torch.int32 if whole else dtype
        self.result = torch.empty(users, items, dtype=sums, device=device)
        self.seconds: list[float] = []

    def run(self, times: int = 2) -> None:
        """Multiply, once unmeasured and then measured."""
        self.multiply(self.left, self.right, out=self.result)
        for _ in range(times):
            synchronize(self.device)
            begin = time.perf_counter()
            self.multiply(self.left, self.right, out=self.result)
            synchronize(self.device)
            self.seconds.append(time.perf_counter() - begin)

    @property
    def flops_per_s(self) -> float:
        """Median rate so far."""
        return self.flops / statistics.median(self.seconds)
