"""Which number format the large products may use on a device."""

from typing import Literal

import torch
from torch import Tensor

Precision = Literal["float32", "bfloat16", "auto"]


def multiplies_bfloat16(device: torch.device | str) -> bool:
    """Whether the device has instructions for bfloat16 products with float32 accumulation.

    Emulation does not count: it is slower than float32.

    Args:
        device: A CPU or CUDA device; any other kind answers no.

    Example:
        >>> multiplies_bfloat16("meta")
        False
    """
    device = torch.device(device)
    if device.type == "cuda":
        return bool(torch.cuda.get_device_capability(device) >= (8, 0))
    if device.type == "cpu" and torch.backends.mkldnn.is_available():
        # Set by AVX512-BF16 and by every AMX processor; plain AVX512 would only emulate.
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return False


def widened(tensor: Tensor) -> Tensor:
    """Give a tensor in at least float32: under autocast, layers answer in bfloat16.

    Example:
        >>> widened(torch.zeros(1, dtype=torch.bfloat16)).dtype
        torch.float32
    """
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def product_dtype(precision: Precision, stored: torch.dtype, device: torch.device) -> torch.dtype:
    """The format in which a product of stored weights is taken.

    Args:
        precision: ``"float32"`` keeps the stored format (so float64 stays float64),
            ``"bfloat16"`` forces bfloat16, ``"auto"`` takes bfloat16 for float32 weights where
            :func:`multiplies_bfloat16` holds.
        stored: Format of the weights.
        device: Where the product is taken.

    Raises:
        ValueError: If the precision has another name.

    Example:
        >>> product_dtype("float32", torch.float64, torch.device("cpu"))
        torch.float64
    """
    if precision == "float32":
        return stored
    if precision == "bfloat16":
        return torch.bfloat16
    if precision == "auto":
        fast = stored == torch.float32 and multiplies_bfloat16(device)
        return torch.bfloat16 if fast else stored
    raise ValueError(f'precision must be "float32", "bfloat16" or "auto", got {precision!r}')
