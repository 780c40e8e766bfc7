"""The exception that means: what was asked for or handed in cannot be used."""


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


def reason(error: BaseException) -> str:
    """Give the first sentence of a library's message, to stand in brackets in one of ours.

    >>> reason(ValueError("Not found. Check your path."))
    'Not found'
    """
    lines = str(error).strip().splitlines()
    # What SQLAlchemy puts before the reason.
    lines = [one for one in lines if not one.startswith("(raised as a result of ")] or lines
    return lines[0].split(". ")[0].rstrip(".") if lines else type(error).__name__
