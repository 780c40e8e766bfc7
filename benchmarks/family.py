"""What each member of the VAE family costs to train and to score, relative to Mult-VAE.

    python -m benchmarks.family --shape gowalla --json

Each member runs in a process of its own, where it and a Mult-VAE take their steps by turns, on the
same batches with the same threads; times are medians. `training` compares a whole epoch: every
phase counts as often as it passes over the users. `scoring` compares a batch from history to
scores. `peak_rss_mb` is that of the member alone, before Mult-VAE is built. The last line printed
is one JSON object.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.engine import Engine, engine
from benchmarks.gemm import synchronize
from benchmarks.machine import peak_mb, stamp
from benchmarks.shapes import SHAPES, Rows, synthetic_rows
from recsys_vae.models.autoencoder import NeuralRecommender
from recsys_vae.models.zoo import make_model
from recsys_vae.steps.recipes import read_recipe
from recsys_vae.training.host import prepare_host

_BASE = "mult-vae"
_FOLDER = Path(__file__).parents[1] / "pipelines" / "recipes" / "family-gowalla"
_WARM_UP = 2


def main(arguments: list[str] | None = None) -> None:
    """Measure every member and print the result."""
    options = _parser().parse_args(arguments)
    if options.member:
        print(json.dumps(_measure(options)))
        return
    names = [path.stem for path in sorted(options.recipes.glob("*.toml"))]
    own = [*sys.argv[1:]] if arguments is None else list(arguments)
    members: dict[str, Any] = {}
    for name in names:
        command = [sys.executable, "-m", "benchmarks.family", *own, "--member", name]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        members[name] = json.loads(done.stdout.splitlines()[-1])
        if not options.json:
            print(f"{name:20} {members[name]}")
    about = stamp(options.device)
    del about["peak_rss_mb"]  # of this process, which only waits
    print(
        json.dumps(
            {"shape": options.shape, "batch": options.batch, "steps": options.steps}
            | {"members": members}
            | about
        )
    )


def _measure(options: argparse.Namespace) -> dict[str, float]:
    """Measure one member against Mult-VAE, in this process."""
    device = torch.device(options.device)
    if device.type == "cpu":
        prepare_host(options.threads)
    shape = SHAPES[options.shape]
    rows = synthetic_rows(shape, options.seed)
    rows = Rows(rows.offsets.to(device), rows.items.to(device), rows.n_items)
    generator = torch.Generator().manual_seed(options.seed)
    order = torch.randperm(shape.users, generator=generator)[: options.batch * options.steps]
    batches = order.to(device).split(options.batch)

    def build(name: str) -> Engine:
        recipe = read_recipe(str(options.recipes / f"{name}.toml"))
        model = make_model(recipe.model, recipe.settings)
        assert isinstance(model, NeuralRecommender)
        return engine(model, shape, rows, device)

    member = build(options.member)
    for users in batches[:_WARM_UP]:
        _epoch_s(member, users, device)
        _score_s(member, rows, users, device)
    peak = peak_mb()
    base = build(_BASE)
    for users in batches[:_WARM_UP]:
        _epoch_s(base, users, device)
    pairs = [(_epoch_s(member, users, device), _epoch_s(base, users, device)) for users in batches]
    scored = [
        (_score_s(member, rows, users, device), _score_s(base, rows, users, device))
        for users in batches
    ]
    own_s, base_s = (statistics.median(one) for one in zip(*pairs, strict=True))
    own_score_s, base_score_s = (statistics.median(one) for one in zip(*scored, strict=True))
    return {
        "training": round(own_s / base_s, 2),
        "scoring": round(own_score_s / base_score_s, 2),
        "users_per_s": round(options.batch / own_s, 1),
        "peak_rss_mb": round(peak),
    }


def _epoch_s(one: Engine, users_B: Tensor, device: torch.device) -> float:
    """Seconds that an epoch spends on the given users, all phases and passes."""
    return sum(phase.passes * _timed(partial(phase.step, users_B), device) for phase in one.phases)


def _score_s(one: Engine, rows: Rows, users_B: Tensor, device: torch.device) -> float:
    """Seconds from the histories of users to their scores."""
    one.network.eval()

    @torch.inference_mode()
    def score() -> None:
        one.network.decode(one.network.encode(rows.take(users_B)).mean_BZ)

    seconds = _timed(score, device)
    one.network.train()
    return seconds


def _timed(action: Callable[[], None], device: torch.device) -> float:
    synchronize(device)
    begin = time.perf_counter()
    action()
    synchronize(device)
    return time.perf_counter() - begin


def _parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.family", description=__doc__)
    parser.add_argument("--shape", choices=SHAPES, default="gowalla")
    parser.add_argument("--recipes", type=Path, default=_FOLDER, help="a folder of recipes")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--batch", type=int, default=500, help="users per step")
    parser.add_argument("--steps", type=int, default=10, help="measured steps")
    parser.add_argument("--threads", type=int, help="default: every core of this process")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print nothing but the JSON object")
    parser.add_argument("--member", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    main()
