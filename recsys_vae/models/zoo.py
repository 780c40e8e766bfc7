"""All models by name, and models on disk."""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from recsys_vae.errors import InputError, meant, reason
from recsys_vae.files import atomic_folder, read_json, write_json
from recsys_vae.interactions.store import check_sums, file_sum, load_ids, save_ids
from recsys_vae.models.als import ALS, ALSConfig
from recsys_vae.models.base import ModelConfig, Recommender
from recsys_vae.models.beta_vae import BetaVAE, BetaVAEConfig
from recsys_vae.models.bpr import BPR, BPRConfig
from recsys_vae.models.ease import EASE, EASEConfig
from recsys_vae.models.graph_filter import GraphFilter, GraphFilterConfig
from recsys_vae.models.item_knn import ItemKNN, ItemKNNConfig
from recsys_vae.models.ladder_vae import LadderVAE, LadderVAEConfig
from recsys_vae.models.latent_diffusion import LatentDiffusion, LatentDiffusionConfig
from recsys_vae.models.linear_vae import LinearVAE, LinearVAEConfig
from recsys_vae.models.logistic_mf import LogisticMF, LogisticMFConfig
from recsys_vae.models.mult_dae import MultDAE, MultDAEConfig
from recsys_vae.models.mult_vae import MultVAE, MultVAEConfig
from recsys_vae.models.plain_autoencoder import PlainAutoencoder, PlainAutoencoderConfig
from recsys_vae.models.popularity import Popularity, PopularityConfig
from recsys_vae.models.random import Random, RandomConfig
from recsys_vae.models.recvae import RecVAE, RecVAEConfig
from recsys_vae.models.sparse_ease import SparseEASE, SparseEASEConfig
from recsys_vae.models.vamp_vae import VampVAE, VampVAEConfig
from recsys_vae.models.vq_vae import VQVAE, VQVAEConfig

FORMAT_VERSION = 1
MANIFEST = "model.json"
WEIGHTS = "weights.safetensors"
ITEMS = "items.arrow"
CONTENTS = (MANIFEST, WEIGHTS, ITEMS)
PROOF = (WEIGHTS, ITEMS)
"""What a folder of a model has besides a file whose name others may have, too."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One kind of model.

    Attributes:
        make: from its config.
        config: the config's class.
        line: what it is, in a line.
    """

    make: Callable[[Any], Recommender]
    config: type[ModelConfig]
    line: str


ZOO: Final[dict[str, Entry]] = {
    LinearVAE.name: Entry(
        LinearVAE, LinearVAEConfig, "Mult-VAE beside a sparse linear path; take this one first"
    ),
    MultVAE.name: Entry(
        MultVAE, MultVAEConfig, "variational autoencoder, multinomial likelihood (Liang 2018)"
    ),
    BetaVAE.name: Entry(
        BetaVAE, BetaVAEConfig, "Mult-VAE with a fixed, rising or cyclic KL weight (Higgins 2017)"
    ),
    MultDAE.name: Entry(
        MultDAE, MultDAEConfig, "denoising autoencoder, multinomial likelihood (Liang 2018)"
    ),
    PlainAutoencoder.name: Entry(
        PlainAutoencoder, PlainAutoencoderConfig, "autoencoder without noise, of three likelihoods"
    ),
    VQVAE.name: Entry(VQVAE, VQVAEConfig, "autoencoder with discrete codes (van den Oord 2017)"),
    LadderVAE.name: Entry(
        LadderVAE, LadderVAEConfig, "VAE of several latent groups, from the top down (Vahdat 2020)"
    ),
    LatentDiffusion.name: Entry(
        LatentDiffusion, LatentDiffusionConfig, "Mult-VAE with a denoiser of latents (Wang 2023)"
    ),
    RecVAE.name: Entry(
        RecVAE, RecVAEConfig, "composite prior, encoder and decoder in turns (Shenbin 2020)"
    ),
    VampVAE.name: Entry(VampVAE, VampVAEConfig, "VampPrior, gated layers, two levels (Kim 2019)"),
    EASE.name: Entry(EASE, EASEConfig, "linear item-to-item model, closed form (Steck 2019)"),
    SparseEASE.name: Entry(
        SparseEASE,
        SparseEASEConfig,
        "EASE among each item's nearest items (Steck 2019, Ning 2011)",
    ),
    GraphFilter.name: Entry(
        GraphFilter, GraphFilterConfig, "co-occurrence and ideal low-pass, GF-CF (Shen 2021)"
    ),
    ItemKNN.name: Entry(
        ItemKNN,
        ItemKNNConfig,
        "nearest items by cosine, TF-IDF, BM25 (Sarwar 2001, Deshpande 2004)",
    ),
    ALS.name: Entry(ALS, ALSConfig, "implicit matrix factorisation, folded in (Hu 2008)"),
    BPR.name: Entry(BPR, BPRConfig, "factors by pairwise ranking, folded in (Rendle 2009)"),
    LogisticMF.name: Entry(
        LogisticMF, LogisticMFConfig, "factors by log-odds, folded in (Johnson 2014)"
    ),
    Popularity.name: Entry(Popularity, PopularityConfig, "what most users took"),
    Random.name: Entry(Random, RandomConfig, "what chance gives: the floor"),
}


def models_table() -> dict[str, str]:
    """Give every model's name and what it is, in a line.

    >>> models_table()["popularity"]
    'what most users took'
    """
    return {name: entry.line for name, entry in ZOO.items()}


def make_model(name: str, settings: dict[str, Any]) -> Recommender:
    """Make an unfitted model.

    Args:
        name: one of `ZOO`.
        settings: its config's fields; nested tables as nested dictionaries.

    Raises:
        InputError: the model or a setting is unknown, or a value is out of range.

    >>> make_model("mult-vae", {"latent": 32}).name
    'mult-vae'
    """
    if name not in ZOO:
        near = meant(name, ZOO)
        raise InputError(f"there is no model '{name}'{near}: choose one of {', '.join(ZOO)}")
    _refuse_truths(name, settings)
    try:
        config = ZOO[name].config.model_validate(settings)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        wrong = f"{first['msg'].lower()}, not {first['input']!r}"
        if first["type"] == "extra_forbidden":
            names = _settings(ZOO[name].config)
            near = meant(where, names)
            wrong = f"there is no such setting{near} among {', '.join(names)}"
        raise InputError(
            f"model '{name}', setting '{where}': {wrong}: correct it in the recipe or with --set"
        ) from error
    return ZOO[name].make(config)


def _refuse_truths(name: str, settings: dict[str, Any], prefix: str = "") -> None:
    """Refuse true and false, which pydantic would take for 1 and 0: no setting is either."""
    for key, value in settings.items():
        if isinstance(value, dict):
            _refuse_truths(name, value, f"{prefix}{key}.")
        elif isinstance(value, bool):
            raise InputError(
                f"model '{name}', setting '{prefix}{key}': {str(value).lower()} is no number and "
                "no name: correct it in the recipe or with --set"
            )


def _settings(config: type[BaseModel], prefix: str = "") -> list[str]:
    names: list[str] = []
    for name, field in config.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            names += _settings(field.annotation, f"{prefix}{name}.")
        else:
            names.append(prefix + name)
    return names or ["(none)"]


def save_model(
    model: Recommender,
    folder: Path,
    *,
    data: dict[str, Any] | None = None,
    counts_I: npt.NDArray[np.int64] | None = None,
) -> None:
    """Write a fitted model into `folder`, which appears only when complete.

    The folder holds JSON, safetensors and the item ids; it needs no training data and no pickle.

    Args:
        model: fitted.
        folder: is created, or replaced as a whole.
        data: what should be remembered of the training data, such as the rating threshold.
        counts_I: how many training users took each item, for rules that ask for it.

    Raises:
        InputError: the disk is full, or `folder` holds something else.
    """
    with atomic_folder(folder, CONTENTS) as temporary:
        arrays = {name: np.ascontiguousarray(value) for name, value in model.arrays().items()}
        if counts_I is not None:
            arrays[_COUNTS] = counts_I
        try:
            save_file(arrays, temporary / WEIGHTS)
        except SafetensorError as error:
            raise InputError(
                f"{folder} cannot be written ({reason(error)}): free some space"
            ) from error
        save_ids(model.items, temporary / ITEMS)
        # safetensors lets nobody but the owner read what it writes.
        shutil.copymode(temporary / ITEMS, temporary / WEIGHTS)
        sums = {file.name: file_sum(file) for file in sorted(temporary.iterdir())}
        manifest = {
            "format_version": FORMAT_VERSION,
            "model": model.name,
            "config": model.config.model_dump(mode="json"),
            "n_items": len(model.items),
            "items_fingerprint": model.items.fingerprint,
            "data": data or {},
            "sha256": sums,
        }
        write_json(temporary / MANIFEST, manifest)


_COUNTS: Final = "recsys_vae.item_counts"
"""Name of an array beside the model's own."""
_REMEDY: Final = "train one with 'recsys-vae train'"


def _manifest(folder: Path) -> dict[str, Any]:
    manifest = read_json(folder / MANIFEST, what="a model", remedy=_REMEDY)
    if manifest.get("format_version") != FORMAT_VERSION:
        raise InputError(
            f"{folder} has format version {manifest.get('format_version')}, "
            f"this version reads {FORMAT_VERSION}: {_REMEDY}"
        )
    return manifest


def model_fingerprint(folder: Path) -> str:
    """Give what tells a saved model from any other: SHA-256 over its files' checksums.

    Raises:
        InputError: the folder is no model, damaged, or of another format version.
    """
    sums = _manifest(folder).get("sha256")
    if not isinstance(sums, dict):
        raise InputError(f"{folder} is damaged (its manifest lacks checksums): {_REMEDY} again")
    return hashlib.sha256(json.dumps(sums, sort_keys=True).encode()).hexdigest()


def trained_threshold(folder: Path) -> float | None:
    """Give the rating above which the training data counted an interaction, if there was one.

    Raises:
        InputError: the folder is no model, damaged, or of another format version.
    """
    data = _manifest(folder).get("data")
    threshold = data.get("threshold") if isinstance(data, dict) else data
    if threshold is not None and not isinstance(threshold, int | float):
        raise InputError(f"{folder} is damaged (its threshold is {threshold!r}): {_REMEDY} again")
    return threshold


def trained_seed(folder: Path) -> int | None:
    """Give the seed that the model was fitted with, if that is known.

    Raises:
        InputError: the folder is no model, or of another format version.
    """
    seed = _remembered(folder, "seed")
    return seed if isinstance(seed, int) else None


def trained_on(folder: Path) -> str | None:
    """Give the fingerprint of the interactions that the model was fitted to, if that is known.

    Raises:
        InputError: the folder is no model, or of another format version.
    """
    train = _remembered(folder, "train")
    return train if isinstance(train, str) else None


def trained_draw(folder: Path) -> dict[str, Any] | None:
    """Give how the split drew of whose training part the model learned, if that is known.

    Raises:
        InputError: the folder is no model, or of another format version.
    """
    draw = _remembered(folder, "draw")
    return draw if isinstance(draw, dict) else None


def trained_settings(folder: Path) -> tuple[str, dict[str, Any]]:
    """Give a model's name and its settings, with what its validation chose written into them.

    Raises:
        InputError: the folder is no model, of another format version, or older than such notes.
    """
    manifest, settled = _manifest(folder), _remembered(folder, "settled")
    if not isinstance(settled, dict):
        raise InputError(
            f"{folder} does not say what its validation chose, because an earlier version wrote "
            f"it: {_REMEDY} again"
        )
    return str(manifest.get("model")), settled


def _remembered(folder: Path, name: str) -> Any:
    data = _manifest(folder).get("data")
    return data.get(name) if isinstance(data, dict) else None


def trained_counts(folder: Path) -> npt.NDArray[np.int64] | None:
    """Give how many training users took each item, if that was saved with the model."""
    with safe_open(folder / WEIGHTS, framework="np") as weights:
        found: npt.NDArray[np.int64] | None = (
            weights.get_tensor(_COUNTS) if _COUNTS in weights.keys() else None  # noqa: SIM118
        )
    return found


def load_model(folder: Path) -> Recommender:
    """Read a model that `save_model` wrote.

    Raises:
        InputError: the folder is no model, damaged, or of another format version.
    """
    manifest = _manifest(folder)
    check_sums(folder, (WEIGHTS, ITEMS), manifest.get("sha256"), _REMEDY)
    try:
        model = make_model(manifest["model"], manifest["config"])
        items = load_ids(folder / ITEMS)
        if items.fingerprint != manifest["items_fingerprint"]:
            raise ValueError("its items do not match their fingerprint")
        arrays = load_file(folder / WEIGHTS)
        arrays.pop(_COUNTS, None)
        return model.restore(items, arrays)
    except (
        OSError, KeyError, TypeError, ValueError, RuntimeError, MemoryError, SafetensorError
    ) as error:  # fmt: skip
        raise InputError(f"{folder} is damaged ({reason(error)}): {_REMEDY} again") from error
