"""Norms against exact sums, in every dtype, length and axis; the bounds they are held against."""

import itertools
import math
from fractions import Fraction
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

from wproj.dtypes import grid
from wproj.numerics.norms import Bounds, Norms, count_nonfinite, exactly_summable, margin, measure
from wproj.numerics.vectors import TILE, Unit, Vectors

Array = NDArray[Any]

DTYPES = ("float16", "bfloat16", "float32", "float64")
LENGTHS = (1, 2, 3, 100, 4097, TILE, TILE + 1, 10**6)


def dtype_of(name: str) -> np.dtype[Any]:
    """The NumPy or ml_dtypes dtype of this name."""
    return np.dtype(getattr(ml_dtypes, name, name))


def reader(w: Array) -> Any:
    """Reads runs of the entries of `w` in C order."""
    flat = np.ascontiguousarray(w).reshape(-1)
    return lambda start, stop: flat[start:stop]


def units_of(w: Array, axis: Any, tile: int = TILE) -> list[Unit]:
    """The units of an array."""
    return list(Vectors.of(w.shape, axis).units(tile))


def norms_of(w: Array, axis: Any, tile: int = TILE) -> Array:
    """The norms of an array's vectors, as wproj measures them."""
    vectors = Vectors.of(w.shape, axis)
    found = np.full(vectors.kept_shape, -1.0)
    for unit in vectors.units(tile):
        found[unit.index] = measure(unit, reader(w)).value
    return found.reshape(-1)


def exact_norms(w: Array, axis: tuple[int, ...]) -> Array:
    """The same from exact sums of the squares."""
    kept = [a for a in range(w.ndim) if a not in axis]
    count = math.prod(w.shape[a] for a in kept)
    rows = w.transpose(*kept, *axis).reshape(count, -1).astype(np.float64)
    return np.array([math.sqrt(math.fsum(row)) for row in np.square(rows)])


def spread(rng: np.random.Generator, shape: tuple[int, ...], kind: str) -> Array:
    """Numbers whose sums of squares are hard, each for a reason of its own."""
    if kind == "constant":
        return np.full(shape, 0.1)
    if kind == "normal":
        return rng.standard_normal(shape)
    if kind == "mixed":
        return rng.standard_normal(shape) * 10.0 ** rng.uniform(-4, 4, shape)
    falling = 1e4 / np.arange(1, math.prod(shape) + 1)
    return falling.reshape(shape)


@pytest.mark.parametrize("kind", ["constant", "normal", "mixed", "falling"])
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_norms_of_any_length_agree_with_exact_sums(dtype, length, kind):
    """Up to a million entries the norm is within 1e-12 of the one from math.fsum."""
    w = spread(np.random.default_rng(length), (length,), kind).astype(dtype_of(dtype))

    np.testing.assert_allclose(norms_of(w, 0), exact_norms(w, (0,)), rtol=1e-12, atol=0)


@pytest.mark.parametrize("kind", ["constant", "normal", "mixed", "falling"])
@pytest.mark.parametrize(("shape", "axis"), [((300_000, 2), 0), ((2, 300_000), 1), ((3, 9, 9), 1)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_columns_are_measured_as_well_as_rows(dtype, shape, axis, kind):
    """NumPy adds up columns one by one, which would miss 1e-12; the norms do not."""
    w = spread(np.random.default_rng(1), shape, kind).astype(dtype_of(dtype))

    np.testing.assert_allclose(norms_of(w, axis), exact_norms(w, (axis,)), rtol=1e-12, atol=0)


@pytest.mark.parametrize("length", [1000, 60_000, 1_000_000])
@pytest.mark.parametrize("value", [0.1, 0.7, 1 / 3])
@pytest.mark.parametrize("axis", [0, 1])
def test_equal_entries_add_up_without_drift(length, value, axis):
    """Equal squares, added one by one, add up equal errors; here a few roundings remain."""
    entry = float(np.float32(value))
    w = np.full((length, 3) if axis == 0 else (3, length), entry, np.float32)
    exact = math.sqrt(length * Fraction(entry) ** 2)

    np.testing.assert_allclose(norms_of(w, axis), exact, rtol=1e-14, atol=0)


@pytest.mark.parametrize("tile", [1, 7, 64, 10_000])
def test_sums_across_tiles_lose_nothing(tile):
    """What a large tile would swallow of the small ones after it is carried along."""
    w = np.full(10_000, 1e-3)
    w[0] = 1e6
    exact = math.sqrt(math.fsum(np.square(w)))
    (norm,) = norms_of(w, 0, tile)

    assert abs(Fraction(float(norm)) / Fraction(exact) - 1) < 2**-52


@pytest.mark.parametrize("dtype", [*DTYPES, "float8_e4m3fn", "float8_e5m2"])
@pytest.mark.parametrize("shape", [(5,), (4, 6), (3, 4, 5), (2, 3, 4, 2), (1, 4, 1, 3)])
def test_every_set_of_axes_gives_the_norms_over_them(dtype, shape):
    """All subsets of the axes, against NumPy's transposition and exact sums."""
    w = np.random.default_rng(2).standard_normal(shape).astype(dtype_of(dtype))
    for count in range(1, len(shape) + 1):
        for axis in itertools.combinations(range(len(shape)), count):
            expected = exact_norms(w, axis)

            np.testing.assert_allclose(norms_of(w, axis), expected, rtol=1e-14, atol=0)


def test_small_norms_agree_with_rational_arithmetic():
    """The square of a norm is the rational sum of the squares, up to 2e-16."""
    rng = np.random.default_rng(3)
    for scale in (1.0, 1e100, 1e-100, 1e250, 1e-250):
        w = rng.standard_normal(7) * scale
        exact = sum(Fraction(x) ** 2 for x in w.tolist())
        (norm,) = norms_of(w, 0)

        assert abs(Fraction(float(norm)) ** 2 / exact - 1) < Fraction(1, 10**15)


@pytest.mark.parametrize(
    "values",
    [
        [3e200, 4e200],
        [3e-200, 4e-200],
        [5e-324, 5e-324],
        [1e308, 1e-308, 1.0],
        [2e-162, 2e-162],
        [1.5e-154, 1e-170],
        [1.7e308],
        [1e-310, 1e-315],
    ],
)
def test_float64_norms_neither_overflow_nor_underflow(values):
    """The measured fraction and exponent are right wherever the squares leave float64."""
    w = np.array([values])
    (unit,) = units_of(w, 1)
    norms = measure(unit, reader(w))
    exact = sum(Fraction(x) ** 2 for x in values)
    squared = (Fraction(float(norms.fraction.item())) ** 2) * Fraction(4) ** int(
        norms.exponent.item()
    )

    assert abs(squared / exact - 1) < Fraction(1, 10**15)


def test_a_norm_beyond_float64_is_measured_and_shown_as_infinite():
    """Four of the largest number make a norm twice as large, kept as fraction and exponent."""
    largest = np.finfo(np.float64).max
    w = np.full((1, 4), largest)
    (unit,) = units_of(w, 1)
    norms = measure(unit, reader(w))

    assert math.isinf(norms.value.item())
    assert norms.finite.all()
    assert math.ldexp(norms.fraction.item(), int(norms.exponent.item()) - 1) == largest


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
def test_a_vector_that_is_not_finite_has_no_norm_and_its_neighbors_have_theirs(dtype, poison):
    """NaN and infinity make the fraction NaN, in their own vector only."""
    w = np.array([[3.0, 3.0, 0.0], [4.0, poison, 0.0]]).astype(dtype_of(dtype))
    (unit,) = units_of(w, 0)
    norms = measure(unit, reader(w))

    assert norms.finite.reshape(-1).tolist() == [True, False, True]
    assert norms.value.reshape(-1)[[0, 2]].tolist() == [5.0, 0.0]
    assert math.isnan(norms.fraction.reshape(-1)[1])


def test_a_huge_float64_vector_does_not_change_the_norm_of_its_neighbor():
    """Vectors that are measured again with a scale have the norms that they have alone."""
    rng = np.random.default_rng(4)
    plain = rng.standard_normal((1000, 1))
    beside = np.concatenate([plain, np.full((1000, 1), 1e300), np.full((1000, 1), 1e-300)], axis=1)

    assert norms_of(beside, 0)[0] == norms_of(plain, 0)[0]


def test_norms_of_float16_do_not_overflow():
    """Squares of numbers above 255 are beyond float16, and do not matter."""
    w = np.full(65536, 60000, np.float16)

    assert norms_of(w, 0)[0] == 256 * float(np.float16(60000))


@pytest.mark.parametrize("shape", [(7, 5), (40, 3, 8), (1000,), (3, 1000), (1000, 3)])
@pytest.mark.parametrize("tile", [1, 5, 16, 100, 4096])
def test_norms_do_not_depend_on_the_tile(shape, tile):
    """Tiles of any size give norms that agree to 1e-12."""
    w = np.random.default_rng(5).standard_normal(shape)
    for axis in (*range(len(shape)), None):
        np.testing.assert_allclose(norms_of(w, axis, tile), norms_of(w, axis), rtol=1e-12, atol=0)


def test_norms_are_their_fraction_times_a_power_of_two():
    """The value of a norm is exact where float64 holds it, else infinite or zero."""
    norms = Norms(np.array([0.5, 0.75, 0.5, math.nan]), np.array([3, 1025, -1200, 0], np.intc))

    assert norms.value[:3].tolist() == [4.0, math.inf, 0.0]
    assert norms.finite.tolist() == [True, True, True, False]


# Bounds


@pytest.mark.parametrize("length", [1, 16, 10**6])
def test_the_margin_is_that_of_the_document(length):
    """The unit roundoff of float64 times 8 + sqrt(length), as numerics.md has it."""
    assert margin(length) == 2.0**-53 * (8 + math.sqrt(length))


def test_bounds_contain_what_is_between_them_without_tolerance():
    """Both ends are inside, the next number beyond either is not, and NaN never is."""
    bounds = Bounds.of(0.5, 2.0, 10, np.dtype(np.float32))
    norms = np.array([0.5, 2.0, np.nextafter(0.5, 0), np.nextafter(2.0, 3), 1.0, math.nan])

    assert bounds.contain(norms).tolist() == [True, True, False, False, True, False]
    assert bounds.slack == 0
    assert not bounds.thin


@pytest.mark.parametrize("dtype", [*DTYPES, "float8_e4m3fn", "float8_e5m2"])
@pytest.mark.parametrize("length", [1, 9, 10_000])
@pytest.mark.parametrize("radius", [1.0, 0.1, 30.0])
def test_a_sphere_has_the_slack_of_the_document(dtype, length, radius):
    """It is c * u + sqrt(length) / 2 * tiny, with the margin in place of u for float64."""
    numbers = dtype_of(dtype)
    bounds = Bounds.of(radius, radius, length, numbers)
    u = margin(length) if dtype == "float64" else grid(numbers).unit_roundoff
    slack = radius * u + math.sqrt(length) / 2 * grid(numbers).tiny

    assert bounds.slack == pytest.approx(slack, rel=1e-15)
    assert bounds.contain(np.array([radius - slack * 0.7, radius + slack * 0.7])).all()
    assert not bounds.contain(np.array([radius - slack * 1.3, radius + slack * 1.3])).any()


def test_a_ball_has_no_slack_however_small():
    """An upper bound alone is met exactly, so nothing is given away."""
    for upper in (0.0, 1e-300, 1.0, math.inf):
        bounds = Bounds.of(0.0, upper, 100, np.dtype(np.float16))

        assert bounds.slack == 0.0
        assert bounds.contain(np.array([upper])).all()
        assert not bounds.contain(np.array([np.nextafter(upper, math.inf)])).any() or upper > 1e308


def test_the_excess_is_the_distance_to_the_nearer_bound():
    """Zero inside, positive outside, and zero for NaN, which has no distance."""
    bounds = Bounds.of(1.0, 2.0, 4, np.dtype(np.float32))
    excess = bounds.excess(np.array([0.25, 1.0, 1.5, 2.0, 5.0, math.nan]))

    assert excess.tolist() == [0.75, 0.0, 0.0, 0.0, 3.0, 0.0]


def test_the_excess_of_a_sphere_is_counted_from_its_slack():
    """What is within the slack exceeds nothing, on either side."""
    bounds = Bounds.of(1.0, 1.0, 4, np.dtype(np.float16))
    slack = bounds.slack
    found = bounds.excess(np.array([1 - 2 * slack, 1 - slack, 1 + slack, 1 + 3 * slack]))

    assert slack > 0
    assert found == pytest.approx([slack, 0, 0, 2 * slack], rel=1e-9, abs=1e-15)


@pytest.mark.parametrize(
    ("lower", "upper", "rtol", "atol", "expected"),
    [
        (1.0, 2.0, 0.0, 0.0, (1.0, 2.0)),
        (1.0, 2.0, 0.25, 0.0, (0.75, 2.5)),
        (1.0, 2.0, 0.0, 0.25, (0.75, 2.25)),
        (1.0, 2.0, 0.25, 0.125, (0.625, 2.625)),
        (1.0, 2.0, 2.0, 0.0, (0.0, 6.0)),
        (0.0, 2.0, 0.5, 0.0, (0.0, 3.0)),
        (1.0, math.inf, 0.25, 0.0, (0.75, math.inf)),
        (1.0, math.inf, 0.0, 0.25, (0.75, math.inf)),
        (0.0, 0.0, 0.0, 0.5, (0.0, 0.5)),
    ],
)
def test_tolerances_move_the_bounds_apart(lower, upper, rtol, atol, expected):
    """Relative to each bound, and absolute; never below zero."""
    bounds = Bounds.of(lower, upper, 4, np.dtype(np.float32))
    relaxed = bounds.relaxed(rtol, atol)

    assert (relaxed.lower, relaxed.upper) == expected
    assert (relaxed.length, relaxed.grid, relaxed.wide) == (4, bounds.grid, False)


def test_a_tolerance_below_the_slack_of_a_sphere_changes_nothing():
    """The larger of the two holds, and it is not counted twice."""
    bounds = Bounds.of(1.0, 1.0, 4, np.dtype(np.float16))
    slack = bounds.slack
    for relaxed in (bounds.relaxed(0, 0), bounds.relaxed(slack / 4, slack / 4)):
        ends = np.array([relaxed.lower - relaxed.slack, relaxed.upper + relaxed.slack])

        assert ends == pytest.approx([1 - slack, 1 + slack], rel=1e-12)
    beyond = bounds.relaxed(slack, slack)

    assert (beyond.lower, beyond.upper) == pytest.approx((1 - 2 * slack, 1 + 2 * slack), rel=1e-12)
    assert beyond.slack == 0


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([3.0, 4.0], True),
        ([0.5, 0.5, 0.5, 0.5], True),
        ([3.0, 4.0 + 2.0**-20], True),
        ([3.0, 4.0 + 2.0**-21], True),
        ([3.0, 0.1], False),
        ([3.0, 2.0**-30], False),
        ([0.0, -0.0], True),
    ],
)
def test_exactly_summable_vectors_are_multiples_of_a_large_power_of_two(values, expected):
    """Squares that fit side by side into 53 bits add up exactly, in any order."""
    w = np.array([values], np.float32)
    (unit,) = units_of(w, 1)
    bound = math.sqrt(math.fsum(np.square(w[0].astype(np.float64))))

    assert exactly_summable(unit, reader(w), bound or 1.0).item() is expected


def test_what_is_called_exactly_summable_is_so_in_every_order():
    """Random vectors that pass add up to the rational sum of their squares, in any order."""
    rng = np.random.default_rng(6)
    passed = 0
    for scale in 2.0 ** rng.integers(-30, 30, 200):
        grain = scale * 2.0 ** -rng.integers(5, 28)
        w = np.round(rng.standard_normal((1, 50)) * scale / grain) * grain
        norm = math.sqrt(math.fsum(np.square(w[0])))
        (unit,) = units_of(w, 1)
        if exactly_summable(unit, reader(w), norm).item():
            passed += 1
            exact = sum(Fraction(x) ** 2 for x in w[0].tolist())
            for _ in range(3):
                rng.shuffle(w, axis=1)

                assert Fraction(float(np.cumsum(np.square(w[0]))[-1])) == exact
    assert passed > 50


@pytest.mark.parametrize("tile", [1, 3, 10, 100])
def test_nonfinite_entries_are_counted_and_the_first_is_found(tile):
    """Across tiles, NaN and both infinities count."""
    w = np.zeros(50, np.float32)
    w[[7, 8, 31, 49]] = [math.nan, math.inf, -math.inf, math.nan]

    assert count_nonfinite(reader(w), 50, tile) == (4, 7)
    assert count_nonfinite(reader(np.zeros(5)), 5, tile) == (0, -1)


def test_a_nonfinite_first_entry_is_found():
    """Position zero is a position."""
    assert count_nonfinite(reader(np.array([math.nan, 1.0])), 2, 10) == (1, 0)


@pytest.mark.parametrize("first", [0, 1])
def test_the_first_nonfinite_entry_stays_the_first(first):
    """Though others follow in the next tiles."""
    w = np.full(6, math.inf)
    w[:first] = 1.0

    assert count_nonfinite(reader(w), 6, 2) == (6 - first, first)


def test_a_vector_over_several_tiles_is_exactly_summable_only_if_all_of_it_is():
    """What the first tile spoils, the last one does not mend."""
    w = np.array([[0.1, 0.0], [3.0, 3.0], [4.0, 4.0]])
    (unit,) = units_of(w, 0, tile=2)

    assert len(unit.tiles) == 3
    assert exactly_summable(unit, reader(w), np.full((1, 2), 5.0)).tolist() == [[False, True]]


@pytest.mark.parametrize("poison", [math.nan, math.inf, 1e308, 0.9e154])
def test_sums_across_tiles_overflow_without_a_warning(poison):
    """Finite or not, once or again, beside vectors that are measured."""
    w = np.ones((6, 2))
    w[2:6, 0] = poison  # The last sum is the one that overflows.

    norms = norms_of(w, 0, tile=4)

    assert norms[1] == pytest.approx(math.sqrt(6), rel=1e-15)
    if math.isfinite(poison):
        assert norms[0] == pytest.approx(2 * poison, rel=1e-15)
    else:
        assert math.isnan(norms[0])


def test_the_quantum_of_a_vector_is_the_finest_that_adds_up_exactly():
    """26 bits below the power of two above its norm."""
    (unit,) = units_of(np.zeros(1), 0)
    for exponent, expected in ((-25, True), (-26, False)):
        w = np.array([1 + math.ldexp(1, exponent)])
        assert exactly_summable(unit, reader(w), w).tolist() == [expected]
