"""Memory that is used again: to get new memory costs as much as a good part of a product."""

import math
import threading

import torch
from torch import Tensor


class Room:
    """One buffer for each thread, which grows when it must.

    Args:
        kind: of the numbers.
        device: where they are.

    >>> room = Room(torch.float32, torch.device("cpu"))
    >>> room.of(2, 3).shape, room.of(3, 2).data_ptr() == room.of(2, 3).data_ptr()
    (torch.Size([2, 3]), True)
    """

    def __init__(self, kind: torch.dtype, device: torch.device) -> None:
        """Take nothing yet."""
        self._kind, self._device, self._own = kind, device, threading.local()

    def of(self, *shape: int) -> Tensor:
        """Give a table of any content, whose memory is that of the one before."""
        size = math.prod(shape)
        room: Tensor | None = getattr(self._own, "room", None)
        if room is None or room.numel() < size:
            room = torch.empty(size, dtype=self._kind, device=self._device)
            self._own.room = room
        return room[:size].view(shape)
