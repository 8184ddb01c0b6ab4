"""Norms in a few numbers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from wproj.summarizing import histogram, summarize_in_place

LARGEST, TINY = float(np.finfo(np.float64).max), 5e-324
NORMS = arrays(np.float64, st.integers(1, 40), elements=st.floats(0, 1e300))


def summarize_norms(norms):
    """The norms in a few numbers; they stay in their places."""
    return summarize_in_place(norms.reshape(-1).copy())


@given(NORMS)
def test_quantiles_are_those_of_numpy_to_the_bit(norms):
    """Which interpolates linearly."""
    found = summarize_norms(norms)

    assert [found.p50, found.p99] == np.quantile(norms, [0.5, 0.99]).tolist()


@given(NORMS)
def test_quantiles_lie_between_the_smallest_and_the_largest_in_order(norms):
    """Rounding takes none beyond another."""
    found = summarize_norms(norms)

    assert (found.min, found.max) == (norms.min(), norms.max())
    assert found.min <= found.p50 <= found.p99 <= found.max


@pytest.mark.parametrize("count", [1, 2, 3, 1001])
@pytest.mark.parametrize("norm", [0.0, TINY, 1.0, LARGEST])
def test_equal_norms_are_all_of_their_numbers(norm, count):
    """From the smallest to the largest number there is."""
    found = summarize_norms(np.full(count, norm))

    assert [found.min, found.p50, found.p99, found.max] == [norm] * 4
    assert found.mean == pytest.approx(norm, rel=1e-14, abs=0)


def test_what_is_not_finite_does_not_count():
    """It is counted elsewhere."""
    norms = np.array([[np.nan, 2.0], [np.inf, 4.0]])

    assert summarize_norms(norms) == summarize_norms(np.array([2.0, 4.0]))
    assert summarize_norms(norms[:, 0]).mean is None


@given(NORMS, NORMS)
def test_every_norm_is_in_one_bin(before, after):
    """Those of the smallest before and after begin the first one."""
    found = histogram(before, after)

    assert (sum(found.counts), sum(found.after)) == (before.size, after.size)
    assert found.low == min(before.min(), after.min())
    assert found.high == max(before.max(), after.max())


@pytest.mark.parametrize("high", [TINY, 2 * TINY, LARGEST])
def test_bins_have_a_width_where_float64_hardly_has_one(high):
    """Neither nothing nor infinity divides by it."""
    norms = np.array([0.0, 0.0, high])

    assert sum(histogram(norms, None).counts) == 3
