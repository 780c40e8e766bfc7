"""How many users a second get approximate lists of a very large catalogue, and what these hold.

    python -m benchmarks.approximate --items 1000000 --users 2000 --json

Made-up vectors of width 64: items and users lie around common centres, items are of different
lengths and popularity (the bias). Both ways rank the same users, who have histories of 20 items, by
turns in one process; the fastest of the repeats counts. `recall` is the mean share of the exact
lists of 100 that the approximate ones hold. The last line printed is one JSON object.
"""

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_array

from benchmarks.machine import stamp
from recsys_vae.nn.linear_scores import LinearScores
from recsys_vae.ranking.approximate import ApproximateSearch
from recsys_vae.ranking.approximation import Approximation, Recall
from recsys_vae.ranking.shortlist import Shortlist
from recsys_vae.ranking.topn import ItemRules, TopN
from recsys_vae.training.host import prepare_host

_K = 100
_WIDTH = 64
_HISTORY = 20
_BLOCK = 512


def made_up(users: int, items: int, centres: int, spread: float) -> LinearScores:
    """Draw factors around common centres.

    Args:
        users: how many.
        items: how many.
        centres: how many.
        spread: of what lies around a centre, as a share of the distances between centres.
    """
    generator = torch.Generator().manual_seed(0)
    middle = torch.randn(centres, _WIDTH, generator=generator)

    def around(count: int) -> torch.Tensor:
        noise = torch.randn(count, _WIDTH, generator=generator).mul_(spread)
        return noise.add_(middle[torch.randint(centres, (count,), generator=generator)])

    weight_IH = around(items)
    weight_IH *= torch.exp(0.3 * torch.randn(items, 1, generator=generator))
    bias_I = torch.randn(items, generator=generator) - 2
    return LinearScores(0.3 * around(users), weight_IH, bias_I)


def histories(users: int, items: int) -> csr_array:
    """Draw histories."""
    rng = np.random.default_rng(0)
    taken = np.sort(rng.integers(0, items, (users, _HISTORY)), axis=1).ravel()
    ones = np.ones(len(taken), dtype=np.float32)
    return csr_array((ones, taken, np.arange(users + 1) * _HISTORY), shape=(users, items))


def _timed(
    rank: Callable[[LinearScores, csr_array, int], TopN], factors: LinearScores, given: csr_array
) -> tuple[float, TopN]:
    begin = time.perf_counter()
    parts = []
    for start in range(0, given.shape[0], _BLOCK):
        rows = slice(start, start + _BLOCK)
        some = LinearScores(factors.hidden_BH[rows], factors.weight_IH, factors.bias_I)
        parts.append(rank(some, given[rows], _K))
    seconds = time.perf_counter() - begin
    return seconds, TopN(
        np.concatenate([part.items_BK for part in parts]),
        np.concatenate([part.scores_BK for part in parts]),
    )


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """Rank in both ways."""
    factors = made_up(options.users, options.items, options.centres, options.spread)
    given, rules = histories(options.users, options.items), ItemRules()
    sides = (factors.weight_IH, factors.bias_I)
    exact = Shortlist(*sides, rules)
    begin = time.perf_counter()
    search = ApproximateSearch(*sides, rules, options.probes, exact)
    build = time.perf_counter() - begin
    seconds: dict[str, list[float]] = {"exact": [], "approximate": []}
    for _ in range(options.repeats):
        taken, wanted = _timed(exact.rank, factors, given)
        seconds["exact"].append(taken)
        taken, lists = _timed(search.rank, factors, given)
        seconds["approximate"].append(taken)
    rate = {name: options.users / min(some) for name, some in seconds.items()}
    return {
        "users": options.users,
        "items": options.items,
        "spread": options.spread,
        "probes": options.probes,
        "exact_users_per_s": round(rate["exact"], 1),
        "approximate_users_per_s": round(rate["approximate"], 1),
        "ratio": round(rate["approximate"] / rate["exact"], 2),
        f"recall@{_K}": round(Recall.of(lists, wanted).mean or 0.0, 4),
        "build_seconds": round(build, 1),
        **stamp("cpu"),
    }


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.approximate", description=__doc__)
    parser.add_argument("--users", type=int, default=2_000)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--probes", type=int, default=Approximation().probes)
    parser.add_argument("--centres", type=int, default=2_000)
    parser.add_argument("--spread", type=float, default=0.7)
    parser.add_argument("--repeats", type=int, default=2, help="the fastest of so many counts")
    parser.add_argument("--json", action="store_true", help="print nothing but the JSON object")
    options = parser.parse_args(arguments)
    prepare_host()
    result = measured(options)
    if not options.json:
        for name, value in result.items():
            print(f"{name:24} {value}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
