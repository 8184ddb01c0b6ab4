"""From float64 into the set *as stored*: scaling vectors to a norm, rounding, certifying.

Rounding to nearest leaves half of all rescaled vectors outside their set. So a vector is aimed a
little inside, rounded once, and measured as stored. In one that is still outside, the entries for
which it costs least are rounded the other way. Where there are too many of those for the memory,
they are aimed deeper by growing steps; and what still is outside after that is rounded toward the
inside, which always is inside where the bounds allow.
"""

from collections.abc import Callable
from dataclasses import replace
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
from wproj.numerics.aiming import at_the_bounds, deeper, first_aim
from wproj.numerics.changes import (
    Change,
    TileChange,
    compare,
    distance_by_norms,
    told_by_norms,
)
from wproj.numerics.norms import Bounds, SquareSum
from wproj.numerics.repairing import misses, repair
from wproj.numerics.scaling import Mask, Place, Scaling
from wproj.numerics.vectors import Tile, Unit

_ATTEMPTS = 10
Scale = Callable[[Float64, Tile], Float64]
Round = Callable[[Float64, Tile, np.dtype[Any]], Stored]


def rescale(unit: Unit, place: Place, scaling: Scaling, goal: Float64) -> Change:
    """Stores the unit with its moving vectors scaled to the norm `goal`, rounded to nearest.

    Raises:
        NotRepresentableError: A result is beyond the largest number of the stored dtype.
    """
    return _store(unit, place, scaling, goal, scaling.moving, _nearest)


def rescale_into(
    unit: Unit, place: Place, scaling: Scaling, goal: Float64, bounds: Bounds
) -> Change | Unit:
    """Stores the unit with its moving vectors scaled to `goal`, and certified inside `bounds`.

    The norms of what is stored are within the bounds by a margin on whose side any sound summation
    in float64 agrees, or exactly summable. Where the bounds are too thin for that, or out of the
    dtype's reach, the vectors are as near as rounding to nearest puts them.

    Returns what became of the unit; or the unit, if some vectors were aimed more than once, so
    that this has yet to be measured.

    Raises:
        NotRepresentableError: A result is beyond the largest number of the stored dtype.
    """
    aim, todo = first_aim(goal, bounds), scaling.moving
    for attempt in range(_ATTEMPTS):
        last = attempt == _ATTEMPTS - 1
        rounding = _directed(todo, goal >= bounds.upper) if last else _nearest
        change = _store(unit, place, scaling, aim, todo, rounding)
        place = replace(place, fresh=False)
        todo = misses(unit, place, change.after, bounds, todo)
        if attempt == 0 and todo.any() and not (bounds.wide or bounds.thin):
            todo, change = repair(unit, place, scaling, todo, bounds, change)
        if not todo.any():
            return unit if attempt else change
        if attempt < _ATTEMPTS - 2:
            aim = deeper(aim, change.after, todo, bounds, attempt)
        else:
            aim = np.where(todo, at_the_bounds(goal >= bounds.upper, bounds), aim)
    return unit


def clip(tile: Tile, place: Place, inside: Callable[[Float64], Float64]) -> None:
    """Stores a tile with `inside` applied to its entries; what it leaves alone keeps its bytes.

    Non-finite entries are left alone.
    """
    stored = place.read(tile.start, tile.stop)
    values = to_float64(stored)
    with np.errstate(invalid="ignore"):
        clipped = inside(values)
        changed = (clipped != values) & np.isfinite(values)
    if changed.any():
        place.write(tile.start, np.where(changed, nearest(clipped, stored.dtype), stored))
    else:
        place.keep(tile.start, tile.stop)


def _store(
    unit: Unit, place: Place, scaling: Scaling, aim: Float64, todo: Mask, rounding: Round
) -> Change:
    """Stores the tiles that hold a vector of `todo`; returns what became of those vectors."""
    sums = SquareSum(unit, _extreme(aim))
    before = np.where(scaling.norms.finite, scaling.norms.value, np.nan)
    numbers = grid(place.read(unit.start, unit.start + 1).dtype)
    told = told_by_norms(before, aim, unit.entries // todo.size, numbers)
    measuring = bool(np.any(todo & ~told))
    scale = scaling.to(aim)
    changed, entries, squares = np.zeros(unit.shape, np.bool_), 0, 0.0

    def store(tile: Tile) -> tuple[Float64, TileChange | None] | None:
        return _store_tile(tile, place, scale, todo, rounding, sums, measuring=measuring)

    for tile, found in zip(unit.tiles, unit.over_tiles(store, place.each), strict=True):
        if found is None:
            continue
        part, change = found
        sums.add(tile, part)
        if change is not None:
            changed[tile.index] |= change.vectors
            entries, squares = entries + change.entries, squares + change.squares
    after = np.where(todo, sums.norms().value, before)
    if not measuring:
        squares = distance_by_norms(before, after, todo)
    return Change(unit, before, after, changed, entries, squares)


def _store_tile(
    tile: Tile,
    place: Place,
    scale: Scale,
    todo: Mask,
    rounding: Round,
    sums: SquareSum,
    *,
    measuring: bool,
) -> tuple[Float64, TileChange | None] | None:
    """Stores a tile if it holds a vector of `todo`; the sums of its squares, and what changed."""
    here = todo[tile.index]
    if not here.any():
        if place.fresh:
            place.keep(tile.start, tile.stop)
        return None
    stored = place.read(tile.start, tile.stop).reshape(tile.shape)
    values = scale(to_float64(stored), tile)
    result = rounding(values, tile, stored.dtype)
    if not here.all():
        result = np.where(here, result, place.beneath(tile))
    part = sums.part(tile, result, room=values)
    if not np.isfinite(part).all() and np.any(here & ~finite(result)):
        raise NotRepresentableError(stored.dtype.name, grid(stored.dtype).largest)
    place.write(tile.start, result.reshape(-1))
    return part, compare(tile, stored, result, measuring=measuring)


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
