"""What a run writes down so that it can be rebuilt, and told from its repetition."""

import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, Literal, Self

import torch
from pydantic import BaseModel, ConfigDict
from threadpoolctl import threadpool_info

from recsys_vae import __version__
from recsys_vae.nn.precision import multiplies_bfloat16
from recsys_vae.splitting import Split
from recsys_vae.steps.fitting import Fitted
from recsys_vae.steps.judged import Judged
from recsys_vae.steps.program import program_sum
from recsys_vae.training.device import choose_device

FILE: Final = "rebuild.json"
_LIBRARIES: Final = ("torch", "numpy", "scipy", "pandas", "pyarrow", "implicit")
"""What numbers pass through."""


class _Written(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Surroundings(_Written):
    """What may change the bits of a result without being a setting.

    Attributes:
        package: version of this package.
        program: digest of its source, which changes between versions, too; "" in older notes.
        python: version of Python.
        libraries: their versions, by name.
        system: operating system and kind of processor.
        instructions: the widest vector instructions that are used.
        device: "cpu", or the name of the GPU.
        processes: that trained as one.
        threads: an operation of torch.
        blas_threads: a product of NumPy and SciPy.
    """

    package: str
    program: str = ""
    python: str
    libraries: dict[str, str]
    system: str
    instructions: str
    device: str
    processes: int
    threads: int
    blas_threads: int

    @classmethod
    def here(cls, device: str) -> Self:
        """Look around.

        Args:
            device: "auto", "cpu" or "cuda", as the step was told.
        """
        chosen = choose_device(device)
        wide = torch.backends.cpu.get_cpu_capability()
        return cls(
            package=__version__,
            program=program_sum()[:16],
            python=platform.python_version(),
            libraries={name: _version(name) for name in _LIBRARIES},
            system=f"{platform.system()} {platform.machine()}",
            instructions=f"{wide} with bfloat16" if multiplies_bfloat16("cpu") else wide,
            device=torch.cuda.get_device_name(chosen) if chosen.type == "cuda" else "cpu",
            processes=int(os.environ.get("WORLD_SIZE", "1")),
            threads=torch.get_num_threads(),
            blas_threads=max(
                (one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"),
                default=1,
            ),
        )

    def facts(self) -> dict[str, str | int]:
        """Give everything by a name for a table."""
        flat = self.model_dump()
        libraries = flat.pop("libraries")
        return {
            **{name.replace("_", " "): value for name, value in flat.items()},
            **{f"library {name}": value for name, value in libraries.items()},
        }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


class TrainNotes(_Written):
    """What a run of `train` was, and what it brought.

    Attributes:
        split: the folder, as it was then.
        fingerprints: of the split's parts.
        model: name in the zoo.
        config: its settings before the fit, all of them.
        seed: of the fit.
        metric: of the validation.
        results: numbers by name.
        fingerprint: of the saved model.
        surroundings: where it ran.
    """

    step: Literal["train"] = "train"
    split: str
    fingerprints: dict[str, str]
    model: str
    config: dict[str, Any]
    seed: int
    metric: str
    results: dict[str, float]
    fingerprint: str
    surroundings: Surroundings


class JudgedModel(_Written):
    """A model that `evaluate` judged: how it is called, where it was, and which one it was."""

    label: str
    reference: str
    fingerprint: str


class EvaluateNotes(_Written):
    """What a run of `evaluate` was, and what it brought.

    Attributes:
        split: the folder, as it was then.
        fingerprints: of the split's parts.
        part: whose users.
        metrics: as they were asked for.
        models: what was judged, in order.
        results: numbers by name, of all models.
        surroundings: where it ran.
    """

    step: Literal["evaluate"] = "evaluate"
    split: str
    fingerprints: dict[str, str]
    part: Literal["test", "validation"]
    metrics: tuple[str, ...]
    models: tuple[JudgedModel, ...]
    results: dict[str, float]
    surroundings: Surroundings


def fingerprints(parts: Split) -> dict[str, str]:
    """Give the fingerprints of a split's parts, by name."""
    return {name: part.fingerprint for name, part in parts.parts.items()}


def located(split: Path) -> str:
    """Write a folder so that it is found from elsewhere."""
    return str(split.resolve())


def training_results(fitted: Fitted, metric: str) -> dict[str, float]:
    """Give the numbers of a fit that a repetition must meet: of every epoch, and of the end."""
    results: dict[str, float] = {}
    for record in fitted.epochs:
        for name, value in record.terms.items():
            results[f"epoch {record.epoch} {name}"] = value
        if record.validation is not None:
            results[f"epoch {record.epoch} validation {metric}"] = record.validation
    return {**results, f"validation {metric}": fitted.validation}


def judged_results(judged: Sequence[Judged]) -> dict[str, float]:
    """Give the means of an evaluation, model by model."""
    return {
        f"{one.model} {name}": value.mean for one in judged for name, value in one.estimates.items()
    }
