"""What a person reads at the end of a search and of a repetition."""

from collections.abc import Sequence
from dataclasses import asdict

import pandas as pd

from recsys_vae.steps.reproduce import Difference, Reproduced
from recsys_vae.steps.tune import Tuned

_TRIALS_SHOWN = 5
_RESULTS_SHOWN = 12


def tuned(done: Tuned) -> str:
    """Give the best trials, what mattered, and where the study is."""
    table = done.table[done.table["state"] == "finished"]
    best = table.sort_values("metric", ascending=False, kind="stable").head(_TRIALS_SHOWN)
    shown = best.drop(columns=["state", "why", "run"])
    counted = ", ".join(f"{count} {word}" for word, count in done.counts.items())
    lines = [shown.to_string(index=False, float_format="{:.4g}".format), ""]
    lines.append(f"Trials: {counted}; study {done.study} in {done.storage}")
    if done.importances:
        shares = ", ".join(f"{name} {value:.0%}" for name, value in done.importances.items())
        lines.append(f"What made trials good: {shares}")
    lines.append(
        f"Best: trial {done.best.number}, validation {done.best.metric:.4f}; trained again "
        f"{done.trained.validation:.4f}"
    )
    return "\n".join(lines)


def reproduced(done: Reproduced) -> str:
    """Say whether it is identical, and in what it differs."""
    blocks = []
    if done.circumstances:
        rows = pd.DataFrame([asdict(one) for one in done.circumstances])
        blocks.append(f"What is not as it was:\n{rows.to_string(index=False)}")
    if done.results:
        rows = pd.DataFrame([asdict(one) for one in _telling(done.results)])
        hidden = len(done.results) - len(rows)
        more = f"\nand {hidden:,} more (MLflow: differences.json)" if hidden else ""
        blocks.append(f"Numbers that differ:\n{rows.to_string(index=False)}{more}")
    verdict = "identical" if done.identical else f"{len(done.results):,} differ"
    blocks.append(f"{done.compared:,} numbers compared: {verdict}")
    return "\n\n".join(blocks)


def _telling(results: Sequence[Difference]) -> list[Difference]:
    """Choose what fits a screen: where it began to differ, and how it ended."""
    if len(results) <= _RESULTS_SHOWN:
        return list(results)
    half = _RESULTS_SHOWN // 2
    return [*results[:half], *results[-half:]]
