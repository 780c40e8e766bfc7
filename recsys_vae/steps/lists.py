"""What `recommend` and `score` share: which model makes the lists, and how."""

import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from recsys_vae.errors import InputError
from recsys_vae.ingest.catalogue import read_catalogue
from recsys_vae.ingest.reading import ReadOptions
from recsys_vae.interactions import IdMap
from recsys_vae.models.base import Recommender
from recsys_vae.models.zoo import load_model, model_fingerprint, trained_counts, trained_threshold
from recsys_vae.ranking import ItemRules, Making, Ranker, Rules, read_rules
from recsys_vae.ranking.approximation import parse_approximation
from recsys_vae.ranking.calibrate import Calibration, ItemShares
from recsys_vae.ranking.rerank import parse_reranking
from recsys_vae.tracking.registry import model_folder


@dataclass(frozen=True, slots=True, kw_only=True)
class ListOptions:
    """How lists are to be made; the options that `recommend` and `score` share.

    Attributes:
        allow: only these items; empty: all.
        block: not these items.
        mask_seen: whether items of the history are left out.
        mask_rated: whether items whose rating is not above the threshold are left out, too, where
            those of the history are.
        rules: a rule file (docs/rules.md), instead of the three before; or None.
        at: the moment at which the rules ask what is available; None: now.
        rerank: such as "mmr:0.7" (docs/ranking.md), or None.
        explore: seed of draws from what the model believes of a user, or None.
        explain: items of the history that are named as reasons for each place.
        approximate: such as "ivf:64" (docs/ranking.md), or None.
        approximate_recall: share of the exact lists that must be found, or None.
        items: a file of items, whose genres re-ranking by calibration needs, or None.
    """

    allow: tuple[str, ...] = ()
    block: tuple[str, ...] = ()
    mask_seen: bool = True
    mask_rated: bool = True
    rules: Path | None = None
    at: datetime | None = None
    rerank: str | None = None
    explore: int | None = None
    explain: int = 0
    approximate: str | None = None
    approximate_recall: float | None = None
    items: Path | None = None

    def __post_init__(self) -> None:
        """Refuse rules in two places.

        Raises:
            InputError: there are some.
        """
        if self.rules is not None and (self.allow or self.block or not self.mask_seen):
            raise InputError(
                "--rules stands in the place of --allow, --block and --mask-seen: write those into "
                f"{self.rules}"
            )


@dataclass(frozen=True, slots=True)
class ListMaker:
    """A loaded model, and how lists are made with it.

    Attributes:
        model: ready to score.
        fingerprint: of the model as saved.
        threshold: ratings above it count in a history; None: all do.
        making: rules and the like.
        settings: all that decides about a list but for the history, for the manifest.
        unknown: ids and labels of the rules that the model does not know, counted by rule.
    """

    model: Recommender
    fingerprint: str
    threshold: float | None
    making: Making
    settings: dict[str, Any]
    unknown: dict[str, int] = field(default_factory=dict)

    def ranker(self, k: int) -> Ranker:
        """Give what makes lists of k."""
        return Ranker(self.model, k, self.making)


def list_maker(model_: str, options: ListOptions, reading: ReadOptions) -> ListMaker:
    """Load the model, and look up what its lists are to keep to.

    Args:
        model_: folder or MLflow URI.
        options: how lists are to be made.
        reading: what a file of items does not say about itself.

    Raises:
        InputError: the model, the rules or another option is unusable.
    """
    approximate = parse_approximation(options.approximate, options.approximate_recall)
    folder = model_folder(model_)
    model = load_model(folder)
    rules = _rules(model, folder, options)
    reranking = None if options.rerank is None else parse_reranking(options.rerank)
    calibrated = isinstance(reranking, Calibration) and options.items is not None
    making = Making(
        # What holds for everybody needs no score of what it leaves out.
        rules=rules.item_rules if isinstance(rules, Rules) and rules.alike else rules,
        reranking=reranking,
        shares=_genres(options.items, reading, model.items) if calibrated else None,
        explore=options.explore,
        explained=options.explain,
        approximate=approximate,
    )
    threshold = trained_threshold(folder)
    fingerprint = model_fingerprint(folder)
    settings = {
        "model_fingerprint": fingerprint,
        "threshold": threshold,
        "allow": list(options.allow),
        "block": list(options.block),
        "mask_seen": options.mask_seen,
        "mask_rated": options.mask_rated,
        "rules": rules.fingerprint if isinstance(rules, Rules) else None,
        "at": rules.at.isoformat() if isinstance(rules, Rules) else None,
        "permitted_items": _permitted(rules),
        "rerank": options.rerank,
        "genres": None if making.shares is None else _content(making.shares.shares_IG),
        "explore": options.explore,
        "explain": options.explain,
        "approximate": None if approximate is None else str(approximate),
    }
    unknown = dict(rules.unknown) if isinstance(rules, Rules) else {}
    return ListMaker(model, fingerprint, threshold, making, settings, unknown)


def _permitted(rules: ItemRules | Rules) -> str | None:
    """Give a digest of what everybody may be given by a rule file, which windows may change."""
    if not isinstance(rules, Rules) or rules.permitted_I is None:
        return None
    return hashlib.sha256(rules.permitted_I.tobytes()).hexdigest()


def _content(matrix: csr_array) -> str:
    parts = (matrix.data, matrix.indices.astype(np.int64), matrix.indptr.astype(np.int64))
    return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()


def _rules(model: Recommender, folder: Path, options: ListOptions) -> ItemRules | Rules:
    if options.rules is None:
        return ItemRules.of(
            model.items,
            allowed=list(options.allow),
            blocked=list(options.block),
            mask_seen=options.mask_seen,
        )
    return Rules.compile(read_rules(options.rules), model.items, trained_counts(folder), options.at)


def _genres(path: Path | None, reading: ReadOptions, items: IdMap) -> ItemShares:
    assert path is not None  # asked for only then
    listed = read_catalogue(path, reading).genres(items.ids(np.arange(len(items))))
    genres = [list(dict.fromkeys(one for one in text.split("|") if one)) for text in listed]
    names = sorted({one for some in genres for one in some})
    if not names:
        raise InputError(
            f"{path} has no genres for the model's items, which --rerank calibrate compares: give "
            "a file with a column of genres, or re-rank by mmr"
        )
    number = {name: place for place, name in enumerate(names)}
    rows = np.repeat(np.arange(len(items)), [len(some) for some in genres])
    columns = [number[one] for some in genres for one in some]
    ones = np.ones(len(columns), dtype=np.float32)
    return ItemShares.of(csr_array((ones, (rows, columns)), shape=(len(items), len(names))))
