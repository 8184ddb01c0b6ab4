"""From float64 into the set *as stored*: scaling vectors to a norm, rounding, certifying.

Rounding to nearest leaves half of all rescaled vectors outside their set. So a vector is aimed a
little inside, rounded once, and measured as stored. In one that is still outside, the entries for
which it costs least are rounded the other way. Where there are too many of those for the memory,
they are aimed deeper by growing steps; and what still is outside after that is rounded toward the
inside, which always is inside where the bounds allow.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wproj.dtypes import (
    Float64,
    Stored,
    away_from_zero,
    finite,
    grid,
    nearest,
    to_float64,
    toward_zero,
)
from wproj.errors import NotRepresentableError
from wproj.numerics.aiming import (
    at_the_bounds,
    bottom,
    deeper,
    first_aim,
    inward,
    outward,
    top,
)
from wproj.numerics.norms import Bounds, Norms, SquareSum, exactly_summable
from wproj.numerics.vectors import Read, Tile, Unit, Write

_ATTEMPTS = 10
# Entries that are repaired at once, 16 MiB of float64, and how often that is done for a unit.
_GATHERED, _BATCHES = 1 << 21, 16
# Factors that float64 multiplies by without a second thought.
_FACTORS = 2.0**-900, 2.0**900

Mask = NDArray[np.bool_]
Round = Callable[[Float64, Tile, np.dtype[Any]], Stored]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a unit is read from and written to.

    `read` gives the values before the step, `written` what has been stored so far. `everything`
    says that tiles without a change have to be written, too; `fresh` that nothing has been yet.
    """

    read: Read
    write: Write
    written: Read
    everything: bool
    fresh: bool = True

    def beneath(self, tile: Tile) -> Stored:
        """What stands where the vectors of a tile are not stored now, in the tile's shape."""
        read = self.read if self.fresh else self.written
        return read(tile.start, tile.stop).reshape(tile.shape)


@dataclass(frozen=True, slots=True)
class Scaling:
    """Which vectors of a unit are scaled, and from which norms.

    A vector is multiplied by `goal / (epsilon + norm)`; one of norm zero stays as it is.
    """

    norms: Norms
    moving: Mask
    epsilon: float = 0.0

    def scale(self, values: Float64, tile: Tile, goal: Float64) -> Float64:
        """A tile's values, scaled; rounded once, to float64."""
        exponent = self.norms.exponent[tile.index]
        norm = self.norms.fraction[tile.index] + np.ldexp(self.epsilon, -exponent)
        goal = goal[tile.index]
        with np.errstate(all="ignore"):
            plain = np.where(norm > 0, goal / norm, 0.0)
            within = (plain > _FACTORS[0]) & (plain < _FACTORS[1])
            sound = np.all(within | (norm == 0) | (goal == 0))
            if sound and not exponent.any():
                return values * plain
            # A factor beyond float64 is applied in two steps, the second of which is exact.
            top, up = np.frexp(goal)
            bottom, down = np.frexp(norm)
            part = np.where(norm > 0, top / (2 * bottom), 0.0)
            scaled: Float64 = np.ldexp(np.ldexp(values, -exponent - down) * part, up + 1)
            return scaled


def rescale(unit: Unit, place: Place, scaling: Scaling, goal: Float64) -> None:
    """Stores the unit with its moving vectors scaled to the norm `goal`, rounded to nearest.

    Raises:
        NotRepresentableError: A result is beyond the largest number of the stored dtype.
    """
    _store(unit, place, scaling, goal, scaling.moving, _nearest)


def rescale_into(unit: Unit, place: Place, scaling: Scaling, goal: Float64, bounds: Bounds) -> None:
    """Stores the unit with its moving vectors scaled to `goal`, and certified inside `bounds`.

    The norms of what is stored are within the bounds by a margin on whose side any sound summation
    in float64 agrees, or exactly summable. Where the bounds are too thin for that, or out of the
    dtype's reach, the vectors are as near as rounding to nearest puts them.

    Raises:
        NotRepresentableError: A result is beyond the largest number of the stored dtype.
    """
    aim, todo = first_aim(goal, bounds), scaling.moving
    for attempt in range(_ATTEMPTS):
        last = attempt == _ATTEMPTS - 1
        rounding = _directed(todo, goal >= bounds.upper) if last else _nearest
        after = _store(unit, place, scaling, aim, todo, rounding)
        place = replace(place, everything=False, fresh=False)
        todo = _misses(unit, place, after, bounds, todo)
        if attempt == 0 and not (bounds.wide or bounds.thin):
            todo = _repair(unit, place, scaling, todo, bounds)
        if not todo.any():
            return
        if attempt < _ATTEMPTS - 2:
            aim = deeper(aim, after, todo, bounds, attempt)
        else:
            aim = np.where(todo, at_the_bounds(goal >= bounds.upper, bounds), aim)


def _repair(unit: Unit, place: Place, scaling: Scaling, todo: Mask, bounds: Bounds) -> Mask:
    """Rounds some entries of the vectors of `todo` the other way; returns what is still outside.

    Batch by batch, each in memory. Vectors that are too long for that are left, and those that
    remain after as many batches as are worth a pass over the unit.
    """
    number = np.cumsum(todo).reshape(unit.shape) - 1
    size = _GATHERED // bounds.length
    left = todo.copy()
    for batch in range(min(_BATCHES, -(-int(todo.sum()) // size)) if size else 0):
        part = todo & (number // size == batch)
        left &= ~part
        left |= _repair_batch(unit, place, scaling, part, bounds)
    return left


def _repair_batch(unit: Unit, place: Place, scaling: Scaling, todo: Mask, bounds: Bounds) -> Mask:
    high = scaling.norms.value >= bounds.lower
    rows, dtype = _gather(unit, place, scaling, todo, at_the_bounds(high, bounds))
    down = high[todo]
    result = np.empty(rows.shape, dtype)
    result[down] = inward(rows[down], top(bounds), dtype)
    result[~down] = outward(rows[~down], bottom(bounds), dtype)
    _scatter(unit, place, todo, result)
    after = np.full(unit.shape, np.nan)
    after[todo] = np.sqrt(np.square(to_float64(result)).sum(axis=1))
    return _misses(unit, place, after, bounds, todo)


def _gather(
    unit: Unit, place: Place, scaling: Scaling, todo: Mask, aim: Float64
) -> tuple[Float64, np.dtype[Any]]:
    """The vectors of `todo` as rows, scaled to the norm `aim`, and the dtype they are stored as."""
    number = np.cumsum(todo).reshape(unit.shape) - 1
    rows = np.empty((int(todo.sum()), unit.entries // todo.size))
    done = np.zeros(len(rows), np.intp)
    dtype = np.dtype(np.float64)
    for tile, where in _columns(unit, todo):
        stored = place.read(tile.start, tile.stop)
        dtype = stored.dtype
        values = scaling.scale(to_float64(stored).reshape(tile.shape), tile, aim)
        numbers = number[tile.index].reshape(-1)[where]
        begin = int(done[numbers[0]])  # The vectors of a tile have come equally far.
        part = _as_rows(values, tile)[where]
        rows[numbers, begin : begin + part.shape[1]] = part
        done[numbers] += part.shape[1]
    return rows, dtype


def _scatter(unit: Unit, place: Place, todo: Mask, result: Stored) -> None:
    """Writes the rows of `result` where the vectors of `todo` are."""
    number = np.cumsum(todo).reshape(unit.shape) - 1
    done = np.zeros(len(result), np.intp)
    for tile, where in _columns(unit, todo):
        numbers = number[tile.index].reshape(-1)[where]
        begin = int(done[numbers[0]])
        rows = _as_rows(place.written(tile.start, tile.stop).reshape(tile.shape), tile).copy()
        rows[where] = result[numbers, begin : begin + rows.shape[1]]
        done[numbers] += rows.shape[1]
        place.write(tile.start, _from_rows(rows, tile).reshape(-1))


def _columns(unit: Unit, todo: Mask) -> Iterator[tuple[Tile, Mask]]:
    """The tiles that hold vectors of `todo`, and which of their vectors those are."""
    for tile in unit.tiles:
        where = todo[tile.index].reshape(-1)
        if where.any():
            yield tile, where


def _as_rows(values: NDArray[Any], tile: Tile) -> NDArray[Any]:
    """A tile's values with a row for each vector."""
    kept = [d for d in range(len(tile.shape)) if d not in tile.axes]
    rows = math.prod(tile.shape[d] for d in kept)
    return values.transpose(*kept, *tile.axes).reshape(rows, -1)


def _from_rows(rows: NDArray[Any], tile: Tile) -> NDArray[Any]:
    order = [*(d for d in range(len(tile.shape)) if d not in tile.axes), *tile.axes]
    back = np.argsort(order)
    return rows.reshape([tile.shape[d] for d in order]).transpose(back)


def clip(tile: Tile, place: Place, inside: Callable[[Float64], Float64]) -> None:
    """Stores a tile with `inside` applied to its entries; what it leaves alone keeps its bytes.

    Non-finite entries are left alone.
    """
    stored = place.read(tile.start, tile.stop)
    values = to_float64(stored)
    with np.errstate(invalid="ignore"):
        clipped = inside(values)
        changed = (clipped != values) & np.isfinite(values)
    if place.everything or changed.any():
        place.write(tile.start, np.where(changed, nearest(clipped, stored.dtype), stored))


def _store(
    unit: Unit, place: Place, scaling: Scaling, aim: Float64, todo: Mask, rounding: Round
) -> Float64:
    """Stores the tiles that hold a vector of `todo`; returns the norms of those vectors."""
    sums = SquareSum(unit, _extreme(aim))
    for tile in unit.tiles:
        if not (place.everything or todo[tile.index].any()):
            continue
        stored = place.read(tile.start, tile.stop).reshape(tile.shape)
        values = scaling.scale(to_float64(stored), tile, aim)
        result = rounding(values, tile, stored.dtype)
        if np.any(todo[tile.index] & ~finite(result)):
            raise NotRepresentableError(stored.dtype.name, grid(stored.dtype).largest)
        result = np.where(todo[tile.index], result, place.beneath(tile))
        place.write(tile.start, result.reshape(-1))
        sums.add(tile, to_float64(result))
    return sums.norms().value


def _extreme(aim: Float64) -> NDArray[np.intc] | None:
    """Exponents for norms whose squares would leave float64; None where none would."""
    exponent = np.frexp(aim)[1]
    return exponent if np.any(np.abs(exponent) > 400) else None


def _nearest(values: Float64, _tile: Tile, dtype: np.dtype[Any]) -> Stored:
    return nearest(values, dtype)


def _directed(todo: Mask, shrinking: Mask) -> Round:
    """Toward zero for those of `todo` that shrink, away from zero for the rest, else nearest."""
    high, low = todo & shrinking, todo & ~shrinking

    def rounding(values: Float64, tile: Tile, dtype: np.dtype[Any]) -> Stored:
        near = nearest(values, dtype)
        inner = np.where(high[tile.index], toward_zero(values, dtype), near)
        return np.where(low[tile.index], away_from_zero(values, dtype), inner)

    return rounding


def _misses(unit: Unit, place: Place, after: Float64, bounds: Bounds, todo: Mask) -> Mask:
    """Which vectors of `todo` are stored outside of the bounds, or too near to them to be sure."""
    if bounds.thin:
        return todo & ~bounds.contain(after)
    miss = todo & ((after > top(bounds)) | (after < bottom(bounds)))
    border = miss & bounds.contain(after)
    if border.any() and not bounds.wide:
        miss &= ~(border & exactly_summable(unit, place.written, after))
    return miss
