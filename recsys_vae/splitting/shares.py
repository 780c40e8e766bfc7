"""Options that are shares of something."""

from recsys_vae.errors import InputError


def check_share(option: str, share: float) -> None:
    """Refuse a share that is not strictly between 0 and 1.

    Raises:
        InputError: it is none; the sentence names the option.
    """
    if not 0.0 < share < 1.0:
        raise InputError(f"{option} {share} must lie between 0 and 1, for example 0.2")
