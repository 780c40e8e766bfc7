"""Several processes that train as one: each takes its share of every batch."""

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class World:
    """Which of how many processes this is.

    Attributes:
        rank: 0..size-1; rank 0 writes and reports.
        size: number of processes.
    """

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes files and reports."""
        return self.rank == 0

    def share(self, n: int) -> slice:
        """Give this process's part of n users, as even as can be.

        >>> [World(rank, 2).share(5) for rank in range(2)]
        [slice(0, 3, None), slice(3, 5, None)]
        """
        small, more = divmod(n, self.size)
        start = self.rank * small + min(self.rank, more)
        return slice(start, start + small + (self.rank < more))

    def sum(self, tensor: Tensor) -> Tensor:
        """Add a tensor up over all processes, in place."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Add dense gradients up over all processes, in place.

        One after the other: flattened buckets would cost a copy of every gradient.
        """
        if self.size == 1:
            return
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            self.sum(parameter.grad)

    def barrier(self) -> None:
        """Wait for the others."""
        if self.size > 1:
            dist.barrier()

    def leave(self) -> None:
        """Part from the others, once all have arrived here."""
        if self.size > 1:
            dist.barrier()

    def from_leader(self, value: float) -> float:
        """Give every process the number that rank 0 has."""
        if self.size == 1:
            return value
        device = "cuda" if dist.get_backend() == "nccl" else "cpu"
        shared = torch.tensor([value], dtype=torch.float64, device=device)
        dist.broadcast(shared, src=0)
        return float(shared)


def leads_here() -> bool:
    """Say whether this process is the only one or the first that `torchrun` started."""
    return os.environ.get("RANK", "0") == "0"


def exit_if_joined() -> None:
    """End the process at once, successfully, if it trained together with others.

    Gloo's threads now and then abort the process when Python tears it down (seen with torch 2.13,
    on a loaded machine in a quarter of the exits); everything has been written by then.
    """
    if dist.is_available() and dist.is_initialized():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def join_world(device: torch.device) -> World:
    """Join the processes that `torchrun` started, if it did.

    Args:
        device: CUDA joins by NCCL, anything else by gloo.

    Returns:
        This process's place; alone where `WORLD_SIZE` is not set.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return World()
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return World(dist.get_rank(), size)
