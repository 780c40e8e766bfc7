"""How many users a second get their lists, against the machine's limit and the plain way.

    python -m benchmarks.score --users 200000 --items 20108 --json

A Mult-VAE of untrained weights (600-200-600) scores made-up histories of ML-20M's length and tail,
read from Parquet, its lists of 100 written to Parquet. `gemm_limit_users_per_s` is what the
decoder's last product alone would allow, at the best rate measured between the runs, in bfloat16 or
float32; `int8_gemm_users_per_s` the same in whole numbers of eight bits, which give no scores but
find those that are worth scoring. The naive way makes dense float32 scores, masks, takes
`torch.topk` and writes a frame with pandas; implicit's ALS recommends without writing. Memory is
that of processes of their own, at 100,000 and at 1,000,000 users. The last line printed is one JSON
object.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import torch
from scipy.sparse import csr_array, csr_matrix
from threadpoolctl import threadpool_limits

from benchmarks.gemm import Gemm
from benchmarks.machine import peak_mb, stamp
from benchmarks.shapes import Shape, synthetic_rows
from recsys_vae.interactions import IdMap
from recsys_vae.models.base import Recommender
from recsys_vae.models.mult_vae import MultVAE, MultVAEConfig
from recsys_vae.scoring.batch import Result, score_users
from recsys_vae.scoring.histories import HistorySource
from recsys_vae.training.host import prepare_host

_K = 100
_MEAN_HISTORY = 73.0
_DISTINCT = 50_000
"""Histories that are drawn; more users repeat them under other ids."""


def write_histories(path: Path, users: int, items: int) -> None:
    """Write histories in long form, sorted by user, a row group for each repetition."""
    shape = Shape(users=min(users, _DISTINCT), items=items, mean_history=_MEAN_HISTORY)
    rows = synthetic_rows(shape)
    lengths = np.diff(rows.offsets.numpy())
    taken = rows.items.numpy().astype(np.int64)
    schema = pa.schema({"user": pa.int64(), "item": pa.int64()})
    with pa.parquet.ParquetWriter(path, schema) as writer:
        for first in range(0, users, shape.users):
            count = min(shape.users, users - first)
            ids = np.repeat(np.arange(first, first + count), lengths[:count])
            columns = {"user": ids, "item": taken[: len(ids)]}
            writer.write_table(pa.table(columns, schema=schema))


def model_of(items: int) -> MultVAE:
    """Make a Mult-VAE that looks trained: popular items have the larger biases."""
    model = MultVAE(MultVAEConfig(hidden=(600,), latent=200))
    network = model.build(items, torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        decoder = network.item_decoder()
        decoder.weight_IH.normal_(0, 0.15, generator=generator)
        decoder.bias_I.normal_(-2, 1.5, generator=generator)
    arrays = {name: value.numpy() for name, value in network.state_dict().items()}
    return model.restore(IdMap.of(range(items)), arrays)


def ours(model: Recommender, histories: Path, out: Path) -> float:
    """Score a file; give the seconds."""
    begin = time.perf_counter()
    blocks = HistorySource(path=histories).blocks(model.items)
    score_users(model, blocks, Result(out=out, k=_K, form="list"))
    return time.perf_counter() - begin


def naive(model: MultVAE, histories: Path, out: Path, users: int) -> float:
    """Do it as it is usually written, for the first users; give the seconds."""
    begin = time.perf_counter()
    frame = pd.read_parquet(histories, filters=[("user", "<", users)])
    items = len(model.items)
    given = csr_array(
        (np.ones(len(frame), np.float32), (frame["user"], frame["item"])), shape=(users, items)
    )
    answers = []
    with torch.inference_mode():
        network = model.network
        first = network.state_dict()
        weight, bias = first["encoder.first.weight_IH"], first["encoder.first.bias_H"]
        for start in range(0, users, 500):
            dense = torch.from_numpy(given[start : start + 500].toarray())
            hidden = torch.tanh(torch.nn.functional.normalize(dense) @ weight + bias)
            mean = network.posterior(hidden).chunk(2, dim=1)[0]
            scores = network.decode(mean)
            scores[dense > 0] = -torch.inf
            top = torch.topk(scores, _K, dim=1)
            answers.append(
                pd.DataFrame(
                    {
                        "user": np.repeat(np.arange(start, start + len(dense)), _K),
                        "item": top.indices.numpy().ravel(),
                        "score": top.values.numpy().ravel(),
                    }
                )
            )
    pd.concat(answers).to_parquet(out)
    return time.perf_counter() - begin


def als(histories: Path, users: int, items: int) -> float:
    """Give the seconds that implicit's ALS takes to recommend for the first users."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from implicit.cpu.als import AlternatingLeastSquares

    frame = pd.read_parquet(histories, filters=[("user", "<", users)])
    ones = np.ones(len(frame), np.float32)
    given = csr_matrix((ones, (frame["user"], frame["item"])), shape=(users, items))
    with threadpool_limits(1, "blas"):
        model = AlternatingLeastSquares(factors=128, iterations=1, random_state=0)
        model.fit(given[:2_000], show_progress=False)
        begin = time.perf_counter()
        model.recommend(
            np.arange(users), given, N=_K, filter_already_liked_items=True, recalculate_user=True
        )
        return time.perf_counter() - begin


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.score", description=__doc__)
    parser.add_argument("--users", type=int, default=200_000)
    parser.add_argument("--items", type=int, default=20_108)
    parser.add_argument("--repeats", type=int, default=2, help="the fastest of so many counts")
    parser.add_argument("--naive-users", type=int, default=5_000, help="measured the plain way")
    parser.add_argument("--no-memory", dest="memory", action="store_false")
    parser.add_argument("--json", action="store_true", help="print nothing but the JSON object")
    parser.add_argument("--peak", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    prepare_host()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        result = _peak(options, folder) if options.peak else _measured(options, folder)
    if not options.json and not options.peak:
        for name, value in result.items():
            print(f"{name:24} {value}")
    print(json.dumps(result))


def _peak(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Score so many users in this process and give its peak memory."""
    write = [sys.executable, "-c", _WRITE, str(folder / "h.parquet"), str(options.peak)]
    subprocess.run([*write, str(options.items)], check=True)
    ours(model_of(options.items), folder / "h.parquet", folder / "out")
    return {"peak_rss_mb": round(peak_mb())}


_WRITE = (
    "import sys, pathlib, benchmarks.score as s; "
    "s.write_histories(pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))"
)


def _measured(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    histories, few = folder / "h.parquet", min(options.naive_users, options.users)
    write_histories(histories, options.users, options.items)
    model = model_of(options.items)
    device = torch.device("cpu")
    gemms = [
        Gemm(512, 600, options.items, dtype, device)
        for dtype in (torch.bfloat16, torch.float32, torch.int8)
    ]
    seconds: dict[str, list[float]] = {"ours": [], "naive": [], "als": []}
    for number in range(options.repeats):
        for gemm in gemms:
            gemm.run(2)
        seconds["ours"].append(ours(model, histories, folder / f"out-{number}"))
        seconds["naive"].append(naive(model, histories, folder / "naive.parquet", few))
        seconds["als"].append(als(histories, few, options.items))
    rate = {
        "ours": options.users / min(seconds["ours"]),
        "naive": few / min(seconds["naive"]),
        "als": few / min(seconds["als"]),
    }
    per_user = 2.0 * 600 * options.items
    limit = max(gemm.flops_per_s for gemm in gemms[:2]) / per_user
    result = {
        "users": options.users,
        "items": options.items,
        "ours_users_per_s": round(rate["ours"], 1),
        "gemm_limit_users_per_s": round(limit, 1),
        "int8_gemm_users_per_s": round(gemms[2].flops_per_s / per_user, 1),
        "fraction_of_limit": round(rate["ours"] / limit, 3),
        "naive_users_per_s": round(rate["naive"], 1),
        "ratio_to_naive": round(rate["ours"] / rate["naive"], 2),
        "als_users_per_s": round(rate["als"], 1),
        **stamp(device),
    }
    del result["peak_rss_mb"]
    if options.memory:
        result["peak_rss_mb"] = {
            str(users): _peak_of(users, options.items) for users in (100_000, 1_000_000)
        }
    return result


def _peak_of(users: int, items: int) -> int:
    command = [sys.executable, "-m", "benchmarks.score", "--peak", str(users)]
    done = subprocess.run(
        [*command, "--items", str(items)], check=True, stdout=subprocess.PIPE, text=True
    )
    found: int = json.loads(done.stdout.splitlines()[-1])["peak_rss_mb"]
    return found


if __name__ == "__main__":
    main()
