"""Where to compute."""

import torch

from recsys_vae.errors import InputError


def choose_device(name: str) -> torch.device:
    """Turn an option into a device.

    Args:
        name: "auto" (CUDA where there is one), "cpu", "cuda" or "cuda:N".

    Raises:
        InputError: the name is unknown or the device is absent.

    >>> choose_device("cpu")
    device(type='cpu')
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"--device {name} is unknown: choose auto, cpu or cuda") from error
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"--device {name} is not supported: choose auto, cpu or cuda")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(f"--device {name} is absent on this machine: choose auto or cpu")
    return device
