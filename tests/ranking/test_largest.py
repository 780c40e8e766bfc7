"""The largest numbers of a row are those of a full sort, and what is left out is no larger."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from recsys_vae.ranking.largest import largest


@given(st.integers(1, 3), st.integers(1, 400), st.booleans(), st.data())
@settings(deadline=None, max_examples=150)
def test_the_largest_are_those_of_a_sort(
    rows: int, columns: int, tied: bool, data: st.DataObject
) -> None:
    few = st.sampled_from([0.0, 1.0, 2.0, -np.inf])
    elements = few if tied else st.floats(width=32, allow_nan=False)
    values = data.draw(hnp.arrays(np.float32, (rows, columns), elements=elements))
    k = data.draw(st.integers(1, columns))
    found, places, left_out = largest(torch.from_numpy(values), k)
    expected = -np.sort(-values, axis=1)
    assert np.array_equal(found.numpy(), expected[:, :k])
    assert np.array_equal(np.take_along_axis(values, places.numpy(), axis=1), expected[:, :k])
    assert all(len(set(row)) == k for row in places.tolist())
    rest = expected[:, k] if k < columns else np.full(rows, -np.inf, np.float32)
    # A bound: never below what is left out, and never above what was taken.
    assert (left_out.numpy() >= rest).all()
    assert (left_out.numpy() <= expected[:, k - 1]).all()
