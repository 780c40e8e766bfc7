"""compare: evaluations side by side, with tests; who is ahead, and how surely."""

from collections.abc import Sequence
from pathlib import Path

from recsys_vae.evaluation.comparison import Comparison, compare
from recsys_vae.evaluation.measures import parse_metric
from recsys_vae.files import check_replaceable
from recsys_vae.steps.judged import COMPARISON_CONTENTS, first_choice, read_entries, save_comparison
from recsys_vae.tracking.evaluations import evaluation_folders
from recsys_vae.tracking.runs import step_run


def compare_runs(
    *, runs: Sequence[str], by: str | None = None, out: Path | None = None, seed: int = 0
) -> Comparison:
    """Compare what `evaluate` found, model by model.

    Args:
        runs: folders that `evaluate` wrote, or MLflow runs of `evaluate` or `main`.
        by: the metric to sort by; None: the first NDCG that was evaluated, otherwise the last
            metric.
        out: a folder to write `leaderboard.csv` and `pairs.csv` to, or None.
        seed: of resampling and tests.

    Returns:
        The comparison, also logged as a run.

    Raises:
        InputError: a run is no evaluation, or they judged different users.
    """
    if out is not None:
        check_replaceable(out, COMPARISON_CONTENTS, COMPARISON_CONTENTS[1:])
    if by is not None:
        parse_metric(by)
    folders = [(run, folder) for run in runs for folder in evaluation_folders(run)]
    with step_run("compare") as run:
        entries = read_entries(folders)
        chosen = by or first_choice(entries)
        comparison = compare(entries, chosen, seed=seed)
        run.params("compare", {"runs": ",".join(runs), "by": chosen, "seed": seed})
        run.table(comparison.leaderboard, "leaderboard.json")
        if len(comparison.pairs):
            run.table(comparison.pairs, "pairs.json")
        means = comparison.leaderboard[["model", "metric", "mean"]].itertuples(index=False)
        run.metrics({f"{model}_{metric}": mean for model, metric, mean in means})
        if out is not None:
            save_comparison(comparison, out)
        return comparison
