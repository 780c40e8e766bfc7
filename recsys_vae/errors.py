"""The one exception that means: what was asked for or handed in cannot be used."""


class InputError(ValueError):
    """Bad input, told in one sentence that names the file, row or option and the remedy.

    The command line prints the sentence and exits with code 2; a traceback would only hide it.

    >>> raise InputError("ratings.csv has no column 'user': name it with --user-column")
    Traceback (most recent call last):
    ...
    recsys_vae.errors.InputError: ratings.csv has no column 'user': name it with --user-column
    """
