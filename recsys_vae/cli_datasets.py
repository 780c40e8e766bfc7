"""The verb `datasets`: which public data sets there are cards of, and fetching them."""

import shlex
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import click

from recsys_vae.options import Verbs, path_option

if TYPE_CHECKING:  # at run time these imports would slow every --help
    from recsys_vae.ingest.cards import Card, Source

DOWNLOADS = Path("data") / "downloads"


@click.group(cls=Verbs, context_settings={"show_default": True, "max_content_width": 100})
def datasets() -> None:
    """List, show and fetch public data sets by their cards.

    Example: recsys-vae datasets show ml-20m
    """


@datasets.command(name="list")
def list_cards() -> None:
    """List the data sets that there are cards of; numbers as published, before cleaning.

    Example: recsys-vae datasets list
    """
    from recsys_vae.ingest.cards import read_cards

    heads = ("name", "users", "items", "interactions", "threshold", "download")
    rows = [heads] + [
        (
            card.name, _count(card.users), _count(card.items), _count(card.interactions),
            "-" if card.clean.threshold is None else f"> {card.clean.threshold:g}",
            "by hand" if card.obtain else _size(card.bytes),
        )
        for card in read_cards()
    ]  # fmt: skip
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        click.echo("  ".join(cells))


@datasets.command()
@click.argument("name")
def show(name: str) -> None:
    """Show all that a card says, and the command that ingests the data set.

    Example: recsys-vae datasets show ml-20m
    """
    from recsys_vae.ingest.cards import find_card

    card = find_card(name)
    for head, text in _facts(card, name):
        # Commands and addresses stay in one piece, to be copied.
        whole = head in ("fetch", "ingest")
        lines = [text] if whole else wrap(text, 86, break_long_words=False, break_on_hyphens=False)
        for number, line in enumerate(lines):
            click.echo(f"{'' if number else head:13} {line}")


@datasets.command()
@click.argument("name")
@path_option("--to", help="folder that holds data sets; default: data/downloads")
@click.option(
    "--again", type=bool, is_flag=False, flag_value="true", default=False,
    help="fetch anew what is there already",
)  # fmt: skip
def fetch(name: str, **values: Any) -> None:
    """Fetch a data set, check it and unpack it; interrupted, it goes on the next time.

    NAME is that of a card, or the path of a card of your own.

    Example: recsys-vae datasets fetch ml-latest-small --to data/downloads
    """
    from recsys_vae.ingest import download
    from recsys_vae.ingest.cards import find_card

    card = find_card(name)
    folder = values["to"] or DOWNLOADS
    if not values["again"] and download.fetched(card, folder) is not None:
        click.echo(f"already there: {folder / card.name}")
        return
    target = download.fetch(card, folder, again=values["again"])
    for file in () if card.obtain else download.checksums(target):
        sure = f"not verified, the card has no checksum; its sha256: {file['sha256']}"
        if file["checksum"] is not None:  # and `fetch` compared it
            sure = f"{file['checksum'].partition(':')[0]} as the card says"
        click.echo(f"{file['name']}: {file['bytes']:,} bytes, {sure}")
    click.echo(f"written: {target}")
    click.echo(f"licence: {card.licence}")


def _count(number: int | None) -> str:
    return "-" if number is None else f"{number:,}"


def _size(number: int | None) -> str:
    return "-" if number is None else f"{number / 1e6:,.1f} MB"


def _facts(card: "Card", reference: str) -> list[tuple[str, str]]:
    """Give everything readable of a card, line by line."""
    read, clean = card.read, card.clean
    counted = {"users": card.users, "items": card.items, "interactions": card.interactions}
    facts = [
        ("name", card.name), ("title", card.title), ("about", card.about),
        ("published", ", ".join(f"{_count(n)} {what}" for what, n in counted.items() if n)),
        ("licence", card.licence), ("citation", card.citation), ("homepage", card.homepage),
    ]  # fmt: skip
    if card.obtain is not None:
        paths = " and ".join(read.paths())
        by_hand = f"{card.obtain}; put {paths} of a copy of your own into {DOWNLOADS / card.name}"
        facts.append(("by hand", by_hand))
    facts += [("file", _describe(file)) for file in card.files]
    places = {"interactions": read.interactions, "train": read.train, "test": read.test}
    facts += [(role, path) for role, path in places.items() if path is not None]
    facts.append(("format", _layout(card)))
    if read.columns.given():
        columns = ", ".join(f"{role} = {name}" for role, name in read.columns.given().items())
        facts.append(("columns", columns))
    if read.items is not None:
        own = ", ".join(f"{key} {value!r}" for key, value in read.titles if value is not None)
        facts.append(("titles", read.items + (f" ({own})" if own else "")))
    kept = "every interaction" if clean.threshold is None else f"ratings > {clean.threshold:g}"
    facts.append(
        (
            "cleaning",
            f"{kept}, users with >= {clean.min_user_items} items, items with >= "
            f"{clean.min_item_users} users",
        )
    )
    facts.append(("as in", clean.source))
    if card.files:
        facts.append(("fetch", shlex.join(["recsys-vae", "datasets", "fetch", reference])))
    facts.append(("ingest", ingest_command(card, DOWNLOADS)))
    return facts


def _describe(file: "Source") -> str:
    size = "size unknown" if file.bytes is None else f"{file.bytes:,} bytes"
    if file.checksum is None:
        return f"{file.url}, {size}, no checksum: {file.checksum_unconfirmed}"
    return f"{file.url}, {size}, {file.checksum} (from {file.checksum_source})"


def _layout(card: "Card") -> str:
    read = card.read
    if read.format in ("parquet", "jsonl"):
        return read.format
    header = "with a header" if read.header else "no header"
    quote = f"quote {read.quote}" if read.quote else "no quotes"
    return f"{read.format}, delimiter {read.delimiter!r}, {header}, {quote}, {read.encoding}"


def ingest_command(card: "Card", folder: Path) -> str:
    """Give the command that ingests a data set, or say that `ingest` cannot read it.

    Args:
        card: the data set.
        folder: that holds data sets.
    """
    read, clean, place = card.read, card.clean, folder / card.name
    reading = ["--format", read.format]
    if read.format == "csv":
        reading += ["--delimiter", {"\t": "tab"}.get(read.delimiter, read.delimiter)]
        reading += ["--header", "yes" if read.header else "no"]
        if read.quote != '"':
            reading += ["--quote", read.quote or "none"]
    if read.encoding != "utf-8":
        reading += ["--encoding", read.encoding]
    for role, name in read.columns.given().items():
        if role in ("user", "item", "rating", "timestamp"):
            reading += [f"--{role}-column", name]
    out = Path("outputs") / card.name
    if read.train is not None and read.test is not None:
        words = ["recsys-vae", "ready", "--train", str(place / read.train)]
        words += ["--test", str(place / read.test), *reading, "--out", str(out / "split")]
        return shlex.join(words)
    words = ["recsys-vae", "ingest", "--data", str(place / str(read.interactions)), *reading]
    # Titles are read by convention: where a card says that they need more, they are left out.
    plain = read.titles.model_dump(exclude_none=True) == {}
    if (
        read.items is not None
        and plain
        and read.columns.title
        and not read.columns.title.isdecimal()
    ):
        words += ["--items", str(place / read.items), "--title-column", read.columns.title]
    if read.columns.rating is not None:
        # Without it `ingest` would take 3.5 for stars.
        words += ["--threshold", f"{clean.threshold or 0:g}"]
    words += ["--min-user-items", str(clean.min_user_items)]
    words += ["--min-item-users", str(clean.min_item_users)]
    words += ["--out", str(out / "data")]
    return shlex.join(words)
