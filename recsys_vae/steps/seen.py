"""Whether a model may have learned what a split holds out."""

from pathlib import Path
from typing import Any, Final

from recsys_vae.errors import InputError
from recsys_vae.models.zoo import trained_draw, trained_on
from recsys_vae.splitting import SPLITTERS, Split

_MORE: Final = 1.05
"""So much larger a share of users may be held out than when the model was trained: what a few more
users move over the bounds between the parts is left aside."""


def draw_of(parts: Split) -> dict[str, Any] | None:
    """Say how the split drew what it holds out, so far as that is the same with other data.

    Returns:
        Its kind and options, the number of held-out users as a share of all; None for a split
        that others made.
    """
    described = parts.description
    if parts.kind not in SPLITTERS:
        return None
    names = SPLITTERS[parts.kind][0].__dataclass_fields__
    draw = {name: described.get(name) for name in names if name != "kind"}
    if "held_out_users" in draw:
        folds = (parts.validation, parts.test)
        judged = sum(len(fold.given.users) for fold in folds)
        draw["held_out_users"] = round(judged / 2 / (judged + len(parts.train.users)), 6)
    return {"kind": parts.kind, **draw}


def may_have_seen(folder: Path, parts: Split) -> bool:
    """Say whether a model may have learned what the split holds out.

    Draws depend on ids alone, so that a model of the same draw from earlier data has not, apart
    from what moved over the bounds between the parts.

    Args:
        folder: of the model.
        parts: the split that is to judge it.

    Returns:
        Whether it was trained on anything but this split's training part or a part that was drawn
        in the same way; False where nothing is known of its training.
    """
    train = trained_on(folder)
    if train is None or train == parts.train.fingerprint:
        return False
    own, here = trained_draw(folder), draw_of(parts)
    if own is None or here is None:
        return True
    share, most = here.pop("held_out_users", None), own.pop("held_out_users", None)
    more = share is not None and most is not None and share > _MORE * most
    return own != here or more


def refuse_to_judge_by_its_own_users(folder: Path, parts: Split, name: str) -> None:
    """Refuse to judge a model by users whose held-out items it was fitted to.

    Args:
        folder: of the model.
        parts: the split whose users are to judge it.
        name: what it is called in the message.

    Raises:
        InputError: it was fitted to all that the split was made of.
    """
    source = parts.description.get("source_fingerprint")
    if source is not None and trained_on(folder) == source:
        raise InputError(
            f"{name} was fitted to everything that this split was made of, its held-out "
            "items included, and cannot be judged by them: evaluate the model that it is a refit of"
        )
