"""Which norm to aim at, and which entries to round the other way, so that a vector is inside."""

import math

import numpy as np
from numpy.typing import NDArray

from wproj.dtypes import Float64, Stored, grid, nearest, to_float64
from wproj.numerics.norms import Bounds, margin

U64 = 2.0**-53
# From how many entries a vector is long, and how many mantissas are fewer than those of bfloat16.
_LONG, _FEW = 256, 128

Mask = NDArray[np.bool_]


def top(bounds: Bounds) -> float:
    """The largest norm of which any sound summation agrees that it is inside."""
    return bounds.upper * (1 - margin(bounds.length))


def bottom(bounds: Bounds) -> float:
    """The smallest such norm."""
    with np.errstate(over="ignore"):
        return bounds.lower * (1 + margin(bounds.length))


def first_aim(goal: Float64, bounds: Bounds) -> Float64:
    """The norms to aim at: the goal itself on a sphere, else a little on the inside of it."""
    if bounds.thin:
        return goal
    if bounds.wide:
        bias = margin(bounds.length) + 4 * U64
    else:
        bias = _bias(bounds) * bounds.grid.unit_roundoff
    middle = bounds.lower / 2 + bounds.upper / 2
    with np.errstate(over="ignore"):
        inside = np.minimum(goal * (1 + bias), middle)
    return np.where(goal >= bounds.upper, np.maximum(goal * (1 - bias), middle), inside)


def _bias(bounds: Bounds) -> float:
    """How far inside to aim, in unit roundoffs: repairs are rare, and distances hardly larger.

    Rounding moves the norm of a long vector by about 0.7 / sqrt(length) of these; nearly six times
    that costs less than 1.05 of the distance, and so does 0.11, where that is less. With few
    mantissas, numbers that have the same one are rounded alike, and the norm moves as if the vector
    were no longer than there are. A short vector affords less, and the dtypes of 8 bits round too
    coarsely to gain by it.
    """
    bias = 4 / math.sqrt(bounds.length)
    mantissas = 1 / (2 * bounds.grid.unit_roundoff)
    if bounds.length < _LONG or mantissas < _FEW:
        return min(bias, 1 / 16)
    return min(max(bias, 3 / math.sqrt(mantissas)), 0.11)


def at_the_bounds(high: Mask, bounds: Bounds) -> Float64:
    """The norms that directed rounding starts from: those of `high` shrink, the others grow."""
    return np.where(high, top(bounds) * (1 - 8 * U64), bottom(bounds) * (1 + 8 * U64))


def deeper(aim: Float64, after: Float64, missed: Mask, bounds: Bounds, attempt: int) -> Float64:
    """The next aim of the vectors that missed the bounds when they were stored.

    It is deeper by what they missed and a step that grows fourfold with each attempt.
    """
    high = missed & (after > top(bounds))
    low = missed & ~high
    step = aim * bounds.grid.unit_roundoff / np.sqrt(bounds.length) + bounds.grid.tiny
    step = np.ldexp(step, 2 * attempt - 2)
    down = np.maximum(aim - np.maximum(after - top(bounds), 0) - step, 0.0)
    up = aim + np.maximum(bottom(bounds) - after, 0) + step
    return np.where(high, down, np.where(low, up, aim))


def inward(rows: Float64, limit: float, dtype: np.dtype[np.generic]) -> Stored:
    """`rows` rounded to `dtype` so that no row's norm exceeds `limit`, which none does before.

    All are rounded to nearest; then, row by row, entries are rounded toward zero instead, those
    first that lose least distance for what the norm gains, until it is small enough.
    """
    near = nearest(rows, dtype)
    less = _toward(near, 0.0)
    return _exchange(rows, near, less, np.square(to_float64(near)).sum(axis=1) - limit**2)


def outward(rows: Float64, limit: float, dtype: np.dtype[np.generic]) -> Stored:
    """`rows` rounded to `dtype` so that no row's norm is below `limit`, which none is before."""
    near = nearest(rows, dtype)
    more = np.where(rows == 0, near, _toward(near, grid(dtype).largest))
    return _exchange(rows, near, more, limit**2 - np.square(to_float64(near)).sum(axis=1))


def _toward(near: Stored, size: float) -> Stored:
    """The next numbers toward zero, or away from it."""
    away = np.copysign(size, to_float64(near)) if size else np.zeros(near.shape)
    with np.errstate(over="ignore", under="ignore"):
        neighbors: Stored = np.nextafter(near, away.astype(near.dtype))
    return neighbors


def _exchange(rows: Float64, near: Stored, other: Stored, lack: Float64) -> Stored:
    """`near` with as many entries from `other`, in each row, as make up for `lack` in squares."""
    size, a, b = np.abs(rows), np.abs(to_float64(near)), np.abs(to_float64(other))
    gain = np.abs(a - b) * (a + b)
    cost = np.abs(a - b) * np.abs((size - a) + (size - b))
    with np.errstate(divide="ignore", invalid="ignore"):
        price = np.where(gain > 0, cost / gain, np.inf)
    order = np.argsort(price, axis=1, kind="stable")
    gained = np.cumsum(np.take_along_axis(gain, order, axis=1), axis=1)
    enough = np.concatenate([np.zeros((len(rows), 1)), gained[:, :-1]], axis=1) < lack[:, None]
    chosen = np.empty_like(enough)
    np.put_along_axis(chosen, order, enough, axis=1)
    return np.where(chosen, other, near)
