"""What lists of the VAE with a linear path cost, against those of the Mult-VAE within it.

    python -m benchmarks.flagship --shape ml-20m --json
    python -m benchmarks.flagship --trained MULT-VAE LINEAR-VAE --split outputs/split --json

With `--trained`, models of these folders and the histories of a split's test users. Else networks
of untrained weights (600-200-600) over made-up histories of the shape, and a path of
`--neighbours` random items for each; histories in, lists of 100 out, in memory, by turns.
`ratio_to_mult_vae` is the time of the one over that of the other, `dense_ratio` that of scoring all
items in float32, as for models whose scores are no product. `score_ratio` is the same of `score`
as a whole, from a Parquet file of `--users` histories to Parquet parts. The fastest repetition
counts. The last line printed is one JSON object.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.sparse import csr_array

from benchmarks.machine import stamp
from benchmarks.score import ours, write_histories
from benchmarks.shapes import SHAPES, synthetic_rows
from recsys_vae.interactions import IdMap
from recsys_vae.models.base import Recommender
from recsys_vae.models.closed_form import sparse_parts
from recsys_vae.models.linear_vae import LinearVAE, LinearVAEConfig
from recsys_vae.models.mult_vae import MultVAE, MultVAEConfig
from recsys_vae.models.zoo import load_model
from recsys_vae.ranking import Ranker, rank
from recsys_vae.splitting.split import load_split

_BLOCK = 2_048
_K = 100


def main(arguments: list[str] | None = None) -> None:
    """Measure and print the result."""
    options = _parser().parse_args(arguments)
    if options.trained:
        what = {"trained": [one.name for one in options.trained], "split": options.split.name}
        mult_vae, flagship = (load_model(folder) for folder in options.trained)
        given = load_split(options.split).test.given.matrix[: options.users]
    else:
        what = {"shape": options.shape, "neighbours": options.neighbours}
        mult_vae, flagship, given = _untrained(options.shape, options.neighbours)
        given = given[: options.users]
    users = given.shape[0]  # there may be fewer
    rankers = Ranker(mult_vae, _K), Ranker(flagship, _K)
    ways: dict[str, Callable[[csr_array], object]] = {
        "mult_vae": rankers[0].lists,
        "linear_vae": rankers[1].lists,
        "dense": lambda part: rank(flagship.score(part), part, _K),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(options.repeats + 1):
        for name, way in ways.items():
            started = time.perf_counter()
            for start in range(0, users, _BLOCK):
                way(given[start : start + _BLOCK])
            if number:  # the first time warms up
                seconds[name].append(time.perf_counter() - started)
    took = {name: min(found) / users for name, found in seconds.items()}
    histories = given if options.trained else None
    models = {"mult_vae": mult_vae, "linear_vae": flagship}
    whole = _whole(models, users, options.repeats, histories)
    result = {
        **what,
        "users": users,
        **{f"{name}_us_per_user": round(1e6 * one, 1) for name, one in took.items()},
        "ratio_to_mult_vae": round(took["linear_vae"] / took["mult_vae"], 2),
        "dense_ratio": round(took["dense"] / took["mult_vae"], 2),
        **{f"{name}_users_per_s": round(users / one) for name, one in whole.items()},
        "score_ratio": round(whole["linear_vae"] / whole["mult_vae"], 2),
        **stamp("cpu"),
    }
    if not options.json:
        for name, value in result.items():
            print(f"{name:24} {value}")
    print(json.dumps(result))


def _whole(
    models: dict[str, Recommender], users: int, repeats: int, given: csr_array | None
) -> dict[str, float]:
    """Score a file with each model by turns; give the fewest seconds."""
    items = next(iter(models.values())).items
    took: dict[str, list[float]] = {name: [] for name in models}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if given is None:
            write_histories(folder / "h.parquet", users, len(items))
        else:
            rows = np.repeat(np.arange(users), np.diff(given.indptr))
            frame = pd.DataFrame({"user": rows, "item": items.ids(given.indices)})
            frame.to_parquet(folder / "h.parquet")
        for number in range(repeats):
            for name, model in models.items():
                took[name].append(ours(model, folder / "h.parquet", folder / f"{name}-{number}"))
    return {name: min(found) for name, found in took.items()}


def _untrained(shape: str, neighbours: int) -> tuple[MultVAE, LinearVAE, csr_array]:
    """Give two models and made-up histories."""
    rows = synthetic_rows(SHAPES[shape])
    indptr, indices, n_items = rows.offsets.numpy(), rows.items.numpy(), rows.n_items
    ones = np.ones(len(indices), dtype=np.float32)
    everybody = csr_array((ones, indices, indptr), shape=(len(indptr) - 1, n_items))
    popularity_I = np.bincount(indices, minlength=n_items) + 1.0
    return *_models(popularity_I, neighbours), everybody


def _models(popularity_I: np.ndarray, neighbours: int) -> tuple[MultVAE, LinearVAE]:
    n_items = len(popularity_I)
    items, rng = IdMap.of(np.arange(n_items)), np.random.default_rng(0)
    mult_vae = MultVAE(MultVAEConfig())
    network = mult_vae.build(n_items, torch.Generator().manual_seed(0))
    arrays = {name: value.numpy() for name, value in network.state_dict().items()}
    arrays["decoder.bias_I"] = np.log(popularity_I / popularity_I.sum()).astype(np.float32)
    likely_I = popularity_I**0.5 / (popularity_I**0.5).sum()
    columns = rng.choice(n_items, n_items * neighbours, p=likely_I)
    values = rng.exponential(0.02, len(columns)).astype(np.float32)
    path_II = csr_array(
        (values, (np.repeat(np.arange(n_items), neighbours), columns)), shape=(n_items, n_items)
    )
    path_II.sum_duplicates()
    flagship = LinearVAE(LinearVAEConfig(latent=200, gate=0.1))
    both = {**arrays, **sparse_parts("path_II", path_II)}
    return mult_vae.restore(items, arrays), flagship.restore(items, both)


def _parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--shape", choices=SHAPES, default="ml-20m")
    parser.add_argument("--trained", nargs=2, type=Path, metavar=("MULT_VAE", "LINEAR_VAE"))
    parser.add_argument("--split", type=Path, help="with --trained: whose test users")
    parser.add_argument("--users", type=int, default=8_192)
    parser.add_argument("--neighbours", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print nothing but the JSON object")
    return parser


if __name__ == "__main__":
    main()
