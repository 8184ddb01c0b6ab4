"""Which norm is aimed at next, and which entries are rounded the other way."""

import itertools
import math

import ml_dtypes
import numpy as np
import pytest

from wproj.dtypes import grid, nearest
from wproj.numerics.aiming import at_the_bounds, bottom, deeper, first_aim, inward, outward, top
from wproj.numerics.norms import Bounds

DTYPES = ("float16", "bfloat16", "float32", "float8_e4m3fn")


def dtype_of(name):
    """The NumPy or ml_dtypes dtype of this name."""
    return np.dtype(getattr(ml_dtypes, name, name))


def squares(rows):
    """The sums of squares of rows, exactly rounded."""
    return np.array([math.fsum(np.square(row.astype(np.float64))) for row in rows])


@pytest.mark.parametrize("attempt", [0, 1, 2, 5])
def test_an_aim_moves_by_what_was_missed_and_a_step_that_grows_fourfold(attempt):
    """Down from above, up from below; vectors that missed nothing keep theirs."""
    bounds = Bounds.of(1.0, 2.0, 16, np.dtype(np.float16))
    aim = np.array([2.0, 1.0, 2.0, 1.0, 1.5])
    after = np.array([2.25, 0.75, 1.9, 1.1, 1.5])
    missed = np.array([True, True, False, False, True])

    found = deeper(aim, after, missed, bounds, attempt)

    step = (aim * 2.0**-11 / 4 + 2.0**-24) * 4.0 ** (attempt - 1)
    assert found[0] == pytest.approx(2 - (2.25 - top(bounds)) - step[0], rel=1e-15)
    assert found[1] == pytest.approx(1 + (bottom(bounds) - 0.75) + step[1], rel=1e-15)
    assert found[2:4].tolist() == [2.0, 1.0]
    assert found[4] == pytest.approx(1.5 + step[4], rel=1e-15)


def test_what_lies_on_the_sure_bound_is_not_above_it():
    """It is aimed higher, as only the lower bound can have been missed."""
    bounds = Bounds.of(1.0, 2.0, 16, np.dtype(np.float16))
    aim = np.array([2.0])

    assert deeper(aim, np.array([top(bounds)]), np.array([True]), bounds, 0)[0] > aim[0]


def test_an_aim_is_never_negative():
    """However much was missed."""
    bounds = Bounds.of(0.0, 1e-7, 4, np.dtype(np.float16))

    found = deeper(np.array([1e-7]), np.array([3.0]), np.array([True]), bounds, 3)

    assert found.tolist() == [0.0]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shrinking", [True, False])
def test_a_repair_reaches_the_limit_with_neighbors_alone(dtype, shrinking):
    """Every entry is one of the two stored numbers around its exact value, or that value."""
    stored = dtype_of(dtype)
    rows = np.random.default_rng(3).normal(size=(20, 50))
    rows[:, 7], rows[3] = 0.0, rows[3].round()
    limit = float(np.sqrt(squares(rows).max() if shrinking else squares(rows).min()))
    rows *= (limit / np.sqrt(squares(rows)))[:, None] * (1 - 1e-12 if shrinking else 1 + 1e-12)

    result = (inward if shrinking else outward)(rows, limit, stored)

    reached = squares(result) - limit**2
    assert result.dtype == stored
    assert np.all(reached <= 0 if shrinking else reached >= 0)
    near = nearest(rows, stored)
    size = np.zeros_like(near) if shrinking else np.copysign(grid(stored).largest, rows)
    other = np.nextafter(near, size.astype(stored))
    assert np.all((result == near) | (result == other))
    assert np.all(result[:, 7] == 0)
    assert not np.array_equal(result, near)


@pytest.mark.parametrize("shrinking", [True, False])
def test_a_repair_takes_what_costs_least(shrinking):
    """Of all sets of entries, as few as do, no single one among them could have been left."""
    rows = np.random.default_rng(5).normal(size=(30, 6))
    limit = 2.0
    rows *= (limit / np.sqrt(squares(rows)))[:, None] * (1 - 1e-12 if shrinking else 1 + 1e-12)
    stored = np.dtype(np.float16)
    result = (inward if shrinking else outward)(rows, limit, stored)
    near = nearest(rows, stored)
    other = np.nextafter(near, (np.zeros if shrinking else np.ones)(6, stored) * np.sign(near) * 9)
    for row, first, second, got in zip(rows, near, other, result, strict=True):
        exchanged = got != first
        price = np.abs(np.square(second - row) - np.square(first - row))
        price /= np.abs(np.square(second.astype(float)) - np.square(first.astype(float)))
        if exchanged.any():
            last = np.flatnonzero(exchanged)[np.argmax(price[exchanged])]
            less = np.where(np.arange(6) == last, first, got)
            misses = squares([less])[0] - limit**2
            assert misses > 0 if shrinking else misses < 0
            assert price[exchanged].max() <= price[~exchanged].min(initial=np.inf)


def test_of_entries_that_cost_the_same_the_first_ones_are_exchanged():
    """Whatever the processor sorts by: the result has the same bytes everywhere."""
    near = np.float16(0.3)
    rows = np.full((1, 500), (float(near) + float(np.nextafter(near, np.float16(0)))) / 2 + 1e-6)
    limit = float(np.sqrt(squares(rows)[0])) * (1 + 1e-9)

    result = inward(rows, limit, np.dtype(np.float16))[0]

    exchanged = result < near
    count = int(exchanged.sum())
    assert 10 < count < 490
    assert exchanged[:count].all()
    assert squares([result])[0] <= limit**2
    assert squares([np.where(np.arange(500) == count - 1, near, result)])[0] > limit**2


def test_a_vector_that_is_inside_by_its_nearest_entries_is_not_exchanged():
    """Nothing is rounded the other way for nothing, not even at the limit itself."""
    for repair, limit in itertools.product((inward, outward), (5.0, 1.25)):
        exact = np.array([[3.0, 4.0]]) * (limit / 5)

        assert np.array_equal(repair(exact, limit, np.dtype(np.float16)), exact)


@pytest.mark.parametrize("length", [1, 100, 10**6])
def test_the_sure_bounds_and_what_directed_rounding_starts_from_lie_inside(length):
    """Each a little farther than the one before, on both sides."""
    bounds = Bounds.of(1.0, 2.0, length, np.dtype(np.float16))
    high, low = at_the_bounds(np.array([True, False]), bounds)

    assert 1 < bottom(bounds) < low < high < top(bounds) < 2
    assert (high / top(bounds), low / bottom(bounds)) == (
        pytest.approx(1 - 2.0**-50, abs=2.0**-52),
        pytest.approx(1 + 2.0**-50, abs=2.0**-52),
    )


def test_a_lower_bound_at_the_end_of_float64_is_beyond_it_when_it_is_sure():
    """Without a warning of the overflow."""
    largest = np.finfo(np.float64).max

    assert bottom(Bounds.of(largest, math.inf, 4, np.dtype(np.float64))) == math.inf


@pytest.mark.parametrize(("lower", "upper"), [(1.0, 1.001), (1.5, 1.75), (0.0, 1e-9)])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_the_first_aims_are_a_little_on_the_inside_of_the_bounds(lower, upper, dtype):
    """Each on its own side of the middle, by a few parts of the unit roundoff."""
    bounds = Bounds.of(lower, upper, 64, dtype_of(dtype))
    high, low = first_aim(np.array([upper, lower]), bounds)
    deep = 32 * 2.0**-53 if dtype == "float64" else grid(dtype_of(dtype)).unit_roundoff / 8

    assert upper * (1 - deep) < high < upper
    assert lower < low < lower * (1 + deep) or low == lower == 0


def test_a_shell_in_which_the_aims_would_pass_each_other_is_aimed_at_in_its_middle():
    """Not so thin that nothing can be certified, but hardly wider."""
    bounds = Bounds.of(1.0, 1.0 + 20 * 2.0**-53, 1, np.dtype(np.float64))

    assert not bounds.thin
    assert first_aim(np.array([bounds.upper, 1.0]), bounds).tolist() == [1 + 10 * 2.0**-53] * 2


def test_zeros_stay_zeros_however_much_a_row_lacks():
    """Nothing grows out of a zero, not even where the limit is beyond what neighbors reach."""
    rows = np.array([[0.0, 0.5, -0.0, 1.0]])

    result = outward(rows, 2.0, np.dtype(np.float16))

    assert result.dtype == np.float16
    assert result[0, [0, 2]].tolist() == [0.0, 0.0]
    assert (result[0, [1, 3]] > rows[0, [1, 3]]).all()
    assert np.signbit(result[0]).tolist() == [False, False, True, False]


def test_a_step_is_never_lost_among_subnormal_numbers():
    """Where the unit roundoff of the aim is less than what the dtype can tell."""
    bounds = Bounds.of(0.0, 1e-7, 4, np.dtype(np.float16))
    aim = np.array([1e-7])

    assert deeper(aim, aim * 1.01, np.array([True]), bounds, 0)[0] < aim[0] * 0.9
