"""main: the whole line, from a file of interactions to lists, under one parent run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from recsys_vae.errors import InputError
from recsys_vae.ingest.cleaning import CleaningOptions
from recsys_vae.ingest.columns import ColumnNames
from recsys_vae.splitting import StrongOptions
from recsys_vae.steps.evaluate import Judged, evaluate_models
from recsys_vae.steps.ingest import INTERACTIONS, ITEMS, Ingested, IngestOptions, ingest
from recsys_vae.steps.recipes import Recipe
from recsys_vae.steps.recommend import Recommended, RecommendOptions, recommend
from recsys_vae.steps.score import ScoreOptions, score
from recsys_vae.steps.split import split
from recsys_vae.steps.train import Trained, train
from recsys_vae.tracking.registry import REGISTERED_NAME
from recsys_vae.tracking.runs import step_run


@dataclass(frozen=True, slots=True, kw_only=True)
class MainOptions:
    """The whole line's options.

    Attributes:
        data: a file of interactions, or "sample".
        items: a file of titles, or None.
        columns: column names, found by convention where None.
        cleaning: what to keep.
        splitting: how to hold out users.
        recipes: the models; the first is registered, recommends and scores.
        k: length of the lists.
        seed: of the fits.
        device: "auto", "cpu" or "cuda".
        fresh: start over even if an unfinished training lies in `out`.
        out: the folder that everything is written to.
    """

    data: str
    items: Path | None = None
    columns: ColumnNames = ColumnNames()
    cleaning: CleaningOptions = CleaningOptions()
    splitting: StrongOptions = StrongOptions()
    recipes: Sequence[Recipe]
    k: int = 10
    seed: int = 0
    device: str = "auto"
    fresh: bool = False
    out: Path


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the line brought.

    Attributes:
        ingested: the clean data.
        trained: by model name.
        judged: the models' metrics on the test users.
        recommended: lists for three test users.
        lists: folder of the lists for all test users.
        run_id: of the parent run.
    """

    ingested: Ingested
    trained: dict[str, Trained]
    judged: list[Judged]
    recommended: Recommended
    lists: Path
    run_id: str


def run_main(options: MainOptions) -> Outcome:
    """Ingest, split, train every model, evaluate, recommend and score.

    Returns:
        What each step brought.

    Raises:
        InputError: a model is named twice, or as the steps do.
    """
    out = options.out
    names = [recipe.model for recipe in options.recipes]
    if len(set(names)) < len(names):
        raise InputError(
            f"--recipes {','.join(names)} names a model twice: compare two settings of one model "
            "with 'train' and 'evaluate', each into its own --out"
        )
    with step_run("main") as run:
        ingested = ingest(
            IngestOptions(
                data=options.data,
                items=options.items,
                columns=options.columns,
                cleaning=options.cleaning,
                out=out / "data",
            )
        )
        parts = split(data=out / "data", out=out / "split", options=options.splitting)
        trained: dict[str, Trained] = {}
        for number, recipe in enumerate(options.recipes):
            done = train(
                split=out / "split",
                recipe=recipe,
                out=out / "models" / recipe.model,
                seed=options.seed,
                device=options.device,
                register=REGISTERED_NAME if number == 0 else None,
                fresh=options.fresh,
            )
            assert done is not None  # main runs in one process
            trained[recipe.model] = done
        judged = evaluate_models(
            split=out / "split",
            models=[str(one.folder) for one in trained.values()],
            out=out / "evaluation",
        )
        first = next(iter(trained.values()))
        titles = out / "data" / ITEMS
        k = min(options.k, len(parts.train.items))
        recommended = recommend(
            RecommendOptions(
                model=str(first.folder),
                histories=out / "split" / "test-given",
                k=k,
                items=titles if titles.is_file() else None,
                out=out / "lists" / "examples.csv",
            )
        )
        lists = out / "lists" / "all-users"
        score(
            ScoreOptions(
                model=str(first.folder), histories=out / "data" / INTERACTIONS, out=lists, k=k
            )
        )
        for one in judged:
            run.metrics({f"{one.model}_{key}": value.mean for key, value in one.estimates.items()})
        return Outcome(ingested, trained, judged, recommended, lists, run.run_id)
