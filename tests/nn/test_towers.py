"""The encoder's view of a history: length 1, dropout on stored entries only, empty is fine.

Legend: B users in the batch, I items, H hidden width.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.sparse import csr_array
from torch import Tensor, nn

from recsys_vae.nn.noise import Noise
from recsys_vae.nn.pointwise import Bernoulli, Pointwise
from recsys_vae.nn.sparse_linear import SparseBatch
from recsys_vae.nn.towers import HistoryEncoder, ItemDecoder, initialise
from recsys_vae.training.batches import sparse_batch

_I = 6
_HISTORIES = hnp.arrays(np.float32, (4, _I), elements=st.sampled_from([0.0, 0.0, 1.0, 2.0]))


def _batch(dense: object) -> SparseBatch:
    return sparse_batch(csr_array(np.asarray(dense, dtype=np.float32)), torch.device("cpu"))


def _seen(dense: object, dropout: float = 0.0, noise: Noise | None = None) -> Tensor:
    """What the first layer sees: with the identity as weights, tanh is all there is to undo."""
    n_items = np.asarray(dense).shape[1]
    encoder = HistoryEncoder(n_items, [n_items], dropout)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.copy_(torch.eye(n_items) if parameter.ndim == 2 else torch.zeros(n_items))
        return torch.atanh(encoder(_batch(dense), noise))


@given(dense=_HISTORIES)
def test_a_history_is_normalised_to_length_one(dense: np.ndarray) -> None:
    norms = np.linalg.norm(dense, axis=1, keepdims=True)
    expected = np.divide(dense, norms, out=np.zeros_like(dense), where=norms > 0)
    # float32 through tanh and back: tanh(1) and atanh(0.76) cost some units in the last place.
    assert np.abs(_seen(dense).numpy() - expected).max() < 1e-6


@given(dense=_HISTORIES, seed=st.integers(0, 1000), dropout=st.sampled_from([0.1, 0.5, 0.7]))
def test_dropout_drops_stored_entries_and_scales_up_the_others(
    dense: np.ndarray, seed: int, dropout: float
) -> None:
    plain = _seen(dense).numpy()
    noisy = _seen(dense, dropout, Noise(seed, 0, torch.arange(len(dense)))).numpy()
    scaled = plain / (1 - dropout)
    assert (noisy[dense == 0] == 0).all()
    # An entry is dropped or scaled, up to atanh(tanh(x)) in float32, x up to 1 / 0.3.
    assert (np.minimum(np.abs(noisy), np.abs(noisy - scaled)) < 1e-4).all()


def test_dropout_keeps_the_expected_input() -> None:
    dense = np.ones((20_000, 4))
    noisy = _seen(dense, 0.5, Noise(1, 0, torch.arange(len(dense))))
    # Each entry is 0 or 2 * 0.5 with equal chances: mean 0.5, standard deviation 0.5.
    assert abs(noisy.mean().item() - 0.5) < 5 * 0.5 / dense.size**0.5  # five standard errors


def test_dropout_differs_by_user_and_by_step() -> None:
    dense = np.ones((50, 8))
    one, other = (_seen(dense, 0.5, Noise(1, step, torch.arange(50))) for step in (0, 1))
    assert not torch.equal(one, other)
    assert len({tuple(row) for row in one.tolist()}) > 25  # of 2^8 masks


def test_a_users_dropout_does_not_depend_on_the_batch() -> None:
    dense = np.ones((10, 8))
    together = _seen(dense, 0.5, Noise(1, 0, torch.arange(10)))
    alone = _seen(dense[[7]], 0.5, Noise(1, 0, torch.tensor([7])))
    assert torch.equal(alone[0], together[7])


def test_without_noise_nothing_is_dropped_even_while_training() -> None:
    dense = np.ones((3, 5))
    assert torch.equal(_seen(dense, 0.9), _seen(dense))
    assert HistoryEncoder(5, [5], 0.9).training


def test_an_empty_history_gives_what_the_biases_alone_give() -> None:
    encoder = HistoryEncoder(_I, [5, 3], 0.5)
    initialise(encoder, torch.Generator().manual_seed(0))
    noise = Noise(0, 0, torch.arange(3))
    history = np.zeros((3, _I))
    history[1, 2] = 1
    with torch.no_grad():
        hidden = encoder(_batch(history), noise)
    assert hidden.shape == (3, 3)
    assert torch.isfinite(hidden).all()
    assert torch.equal(hidden[0], hidden[2])


def test_a_history_of_stored_zeros_is_an_empty_one() -> None:
    batch = _batch(np.ones((2, _I)))
    encoder = HistoryEncoder(_I, [5], 0.0)
    initialise(encoder, torch.Generator().manual_seed(0))
    with torch.no_grad():
        hidden = encoder(replace(batch, values=torch.zeros(2 * _I)))
        assert torch.equal(hidden, encoder(_batch(np.zeros((2, _I)))))


def test_the_weight_of_an_entry_counts_but_the_size_of_the_history_does_not() -> None:
    encoder = HistoryEncoder(_I, [5], 0.0)
    initialise(encoder, torch.Generator().manual_seed(0))
    history = np.array([[1, 0, 2, 0, 0, 0]])
    with torch.no_grad():
        one, tenfold = encoder(_batch(history)), encoder(_batch(10 * history))
        flat = encoder(_batch(history > 0))
    # Dividing by another power of ten rounds differently in the last place of float32.
    assert torch.allclose(one, tenfold, atol=1e-6)
    assert not torch.allclose(one, flat, atol=1e-2)


def test_the_decoders_loss_is_the_multinomial_formula_of_its_logits() -> None:
    decoder = ItemDecoder(_I, [3, 5]).double()
    initialise(decoder, torch.Generator().manual_seed(0))
    z = torch.linspace(-2, 2, 6, dtype=torch.float64).view(2, 3)
    dense = torch.tensor([[1, 0, 2, 0, 0, 0], [0, 0, 0, 0, 0, 0]], dtype=torch.float64)
    batch = _batch(dense)
    loss = decoder.nll(
        z, replace(batch, values=batch.values.double()), Noise(0, 0, torch.arange(2))
    )
    expected = -(dense * decoder(z).log_softmax(dim=1)).sum(dim=1)
    # Doubles, sums of six terms.
    assert torch.allclose(loss, expected, rtol=1e-12, atol=1e-12)
    assert loss[1] == 0


@pytest.mark.parametrize("likelihood", [None, Bernoulli()], ids=["multinomial", "bernoulli"])
@pytest.mark.parametrize("buffer_mb", [256.0, 1e-4])
def test_frozen_items_get_no_gradient_and_the_latent_point_gets_the_same(
    buffer_mb: float, likelihood: Pointwise | None
) -> None:
    decoder = ItemDecoder(_I, [3], buffer_mb=buffer_mb, likelihood=likelihood)
    initialise(decoder, torch.Generator().manual_seed(0))
    batch, noise = _batch([[1, 0, 2, 0, 0, 0], [0, 1, 0, 0, 0, 1]]), Noise(0, 0, torch.arange(2))
    z = torch.linspace(-2, 2, 6).view(2, 3).requires_grad_()
    losses = [decoder.nll(z, batch, noise, frozen=frozen) for frozen in (False, True)]
    assert torch.equal(*losses)
    (free,) = torch.autograd.grad(losses[0].sum(), [z], retain_graph=True)
    losses[1].sum().backward()
    assert z.grad is not None
    assert torch.equal(z.grad, free)
    assert all(parameter.grad is None for parameter in decoder.parameters())
    # And the other way round: items that learn from a point that stays.
    weights = torch.autograd.grad(losses[0].sum(), [decoder.weight_IH, decoder.bias_I])
    still = decoder.nll(z.detach(), batch, noise).sum()
    for one, other in zip(
        weights, torch.autograd.grad(still, [decoder.weight_IH, decoder.bias_I]), strict=True
    ):
        assert torch.equal(one, other)


def test_a_layer_norm_starts_as_the_identity() -> None:
    norm = nn.LayerNorm(4)
    initialise(nn.Sequential(nn.Linear(3, 4), norm), torch.Generator().manual_seed(0))
    assert torch.equal(norm.weight, torch.ones(4))
    assert torch.equal(norm.bias, torch.zeros(4))


def test_initial_weights_are_xaviers_and_biases_narrow() -> None:
    encoder = HistoryEncoder(400, [300, 200], 0.5)
    initialise(encoder, torch.Generator().manual_seed(0))
    for parameter in encoder.parameters():
        if parameter.ndim == 1:
            assert parameter.abs().max() <= 2e-3  # twice the standard deviation, truncated
            assert parameter.std() > 0
            continue
        bound = (6 / sum(parameter.shape)) ** 0.5
        assert parameter.abs().max() <= bound
        # Uniform within +-bound: standard deviation bound / sqrt(3), to 2 % with 60,000 draws.
        assert abs(parameter.std().item() / (bound / 3**0.5) - 1) < 0.02


def test_the_same_generator_seed_gives_the_same_weights() -> None:
    one, other = (HistoryEncoder(9, [4, 2], 0.5) for _ in range(2))
    for module in (one, other):
        initialise(module, torch.Generator().manual_seed(5))
    assert torch.equal(
        nn.utils.parameters_to_vector(one.parameters()),
        nn.utils.parameters_to_vector(other.parameters()),
    )


def test_a_sampled_softmax_goes_with_no_other_likelihood() -> None:
    with pytest.raises(ValueError, match="only the multinomial"):
        ItemDecoder(_I, [3], negatives=2, likelihood=Bernoulli())


@pytest.mark.parametrize("widths", [[3], [3, 5]])
def test_the_logits_of_some_items_are_those_among_all(widths: list[int]) -> None:
    decoder = ItemDecoder(_I, widths).double()
    initialise(decoder, torch.Generator().manual_seed(1))
    z_BZ = torch.randn(4, 3, generator=torch.Generator().manual_seed(2)).double()
    items_BK = torch.tensor([[0, 5], [3, 3], [2, 0], [1, 4]])
    some_BK = decoder.of_items(z_BZ, items_BK)
    # A few additions of doubles in another order.
    assert (some_BK - decoder(z_BZ).gather(1, items_BK)).abs().max() < 1e-14
