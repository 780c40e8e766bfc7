"""Checkpoints: everything that an interrupted training needs to end as the unbroken one.

Order, dropout and sampling noise follow from (seed, epoch, step, user) alone, so no generator has
a state that could be lost; what is kept is weights, optimiser moments, counters and the history.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from recsys_vae.errors import InputError, reason
from recsys_vae.files import atomic_file

FORMAT_VERSION: Final = 2
LAST: Final = "last.safetensors"
BEST: Final = "best.safetensors"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Named tensors, and JSON for the rest."""

    tensors: Mapping[str, Tensor]
    state: Mapping[str, Any]


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write one file, which appears under its name only when complete.

    Args:
        path: of the file; the folder is created.
        checkpoint: what to write; tensors may be on any device.

    Raises:
        InputError: the disk is full; the checkpoint before stays.
    """
    metadata = {"format_version": str(FORMAT_VERSION), "state": json.dumps(checkpoint.state)}
    tensors = {name: value.detach().contiguous() for name, value in checkpoint.tensors.items()}
    with atomic_file(path) as temporary:
        try:
            save_file(tensors, temporary, metadata)
        except SafetensorError as error:
            raise InputError(
                f"checkpoint {path} cannot be written ({reason(error)}): free some space and give "
                "the same command again"
            ) from error


def read_checkpoint(path: Path, device: torch.device) -> Checkpoint:
    """Read what `write_checkpoint` wrote.

    Raises:
        InputError: the file is damaged or of another format version.
    """
    remedy = "delete it, or start over with --fresh"
    try:
        with safe_open(path, "pt", device=str(device)) as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 # no mapping
        version = int(metadata.get("format_version", "-1"))
        state = json.loads(metadata.get("state", "null"))
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"checkpoint {path} is damaged ({reason(error)}): {remedy}") from error
    if version != FORMAT_VERSION:
        raise InputError(f"checkpoint {path} has format version {version}: {remedy}")
    return Checkpoint(tensors, state)


def refuse_other_identity(path: Path, saved: Mapping[str, str], present: Mapping[str, str]) -> None:
    """Refuse to resume what was started on other data, with another config or seed.

    Raises:
        InputError: names what differs.
    """
    names = sorted(saved.keys() | present.keys())
    different = [name for name in names if saved.get(name) != present.get(name)]
    if different:
        raise InputError(
            f"the unfinished training in {path.parent} was started with another "
            f"{' and another '.join(different)}: go back to what it was, delete that folder, or "
            "start over with --fresh"
        )


def optimiser_tensors(
    prefix: str, optimiser: torch.optim.Optimizer, module: nn.Module
) -> dict[str, Tensor]:
    """Give an optimiser's moments and counters by name: prefix, parameter, what it is."""
    return {
        f"{prefix}.{name}.{key}": value
        for name, parameter in _of_optimiser(optimiser, module)
        for key, value in optimiser.state.get(parameter, {}).items()
    }


def restore_optimiser(
    prefix: str,
    optimiser: torch.optim.Optimizer,
    module: nn.Module,
    tensors: Mapping[str, Tensor],
) -> None:
    """Take up what `optimiser_tensors` gave; hyper-parameters stay the optimiser's own.

    Raises:
        InputError: a moment has not the shape of its parameter: an optimiser would read memory that
            is not its own.
    """
    for name, parameter in _of_optimiser(optimiser, module):
        own = f"{prefix}.{name}."
        for key, value in tensors.items():
            if key.startswith(own):
                # A count of steps is one number, or one a row.
                if value.shape not in (parameter.shape, parameter.shape[:1], ()):
                    raise InputError(
                        f"the unfinished training does not fit the model ({key} has shape "
                        f"{tuple(value.shape)}, its parameter {tuple(parameter.shape)}): delete "
                        "its folder, or start over with --fresh"
                    )
                optimiser.state[parameter][key.removeprefix(own)] = value


def _of_optimiser(
    optimiser: torch.optim.Optimizer, module: nn.Module
) -> list[tuple[str, nn.Parameter]]:
    own = {id(p) for group in optimiser.param_groups for p in group["params"]}
    return [(name, value) for name, value in module.named_parameters() if id(value) in own]
