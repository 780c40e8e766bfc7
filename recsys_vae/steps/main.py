"""main: the whole line, from a file of interactions to lists, under one parent run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from recsys_vae.errors import InputError
from recsys_vae.files import check_replaceable
from recsys_vae.ingest.cleaning import CleaningOptions
from recsys_vae.ingest.reading import ReadOptions
from recsys_vae.models.zoo import CONTENTS as MODEL_CONTENTS
from recsys_vae.scoring.workplace import CONTENTS as LISTS_CONTENTS
from recsys_vae.splitting import SplitOptions, StrongOptions
from recsys_vae.splitting.split import CONTENTS as SPLIT_CONTENTS
from recsys_vae.steps.evaluate import CONTENTS as EVALUATION_CONTENTS
from recsys_vae.steps.evaluate import Judged, evaluate_models
from recsys_vae.steps.ingest import CONTENTS as DATA_CONTENTS
from recsys_vae.steps.ingest import INTERACTIONS, ITEMS, Ingested, IngestOptions, ingest
from recsys_vae.steps.lists import ListOptions
from recsys_vae.steps.pictures import judged_note
from recsys_vae.steps.recipes import Recipe
from recsys_vae.steps.recommend import Recommended, RecommendOptions, recommend
from recsys_vae.steps.score import ScoreOptions, score
from recsys_vae.steps.split import split
from recsys_vae.steps.train import Trained, train
from recsys_vae.tracking.evaluations import tell_model
from recsys_vae.tracking.registry import REGISTERED_NAME, check_register_name, register
from recsys_vae.tracking.runs import step_run
from recsys_vae.training.device import choose_device


@dataclass(frozen=True, slots=True, kw_only=True)
class MainOptions:
    """The whole line's options.

    Attributes:
        data: a file of interactions, or "sample".
        items: a file of titles, or None.
        reading: what the files do not say about themselves.
        cleaning: what to keep.
        splitting: what to hold out; its class is the kind of split.
        recipes: the models; the first is registered, recommends and scores.
        k: length of the lists.
        seed: of the fits.
        device: "auto", "cpu" or "cuda".
        register: name in MLflow's registry for the first model.
        fresh: start over even if an unfinished training lies in `out`.
        out: the folder that everything is written to.
    """

    data: str
    items: Path | None = None
    reading: ReadOptions = ReadOptions()
    cleaning: CleaningOptions = CleaningOptions()
    splitting: SplitOptions = StrongOptions()
    recipes: Sequence[Recipe]
    k: int = 10
    seed: int = 0
    device: str = "auto"
    register: str = REGISTERED_NAME
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
        lists: folder of the lists for all users.
        version: URI of the first model in MLflow's registry, which is now `challenger`.
        run_id: of the parent run.
    """

    ingested: Ingested
    trained: dict[str, Trained]
    judged: list[Judged]
    recommended: Recommended
    lists: Path
    version: str
    run_id: str


def run_main(options: MainOptions, say: Callable[[str], None] = lambda _line: None) -> Outcome:
    """Ingest, split, train every model, evaluate, recommend and score.

    Args:
        options: what to do.
        say: is told, line by line, what is being done.

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
    # What can be refused is refused before the first step has done or registered anything.
    for recipe in options.recipes:
        recipe.make()
    choose_device(options.device)
    check_register_name(options.register)
    for folder, contents in _written(options):
        check_replaceable(folder, contents)
    with step_run("main", name=f"main {Path(options.data).name}") as run:
        say(f"ingest: {options.data}")
        ingested = ingest(
            IngestOptions(
                data=options.data,
                items=options.items,
                reading=options.reading,
                cleaning=options.cleaning,
                out=out / "data",
            )
        )
        say(f"split: {options.splitting.kind}")
        parts = split(data=out / "data", out=out / "split", options=options.splitting)
        trained: dict[str, Trained] = {}
        for recipe in options.recipes:
            say(f"train: {recipe.model}")
            done = train(
                split=out / "split",
                recipe=recipe,
                out=out / "models" / recipe.model,
                seed=options.seed,
                device=options.device,
                register=None,
                fresh=options.fresh,
            )
            assert done is not None  # main runs in one process
            trained[recipe.model] = done
        say("evaluate, recommend, score")
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
                lists=ListOptions(items=titles if titles.is_file() else None),
                out=out / "lists" / "examples.csv",
            )
        )
        lists = out / "lists" / "all-users"
        score(
            ScoreOptions(
                model=str(first.folder), histories=out / "data" / INTERACTIONS, out=lists, k=k
            )
        )
        version = register(first.uri, options.register)
        for one in judged:
            means = {key: value.mean for key, value in one.estimates.items()}
            run.metrics({f"{one.model}_{key}": mean for key, mean in means.items()})
            told = {f"test_{key}": mean for key, mean in means.items()}
            tell_model(trained[one.model].uri, told)
        run.params("main", {"data": options.data, "recipes": ", ".join(names), "k": options.k})
        run.dataset(ingested.interactions, "interactions", "pipeline")
        run.note(judged_note(judged, f"test users of {options.data}"))
        return Outcome(ingested, trained, judged, recommended, lists, version, run.run_id)


def _written(options: MainOptions) -> list[tuple[Path, Sequence[str]]]:
    """Say which folders the steps will write, and what each may hold."""
    out = options.out
    models = [(out / "models" / recipe.model, MODEL_CONTENTS) for recipe in options.recipes]
    return [
        (out / "data", DATA_CONTENTS),
        (out / "split", SPLIT_CONTENTS),
        *models,
        (out / "evaluation", EVALUATION_CONTENTS),
        (out / "lists" / "all-users", LISTS_CONTENTS),
    ]
