"""Attributes of users or items, read from a file, by which parts of them are judged apart."""

import warnings
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from pandas.errors import ParserWarning

from recsys_vae.errors import InputError, reason
from recsys_vae.evaluation.segments import ItemSegments, UserSegments, by_attribute, text_of
from recsys_vae.ingest.columns import find_column
from recsys_vae.splitting import FoldIn


def attribute_name(reference: str) -> str:
    """Give the column of "FILE:COLUMN"."""
    return reference.rpartition(":")[2]


def attribute_segments(reference: str, fold: FoldIn, name: str) -> UserSegments | ItemSegments:
    """Part the users or items of a fold by a column of a file.

    Args:
        reference: "FILE:COLUMN"; the file has a column of user or item ids, too.
        fold: whose users and items.
        name: how to call the parts.

    Raises:
        InputError: the file cannot be read or has no such columns, an id has several values, or
            there are too many of them.
    """
    file, _, column = reference.rpartition(":")
    if not file or not column:
        raise InputError(
            f"--by {reference} is neither activity nor popularity nor FILE:COLUMN: write for "
            "example movies.csv:genres"
        )
    frame = _read(Path(file))
    names = list(frame.columns)
    if names.count(column) != 1:
        has = "several columns" if column in names else "no column"
        raise InputError(f"--by {reference}: {file} has {has} '{column}', it has {_listed(names)}")
    for role, ids, of_items in (
        ("user", fold.given.users, False),
        ("item", fold.given.items, True),
    ):
        key = find_column(role, None, names, file, required=False)
        if key is None or key == column:
            continue
        values = _by_id(frame, key, column)
        several = values.index[values.index.duplicated()]
        if len(several):
            one, other = values.loc[several[0]].iloc[:2]
            raise InputError(
                f"--by {reference}: {file} gives {role} '{several[0]}' the values '{one}' and "
                f"'{other}': write one row a {role}, several values in it between '|'"
            )
        return by_attribute(ids, values, name, of_items=of_items)
    raise InputError(
        f"--by {reference}: {file} has no column of users or items: call it user or item"
    )


def _by_id(frame: pd.DataFrame, key: str, column: str) -> "pd.Series[Any]":
    """Give the different values of each id, both as text."""
    texts = pd.DataFrame(
        {
            "id": [text_of(one) for one in frame[key]],
            "value": [text_of(one) for one in frame[column]],
        }
    )
    texts = texts[texts["id"] != ""].drop_duplicates()
    values: pd.Series[Any] = texts.set_index("id")["value"]
    return values


def _read(path: Path) -> pd.DataFrame:
    if not path.exists():
        raise InputError(f"--by: {path} does not exist: check the path")
    try:
        if path.suffix == ".parquet":
            frame = pd.read_parquet(path)
        else:
            with warnings.catch_warnings():
                # Rows longer than the header would be cut, or shift its names.
                warnings.simplefilter("error", ParserWarning)
                # As text: '007' is no 7, and NA is a country.
                frame = pd.read_csv(
                    path,
                    sep="\t" if path.suffix == ".tsv" else ",",
                    dtype=str,
                    keep_default_na=False,
                    index_col=False,
                )
    except (OSError, ValueError, ParserWarning, pa.ArrowException) as error:
        raise InputError(
            f"--by: {path} cannot be read ({reason(error)}): give a CSV, TSV or Parquet file"
        ) from error
    return frame.set_axis([str(one) for one in frame.columns], axis=1)


def _listed(names: list[str]) -> str:
    return ", ".join(names) or "none"
