"""A training in a process of its own, to be killed, resumed, or joined by others."""

import argparse
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file
from scipy.sparse import random_array
from torch import nn

from recsys_vae.interactions import IdMap, Interactions
from recsys_vae.models.autoencoder import NeuralRecommender
from recsys_vae.models.base import FitOptions
from recsys_vae.models.mult_vae import MultVAE, MultVAEConfig
from recsys_vae.models.vq_vae import VQVAE, VQVAEConfig
from recsys_vae.training.config import TrainingConfig
from recsys_vae.training.distributed import exit_if_joined, leads_here

EPOCHS = 12


def made_up_interactions(seed: int = 0) -> Interactions:
    rng = np.random.default_rng(seed)
    matrix = random_array((300, 120), density=0.1, rng=rng, dtype=np.float32, format="csr")
    matrix.data[:] = 1.0
    matrix.sort_indices()
    return Interactions(IdMap.of(range(300)), IdMap.of(range(120)), matrix)


def fitted(
    checkpoint: Path | None, *, seed: int = 3, data_seed: int = 0, latent: int = 8
) -> MultVAE:
    # Everything that a resume could get wrong: warm-up, cosine, clipping, ups and downs.
    training = TrainingConfig(
        epochs=EPOCHS,
        batch_size=40,
        lr_schedule="cosine",
        warmup_steps=5,
        clip_norm=5.0,
        precision="float32",
    )
    config = MultVAEConfig(hidden=(16,), latent=latent, training=training)
    model = MultVAE(config)

    def validate(_: object) -> float:
        # Depends on the weights alone, so that a resumed run sees what the unbroken one saw.
        weights = model.network.state_dict()["decoder.bias_I"]
        return float(torch.sin(weights.sum() * 1000.0))

    options = FitOptions(seed=seed, device="cpu", validate=validate, checkpoint=checkpoint)
    return model.fit(made_up_interactions(data_seed), options)


def fitted_codes() -> VQVAE:
    training = TrainingConfig(epochs=2, batch_size=40, precision="float32")
    config = VQVAEConfig(
        hidden=(16,), groups=2, codes=4, width=3, decay=0.7, revive_below=0.3, training=training
    )
    return VQVAE(config).fit(made_up_interactions(), FitOptions(seed=3, device="cpu"))


def weights_of(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--codes", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model: NeuralRecommender = fitted_codes() if options.codes else fitted(options.checkpoint)
    if leads_here():
        arrays = {name: value.numpy() for name, value in weights_of(model.network).items()}
        save_file(arrays, options.out)


if __name__ == "__main__":
    main()
    exit_if_joined()
