"""MLproject says of each verb what the command line understands."""

import shlex
from pathlib import Path
from typing import Any

import pytest
from mlflow.projects._project_spec import load_project

from recsys_vae.cli import cli

_PROJECT: Any = load_project(str(Path(__file__).parents[1]))
# A parameter that must be given, and what could be given.
_GIVEN = {"histories": "ratings.csv", "train": "train.txt", "run": "outputs/sample"}
# `datasets`, `models` and `tidy` make no run: they are no entry points.
_VERBS = [verb for verb in cli.commands if verb not in ("datasets", "models", "tidy")]


def _parsed(verb: str, **given: str) -> dict[str, Any]:
    """What the command line makes of an entry point's command."""
    entry = _PROJECT.get_entry_point(verb)
    values = {name: parameter.default for name, parameter in entry.parameters.items()}
    values |= {name: _GIVEN[name] for name, value in values.items() if value is None}
    filled = entry.command.format(**{k: shlex.quote(str(v)) for k, v in (values | given).items()})
    python, _m, package, spoken, *arguments = shlex.split(filled)
    assert (python, package, spoken) == ("python", "recsys_vae", verb)
    return cli.commands[verb].make_context(verb, arguments).params


def test_the_entry_points_are_the_verbs() -> None:
    assert set(_PROJECT._entry_points) == set(_VERBS)


@pytest.mark.parametrize("verb", _VERBS)
def test_the_defaults_are_those_of_the_command_line(verb: str) -> None:
    parsed = _parsed(verb)
    needed = {
        str(option.name): option.opts[0] for option in cli.commands[verb].params if option.required
    }
    arguments = [word for name, flag in needed.items() for word in (flag, "something")]
    bare = cli.commands[verb].make_context(verb, arguments).params
    assert {k: v for k, v in parsed.items() if k not in needed} == {
        k: v for k, v in bare.items() if k not in needed
    }


@pytest.mark.parametrize("verb", _VERBS)
def test_every_parameter_reaches_its_option(verb: str) -> None:
    options = {
        option.opts[0].removeprefix("--").replace("-", "_") for option in cli.commands[verb].params
    }
    assert set(_PROJECT.get_entry_point(verb).parameters) <= options
    for name in _PROJECT.get_entry_point(verb).parameters:
        assert f"--{name.replace('_', '-')} {{{name}}}" in _PROJECT.get_entry_point(verb).command


@pytest.mark.parametrize("verb", ["ingest", "recommend", "score", "main"])
def test_names_with_spaces_and_quotes_survive(verb: str) -> None:
    assert _parsed(verb, user_column='who\'s "it"')["user_column"] == 'who\'s "it"'
