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
from wproj.numerics.norms import Bounds, SquareSum
from wproj.numerics.repairing import misses, repair
from wproj.numerics.scaling import Mask, Place, Scaling
from wproj.numerics.vectors import Tile, Unit

_ATTEMPTS = 10
Round = Callable[[Float64, Tile, np.dtype[Any]], Stored]


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
        todo = misses(unit, place, after, bounds, todo)
        if attempt == 0 and not (bounds.wide or bounds.thin):
            todo = repair(unit, place, scaling, todo, bounds)
        if not todo.any():
            return
        if attempt < _ATTEMPTS - 2:
            aim = deeper(aim, after, todo, bounds, attempt)
        else:
            aim = np.where(todo, at_the_bounds(goal >= bounds.upper, bounds), aim)


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
