"""The steps of the whole line: what each depends on, and how it is done.

ingest -> split -> train (each model) -> evaluate
       |        |               |
       |        +-> recommend <-+  (the first model, three test users)
       +----------> score     <-+  (the first model, everybody)
       +--> (refit, then score)    (where asked for, the first model fitted again to everybody)
"""

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from recsys_vae.files import read_json
from recsys_vae.ingest.cleaning import CleaningOptions
from recsys_vae.ingest.reading import ReadOptions
from recsys_vae.interactions.store import INTERACTIONS, low_ratings_beside
from recsys_vae.interactions.store import MANIFEST as INTERACTIONS_MANIFEST
from recsys_vae.models.zoo import MANIFEST as MODEL_MANIFEST
from recsys_vae.models.zoo import model_fingerprint
from recsys_vae.scoring.workplace import unfinished
from recsys_vae.splitting import SplitOptions, StrongOptions
from recsys_vae.splitting.split import MANIFEST as SPLIT_MANIFEST
from recsys_vae.steps import console
from recsys_vae.steps.cache import Done, Made, StepCache, content_sum
from recsys_vae.steps.evaluate import evaluate_models
from recsys_vae.steps.ingest import ITEMS, REPORT, SAMPLE, IngestOptions, ingest
from recsys_vae.steps.lists import ListOptions
from recsys_vae.steps.pictures import judged_note
from recsys_vae.steps.recipes import Recipe
from recsys_vae.steps.recommend import RecommendOptions, recommend
from recsys_vae.steps.refit import RefitOptions, refit
from recsys_vae.steps.score import ScoreOptions, score
from recsys_vae.steps.split import split
from recsys_vae.steps.train import VALIDATION_METRIC, train
from recsys_vae.tracking.evaluations import tell_model
from recsys_vae.tracking.registry import REGISTERED_NAME

REFITTED: Final = "refitted"
"""Folder of the model that was fitted to everybody."""


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
        refit: whether the first model, once judged, is fitted again to all users, and scores.
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
    refit: bool = False
    out: Path


@dataclass(frozen=True, slots=True)
class Line:
    """The line from a file to lists.

    Attributes:
        options: what to do.
        cache: remembers what is done.
    """

    options: MainOptions
    cache: StepCache

    def run(self) -> dict[str, Done]:
        """Do what is not done; give all steps by name, in their order."""
        done = [self._ingest(), self._split()]
        done += [self._train(recipe) for recipe in self.options.recipes]
        done += [
            self._evaluate({one.step: one.made.facts["uri"] for one in done[2:]}),
            self._recommend(),
            *([self._refit()] if self.options.refit else []),
            self._score(),
        ]
        return {one.step: one for one in done}

    @property
    def _data(self) -> Path:
        return self.options.out / "data"

    @property
    def _parts(self) -> Path:
        return self.options.out / "split"

    def _model(self, recipe: Recipe) -> Path:
        return self.options.out / "models" / recipe.model

    @property
    def _everybodys(self) -> Path:
        return self.options.out / REFITTED

    @property
    def _first(self) -> Path:
        return self._model(self.options.recipes[0])

    def _k(self) -> int:
        """Give the length of the lists: no list is longer than the catalogue."""
        manifest = read_json(self._first / MODEL_MANIFEST, what="a model", remedy="train it again")
        return min(self.options.k, int(manifest["n_items"]))

    def _ingest(self) -> Done:
        options = self.options
        sources = {"data": options.data if options.data == SAMPLE else None, "items": None}
        for name, path in (("data", options.data), ("items", options.items)):
            if path is not None and path != SAMPLE:
                sources[name] = content_sum(Path(path))
        depends = {
            "reading": asdict(options.reading),
            "cleaning": asdict(options.cleaning),
            "the content of": sources,
        }

        def make(_goes_on: bool) -> Made:
            found = ingest(
                IngestOptions(
                    data=options.data,
                    items=options.items,
                    reading=options.reading,
                    cleaning=options.cleaning,
                    out=self._data,
                )
            )
            counts = {
                "users": len(found.interactions.users),
                "items": len(found.interactions.items),
                "interactions": len(found.interactions),
            }
            return Made(facts=counts, metrics=_numbers(counts), shown=console.account(found))

        return self.cache.step("ingest", depends, [self._data], make)

    def _split(self) -> Done:
        options = self.options.splitting
        depends = {
            "split": {"kind": options.kind, **asdict(options)},
            "the interactions": _fingerprint(self._data / INTERACTIONS),
            "threshold": _content(self._data / REPORT).get("threshold"),
        }

        def make(_goes_on: bool) -> Made:
            split(data=self._data, out=self._parts, options=options)
            return Made(facts={}, metrics={})

        return self.cache.step("split", depends, [self._parts], make)

    def _train(self, recipe: Recipe) -> Done:
        options, out = self.options, self._model(recipe)
        depends = {
            "model": recipe.make().config.model_dump(mode="json"),
            "seed": options.seed,
            "device": options.device,
            "the split": content_sum(self._parts / SPLIT_MANIFEST),
        }

        def make(goes_on: bool) -> Made:
            found = train(
                split=self._parts,
                recipe=recipe,
                out=out,
                seed=options.seed,
                device=options.device,
                register=None,
                fresh=not goes_on,
            )
            assert found is not None  # main runs in one process
            facts = {"uri": found.uri, "seconds": found.seconds}
            name = f"{recipe.model}_validation_{VALIDATION_METRIC}"
            return Made(facts=facts, metrics={name: found.validation})

        return self.cache.step(f"train {recipe.model}", depends, [out], make)

    def _evaluate(self, uris: dict[str, str]) -> Done:
        models = {one.model: self._model(one) for one in self.options.recipes}
        out = self.options.out / "evaluation"
        depends = {
            "the split": content_sum(self._parts / SPLIT_MANIFEST),
            "model": {name: model_fingerprint(folder) for name, folder in models.items()},
            "order": list(models),
        }

        def make(_goes_on: bool) -> Made:
            judged = evaluate_models(
                split=self._parts, models=[str(one) for one in models.values()], out=out
            )
            table = [
                {"model": one.model, **{name: str(value) for name, value in one.estimates.items()}}
                for one in judged
            ]
            metrics = {
                f"{one.model}_{name}": value.mean
                for one in judged
                for name, value in one.estimates.items()
            }
            for one in judged:
                means = {f"test_{name}": value.mean for name, value in one.estimates.items()}
                tell_model(uris[f"train {one.model}"], means)
            facts = {
                "table": table,
                "users": judged[0].evaluation.checks.judged,
                "note": judged_note(judged, f"test users of {self.options.data}"),
            }
            return Made(facts=facts, metrics=metrics)

        return self.cache.step("evaluate", depends, [out], make)

    def _recommend(self) -> Done:
        titles = self._data / ITEMS
        titled = titles if titles.is_file() else None
        given, out = self._parts / "test-given", self.options.out / "lists" / "examples.csv"
        low = low_ratings_beside(self._data / INTERACTIONS)
        depends = {
            "the model": model_fingerprint(self._first),
            "the histories": _fingerprint(given),
            "the low ratings": None if low is None else _fingerprint(low),
            "the titles": None if titled is None else content_sum(titled),
            "k": self._k(),
        }

        def make(_goes_on: bool) -> Made:
            found = recommend(
                RecommendOptions(
                    model=str(self._first),
                    histories=given,
                    k=self._k(),
                    lists=ListOptions(items=titled),
                    low_ratings=low,
                    out=out,
                )
            )
            return Made(facts={}, metrics={}, shown=console.lists(found))

        return self.cache.step("recommend", depends, [out], make)

    def _refit(self) -> Done:
        options, out = self.options, self._everybodys
        depends = {
            "the model": model_fingerprint(self._first),
            "the interactions": _fingerprint(self._data / INTERACTIONS),
            "seed": options.seed,
            "device": options.device,
        }

        def make(goes_on: bool) -> Made:
            found = refit(
                RefitOptions(
                    model=str(self._first),
                    data=self._data,
                    out=out,
                    seed=options.seed,
                    device=options.device,
                    fresh=not goes_on,
                )
            )
            assert found is not None  # main runs in one process
            facts = {"uri": found.uri, "seconds": found.seconds, "users": found.users}
            return Made(facts=facts, metrics={"refit_seconds": found.seconds})

        return self.cache.step("refit", depends, [out], make)

    def _score(self) -> Done:
        model = self._everybodys if self.options.refit else self._first
        histories, out = self._data / INTERACTIONS, self.options.out / "lists" / "all-users"
        low = low_ratings_beside(histories)
        depends = {
            "the model": model_fingerprint(model),
            "the histories": _fingerprint(histories),
            "the low ratings": None if low is None else _fingerprint(low),
            "k": self._k(),
        }

        def make(goes_on: bool) -> Made:
            if not goes_on:
                shutil.rmtree(unfinished(out), ignore_errors=True)
            found = score(ScoreOptions(model=str(model), histories=histories, out=out, k=self._k()))
            return Made(facts={"users": found.counts.users, "rows": found.counts.rows}, metrics={})

        return self.cache.step("score", depends, [out], make)


def _content(path: Path) -> dict[str, Any]:
    return read_json(path, what="what the step before wrote", remedy="give --fresh")


def _fingerprint(folder: Path) -> str:
    return str(_content(folder / INTERACTIONS_MANIFEST).get("fingerprint"))


def _numbers(counts: dict[str, int]) -> dict[str, float]:
    return {name: float(count) for name, count in counts.items()}
