"""Vectors left outside by rounding to nearest: some entries are rounded the other way."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wproj.dtypes import Float64, Stored, to_float64
from wproj.numerics.aiming import at_the_bounds, bottom, inward, outward, top
from wproj.numerics.norms import Bounds, exactly_summable
from wproj.numerics.scaling import Mask, Place, Scaling
from wproj.numerics.vectors import Tile, Unit

# Entries that are repaired at once, 4 MiB of float64, and how often that is done for a unit.
_GATHERED, _BATCHES = 1 << 19, 8


def repair(unit: Unit, place: Place, scaling: Scaling, todo: Mask, bounds: Bounds) -> Mask:
    """Rounds some entries of the vectors of `todo` the other way; returns what is still outside.

    Batch by batch, each in memory. All are left if they are too long for that, or need more
    batches, each with its passes over the unit, than it takes to aim them deeper.
    """
    size = _GATHERED // bounds.length
    if not size or int(todo.sum()) > size * _BATCHES:
        return todo
    number = np.cumsum(todo).reshape(unit.shape) - 1
    left = np.zeros_like(todo)
    for batch in range(-(-int(todo.sum()) // size)):
        part = todo & (number // size == batch)
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
    return misses(unit, place, after, bounds, todo)


def _gather(
    unit: Unit, place: Place, scaling: Scaling, todo: Mask, aim: Float64
) -> tuple[Float64, np.dtype[Any]]:
    """The vectors of `todo` as rows, scaled to the norm `aim`, and the dtype they are stored as."""
    number = np.cumsum(todo).reshape(unit.shape) - 1
    rows = np.empty((int(todo.sum()), unit.entries // todo.size))
    done = np.zeros(len(rows), np.intp)
    dtype, scale = np.dtype(np.float64), scaling.to(aim)
    for tile, where in _columns(unit, todo):
        stored = place.read(tile.start, tile.stop)
        dtype = stored.dtype
        values = scale(to_float64(stored).reshape(tile.shape), tile)
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


def misses(unit: Unit, place: Place, after: Float64, bounds: Bounds, todo: Mask) -> Mask:
    """Which vectors of `todo` are stored outside of the bounds, or too near to them to be sure."""
    if bounds.thin:
        return todo & ~bounds.contain(after)
    miss = todo & ((after > top(bounds)) | (after < bottom(bounds)))
    border = miss & bounds.contain(after)
    if border.any() and not bounds.wide:
        miss &= ~(border & exactly_summable(unit, place.written, after))
    return miss
