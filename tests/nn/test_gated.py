"""Gated and densely connected layers against their formulas.

Legend: B users in the batch, I items, H hidden width, K pseudo-inputs.
"""

from dataclasses import replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import csr_array
from torch import nn

from recsys_vae.nn.dense_skip import DenseSkipEncoder
from recsys_vae.nn.gated import (
    GatedEncoder,
    GatedLinear,
    HiddenPseudoInputs,
    ItemPseudoInputs,
    PairDecoder,
    initialise_gates,
)
from recsys_vae.nn.noise import Noise
from recsys_vae.nn.sparse_linear import SparseBatch
from recsys_vae.nn.towers import initialise
from recsys_vae.training.batches import sparse_batch

_X = np.array([[1, 1, 0, 0, 2], [0, 0, 1, 0, 1], [0, 0, 0, 0, 0]], dtype=float)
_Array = npt.NDArray[np.float64]
_M = TypeVar("_M", bound=nn.Module)


def _batch(dense: _Array = _X) -> SparseBatch:
    batch = sparse_batch(csr_array(dense.astype(np.float32)), torch.device("cpu"))
    return replace(batch, values=batch.values.double())


def _drawn(module: _M) -> _M:
    generator = torch.Generator().manual_seed(1)
    initialise(module, generator)
    initialise_gates(module, generator)
    return module.double()


def _weights(module: nn.Module) -> dict[str, _Array]:
    return {name: value.numpy() for name, value in module.state_dict().items()}


def _normalised(x: _Array) -> _Array:
    norms = np.linalg.norm(x, axis=1, keepdims=True)
    unit: _Array = np.divide(x, norms, out=np.zeros_like(x), where=norms > 0)
    return unit


def _sigmoid(a: _Array) -> _Array:
    return 1 / (1 + np.exp(-a))


def _gate(both: _Array) -> _Array:
    a, b = np.split(both, 2, axis=1)
    gated: _Array = a * _sigmoid(b)
    return gated


def test_a_gated_layer_is_its_formula() -> None:
    layer = _drawn(GatedLinear(5, 3))
    w = _weights(layer)
    expected = _gate(_X @ w["both.weight"].T + w["both.bias"])
    # Doubles, sums of five terms.
    assert np.allclose(layer(torch.from_numpy(_X)).detach(), expected, rtol=1e-12)


def test_the_gated_encoder_is_a_chain_of_gated_layers_of_the_normalised_history() -> None:
    encoder = _drawn(GatedEncoder(5, [4, 3], 0.5))
    w = _weights(encoder)
    hidden = _gate(_normalised(_X) @ w["first.weight_IH"] + w["first.bias_H"])
    expected = _gate(hidden @ w["rest.0.both.weight"].T + w["rest.0.both.bias"])
    # Doubles through two layers.
    assert np.allclose(encoder(_batch()).detach(), expected, rtol=1e-12)


def test_dense_rows_are_encoded_as_the_same_histories_are() -> None:
    encoder = _drawn(GatedEncoder(5, [4, 3], 0.5))
    # Doubles; the length is divided out behind the product instead of before it.
    assert torch.allclose(encoder.dense(torch.from_numpy(_X)), encoder(_batch()), rtol=1e-12)


def test_a_gate_keeps_the_scale_of_what_passes() -> None:
    layers = nn.Sequential(*(GatedLinear(400, 400) for _ in range(4)))
    initialise_gates(layers, torch.Generator().manual_seed(0))
    x = torch.randn(200, 400, generator=torch.Generator().manual_seed(1))
    ratio = (layers(x).std() / x.std()).item()
    # A layer keeps 0.7 to 0.8 of the deviation; with Xavier's weights it would keep 0.4.
    assert 0.2 < ratio < 1.0


def test_encoders_of_different_streams_forget_different_entries() -> None:
    one, other = GatedEncoder(40, [4], 0.5), GatedEncoder(40, [4], 0.5, stream=3)
    _drawn(one)
    _drawn(other)
    other.load_state_dict(one.state_dict())
    everything, noise = _batch(np.ones((3, 40))), Noise(0, 0, torch.arange(3))
    assert torch.equal(one(everything), other(everything))
    assert not torch.equal(one(everything, noise), other(everything, noise))


def test_pseudo_inputs_over_items_are_histories_between_zero_and_one() -> None:
    encoder = _drawn(GatedEncoder(5, [4, 3], 0.5))
    pseudo = ItemPseudoInputs(6, encoder, torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        pseudo.affinity_KI[0, 0], pseudo.affinity_KI[0, 1] = -3.0, 7.0
    clipped = pseudo.affinity_KI.detach().numpy().clip(0, 1)
    # float32 histories of numbers that were drawn in float32.
    assert torch.allclose(pseudo(encoder), encoder(_batch(clipped)), rtol=1e-6)


def test_hidden_pseudo_inputs_start_at_the_scale_of_random_histories() -> None:
    encoder = GatedEncoder(2_000, [50], 0.5)
    initialise(encoder, torch.Generator().manual_seed(0))
    pseudo = HiddenPseudoInputs(400, encoder, torch.Generator().manual_seed(0))
    taken = (np.random.default_rng(0).random((400, 2_000)) < 0.02).astype(np.float32)
    batch = sparse_batch(csr_array(taken), torch.device("cpu"))
    seen = encoder.first(batch.l2_normalised())
    # 40,000 draws each, 100 of them alike in a column: some percent.
    assert abs(pseudo.first_KH.std().item() / seen.std().item() - 1) < 0.1


def test_two_points_are_decoded_apart_and_then_together() -> None:
    decoder = _drawn(PairDecoder(2, [4, 3]))
    w = _weights(decoder)
    z = np.array([[0.5, -1.0, 2.0, 0.3]])
    lower = _gate(z[:, :2] @ w["lower.both.weight"].T + w["lower.both.bias"])
    upper = _gate(z[:, 2:] @ w["upper.both.weight"].T + w["upper.both.bias"])
    both = np.concatenate([lower, upper], axis=1)
    expected = _gate(both @ w["joint.0.both.weight"].T + w["joint.0.both.bias"])
    # Doubles through two layers.
    assert np.allclose(decoder(torch.from_numpy(z)).detach(), expected, rtol=1e-12)


def test_every_layer_of_the_dense_encoder_sees_the_sum_of_those_before_it() -> None:
    encoder = _drawn(DenseSkipEncoder(5, 4, 4, 0.5, sparse_gradient=False))
    with torch.no_grad():
        for norm in encoder.norms:
            assert isinstance(norm, nn.LayerNorm)
            assert (norm.weight == 1).all()
            assert (norm.bias == 0).all()
            norm.weight.copy_(torch.linspace(0.5, 2, 4))
            norm.bias.copy_(torch.linspace(-1, 1, 4))
    w = _weights(encoder)

    def normed(a: _Array, layer: int) -> _Array:
        swish = a * _sigmoid(a)
        centred = swish - swish.mean(axis=1, keepdims=True)
        scaled = centred / np.sqrt(swish.var(axis=1, keepdims=True) + 0.1)
        out: _Array = scaled * w[f"norms.{layer}.weight"] + w[f"norms.{layer}.bias"]
        return out

    hidden = [normed(_normalised(_X) @ w["first.weight_IH"] + w["first.bias_H"], 0)]
    for layer in range(3):
        product = hidden[-1] @ w[f"rest.{layer}.weight"].T + w[f"rest.{layer}.bias"]
        hidden.append(normed(product + np.sum(hidden, axis=0), layer + 1))
    # Doubles through four layers.
    assert np.allclose(encoder(_batch()).detach(), hidden[-1], rtol=1e-11)
