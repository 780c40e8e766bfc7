"""Exploration: scores from a draw of what the model believes of a user, not from its mean.

Legend: B users in the block, I items.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from pandas.util import hash_array
from scipy.sparse import csr_array

from recsys_vae.errors import InputError
from recsys_vae.interactions import IdArray
from recsys_vae.models.autoencoder import NeuralRecommender
from recsys_vae.models.base import FloatMatrix, Recommender
from recsys_vae.nn.noise import Noise

_TEXT_KEY: Final = "recsys-vae-texts"
_STEP: Final = -1
"""Training counts its steps from 0: no draw here is one that training made."""


def user_keys(users: IdArray) -> npt.NDArray[np.int64]:
    """Give a number for each user that is the same in every block, file and process.

    Args:
        users: (B,) external ids. Integers stand for themselves; texts become 64 bits (SipHash-2-4
            of their UTF-8 bytes under a fixed key, scrambled, as pandas does it).

    Returns:
        (B,) keys.

    >>> user_keys(np.array([7, 9])).tolist()
    [7, 9]
    """
    if users.dtype.kind == "i":
        return users.astype(np.int64)
    keys: npt.NDArray[np.int64] = hash_array(
        users.astype(object), hash_key=_TEXT_KEY, categorize=False
    ).view(np.int64)
    return keys


@torch.inference_mode()
def sampled_scores(
    model: Recommender, given: csr_array, keys: npt.NDArray[np.integer[Any]], seed: int
) -> FloatMatrix:
    r"""Score all items at a point drawn from each user's posterior: f(z_u), z_u ~ q(z|x_u).

    A user of whom little is known has a wide posterior, and lists that differ from seed to seed;
    where the model is sure they hardly do. This is the choice by a draw of Thompson sampling, with
    the encoder's posterior in the place of the exact one: it covers what is unknown of the user,
    not what is unknown of the decoder.

    Source: W. R. Thompson, On the Likelihood that One Unknown Probability Exceeds Another in View
    of the Evidence of Two Samples, Biometrika 25, 1933.

    Args:
        model: fitted, with a posterior that is more than a point.
        given: (B, I) histories.
        keys: (B,) from `user_keys`: a user's draw depends on the key and the seed alone.
        seed: another one gives other draws, for example the number of the week.

    Returns:
        scores_BI, finite, not masked.

    Raises:
        InputError: the model has nothing to draw from.
        ValueError: histories and keys are not one for each user.
    """
    if given.shape[0] != len(keys):
        raise ValueError(f"{given.shape[0]} histories do not fit {len(keys)} users")
    if not isinstance(model, NeuralRecommender):
        raise _no_posterior(model)
    posterior = model.posterior(given)
    mean_BZ = posterior.mean_BZ
    users = torch.from_numpy(keys.astype(np.int64)).to(mean_BZ.device)
    z_BZ = posterior.sample(Noise(seed, _STEP, users))
    if len(keys) and torch.equal(z_BZ, mean_BZ):
        raise _no_posterior(model)
    return model.scores_at(given, z_BZ)


def _no_posterior(model: Recommender) -> InputError:
    return InputError(
        f"model '{model.name}' gives each user one point and no distribution to draw from: explore "
        "with a variational model such as mult-vae, or leave exploration off"
    )
