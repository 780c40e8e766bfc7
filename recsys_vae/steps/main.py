"""main: the whole line, from a file of interactions to lists, under one parent run."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from recsys_vae.errors import InputError
from recsys_vae.files import check_replaceable, read_json, refuse_loss, write_json
from recsys_vae.interactions import load_interactions
from recsys_vae.interactions.store import INTERACTIONS
from recsys_vae.models.zoo import CONTENTS as MODEL_CONTENTS
from recsys_vae.scoring.workplace import CONTENTS as LISTS_CONTENTS
from recsys_vae.splitting.split import CONTENTS as SPLIT_CONTENTS
from recsys_vae.splitting.split import MANIFEST as SPLIT_MANIFEST
from recsys_vae.steps.alone import alone
from recsys_vae.steps.cache import CONTENTS as RECORDS
from recsys_vae.steps.cache import StepCache
from recsys_vae.steps.evaluate import CONTENTS as EVALUATION_CONTENTS
from recsys_vae.steps.ingest import CONTENTS as DATA_CONTENTS
from recsys_vae.steps.ingest import PROOF, SAMPLE, refuse_within
from recsys_vae.steps.line import REFITTED, Line, MainOptions
from recsys_vae.steps.outcome import Outcome
from recsys_vae.tracking.registry import check_register_name, register
from recsys_vae.tracking.runs import STEP_RUN, StepRun, end_killed, step_run
from recsys_vae.training.device import choose_device

_RUNNING: Final = Path("steps", "running.json")
"""Names the run that is at work in a folder; it stays when that is killed."""


def run_main(options: MainOptions, say: Callable[[str], None] = lambda _line: None) -> Outcome:
    """Ingest, split, train every model, evaluate, recommend and score.

    A step whose inputs, options and program are those of an earlier run in the same folder is not
    done again; one that was interrupted goes on.

    Args:
        options: what to do.
        say: is told of each step what becomes of it, and why.

    Returns:
        What each step brought.

    Raises:
        InputError: a model is named twice, another process is at work in the folder, or as the
            steps do.
    """
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
    data = None if options.data == SAMPLE else Path(options.data)
    for one in (data, options.items):
        if one is not None and not one.exists():
            raise InputError(f"{one} does not exist: check the path")
    if options.out.exists() and not options.out.is_dir():
        raise InputError(f"--out {options.out} is no folder: choose another --out")
    for folder, contents, proof in _written(options):
        check_replaceable(folder, contents, proof)
        refuse_loss(folder, [data, options.items])
    refuse_within(options.out, data)
    with alone(options.out), _run(options) as run:
        run.params("main", {"data": options.data, "recipes": ", ".join(names), "k": options.k})
        line = Line(options, StepCache(options.out, fresh=options.fresh, say=say))
        steps = line.run()
        for name, done in steps.items():
            run.metrics(done.made.metrics)
            run.tags({f"{STEP_RUN}{name}": done.run_id})
            if done.reused:
                run.tags({f"recsys_vae.reused.{name}": "true"})
        run.dataset(
            load_interactions(options.out / "data" / INTERACTIONS), "interactions", "pipeline"
        )
        run.note(steps["evaluate"].made.facts["note"])
        first = steps[f"train {names[0]}"]
        version = register(first.made.facts["uri"], options.register)
        return Outcome(steps, options.out, version, run.run_id)


@contextmanager
def _run(options: MainOptions) -> Iterator[StepRun]:
    """Give the parent run; one that was killed in this folder is no longer shown as running."""
    running = options.out / _RUNNING
    with step_run("main", name=f"main {Path(options.data).name}") as run:
        if running.exists():
            try:
                before = read_json(running, what="the run before", remedy="delete it")
            except InputError:
                before = {}  # cut off while it was written
            end_killed(str(before.get("run_id", "")))
        write_json(running, {"run_id": run.run_id})
        try:
            yield run
        finally:
            running.unlink(missing_ok=True)


def _written(options: MainOptions) -> list[tuple[Path, Sequence[str], Sequence[str]]]:
    """Say which folders the steps will write, what each may hold, and by what it is known."""
    out = options.out
    return [
        (out / "data", DATA_CONTENTS, PROOF),
        (out / "split", SPLIT_CONTENTS, [SPLIT_MANIFEST]),
        *((out / "models" / one.model, MODEL_CONTENTS, ()) for one in options.recipes),
        *([(out / REFITTED, MODEL_CONTENTS, ())] if options.refit else []),
        (out / "evaluation", EVALUATION_CONTENTS, ()),
        (out / "steps", RECORDS, ()),
        (out / "lists" / "all-users", LISTS_CONTENTS, ()),
    ]


__all__ = ["MainOptions", "Outcome", "run_main"]
