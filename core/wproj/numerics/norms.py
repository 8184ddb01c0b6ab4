"""Norms of vectors, in blocks, in float64; and the bounds that they are held against."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wproj.dtypes import Float64, Grid, Stored, finite, grid, to_float64
from wproj.numerics.vectors import Each, Read, Tile, Unit

_U64 = 2.0**-53
# A sum of squares below this may have lost squares to underflow that matter.
_SMALLEST_SOUND_SUM = 2.0**-960
# NumPy squares floats of so many bytes while it converts them.
_FUSED = 4
# So many rows are added one by one, if they have so many entries.
_RUN, _WIDE = 64, 512


@dataclass(frozen=True, slots=True)
class Norms:
    """Norms of a unit's vectors: `fraction * 2**exponent`, exactly what was measured.

    The exponent is zero but for float64 vectors whose plain sum of squares overflows or
    underflows. Vectors with non-finite entries have a NaN fraction.
    """

    fraction: Float64
    exponent: NDArray[np.intc]

    @property
    def value(self) -> Float64:
        """The norms; infinite where they are beyond float64."""
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            return np.ldexp(self.fraction, self.exponent)

    @property
    def finite(self) -> NDArray[np.bool_]:
        """Which vectors have finite entries only."""
        return ~np.isnan(self.fraction)


class SquareSum:
    """Sums of squares of a unit's vectors, added up tile by tile.

    Within a tile the sum is by halves, across tiles it is compensated (Neumaier 1974), so that
    the relative error stays below 1e-13 for vectors of any length.
    """

    def __init__(self, unit: Unit, exponent: NDArray[np.intc] | None = None) -> None:
        self._unit = unit
        self._sum = np.zeros(unit.shape)
        self._lost = np.zeros(unit.shape)
        self._exponent = exponent

    def part(self, tile: Tile, stored: Stored, room: Float64 | None = None) -> Float64:
        """The sums of the squares of a tile's values as stored; computed in `room`, if given."""
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            values = stored.reshape(tile.shape)
            if self._exponent is not None:
                values = np.ldexp(to_float64(values), -self._exponent[tile.index])
            elif values.dtype.itemsize < _FUSED:
                values = room = to_float64(values)
            return _sum(np.square(values, out=room, dtype=np.float64), tile.axes)

    def add(self, tile: Tile, part: Float64) -> None:
        """Adds the part of a tile; the order of the tiles is that of the summation."""
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            if len(self._unit.tiles) == 1:
                self._sum[tile.index] = part
                return
            old = self._sum[tile.index]
            total = old + part
            big, small = np.maximum(old, part), np.minimum(old, part)
            self._lost[tile.index] += (big - total) + small
            self._sum[tile.index] = total

    def total(self) -> Float64:
        """The sums."""
        with np.errstate(over="ignore", invalid="ignore"):
            return np.where(np.isfinite(self._lost), self._sum + self._lost, self._sum)

    def norms(self) -> Norms:
        """The square roots, NaN where an entry was not finite or a square overflowed."""
        total = self.total()
        fraction = np.sqrt(np.where(np.isfinite(total), total, np.nan))
        exponent = self._exponent
        return Norms(fraction, np.zeros(total.shape, np.intc) if exponent is None else exponent)


def measure(unit: Unit, read: Read, each: Each = map) -> Norms:
    """The norms of a unit's vectors, of the values that `read(start, stop)` returns."""
    sums = _summed(SquareSum(unit), unit, read, each)
    if read(unit.start, unit.start + 1).dtype != np.float64:
        return sums.norms()
    total = sums.total()
    sound = np.isfinite(total) & (total >= _SMALLEST_SOUND_SUM)
    return sums.norms() if sound.all() else _measure_scaled(unit, read, each)


def _measure_scaled(unit: Unit, read: Read, each: Each) -> Norms:
    """The same with a power-of-two scale for each vector, which is exact: no square is lost."""
    with np.errstate(invalid="ignore"):  # Signaling NaN, on processors without AVX-512.
        exponent = np.frexp(_largest(unit, read))[1]
    return _summed(SquareSum(unit, exponent), unit, read, each).norms()


def _summed(sums: SquareSum, unit: Unit, read: Read, each: Each) -> SquareSum:
    def part(tile: Tile) -> Float64:
        return sums.part(tile, read(tile.start, tile.stop))

    for tile, found in zip(unit.tiles, unit.over_tiles(part, each), strict=True):
        sums.add(tile, found)
    return sums


def _largest(unit: Unit, read: Read) -> Float64:
    largest = np.zeros(unit.shape)
    for tile in unit.tiles:
        values = np.abs(read(tile.start, tile.stop).reshape(tile.shape))
        part = values.max(axis=tile.axes, keepdims=True)
        largest[tile.index] = np.maximum(largest[tile.index], part)
    return largest


def _sum(squares: Float64, axes: tuple[int, ...]) -> Float64:
    """Sums over `axes`, kept as length one; overwrites `squares`.

    NumPy sums by halves along the last axis only; along any other it adds one by one.
    """
    last = squares.ndim - 1
    if last in axes:
        squares = squares.sum(axis=last, keepdims=True)
    for axis in axes:
        if axis != last:
            squares = _fold(squares, axis)
    return squares


def _fold(values: Float64, axis: int) -> Float64:
    """The same for one axis: by halves, and the last few rows one by one where they are long."""
    few = _RUN if math.prod(values.shape[axis + 1 :]) >= _WIDE else 1
    if values.shape[axis] > few:
        rows = np.moveaxis(values, axis, 0)
        while len(rows) > few:
            half = len(rows) // 2
            rows[:half] += rows[len(rows) - half :]
            rows = rows[: len(rows) - half]
        values = np.moveaxis(rows, 0, axis)
    return np.add.reduce(values, axis=axis, keepdims=True)


def margin(length: int) -> float:
    """How far from a bound, relatively, any sound float64 summation agrees on the side."""
    return _U64 * (8 + float(np.sqrt(length)))


@dataclass(frozen=True, slots=True)
class Bounds:
    """The norms that a set of vectors of one length and dtype allows, from `lower` to `upper`.

    Attributes:
        lower: The smallest norm allowed.
        upper: The largest norm allowed, possibly infinite.
        length: The number of entries of one vector.
        grid: The numbers of the stored dtype.
        wide: Whether the stored dtype is float64, which float64 arithmetic cannot out-measure.
    """

    lower: float
    upper: float
    length: int
    grid: Grid
    wide: bool

    @classmethod
    def of(cls, lower: float, upper: float, length: int, dtype: np.dtype[Any]) -> "Bounds":
        """The bounds for vectors of `length` entries stored as `dtype`."""
        return cls(lower, upper, length, grid(dtype), dtype == np.float64)

    def relaxed(self, rtol: float, atol: float) -> "Bounds":
        """Bounds with tolerances, relative to these and absolute, if those exceed the slack.

        They are so far apart that they have no slack themselves.
        """
        below = max(self.slack, self.lower * rtol + atol)
        above = max(self.slack, self.upper * rtol + atol) if rtol else max(self.slack, atol)
        return replace(self, lower=max(0.0, self.lower - below), upper=self.upper + above)

    @property
    def slack(self) -> float:
        """What a norm may miss a sphere by, as no finite dtype holds it exactly; 0 otherwise."""
        return self._tolerance if self.thin else 0.0

    @property
    def thin(self) -> bool:
        """Whether the set is too thin for the dtype to hold a norm inside for certain."""
        return self.lower > 0 and self.upper - self.lower <= 2 * self._tolerance

    @property
    def _tolerance(self) -> float:
        unit = margin(self.length) if self.wide else self.grid.unit_roundoff
        return self.lower * unit + float(np.sqrt(self.length)) / 2 * self.grid.tiny

    def contain(self, norms: Float64) -> NDArray[np.bool_]:
        """Which of these measured norms are inside; NaN is not."""
        return (self.lower - self.slack <= norms) & (norms <= self.upper + self.slack)

    def excess(self, norms: Float64) -> Float64:
        """How far outside each norm is; 0 inside and for NaN."""
        above = norms - (self.upper + self.slack)
        below = (self.lower - self.slack) - norms
        return np.fmin(np.fmax(np.fmax(above, below), 0.0), np.finfo(np.float64).max)


def exactly_summable(unit: Unit, read: Read, norms: Float64) -> NDArray[np.bool_]:
    """Which vectors have squares that any order of summation adds up exactly.

    Holds where all entries are multiples of one power of two, so large that the sum of squares of
    a vector of this norm stays below 2**53 of its squares.
    """
    quantum = np.broadcast_to(np.ldexp(1.0, np.frexp(norms)[1] - 26), unit.shape)
    exact = np.ones(unit.shape, np.bool_)
    for tile in unit.tiles:
        values = to_float64(read(tile.start, tile.stop)).reshape(tile.shape)
        with np.errstate(invalid="ignore"):
            whole = np.fmod(values, quantum[tile.index]) == 0
        exact[tile.index] &= np.all(whole, axis=tile.axes, keepdims=True)
    return exact


def count_nonfinite(read: Read, size: int, tile: int) -> tuple[int, int]:
    """How many of `size` entries are NaN or infinite, and the flat position of the first."""
    count, first = 0, -1
    for start in range(0, size, tile):
        stored: Stored = read(start, min(start + tile, size))
        bad = np.flatnonzero(~finite(stored))
        if first < 0 and bad.size:
            first = start + int(bad[0])
        count += bad.size
    return count, first
