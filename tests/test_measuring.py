"""What is measured of a tensor is what NumPy finds of it whole, wherever the norms are kept."""

import math

import numpy as np
import pytest

from wproj.constraints.keras import MaxNorm, MinMaxNorm, NonNeg
from wproj.judging import STRICT, Tolerance
from wproj.measuring import measure_tensor
from wproj.scratch import Scratch

IN_MEMORY, IN_FILE = 1 << 30, 0
# Vectors in one unit of one tile, in units of several tiles, and across tiles.
SHAPES = {
    "few": ((40, 8), (1,)),
    "rows": ((600_000, 3), (1,)),
    "columns": ((3, 300_000), (0,)),
    "middle": ((5, 700, 100), (1,)),
    "outer": ((3, 9, 100_000), (1,)),
}


@pytest.fixture(params=SHAPES, scope="module")
def case(request):
    """Values whose norms are mostly below 1, with zero, equal and non-finite vectors; the axes."""
    shape, axis = SHAPES[request.param]
    rng = np.random.default_rng(0)
    length = math.prod(shape[a] for a in axis)
    values = rng.standard_normal(shape) * 0.6 / np.sqrt(length)
    rows = np.moveaxis(values, axis[0], -1)
    rows[..., ::7, :] = 0
    rows[..., 3::11, :] = 2 / np.sqrt(length)
    rows[..., 5::13, 0] = np.nan
    return values, axis


def measured(values, axis, steps, tolerance=STRICT, in_memory=IN_MEMORY, after=None):
    """What is measured of values before, and after."""
    with Scratch(values.size, values.dtype, IN_MEMORY) as store:
        store.write(0, values.reshape(-1))
        if after is None:
            return measure_tensor(values.shape, axis, steps, store, None, tolerance, map, in_memory)
        with Scratch(values.size, values.dtype, IN_MEMORY) as last:
            last.write(0, after.reshape(-1))
            return measure_tensor(values.shape, axis, steps, store, last, tolerance, map, in_memory)


def norms_of(values, axis):
    """The norms in C order, NaN where not finite."""
    return np.sqrt(np.square(values).sum(axis)).reshape(-1)


@pytest.mark.parametrize("room", [IN_MEMORY, IN_FILE])
def test_counts_are_those_of_all_vectors(case, room):
    """Of each kind: zero, non-finite, outside."""
    values, axis = case
    norms = norms_of(values, axis)
    found = measured(values, axis, [MinMaxNorm(0.5, 1.0, axis=axis)], in_memory=room)

    assert found.zero == found.unreachable == (norms == 0).sum()
    assert found.nonfinite == np.isnan(norms).sum()
    assert found.violations.before == ((norms < 0.5) | (norms > 1)).sum()
    assert found.violations.after is None
    assert sum(found.histogram.counts) == np.isfinite(norms).sum()


@pytest.mark.parametrize("room", [IN_MEMORY, IN_FILE])
def test_norms_are_summed_up_as_numpy_does(case, room):
    """In their order or in any other."""
    values, axis = case
    norms = norms_of(values, axis)
    norms = norms[np.isfinite(norms)]
    told = measured(values, axis, [], in_memory=room).norm_before

    assert (told.min, told.max) == pytest.approx((norms.min(), norms.max()), rel=1e-14)
    assert told.mean == pytest.approx(norms.mean(), rel=1e-13)
    assert [told.p50, told.p99] == pytest.approx(np.quantile(norms, [0.5, 0.99]), rel=1e-14)


def test_the_worst_vectors_are_the_farthest_ones_and_of_equals_the_first(case):
    """Five of them, with their indices over the axes that are not summed over."""
    values, axis = case
    values = values.copy()
    rows = np.moveaxis(values, axis[0], -1)
    rows[..., -2, :] *= 1.5
    excess = np.nan_to_num(norms_of(values, axis) - 1)
    kept = [n for a, n in enumerate(values.shape) if a not in axis]
    worst = np.lexsort((np.arange(excess.size), -excess.round(9)))[: min(5, (excess > 0).sum())]
    found = measured(values, axis, [MaxNorm(1.0, axis=axis)]).violations

    indices = [tuple(map(int, np.unravel_index(at, kept))) for at in worst]
    assert [tuple(one.index) for one in found.vectors] == indices
    assert [one.excess for one in found.vectors] == pytest.approx(excess[worst])
    assert found.worst_index == list(indices[0])
    assert found.worst_excess == found.vectors[0].excess


def test_a_tolerance_lessens_what_is_outside_not_how_far(case):
    """What is tolerated is in no list, either."""
    values, axis = case
    norms = norms_of(values, axis)
    found = measured(values, axis, [MaxNorm(1.0, axis=axis)], Tolerance(rtol=0.5)).violations

    assert found.before == (norms > 1.5).sum() > 0
    assert found.worst_excess == pytest.approx(np.nanmax(norms) - 1)


@pytest.mark.parametrize("room", [IN_MEMORY, IN_FILE])
def test_changes_are_told_vector_by_vector_and_entry_by_entry(case, room):
    """With the distance between before and after, relative to the norm before."""
    values, axis = np.nan_to_num(case[0]), case[1]
    after = values.copy()
    np.moveaxis(after, axis[0], -1)[..., ::3, -1:] += 0.25
    found = measured(values, axis, [MaxNorm(1.0, axis=axis)], in_memory=room, after=after)
    different = after != values

    assert found.changed_entries == different.sum()
    assert found.changed_vectors == different.any(axis).sum()
    assert found.distance.absolute == pytest.approx(np.linalg.norm(after - values))
    relative = np.linalg.norm(after - values) / np.linalg.norm(values)
    assert found.distance.relative == pytest.approx(relative)
    assert found.violations.after == (norms_of(after, axis) > 1).sum()


def test_entries_and_vectors_outside_are_told_together(case):
    """The excess of a vector is that of its norm, or of its worst entry if that is more."""
    values, axis = case
    found = measured(values, axis, [NonNeg(), MaxNorm(1.0, axis=axis)]).violations
    norms = norms_of(values, axis)
    missed = np.maximum(-np.nan_to_num(values).min(axis).reshape(-1), np.nan_to_num(norms - 1))

    assert found.before == (missed > 0).sum() > (norms > 1).sum()
    assert found.worst_excess == pytest.approx(missed.max())


class Below:
    """A user's own constraint: entries below a bound, of which it can only tell as a whole."""

    name = "below"

    def contains(self, w):
        """Which entries are below."""
        return ~(w >= 1.0)


@pytest.mark.parametrize("room", [IN_MEMORY, IN_FILE])
def test_what_a_constraint_says_of_the_whole_counts_in_each_vector(case, room):
    """Beside a bound on norms, too."""
    values, axis = case
    found = measured(values, axis, [Below()], in_memory=room).violations
    both = measured(values, axis, [Below(), MaxNorm(0.5, axis=axis)], in_memory=room).violations
    over = np.isfinite(values) & (values >= 1)
    norms = norms_of(values, axis)

    assert found.before == over.any(axis).sum()
    assert both.before == (over.any(axis).reshape(-1) | (norms > 0.5)).sum()
