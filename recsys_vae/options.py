"""Options that several verbs share, and how they are read."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from recsys_vae.errors import InputError, reason

if TYPE_CHECKING:  # at run time these imports would slow every --help
    from recsys_vae.ingest.cleaning import CleaningOptions
    from recsys_vae.ingest.reading import ReadOptions
    from recsys_vae.splitting import SplitOptions


class Verb(click.Command):
    """A command that takes an empty option value for "not given".

    MLflow passes every parameter of an entry point, the unset ones as empty text.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Drop options whose value is empty."""
        kept: list[str] = []
        position = 0
        while position < len(args):
            one = args[position]
            after = args[position + 1 : position + 2]
            bare = one.endswith("=") and one.count("=") == 1
            if one.startswith("--") and (after == [""] or bare):
                if one.rstrip("=") == "--data" and self.name in ("ingest", "main"):
                    # An unset variable must not train on made-up viewers.
                    raise click.UsageError("--data is empty: name a file, or 'sample'", ctx)
                position += 2 if after == [""] else 1
                continue
            kept.append(one)
            position += 1
        return super().parse_args(ctx, kept)


class Verbs(click.Group):
    """Keeps the verbs in the order of the pipeline."""

    command_class = Verb

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Give the verbs as they were declared."""
        return list(self.commands)


Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def options(*decorators: Decorator) -> Decorator:
    """Make one decorator of several options, shown in this order."""

    def apply(function: Callable[..., Any]) -> Callable[..., Any]:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return apply


def path_option(*names: str, help: str, required: bool = False) -> Decorator:  # noqa: A002 # click's word
    """Make an option whose value is a path."""
    return click.option(*names, type=click.Path(path_type=Path), required=required, help=help)


def comma_separated(
    _ctx: click.Context, _option: click.Parameter, value: str | None
) -> tuple[str, ...]:
    """Split "a, b" into its parts; a callback of click.

    Raises:
        click.BadParameter: something was given, but it names nothing.
    """
    parts = tuple(part.strip() for part in (value or "").split(",") if part.strip())
    if value and not parts:
        raise click.BadParameter(f"'{value}' names nothing")
    return parts


SEED = click.IntRange(0, 2**62)
TITLES = options(
    path_option("--items", help="file of item titles, optional"),
    click.option("--title-column", help="column of titles in --items; default: by convention"),
)
FLAG: dict[str, Any] = {"type": bool, "is_flag": False, "flag_value": "true", "default": False}
"""MLflow passes "true" or "false"; on the command line the bare option is enough."""
COLUMNS = options(
    click.option("--user-column", help="column of user ids; default: userId, user_id, uid..."),
    click.option("--item-column", help="column of item ids; default: itemId, movieId, sid..."),
    click.option("--rating-column", help="column of ratings, or 'none'; default: by convention"),
    click.option("--timestamp-column", help="column of times, or 'none'; default: by convention"),
    click.option(
        "--format", "format_", default="auto",
        type=click.Choice(["auto", "csv", "parquet", "jsonl", "adjacency", "netflix"]),
        help="of the file; default: by suffix and first lines",
    ),
    click.option("--delimiter", help="of text, such as ';', '::' or 'tab'; default: found out"),
    click.option("--header", type=click.Choice(["yes", "no"]), help="default: found out"),
    click.option("--quote", help="around fields of text, or 'none'; default: the double quote"),
    click.option("--encoding", default="utf-8", help="of text, such as latin-1"),
)  # fmt: skip
CLEANING = options(
    click.option("--strict", **FLAG, help="refuse unusable rows instead of setting them aside"),
    click.option(
        "--max-rejected", type=float, default=0.1, help="refuse if a larger share is unusable"
    ),
    click.option("--since", help="keep rows from this date or time on"),
    click.option("--until", help="keep rows before this date or time"),
    path_option("--allow-users", help="keep only the users in this file, one id a line"),
    path_option("--deny-users", help="drop the users in this file, one id a line"),
    path_option("--allow-items", help="keep only the items in this file, one id a line"),
    path_option("--deny-items", help="drop the items in this file, one id a line"),
    click.option(
        "--duplicates", type=click.Choice(["max", "first", "last", "sum"]), default="max",
        help="of several rows of one user and item, keep the one with the largest rating, the "
        "first or the last in time, or the sum",
    ),
    click.option(
        "--threshold",
        type=float,
        help="keep ratings above it; default: 3.5 for stars up to 5, otherwise 0",
    ),
    click.option(
        "--max-user-items", type=click.IntRange(1), help="the most items a person has; default: any"
    ),
    click.option(
        "--over-cap", type=click.Choice(["drop", "newest"]), default="drop",
        help="users with more: drop them, or keep their newest items",
    ),
    click.option("--min-user-items", type=click.IntRange(1), default=5),
    click.option("--min-item-users", type=click.IntRange(1), default=1),
)  # fmt: skip
SPLIT_KINDS = ("strong", "leave-last-out", "temporal", "random")
"""The names of `splitting.SPLITTERS`, which importing would slow every --help."""


def kind_option(name: str) -> Decorator:
    """Make the option that chooses the kind of split."""
    return click.option(
        name,
        type=click.Choice(SPLIT_KINDS),
        default=SPLIT_KINDS[0],
        help="what is held out: whole users; each user's latest; all after a point in time; a "
        "random share of each user's items",
    )


# Without defaults of their own: what is given is known, and refused where it does not belong.
SPLITTING = options(
    click.option(
        "--held-out-users",
        type=click.IntRange(1),
        help="strong: validation users, and as many test users; default: a tenth of all, within "
        "100 and 10,000, at most a fifth",
    ),
    click.option(
        "--held-out-share",
        type=float,
        help="strong, random: share of a judged user's items that is to be found; default: 0.2",
    ),
    click.option(
        "--validation-share",
        type=float,
        help="random: share of a user's items for validation; default: 0.1",
    ),
    click.option(
        "--last",
        type=click.IntRange(1),
        help="leave-last-out: latest items of a user for test, and as many before them for "
        "validation; default: 1",
    ),
    click.option(
        "--split-at",
        help="temporal: the test begins here, a date, a time or the share of interactions before; "
        "default: 0.9",
    ),
    click.option(
        "--validation-at",
        help="temporal: the validation begins here; default: the last tenth of what lies before "
        "--split-at",
    ),
    click.option(
        "--new-users",
        type=click.Choice(["leave-out", "include"]),
        help="temporal: users without history are not judged, or judged with nothing given; "
        "default: leave-out",
    ),
    click.option("--split-seed", type=SEED, help="strong, leave-last-out, random; default: 98765"),
)
FITTING = options(
    click.option("--seed", type=SEED, default=0, show_default=True),
    click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda"),
)
FRESH = click.option("--fresh", **FLAG, help="start over even if an unfinished training lies there")


def read_options(values: dict[str, Any]) -> "ReadOptions":
    """Gather the values of `COLUMNS` and `TITLES`."""
    from recsys_vae.ingest.columns import ColumnNames
    from recsys_vae.ingest.reading import ReadOptions

    roles = ("user", "item", "rating", "timestamp", "title")
    quote = values.get("quote")
    delimiter = values.get("delimiter")
    return ReadOptions(
        columns=ColumnNames(**{role: values.get(f"{role}_column") for role in roles}),
        format=values["format_"],
        delimiter={"tab": "\t", "\\t": "\t", "space": " "}.get(delimiter or "", delimiter),
        header={"yes": True, "no": False, None: None}[values["header"]],
        quote='"' if quote is None else {"none": ""}.get(quote, quote),
        encoding=values["encoding"],
    )


def cleaning_options(values: dict[str, Any]) -> "CleaningOptions":
    """Gather the values of `CLEANING`."""
    from recsys_vae.ingest.cleaning import CleaningOptions

    names = (
        "strict", "max_rejected", "duplicates", "threshold", "max_user_items", "over_cap",
        "min_user_items", "min_item_users",
    )  # fmt: skip
    lists: dict[str, Any] = {
        name: _listed(values[name])
        for name in ("allow_users", "deny_users", "allow_items", "deny_items")
        if values[name] is not None
    }
    return CleaningOptions(
        since=_milliseconds(values["since"], "--since"),
        until=_milliseconds(values["until"], "--until"),
        **lists,
        **{name: values[name] for name in names},
    )


def _milliseconds(text: str | None, option: str) -> int | None:
    import pandas as pd

    if text is None:
        return None
    if re.match(r"\s*\d{1,2}[./-]\d{1,2}[./-]\d", text):
        raise InputError(
            f"{option} {text} can be read in two ways, day or month first: write the year first, "
            "such as 2024-01-31"
        )
    try:
        moment = pd.Timestamp(text)
        utc = moment.tz_localize("UTC") if moment.tzinfo is None else moment.tz_convert("UTC")
        return int(utc.timestamp() * 1_000)
    except ValueError as error:
        raise InputError(f"{option} {text} is no date: give one such as 2024-01-31") from error


def _listed(path: Path) -> tuple[str, ...]:
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeError) as error:
        raise InputError(
            f"{path} cannot be read ({reason(error)}): give a text file of one id a line"
        ) from error
    return tuple(dict.fromkeys(line.strip() for line in lines if line.strip()))


_SPLITTING_FIELDS = {
    "held_out_users": "held_out_users",
    "held_out_share": "held_out_share",
    "validation_share": "validation_share",
    "last": "last",
    "split_at": "split_at",
    "validation_at": "validation_at",
    "new_users": "new_users",
    "split_seed": "seed",
}


def splitting_options(values: dict[str, Any], kind: str = "kind") -> "SplitOptions":
    """Gather the values of `SPLITTING`.

    Args:
        values: of all options of the verb.
        kind: which of them names the kind of split.

    Raises:
        InputError: an option is given that the kind does not have.
    """
    from recsys_vae.splitting import SPLITTERS

    fields = {name: set(one.__dataclass_fields__) for name, (one, _) in SPLITTERS.items()}
    chosen = values[kind]
    given = {name: values[name] for name in _SPLITTING_FIELDS if values[name] is not None}
    for name in given:
        having = [one for one, known in fields.items() if _SPLITTING_FIELDS[name] in known]
        if chosen not in having:
            raise InputError(
                f"{spelled(name)} does not belong to {spelled(kind)} {chosen}: leave it out, or "
                f"choose {spelled(kind)} {' or '.join(having)}"
            )
    made, _ = SPLITTERS[chosen]
    return made(**{_SPLITTING_FIELDS[name]: value for name, value in given.items()})


def spelled(name: str) -> str:
    """Write a name as an option.

    >>> spelled("users_per_part")
    '--users-per-part'
    """
    return "--" + name.replace("_", "-")
