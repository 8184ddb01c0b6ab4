"""The stored types: names, kinds, grids, and rounding held against exact rational arithmetic."""

import bisect
import functools
import math
import struct
from fractions import Fraction
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from wproj.dtypes import (
    away_from_zero,
    grid,
    kind_of,
    nearest,
    projectable,
    short_name,
    to_float64,
    toward_zero,
)

Array = NDArray[Any]

FLOAT8 = (
    "float8_e4m3fn",
    "float8_e5m2",
    "float8_e4m3fnuz",
    "float8_e5m2fnuz",
    "float8_e4m3b11fnuz",
    "float8_e4m3",
    "float8_e3m4",
)
LISTED = ("float16", "bfloat16", *FLOAT8)  # so few numbers that all can be listed
EVERY = (*LISTED, "float32", "float64")
law = settings(max_examples=150, deadline=None, derandomize=True)


def dtype_of(name: str) -> np.dtype[Any]:
    """The NumPy or ml_dtypes dtype of this name."""
    return np.dtype(getattr(ml_dtypes, name, name))


def patterns(name: str) -> Array:
    """Every bit pattern of a dtype, NaNs included."""
    dtype = dtype_of(name)
    width = int(ml_dtypes.finfo(dtype).bits)
    return np.arange(1 << width, dtype=f"u{dtype.itemsize}").view(dtype)


@functools.cache
def magnitudes(name: str) -> list[float]:
    """The finite numbers from zero up; the position of each is its bit pattern."""
    stored = patterns(name)
    with np.errstate(invalid="ignore"):
        values = stored[: len(stored) // 2].astype(np.float64)
    numbers: list[float] = values[np.isfinite(values)].tolist()
    assert numbers == sorted(set(numbers))
    return numbers


def neighbors(name: str, value: float) -> tuple[int, int]:
    """The positions of the numbers on either side of a magnitude; equal where it is one itself."""
    numbers = magnitudes(name)
    above = bisect.bisect_left(numbers, value)
    exact = above < len(numbers) and numbers[above] == value
    return (above, above) if exact else (above - 1, above)


def nearest_exactly(name: str, value: float) -> float:
    """A magnitude rounded to nearest, ties to even, in rational arithmetic; infinite beyond."""
    numbers = magnitudes(name)
    below, above = neighbors(name, value)
    low = Fraction(numbers[below])
    step = Fraction(numbers[-1]) - Fraction(numbers[-2])
    high = Fraction(numbers[above]) if above < len(numbers) else Fraction(numbers[-1]) + step
    middle = (low + high) / 2
    if Fraction(value) < middle or (Fraction(value) == middle and below % 2 == 0):
        return numbers[below]
    return numbers[above] if above < len(numbers) else math.inf


def trying(name: str) -> list[float]:
    """Magnitudes that are hard to round: numbers, ties, what is next to them, double roundings."""
    numbers = magnitudes(name)
    chosen = range(len(numbers) - 1)
    if len(numbers) > 200:
        rng = np.random.default_rng(len(numbers))
        some = rng.integers(0, len(numbers) - 1, 400).tolist()
        chosen = sorted({*range(40), *some, *range(len(numbers) - 40, len(numbers) - 1)})
    found: list[float] = []
    for position in chosen:
        low, high = numbers[position], numbers[position + 1]
        middle = low + (high - low) / 2
        for value in (low, middle, high):
            found += [value, float(np.nextafter(value, 0)), float(np.nextafter(value, math.inf))]
        # What is nearer than half an ulp of float32 vanishes on the way through float32.
        found += [middle * (1 + 2**-40), middle * (1 - 2**-40), low + (high - low) / 7]
    return found


@pytest.mark.parametrize("name", LISTED)
def test_nearest_is_the_nearest_number_with_ties_to_even(name):
    """Each magnitude, of either sign, rounds as rational arithmetic says."""
    values = [v for v in trying(name) if v <= magnitudes(name)[-1]]
    expected = np.array([nearest_exactly(name, v) for v in values])
    up = to_float64(nearest(np.array(values), dtype_of(name)))
    down = to_float64(nearest(-np.array(values), dtype_of(name)))

    assert np.array_equal(up, expected)
    assert np.array_equal(down, -expected)


@pytest.mark.parametrize("name", LISTED)
def test_nearest_overflows_half_a_step_beyond_the_largest_number(name):
    """Beyond it no finite number comes back: infinity, or NaN in types without infinities."""
    largest, before = magnitudes(name)[-1], magnitudes(name)[-2]
    half = (largest - before) / 2
    values = [largest + half * part for part in (0.5, 1 - 2**-40, 1, 1 + 2**-40, 2, 1e6)]
    expected = np.array([nearest_exactly(name, v) for v in values])
    stored = to_float64(nearest(np.array(values), dtype_of(name)))

    assert np.array_equal(np.isfinite(stored), np.isfinite(expected))
    assert (stored[np.isfinite(expected)] == largest).all()


@pytest.mark.parametrize("name", ["bfloat16", *FLOAT8])
@law
@given(value=st.floats(allow_nan=False, allow_infinity=False))
def test_any_float64_rounds_to_nearest(name, value):
    """The law of the listed magnitudes, for whatever hypothesis comes up with."""
    expected = nearest_exactly(name, abs(value))
    stored = float(to_float64(nearest(np.array([value]), dtype_of(name)))[0])

    assert abs(stored) == expected or (math.isinf(expected) and not math.isfinite(stored))
    assert stored == 0 or math.isnan(stored) or (stored < 0) == (value < 0)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("bfloat16", 1 + 2**-8 + 2**-40, 1 + 2**-7),
        ("bfloat16", 1 + 2**-8 - 2**-40, 1.0),
        ("bfloat16", 1 + 2**-8, 1.0),
        ("bfloat16", 1 + 3 * 2**-8, 1 + 2**-6),
        ("float8_e4m3fn", 1 + 2**-4 + 2**-40, 1.125),
        ("float8_e5m2", 1 + 2**-3 + 2**-40, 1.25),
        ("float16", 1 + 2**-11 + 2**-40, 1 + 2**-10),
        ("bfloat16", 2**-134 + 2**-180, 2**-133),
        ("bfloat16", 2**-134, 0.0),
        ("bfloat16", 2**-200, 0.0),
        ("float8_e5m2", 2**-17 + 2**-60, 2**-16),
        ("float16", 65520 - 2**-30, 65504.0),
    ],
)
def test_no_value_is_rounded_twice(name, value, expected):
    """Float64 goes to the stored type in one rounding, not by way of float32."""
    stored = to_float64(nearest(np.array([value, -value]), dtype_of(name)))

    assert stored.tolist() == [expected, -expected]


def test_casting_by_way_of_float32_would_round_twice():
    """The trap is real: ml_dtypes' own cast falls into it."""
    value = np.array([1 + 2**-8 + 2**-40])

    assert float(value.astype(ml_dtypes.bfloat16)[0]) == 1.0


@pytest.mark.parametrize("name", LISTED)
def test_toward_zero_is_the_largest_number_that_is_not_larger(name):
    """Magnitudes within the range round down to the number next to them."""
    values = [v for v in trying(name) if v <= magnitudes(name)[-1]]
    expected = np.array([magnitudes(name)[neighbors(name, v)[0]] for v in values])
    up = to_float64(toward_zero(np.array(values), dtype_of(name)))
    down = to_float64(toward_zero(-np.array(values), dtype_of(name)))

    assert np.array_equal(up, expected)
    assert np.array_equal(down, -expected)


@pytest.mark.parametrize("name", LISTED)
def test_away_from_zero_is_the_smallest_number_that_is_not_smaller(name):
    """Magnitudes within the range round up to the number next to them."""
    values = [v for v in trying(name) if v <= magnitudes(name)[-1]]
    expected = np.array([magnitudes(name)[neighbors(name, v)[1]] for v in values])
    up = to_float64(away_from_zero(np.array(values), dtype_of(name)))
    down = to_float64(away_from_zero(-np.array(values), dtype_of(name)))

    assert np.array_equal(up, expected)
    assert np.array_equal(down, -expected)


@pytest.mark.parametrize("name", LISTED)
def test_toward_zero_of_what_is_beyond_the_range_is_the_largest_number(name):
    """The largest finite number is the nearest of those that are not larger."""
    largest = magnitudes(name)[-1]
    beyond = largest * np.array([1.001, 1.5, 1e6, -1.001, -1.5, -1e6])
    stored = to_float64(toward_zero(beyond, dtype_of(name)))

    assert stored.tolist() == np.copysign(largest, beyond).tolist()


@pytest.mark.parametrize("name", LISTED)
def test_away_from_zero_of_what_is_beyond_the_range_is_not_finite(name):
    """No finite number is as large, and a smaller one would be wrong."""
    beyond = magnitudes(name)[-1] * np.array([1.001, 1.5, 1e6, -1.001, -1.5, -1e6])
    stored = to_float64(away_from_zero(beyond, dtype_of(name)))

    assert not np.isfinite(stored).any()


@pytest.mark.parametrize("name", ["float32", "float64"])
@law
@given(value=st.floats(allow_nan=False, allow_infinity=False, min_value=-3e38, max_value=3e38))
def test_the_three_roundings_enclose_the_value(name, value):
    """In float32 and float64: down, up, and nearest one of the two, the nearer one."""
    dtype = dtype_of(name)
    given = np.array([value])
    down, near, up = (
        Fraction(float(rounding(given, dtype)[0]))
        for rounding in (toward_zero, nearest, away_from_zero)
    )
    exact = Fraction(value)

    assert abs(down) <= abs(exact) <= abs(up)
    assert abs(near - exact) == min(abs(down - exact), abs(up - exact))
    assert down == up == exact or float(np.nextafter(dtype.type(down), dtype.type(up))) == up


@pytest.mark.parametrize("name", LISTED)
def test_rounding_a_number_of_the_type_gives_that_number(name):
    """All three roundings leave every finite number of the type as it is, bit for bit."""
    stored = patterns(name)
    with np.errstate(invalid="ignore"):
        stored = stored[np.isfinite(stored.astype(np.float64))]
    for rounding in (nearest, toward_zero, away_from_zero):
        assert rounding(to_float64(stored), stored.dtype).tobytes() == stored.tobytes()


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32", "float64", "float8_e5m2"])
def test_zeros_keep_their_signs_and_vanishing_values_too(name):
    """A negative value that rounds to zero becomes -0.0."""
    dtype = dtype_of(name)
    values = np.array([0.0, -0.0, 5e-324, -5e-324])
    stored = toward_zero(values, dtype).astype(np.float64)

    assert np.signbit(stored).tolist() == [False, True, False, True]


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("rounding", [nearest, toward_zero, away_from_zero])
def test_roundings_keep_the_shape_and_their_argument(name, rounding):
    """Arrays of any shape, also of none, come back in that shape; the values stay."""
    values = np.array([[0.3, -0.3], [1.0, -2.0]])
    before = values.copy()

    assert rounding(values, dtype_of(name)).shape == (2, 2)
    assert rounding(np.array(0.3), dtype_of(name)).shape == ()
    assert rounding(np.zeros((0, 2)), dtype_of(name)).shape == (0, 2)
    assert rounding(values, dtype_of(name)).dtype == dtype_of(name)
    assert values.tobytes() == before.tobytes()


# Facts


def decoded(name: str, code: int) -> float:
    """What a bit pattern means, from the definition of its format."""
    if name == "float16":
        return float(struct.unpack("<e", struct.pack("<H", code))[0])
    if name == "bfloat16":
        return float(struct.unpack("<f", struct.pack("<I", code << 16))[0])
    if name == "float8_e5m2":
        return decoded("float16", code << 8)
    sign, exponent, mantissa = -1.0 if code >> 7 else 1.0, code >> 3 & 15, code & 7
    if (exponent, mantissa) == (15, 7):
        return math.nan
    return sign * math.ldexp(mantissa + 8 * (exponent > 0), max(exponent, 1) - 10)


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float8_e5m2", "float8_e4m3fn"])
def test_every_bit_pattern_means_what_its_format_says(name):
    """Every number becomes the float64 of the same value, and NaN stays NaN, without a warning."""
    stored = patterns(name)
    values = to_float64(stored)
    expected = np.array([decoded(name, code) for code in range(len(stored))])

    assert np.array_equal(values, expected, equal_nan=True)
    assert np.array_equal(np.signbit(values[values == 0]), np.signbit(expected[expected == 0]))


@pytest.mark.parametrize("name", LISTED)
def test_a_grid_describes_the_numbers_of_its_type(name):
    """Unit roundoff, smallest and largest number are those of the list of all numbers."""
    numbers = magnitudes(name)
    numbers_of = grid(dtype_of(name))
    after_one = numbers[numbers.index(1.0) + 1]

    assert numbers_of.unit_roundoff == (after_one - 1) / 2
    assert numbers_of.tiny == numbers[1]
    assert numbers_of.largest == numbers[-1]


@pytest.mark.parametrize(("name", "roundoff"), [("float32", 2.0**-24), ("float64", 2.0**-53)])
def test_the_grids_of_float32_and_float64_are_those_of_ieee_754(name, roundoff):
    """Unit roundoff, smallest and largest number agree with NumPy's."""
    numbers = grid(dtype_of(name))
    info = np.finfo(name)

    assert numbers.unit_roundoff == roundoff
    assert numbers.tiny == float(info.smallest_subnormal)
    assert numbers.largest == float(info.max)


@pytest.mark.parametrize("name", EVERY)
def test_every_float_of_8_to_64_bits_is_projectable(name):
    """Those of NumPy and those of ml_dtypes that have a sign and a zero."""
    assert projectable(dtype_of(name))


@pytest.mark.parametrize("dtype", [">f2", "<f2", ">f4", ">f8"])
def test_byte_order_does_not_decide_what_is_projectable(dtype):
    """Big-endian arrays are projectable, too."""
    assert projectable(np.dtype(dtype))
    assert kind_of(np.dtype(dtype)) == "float"


NUMPY_ONLY = ["i1", "u8", "?", "c8", "c16", "S3", "U3", "O", "V2", "M8[s]", np.longdouble]
TOO_NARROW = [ml_dtypes.int4, ml_dtypes.float6_e2m3fn, ml_dtypes.float4_e2m1fn]


@pytest.mark.parametrize("dtype", [*NUMPY_ONLY, *TOO_NARROW, ml_dtypes.float8_e8m0fnu], ids=str)
def test_anything_else_is_not_projectable(dtype):
    """Integers, booleans, complex numbers, text, opaque bytes, scales, floats of other widths."""
    assert not projectable(np.dtype(dtype))


@pytest.mark.parametrize(
    ("dtype", "kind"),
    [
        ("f2", "float"),
        (ml_dtypes.bfloat16, "float"),
        ("f8", "float"),
        (ml_dtypes.float8_e4m3fn, "float8"),
        (ml_dtypes.float8_e5m2fnuz, "float8"),
        ("i4", "integer"),
        ("u1", "integer"),
        ("?", "bool"),
        ("c8", "complex"),
        ("S3", "other"),
        ("V2", "other"),
    ],
)
def test_the_kind_of_a_dtype_is_named(dtype, kind):
    """Reports and rules tell the kinds of tensors apart by these words."""
    assert kind_of(np.dtype(dtype)) == kind


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("float16", "f16"),
        ("bfloat16", "bf16"),
        ("float32", "f32"),
        ("float64", "f64"),
        ("float8_e4m3fn", "f8_e4m3fn"),
        ("float8_e5m2", "f8_e5m2"),
        ("int32", "int32"),
        ("bool", "bool"),
    ],
)
def test_short_names_are_those_of_the_plan(name, short):
    """Floats have short names; other types keep their own."""
    assert short_name(name) == short


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32", "float64"])
def test_signaling_nans_become_float64_without_a_warning(name):
    """Whatever is in a file can be looked at."""
    dtype = dtype_of(name)
    stored = np.full(3, math.inf).astype(dtype)
    stored.view(f"u{dtype.itemsize}")[1] += 1

    assert np.isnan(to_float64(stored)).tolist() == [False, True, False]
