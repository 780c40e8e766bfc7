"""Dataset cards: every card is complete, and a wrong one is refused in a sentence."""

import re
from pathlib import Path

import pytest

from recsys_vae.cli import main
from recsys_vae.errors import InputError
from recsys_vae.ingest.cards import Card, find_card, read_card, read_cards

_CARDS = {card.name: card for card in read_cards()}
_WANTED = {
    "ml-100k", "ml-1m", "ml-10m", "ml-20m", "ml-25m", "ml-32m", "ml-latest-small", "netflix-prize",
    "msd-taste-profile", "lastfm-360k", "goodbooks-10k", "amazon-2023-baby-products",
    "amazon-2023-musical-instruments", "gowalla", "yelp2018", "amazon-book",
}  # fmt: skip


def test_there_is_a_card_of_every_data_set_and_they_come_by_name() -> None:
    assert set(_CARDS) == _WANTED
    assert list(_CARDS) == sorted(_CARDS)


@pytest.mark.parametrize("card", _CARDS.values(), ids=_CARDS)
def test_a_card_says_all_that_a_user_needs(card: Card) -> None:
    assert card.users is not None
    assert card.interactions is not None
    for file in card.files:
        assert file.checksum is not None or file.checksum_unconfirmed is not None
    assert card.read.paths()
    if card.read.format == "csv":
        assert {"user", "item"} <= set(card.read.columns.given())


@pytest.mark.parametrize("card", _CARDS.values(), ids=_CARDS)
def test_a_card_stands_in_the_list_and_can_be_shown(
    card: Card, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["datasets", "list"])
    (line,) = [
        line for line in capsys.readouterr().out.splitlines() if line.split()[0] == card.name
    ]
    assert f"{card.interactions:,}" in line
    main(["datasets", "show", card.name])
    shown = " ".join(capsys.readouterr().out.split())
    for text in (card.title, card.about, card.licence, card.citation, card.homepage):
        assert text in shown
    for file in card.files:
        assert file.url in shown
        assert (file.checksum or file.checksum_unconfirmed or "?") in shown
    assert card.clean.source in shown


@pytest.mark.parametrize(
    ("name", "threshold", "users", "items"),
    [
        ("ml-20m", 3.5, 5, 1),
        ("netflix-prize", 3.5, 5, 1),
        ("msd-taste-profile", None, 20, 200),
    ],
)
def test_the_three_sets_of_liang_et_al_are_cleaned_as_in_their_section_4_1(
    name: str, threshold: float | None, users: int, items: int
) -> None:
    clean = _CARDS[name].clean
    assert (clean.threshold, clean.min_user_items, clean.min_item_users) == (
        threshold, users, items
    )  # fmt: skip
    assert "Liang" in clean.source


def test_the_shown_command_ingests_what_the_card_describes(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = store / "data/downloads/ml-latest-small/ml-latest-small"
    folder.mkdir(parents=True)
    rows = [f"{user},{item},{4 if item % 2 else 3},0" for user in range(9) for item in range(20)]
    (folder / "ratings.csv").write_text("userId,movieId,rating,timestamp\n" + "\n".join(rows))
    (folder / "movies.csv").write_text('movieId,title,genres\n1,"Rex, the cat",Comedy\n')
    main(["datasets", "show", "ml-latest-small"])
    command = capsys.readouterr().out.splitlines()[-1].split("recsys-vae ")[1]
    main(command.split())
    # 9 users, and the 10 odd items of the 20, which alone have more than 3.5 stars
    assert re.search(r"ratings > 3\.5 +\S+ +90\b", capsys.readouterr().out)


_GOOD = """\
title = "A set of data"
about = "Who took what."
licence = "Do what you like."
citation = "A paper, 2020"
homepage = "https://example.org/"
{more}
[[files]]
url = "{url}"
{sum}
[read]
format = "csv"
interactions = "{path}"
{read}
[read.columns]
user = "{user}"
item = "item"
[clean]
source = "nobody in particular"
"""
_NO_SUM = 'checksum_unconfirmed = "none was found"'
_WRONG = {
    "an unknown key": ({"more": "colour = 3"}, "colour"),
    "a file address": ({"url": "file:///etc/passwd"}, "files.0.url.*https"),
    "an FTP address": ({"url": "ftp://example.org/a.zip"}, "https"),
    "a password in the address": ({"url": "https://me:x@example.org/a.zip"}, "https"),
    "an address without a file": ({"url": "https://example.org/"}, "name of a file"),
    "no checksum and no word of it": ({"sum": ""}, "checksum"),
    "a checksum and a word that there is none": (
        {"sum": f'{_NO_SUM}\nchecksum = "md5:{"0" * 32}"\nchecksum_source = "some source"'},
        "either checksum",
    ),
    "a checksum from nowhere": ({"sum": f'checksum = "md5:{"0" * 32}"'}, "checksum_source"),
    "a checksum too short": ({"sum": 'checksum = "md5:00"'}, "checksum"),
    "a checksum of another kind": ({"sum": 'checksum = "crc32:01234567"'}, "md5"),
    "a size of zero": ({"sum": f"{_NO_SUM}\nbytes = 0"}, "bytes"),
    "a path out of the folder": ({"path": "../ratings.csv"}, "inside"),
    "an absolute path": ({"path": "/etc/passwd"}, "inside"),
    "a split and the whole": ({"read": 'train = "a"\ntest = "b"'}, "either interactions"),
    "half a split": ({"read": 'train = "a"'}, "either interactions"),
    "titles without a column": ({"read": 'items = "movies.csv"'}, "columns.title"),
    "names without a header": ({"read": "header = false"}, "position"),
    "a number for text": ({"more": "users = 'many'"}, "users"),
    "no TOML": ({"more": "= ="}, "cannot be read"),
}


def _card(folder: Path, **changed: str) -> Path:
    parts = {"more": "", "url": "https://example.org/a.zip", "sum": _NO_SUM, "path": "a.csv"}
    path = folder / "mine.toml"
    path.write_text(_GOOD.format(**{"read": "", "user": "user"} | parts | changed))
    return path


def test_a_card_of_ones_own_is_found_by_its_path(tmp_path: Path) -> None:
    assert find_card(str(_card(tmp_path))).name == "mine"
    assert read_cards(tmp_path) == (read_card(tmp_path / "mine.toml"),)


@pytest.mark.parametrize("case", _WRONG)
def test_a_wrong_card_is_refused_in_a_sentence(tmp_path: Path, case: str) -> None:
    changed, words = _WRONG[case]
    with pytest.raises(InputError, match=words) as refused:
        read_card(_card(tmp_path, **changed))
    assert "mine.toml" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_unknown_card_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"ml-20mm.*ml-20m.*TOML"):
        find_card("ml-20mm")


def test_a_missing_folder_of_cards_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no dataset cards"):
        read_cards(tmp_path / "nowhere")


@pytest.mark.parametrize("verb", ["list", "show", "fetch"])
def test_the_help_explains_and_shows_an_example(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["datasets", verb, "--help"])
    assert f"Example: recsys-vae datasets {verb}" in " ".join(capsys.readouterr().out.split())
