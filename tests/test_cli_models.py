"""The verb that lists the models."""

import pytest

from recsys_vae.cli import main
from recsys_vae.models.zoo import ZOO


def test_the_verb_prints_a_line_for_every_model(capsys: pytest.CaptureFixture[str]) -> None:
    main(["models"])
    printed = capsys.readouterr()
    assert printed.err == ""
    lines = [line.split("  ", 1) for line in printed.out.splitlines()]
    assert {name: line.strip() for name, line in lines} == {
        name: entry.line for name, entry in ZOO.items()
    }
    assert max(map(len, printed.out.splitlines())) <= 100  # a terminal's width, as for --help


def test_it_takes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["models", "--recipe", "mult-vae"])
    assert stopped.value.code == 2
    assert "--recipe" in capsys.readouterr().err
