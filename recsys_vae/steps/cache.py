"""Steps that are done once: what a step depends on, what it left, and whether both still hold."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from recsys_vae.errors import InputError
from recsys_vae.files import read_json, write_json
from recsys_vae.interactions.store import file_sum
from recsys_vae.steps.program import program_sum
from recsys_vae.tracking.runs import last_run_id, model_exists, run_exists, tag_run

CONTENTS: Final = ("*.json",)
_FORMAT_VERSION: Final = 1
_LIBRARIES: Final = ("numpy", "pandas", "pyarrow", "scipy", "torch", "implicit")
_TAG: Final = "recsys_vae.step_key"
_LONGEST: Final = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What a step has to say once it is done, as plain JSON.

    Attributes:
        facts: for the steps that follow and for the end.
        metrics: for the parent run.
        shown: what a person reads at the end.
    """

    facts: dict[str, Any]
    metrics: dict[str, float]
    shown: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A finished step.

    Attributes:
        step: its name.
        run_id: of the MLflow run that did it.
        made: what it had to say.
        reused: whether it was done before.
        why: in half a sentence.
    """

    step: str
    run_id: str
    made: Made
    reused: bool
    why: str


class StepCache:
    """Remembers finished steps, each in a record that is written last.

    A step is not done again while what it depends on, the program and the libraries are what they
    were, what it left is there byte by byte, and its MLflow run and model still exist.

    Args:
        root: folder that the steps write within.
        fresh: whether to do everything again.
        say: is told of each step what becomes of it, and why.
    """

    def __init__(self, root: Path, *, fresh: bool, say: Callable[[str], None]) -> None:
        """Keep the records in `root`/steps."""
        self._root, self._fresh, self._say = root, fresh, say

    def step(
        self,
        name: str,
        depends: Mapping[str, Any],
        outputs: Sequence[Path],
        make: Callable[[bool], Made],
    ) -> Done:
        """Do a step, unless it is done.

        Args:
            name: of the step, a file name.
            depends: all that decides what it leaves: options, and fingerprints of its inputs.
            outputs: files and folders that it leaves, within the root; without them it has none.
            make: does the step; is told whether an unfinished attempt that depended on the same
                may be continued.

        Returns:
            What the step had to say, now or then.
        """
        wanted = {**_flat("", depends), **_program()}
        begun = self._path(f"{name}.begun")
        record = self._record(name)
        why = self._why_not(record, wanted, outputs)
        if record is not None and not why:
            self._say(f"{name}: reused (MLflow run {record['run_id']})")
            made = Made(facts=record["facts"], metrics=record["metrics"], shown=record["shown"])
            return Done(step=name, run_id=record["run_id"], made=made, reused=True, why="unchanged")
        goes_on = not self._fresh and _read(begun) == wanted
        self._say(f"{name}: {'continued' if goes_on else why}")
        self._path(name).unlink(missing_ok=True)
        write_json(begun, wanted)
        made = make(goes_on)
        run_id = last_run_id()
        tag_run(run_id, {_TAG: _digest(wanted)})
        write_json(
            self._path(name),
            {
                "format_version": _FORMAT_VERSION,
                "depends": wanted,
                "outputs": {str(path.relative_to(self._root)): content_sum(path)
                            for path in outputs},
                "run_id": run_id,
                "facts": made.facts,
                "metrics": made.metrics,
                "shown": made.shown,
            },
        )  # fmt: skip
        begun.unlink()
        return Done(step=name, run_id=run_id, made=made, reused=False, why=why)

    def _path(self, name: str) -> Path:
        return self._root / "steps" / f"{name}.json"

    def _record(self, name: str) -> dict[str, Any] | None:
        found = _read(self._path(name))
        whole = {"depends": dict, "outputs": dict, "run_id": str, "facts": dict, "metrics": dict,
                 "shown": str}  # fmt: skip
        if found is None or found.get("format_version") != _FORMAT_VERSION:
            return None
        return found if all(isinstance(found.get(k), t) for k, t in whole.items()) else None

    def _why_not(
        self, record: dict[str, Any] | None, wanted: dict[str, Any], outputs: Sequence[Path]
    ) -> str:
        """Say why a step must be done (again), or nothing."""
        if self._fresh:
            return "begun, because of --fresh"
        if record is None:
            return "begun"
        before = record["depends"]
        changed = [key for key in sorted({*before, *wanted}) if before.get(key) != wanted.get(key)]
        if changed:
            shown = [_change(key, before.get(key), wanted.get(key)) for key in changed[:3]]
            more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
            return f"begun anew, because {', '.join(shown)}{more} changed"
        for path in outputs:
            relative = str(path.relative_to(self._root))
            if not path.exists() or content_sum(path) != record["outputs"].get(relative):
                gone = "was changed" if path.exists() else "is gone"
                return f"begun anew, because {path} {gone}"
        if not run_exists(record["run_id"]):
            return f"begun anew, because MLflow run {record['run_id']} is gone"
        uri = record["facts"].get("uri")
        if uri is not None and not model_exists(str(uri)):
            return f"begun anew, because MLflow has no {uri} any more"
        return ""


def content_sum(path: Path) -> str:
    """Give the SHA-256 of a file, or of a folder's file names and their contents.

    Raises:
        InputError: there is nothing.
    """
    archive = next((one for one in path.parents if one.is_file()), None)
    if archive is not None:  # a member of it
        return _digest({str(path.relative_to(archive)): file_sum(archive)})
    if path.is_file():
        return file_sum(path)
    if not path.is_dir():
        raise InputError(f"{path} does not exist: check the path")
    sums = {
        str(one.relative_to(path)): file_sum(one)
        for one in sorted(path.rglob("*"))
        if one.is_file()
    }
    return _digest(sums)


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return read_json(path, what="a record of a step", remedy="it is made again")
    except InputError:
        return None  # absent or damaged: the step is simply not known to be done


def _flat(prefix: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Flatten nested tables with dots; what is no JSON becomes text."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat |= _flat(f"{name}.", value)
        elif isinstance(value, set | frozenset):
            flat[name] = sorted(map(str, value))
        elif isinstance(value, list | tuple):
            flat[name] = [one if isinstance(one, str | int | float) else str(one) for one in value]
        else:
            flat[name] = value if isinstance(value, str | int | float | None) else str(value)
    return flat


@lru_cache(maxsize=1)
def _program() -> dict[str, str]:
    """Give what tells this program from another: its source, and the libraries it counts on."""
    found = {f"library {name}": version(name) for name in _LIBRARIES}
    return {**found, "the program": program_sum()}


def _change(key: str, before: object, now: object) -> str:
    texts = [json.dumps(one) for one in (before, now)]
    told = key == "the program" or any(len(one) > _LONGEST for one in texts)
    return key if told else f"{key} ({texts[0]} to {texts[1]})"
