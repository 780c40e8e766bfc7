"""The exception that means: what was asked for or handed in cannot be used."""

from collections.abc import Iterable
from difflib import get_close_matches


class InputError(ValueError):
    """Bad input, told in one sentence that names the file, row or option and the remedy.

    The command line prints the sentence and exits with code 2; a traceback would only hide it.

    >>> raise InputError("ratings.csv has no column 'user': name it with --user-column")
    Traceback (most recent call last):
    ...
    recsys_vae.errors.InputError: ratings.csv has no column 'user': name it with --user-column
    """


class UnusableSettingsError(InputError):
    """Settings of a model with which these data cannot be learned: others may do."""


def meant(word: str, among: Iterable[str]) -> str:
    """Ask whether the nearest of some words was meant, if one is near or ends in it.

    >>> meant("mult-vea", ["ease", "mult-vae"])
    " (did you mean 'mult-vae'?)"
    >>> meant("epochs", ["latent", "training.epochs"])
    " (did you mean 'training.epochs'?)"
    >>> meant("transformer", ["ease", "mult-vae"])
    ''
    """
    words = list(among)
    ending = [one for one in words if one.endswith(f".{word}")]
    near = ending or get_close_matches(word, words, n=1, cutoff=0.75)
    return f" (did you mean '{near[0]}'?)" if near else ""


def reason(error: BaseException) -> str:
    """Give the first sentence of a library's message, to stand in brackets in one of ours.

    >>> reason(ValueError("Not found. Check your path."))
    'Not found'
    """
    lines = str(error).strip().splitlines()
    # What SQLAlchemy puts before the reason.
    lines = [one for one in lines if not one.startswith("(raised as a result of ")] or lines
    return lines[0].split(". ")[0].rstrip(".") if lines else type(error).__name__
