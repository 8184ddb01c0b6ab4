"""Vectors left outside by rounding to nearest: some entries are rounded the other way."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from wproj.dtypes import Float64, Stored, to_float64
from wproj.numerics.aiming import at_the_bounds, bottom, inward, outward, top
from wproj.numerics.changes import Change, amended
from wproj.numerics.norms import Bounds, exactly_summable, measure
from wproj.numerics.scaling import Mask, Place, Scaling
from wproj.numerics.vectors import Read, Tile, Unit

# Entries that are repaired at once, 4 MiB of float64, and how often that is done for a unit.
_GATHERED, _BATCHES = 1 << 19, 8


def repair(
    unit: Unit, place: Place, scaling: Scaling, todo: Mask, bounds: Bounds, change: Change
) -> tuple[Mask, Change]:
    """Rounds some entries of the vectors of `todo` the other way.

    Batch by batch, each in memory. All are left if they are too long for that, or need more
    batches, each with its passes over the unit, than it takes to aim them deeper.

    Returns which vectors are still outside, and `change` with what was repaired.
    """
    size = _GATHERED // bounds.length
    if not size or int(todo.sum()) > size * _BATCHES:
        return todo, change
    number = np.cumsum(todo).reshape(unit.shape) - 1
    for batch in range(-(-int(todo.sum()) // size)):
        part = todo & (number // size == batch)
        change = _repair_batch(unit, place, scaling, part, bounds, change)
    norms = measure(unit, place.written, place.each).value
    change = replace(change, after=np.where(todo, norms, change.after))
    return misses(unit, place, change.after, bounds, todo), change


def _repair_batch(
    unit: Unit, place: Place, scaling: Scaling, todo: Mask, bounds: Bounds, change: Change
) -> Change:
    old = _gather(unit, place.read, todo)
    high = scaling.norms.value >= bounds.lower
    rows = _scaled(old, scaling, todo, at_the_bounds(high, bounds))
    down = high[todo]
    result = np.empty_like(old)
    if down.any():
        result[down] = inward(rows[down], top(bounds), old.dtype)
    if not down.all():
        result[~down] = outward(rows[~down], bottom(bounds), old.dtype)
    first = _swap(unit, place, todo, result)
    return amended(change, todo, old=old, first=first, new=result)


def _gather(unit: Unit, read: Read, todo: Mask) -> Stored:
    """The vectors of `todo` as rows."""
    dtype = read(unit.start, unit.start + 1).dtype
    rows = np.empty((int(todo.sum()), unit.entries // todo.size), dtype)
    for tile, where, part in _parts(unit, todo):
        found = _vectors_first(read(tile.start, tile.stop), tile)[where]
        rows[part] = found.reshape(len(found), -1)
    return rows


def _scaled(rows: Stored, scaling: Scaling, todo: Mask, aim: Float64) -> Float64:
    """Rows scaled to the norms `aim`; both `aim` and `scaling` are those of the unit."""
    whole = Tile(0, rows.size, rows.shape, (1,), ())
    return scaling.of(todo).to(aim[todo][:, None])(to_float64(rows), whole)


def _swap(unit: Unit, place: Place, todo: Mask, rows: Stored) -> Stored:
    """Writes rows where the vectors of `todo` are; returns those that were there."""
    before = np.empty_like(rows)
    for tile, where, part in _parts(unit, todo):
        stored = place.written(tile.start, tile.stop).copy()
        vectors = _vectors_first(stored, tile)
        here = vectors[where]
        before[part] = here.reshape(len(here), -1)
        vectors[where] = rows[part].reshape(here.shape)
        place.write(tile.start, stored)
    return before


def _parts(unit: Unit, todo: Mask) -> Iterator[tuple[Tile, Mask, tuple[NDArray[np.intp], slice]]]:
    """The tiles that hold vectors of `todo`: which of theirs, and where those are in the rows."""
    number = np.cumsum(todo).reshape(unit.shape) - 1
    done = np.zeros(int(todo.sum()), np.intp)
    for tile in unit.tiles:
        where = todo[tile.index]
        if where.any():
            numbers = number[tile.index][where]
            begin = int(done[numbers[0]])  # The vectors of a tile have come equally far.
            stop = begin + (tile.stop - tile.start) // where.size
            done[numbers] = stop
            yield tile, where.squeeze(tile.axes), (numbers, slice(begin, stop))


def _vectors_first(values: Stored, tile: Tile) -> Stored:
    """A tile's values with the axes summed over last, not copied."""
    return np.moveaxis(values.reshape(tile.shape), tile.axes, range(-len(tile.axes), 0))


def misses(unit: Unit, place: Place, after: Float64, bounds: Bounds, todo: Mask) -> Mask:
    """Which vectors of `todo` are stored outside of the bounds, or too near to them to be sure."""
    if bounds.thin:
        return todo & ~bounds.contain(after)
    miss = todo & ((after > top(bounds)) | (after < bottom(bounds)))
    border = miss & bounds.contain(after)
    if border.any() and not bounds.wide:
        miss &= ~(border & exactly_summable(unit, place.written, after))
    return miss
