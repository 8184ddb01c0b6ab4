"""Constraints on arrays of other frameworks, in the operations of the array API standard.

In a training loop a constraint is one of many roundings: what counts is that an array comes back
on its device, in its dtype, without waiting for it and without a gradient. So nothing here looks
at a value, nothing certifies the result, and no framework is imported by name.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from wproj.dtypes import Grid
from wproj.errors import RequestError
from wproj.numerics.norms import Bounds
from wproj.numerics.vectors import normalize_axis

Array = Any  # Of any framework: the standard has no type that all of them derive from.

_NUMPY = (np.ndarray, np.generic, list, tuple, int, float)


def unwrapped(w: Array) -> Array:
    """The tensor that a Keras variable holds; anything else as it is."""
    # On the class: a data frame has a `value` where a column is called so.
    return w.value if hasattr(type(w), "value") else w


def namespace(array: Array) -> Any:  # noqa: ANN401 # a module
    """The functions for `array`: NumPy's, or those of its own array-API namespace.

    >>> namespace([1.0]) is np
    True

    Raises:
        RequestError: It is a tensor on a device, and has none.
    """
    if isinstance(array, _NUMPY):
        return np
    from array_api_compat import array_namespace

    try:
        return array_namespace(array)
    except TypeError as error:
        if not hasattr(array, "device"):
            return np  # It has what NumPy makes an array of, or does not.
        kind = f"{type(array).__module__}.{type(array).__qualname__}"
        raise RequestError(
            "constraints take arrays of NumPy and of frameworks with an array API namespace, such "
            f"as PyTorch and JAX, not {kind}; while training on TensorFlow, use Keras' own "
            "constraints, and project the saved model"
        ) from error


def between(values: Array, lower: float = -math.inf, upper: float = math.inf) -> Array:
    """The values, cut off at both bounds; NaN stays.

    >>> between(np.array([1.0, 5.0]), 2)
    array([2., 5.])
    """
    xp = namespace(values)
    if xp is np:
        return np.clip(values, lower, upper)
    # Not the standard's clip: array-api-compat 1.13 and older index by values in it.
    lower, upper = _held(lower, upper, xp.finfo(values.dtype))
    if lower > -math.inf:
        values = xp.maximum(values, xp.full_like(values, lower))
    if upper < math.inf:
        values = xp.minimum(values, xp.full_like(values, upper))
    return values


def clipped(w: Array, inside: Callable[[Array], Array]) -> Array:
    """`w` with `inside` applied to its entries, in at least float32, and rounded to its dtype.

    Entries that `inside` leaves equal keep their bits, as do non-finite ones.

    Raises:
        RequestError: `w` is not a float array.
    """
    xp, w, wide = _opened(w)
    near = inside(wide)
    changed = xp.isfinite(wide) & (near != wide)
    return xp.where(changed, xp.astype(near, w.dtype, copy=False), w)


def rescaled(
    w: Array,
    axis: int | Sequence[int] | None,
    bounds: tuple[float, float],
    target: Callable[[Array], Array],
) -> Array:
    """`w` with its vectors outside `bounds` scaled from norm `n` to `target(n)`, and rounded once.

    Norms are accumulated in at least float32, of entries divided by the vector's largest, so that
    no square overflows or underflows. Vectors inside keep their bits, as do zero vectors,
    non-finite ones, and those whose result the dtype does not hold.

    Raises:
        AxisError: The array has no such axis.
        RequestError: `w` is not a float array.
    """
    xp, w, wide = _opened(w)
    over = normalize_axis(axis, w.shape) or None
    if 0 in w.shape:
        return w
    highest, lowest = (find(wide, axis=over, keepdims=True) for find in (xp.max, xp.min))
    largest = xp.maximum(highest, -lowest)
    usable, one = xp.isfinite(largest) & (largest > 0), xp.ones_like(largest)
    narrow, info = xp.finfo(w.dtype), xp.finfo(wide.dtype)
    # No larger, as compilers divide by way of a reciprocal, which must not be subnormal.
    scale = xp.where(usable, between(largest, upper=float(info.max) / 8), one)
    unit = wide / scale
    root = xp.sqrt(xp.sum(unit * unit, axis=over, keepdims=True))
    norms = scale * root
    factor = xp.where(usable, target(norms), one) / xp.where(usable, root, one)
    limits = _limits(bounds, math.prod(w.shape[axis] for axis in over or ()), narrow, info)
    held = factor * (largest / scale) <= limits.grid.largest
    moving = usable & held & ~limits.contain(norms)
    return xp.where(moving, xp.astype(unit * factor, w.dtype, copy=False), w)


def _opened(w: Array) -> tuple[Any, Array, Array]:
    """The namespace, the array without its gradient, and its values in at least float32."""
    xp = namespace(w)
    if not xp.isdtype(w.dtype, "real floating"):
        raise RequestError(f"constraints project float arrays of 8 to 64 bits, not {w.dtype}")
    w = w.detach() if hasattr(w, "detach") else w
    wide = xp.float64 if w.dtype == xp.float64 else xp.float32
    return xp, w, xp.astype(w, wide, copy=False)


def _limits(
    bounds: tuple[float, float],
    length: int,
    narrow: Any,  # noqa: ANN401 # what a framework calls finfo
    wide: Any,  # noqa: ANN401 # as above
) -> Bounds:
    """The bounds for vectors of this length, stored as one dtype and measured in another."""
    eps = float(narrow.eps)
    grid = Grid(eps / 2, float(narrow.smallest_normal) * eps, float(narrow.max))
    return Bounds(*_held(*bounds, wide), length, grid, wide.bits == 64)


def _held(lower: float, upper: float, info: Any) -> tuple[float, float]:  # noqa: ANN401 # finfo
    """Both bounds, infinite where they are beyond a dtype's largest number."""
    largest = float(info.max)
    return tuple(math.inf if b > largest else float(b) for b in (lower, upper))  # type: ignore[return-value] # two
