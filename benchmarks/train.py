"""How fast a Mult-VAE trains: ours against a plain dense one, and against the machine's limit.

    python -m benchmarks.train --shape ml-20m --json

Both train on the same batches, by turns, in one process with the same threads and the same
allocator settings; times are medians per step. The last line printed is one JSON object.
"""

import argparse
import dataclasses
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.engine import engine_step
from benchmarks.gemm import Gemm, synchronize
from benchmarks.machine import stamp
from benchmarks.reference import dense_step
from benchmarks.shapes import SHAPES, Rows, Shape, synthetic_rows
from recsys_vae.nn.precision import Precision
from recsys_vae.training.host import prepare_host

Step = Callable[[Tensor], Tensor | None]
_WARM_UP = 3


def main(arguments: list[str] | None = None) -> None:
    """Measure one shape and print the result."""
    options = _parser().parse_args(arguments)
    torch.manual_seed(options.seed)
    device = torch.device(options.device)
    if device.type == "cpu":
        prepare_host(options.threads)
    shape = SHAPES[options.shape]
    measure = _measure_sampled if options.shape == "million-items" else _measure_against_dense
    result = {
        "shape": options.shape,
        "batch": options.batch,
        "steps": options.steps,
        "precision": options.precision,
        **measure(shape, device, options),
        **stamp(device),
    }
    if not options.json:
        for name, value in result.items():
            print(f"{name:24} {value}")
    print(json.dumps(result))


def _measure_against_dense(
    shape: Shape, device: torch.device, options: argparse.Namespace
) -> dict[str, Any]:
    """Ours, the reference and the bare products by turns on the same batches."""
    rows = _rows(shape, device, options.seed)
    ours = engine_step(shape, rows, device, options.precision)
    reference = dense_step(shape, rows, device)[1] if options.reference else None
    gemms = {
        name: Gemm(options.batch, shape.hidden, shape.items, dtype, device)
        for name, dtype in (("bfloat16", torch.bfloat16), ("float32", torch.float32))
    }
    batches = _batches(shape, device, options)
    for users in batches[:_WARM_UP]:
        ours(users)
        if reference:
            reference(users)
    seconds: list[float] = []
    reference_seconds: list[float] = []
    for number, users in enumerate(batches[_WARM_UP:]):
        seconds.append(_timed(ours, users, device))
        # The slow reference takes every third batch: as many turns, less waiting.
        if reference and number % 3 == 0:
            reference_seconds.append(_timed(reference, users, device))
        for gemm in gemms.values():
            gemm.run(1)
    ours_s = statistics.median(seconds)
    reference_s = statistics.median(reference_seconds) if reference_seconds else None
    rates = {name: gemm.flops_per_s for name, gemm in gemms.items()}
    limit = rates["float32" if options.precision == "float32" else "bfloat16"]
    products = 6.0 * options.batch * shape.hidden * shape.items
    return {
        "users_per_s": round(options.batch / ours_s, 1),
        "reference_users_per_s": round(options.batch / reference_s, 1) if reference_s else None,
        "ratio": round(reference_s / ours_s, 2) if reference_s else None,
        "gemm_flops_per_s": rates,
        "fraction_of_limit": round(products / ours_s / limit, 3),
        "seconds_per_step": ours_s,
    }


def _measure_sampled(
    shape: Shape, device: torch.device, options: argparse.Namespace
) -> dict[str, Any]:
    """Sampled softmax at 100,000 items and at the full catalogue."""
    by_items: dict[str, float] = {}
    for items in (100_000, shape.items):
        smaller = dataclasses.replace(shape, items=items)
        rows = _rows(smaller, device, options.seed)
        step = engine_step(smaller, rows, device, options.precision, negatives=options.draws)
        batches = _batches(smaller, device, options)
        for users in batches[:_WARM_UP]:
            step(users)
        seconds = [_timed(step, users, device) for users in batches[_WARM_UP:]]
        by_items[str(items)] = statistics.median(seconds)
        del step, rows
    few, many = by_items.values()
    return {
        "users_per_s": round(options.batch / many, 1),
        "reference_users_per_s": None,  # 12 GB of gradient and moments, 2 GB of logits a step
        "ratio": None,
        "gemm_flops_per_s": None,
        "fraction_of_limit": None,
        "draws": options.draws,
        "seconds_per_step": by_items,
        "growth": round(many / few, 2),
    }


def _rows(shape: Shape, device: torch.device, seed: int) -> Rows:
    """Synthetic interactions on the device."""
    rows = synthetic_rows(shape, seed)
    return Rows(rows.offsets.to(device), rows.items.to(device), rows.n_items)


def _batches(shape: Shape, device: torch.device, options: argparse.Namespace) -> list[Tensor]:
    """Batches of users, warm-up included: shuffled passes over all of them."""
    generator = torch.Generator().manual_seed(options.seed)
    wanted = (options.steps + _WARM_UP) * options.batch
    passes = -(-wanted // shape.users)
    order = torch.cat([torch.randperm(shape.users, generator=generator) for _ in range(passes)])
    return list(order[:wanted].to(device).split(options.batch))


def _timed(step: Step, users: Tensor, device: torch.device) -> float:
    """Seconds of one step."""
    synchronize(device)
    begin = time.perf_counter()
    step(users)
    synchronize(device)
    return time.perf_counter() - begin


def _parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.train", description=__doc__)
    parser.add_argument("--shape", choices=SHAPES, required=True)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    precisions: tuple[Precision, ...] = ("auto", "bfloat16", "float32")
    parser.add_argument("--precision", choices=precisions, default="auto")
    parser.add_argument("--batch", type=int, default=500, help="users per step")
    parser.add_argument("--steps", type=int, default=30, help="measured steps")
    parser.add_argument("--draws", type=int, default=8192, help="negatives of million-items")
    parser.add_argument("--threads", type=int, help="default: every core of this process")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-reference", dest="reference", action="store_false")
    parser.add_argument("--json", action="store_true", help="print nothing but the JSON object")
    return parser


if __name__ == "__main__":
    main()
