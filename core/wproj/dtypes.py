"""The stored types: their names, their grids, and the way to float64 and back.

A stored type is a NumPy dtype or one of ml_dtypes', in native byte order by the time it gets here:
the formats know about byte order and about HDF5's opaque bytes.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Stored = NDArray[Any]

Kind = Literal["float", "float8", "integer", "bool", "complex", "packed", "other"]

_STANDARD = {np.dtype(name) for name in ("float16", "float32", "float64")}
# All of 8 bits that ml_dtypes has, but float8_e8m0fnu, which has no zero: it holds scales.
_NARROW = (
    "float8_e4m3fn",
    "float8_e5m2",
    "float8_e4m3fnuz",
    "float8_e5m2fnuz",
    "float8_e4m3b11fnuz",
    "float8_e4m3",
    "float8_e3m4",
)
_EXTENDED = {np.dtype(getattr(ml_dtypes, name)) for name in ("bfloat16", *_NARROW)}
_SHORT = {
    "float16": "f16",
    "bfloat16": "bf16",
    "float32": "f32",
    "float64": "f64",
    **{name: name.replace("float", "f", 1) for name in _NARROW},
}


@dataclass(frozen=True, slots=True)
class Grid:
    """The numbers of a floating-point type.

    Attributes:
        unit_roundoff: Half the distance from 1 to the next larger number, `u`.
        tiny: The smallest positive number, subnormals included.
        largest: The largest finite number.
    """

    unit_roundoff: float
    tiny: float
    largest: float


def projectable(dtype: np.dtype[Any]) -> bool:
    """Whether arrays of this dtype can be projected: any float of 8 to 64 bits."""
    return dtype.newbyteorder("=") in _STANDARD or dtype in _EXTENDED


def extended(name: str) -> np.dtype[Any] | None:
    """The dtype of ml_dtypes of this name; None if there is none."""
    return next((dtype for dtype in _EXTENDED if dtype.name == name), None)


def kind_of(dtype: np.dtype[Any]) -> Kind:
    """What sort of numbers a NumPy or ml_dtypes dtype holds."""
    if projectable(dtype):
        return "float8" if dtype.itemsize == 1 else "float"
    named: dict[str, Kind] = {"i": "integer", "u": "integer", "b": "bool", "c": "complex"}
    return named.get(dtype.kind, "other")


def short_name(name: str) -> str:
    """The dtype's name as the plan prints it.

    >>> short_name("bfloat16"), short_name("int32")
    ('bf16', 'int32')
    """
    return _SHORT.get(name, name)


@cache
def grid(dtype: np.dtype[Any]) -> Grid:
    """The grid of a float dtype.

    >>> import numpy as np
    >>> grid(np.dtype("float16")).unit_roundoff == 2.0**-11
    True
    """
    info: Any = ml_dtypes.finfo(dtype)  # type: ignore[no-untyped-call] # ml_dtypes leaves it out
    return Grid(float(info.eps) / 2, float(info.smallest_subnormal), float(info.max))


def to_float64(stored: Stored) -> Float64:
    """The stored values, exactly; every float type of 64 bits or fewer fits into float64."""
    with np.errstate(invalid="ignore"):
        return stored.astype(np.float64)


def finite(stored: Stored) -> NDArray[np.bool_]:
    """Which entries are neither infinite nor NaN, signaling NaN included."""
    with np.errstate(invalid="ignore"):
        return np.isfinite(stored)


def same_bytes(one: Stored, two: Stored) -> bool:
    """Whether two arrays of one shape and dtype are alike to the bit."""
    bits = np.dtype(f"u{one.dtype.itemsize}")
    return bool(np.array_equal(one.view(bits), two.view(bits)))


def nearest(values: Float64, dtype: np.dtype[Any]) -> Stored:
    """`values` rounded once, to the nearest number of `dtype`, ties to even.

    Values beyond the largest finite number become infinite, or NaN in types without infinities.
    """
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        if dtype in _STANDARD:
            return values.astype(dtype)
        return _odd_float32(values).astype(dtype)


def toward_zero(values: Float64, dtype: np.dtype[Any]) -> Stored:
    """`values` rounded to the number of `dtype` that is nearest among those not larger in size."""
    largest = grid(dtype).largest
    stored = nearest(np.asarray(np.clip(values, -largest, largest)), dtype)
    too_far = np.abs(to_float64(stored)) > np.abs(values)
    stored[too_far] = np.nextafter(stored[too_far], np.zeros((), dtype))
    return stored


def away_from_zero(values: Float64, dtype: np.dtype[Any]) -> Stored:
    """`values` rounded to the number of `dtype` that is nearest among those not smaller in size."""
    stored = nearest(values, dtype)
    short = np.abs(to_float64(stored)) < np.abs(values)
    largest = grid(dtype).largest
    outward = np.copysign(largest, values[short]).astype(dtype)
    stored[short] = np.nextafter(stored[short], outward)
    beyond = np.abs(values) > largest
    stored[beyond] = np.copysign(np.inf, values[beyond]).astype(dtype)
    return stored


def _odd_float32(values: Float64) -> NDArray[np.float32]:
    """Float64 in float32, from where rounding to a narrower type is correct.

    ml_dtypes casts float64 by way of float32 and so rounds twice: 1 + 2**-8 + 2**-40 becomes 1 in
    bfloat16. That goes wrong only where float32 lies halfway between two narrower numbers. There
    the value is rounded to odd instead, which keeps what was lost as a sticky last bit. See Boldo
    and Melquiond, "Emulation of FMA and correctly rounded sums: proved algorithms using rounding
    to odd", IEEE Transactions on Computers 57(4), 2008.
    """
    rounded = values.astype(np.float32)
    bits = rounded.view(np.uint32)
    # No narrower type has more than 8 bits of precision, so that halfway leaves 15 zeros at least.
    halfway = (bits & np.uint32(0x7FFF)) == 0
    if halfway.any():
        rounded[halfway] = _odd(values[halfway], rounded[halfway])
    return rounded


def _odd(values: Float64, rounded: NDArray[np.float32]) -> NDArray[np.float32]:
    exact = rounded.astype(np.float64)
    inexact = (exact != values) & np.isfinite(values)
    bits = rounded.view(np.uint32)
    bits -= (inexact & (np.abs(exact) > np.abs(values))).astype(np.uint32)
    bits |= inexact.astype(np.uint32)
    return rounded
