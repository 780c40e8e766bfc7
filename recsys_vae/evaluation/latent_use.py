"""How much each latent dimension tells of a history.

Legend: B users, Z latent width.
"""

from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import csr_array

from recsys_vae.models.autoencoder import NeuralRecommender
from recsys_vae.models.base import Recommender
from recsys_vae.nn.gaussian import DiagonalGaussian
from recsys_vae.nn.priors import GaussianUnderPrior

IN_USE: Final = 0.01
"""Nats from which on a dimension counts as used."""
_USERS_AT_ONCE: Final = 500
_MOST_USERS: Final = 10_000


@torch.inference_mode()
def latent_kl(model: Recommender, given: csr_array) -> npt.NDArray[np.float64] | None:
    """Give the mean KL divergence of each latent coordinate from a standard normal one.

    A dimension whose posterior is the standard normal for everybody carries nothing. Where the
    prior is another one, this is not the training loss's KL term, but means the same.

    Args:
        model: fitted.
        given: (B, I) histories; of more than 10,000 the first ones are taken.

    Returns:
        (Z,) in nats; None for models without a normal posterior.
    """
    if not isinstance(model, NeuralRecommender):
        return None
    n_users = min(given.shape[0], _MOST_USERS)
    sums: npt.NDArray[np.float64] | None = None
    for start in range(0, n_users, _USERS_AT_ONCE):
        posterior = model.posterior(given[start : min(start + _USERS_AT_ONCE, n_users)])
        gaussian = posterior.gaussian if isinstance(posterior, GaussianUnderPrior) else posterior
        if not isinstance(gaussian, DiagonalGaussian):
            return None
        part = gaussian.kl_by_dimension().double().sum(dim=0).cpu().numpy()
        sums = part if sums is None else sums + part
    return None if sums is None else sums / n_users
