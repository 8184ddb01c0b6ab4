"""From float64 into the set *as stored*: scaling vectors to a norm, rounding, certifying.

Rounding to nearest leaves half of all rescaled vectors outside their set. So a vector is aimed a
little inside, rounded once, measured as stored, and aimed deeper by growing steps until it is in;
what still is not after that is rounded toward the inside, which always is where the bounds allow.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wproj.dtypes import Float64, Stored, away_from_zero, grid, nearest, to_float64, toward_zero
from wproj.errors import NotRepresentableError
from wproj.numerics.norms import Bounds, Norms, SquareSum, exactly_summable, margin
from wproj.numerics.vectors import Read, Tile, Unit, Write

_ATTEMPTS = 10
_U64 = 2.0**-53

Mask = NDArray[np.bool_]
Round = Callable[[Float64, Tile, np.dtype[Any]], Stored]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a unit is read from and written to.

    `read` gives the values before the step, `written` what has been stored so far. `everything`
    says that tiles without a change have to be written, too.
    """

    read: Read
    write: Write
    written: Read
    everything: bool


@dataclass(frozen=True, slots=True)
class Scaling:
    """Which vectors of a unit are scaled, and from which norms.

    A vector is multiplied by `goal / (epsilon + norm)`; one of norm zero stays as it is.
    """

    norms: Norms
    moving: Mask
    epsilon: float = 0.0

    def factor(self, goal: Float64) -> Float64:
        """What the vectors, scaled by `2**-exponent`, are multiplied by."""
        norm = self.norms.fraction + np.ldexp(self.epsilon, -self.norms.exponent)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.norms.fraction > 0, goal / norm, 0.0)


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
    aim, todo = _first_aim(goal, bounds), scaling.moving
    for attempt in range(_ATTEMPTS):
        last = attempt == _ATTEMPTS - 1
        rounding = _directed(todo, goal >= bounds.upper) if last else _nearest
        after = _store(unit, place, scaling, aim, todo, rounding)
        high, low = _misses(unit, place, after, bounds, todo)
        todo = high | low
        if not todo.any():
            return
        aim = _deeper(aim, after, high, low, bounds, attempt)
        place = replace(place, everything=False)


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


def _top(bounds: Bounds) -> float:
    return bounds.upper * (1 - margin(bounds.length))


def _bottom(bounds: Bounds) -> float:
    return bounds.lower * (1 + margin(bounds.length))


def _first_aim(goal: Float64, bounds: Bounds) -> Float64:
    """The norm to aim at: the goal itself on a sphere, else a little on the inside of it.

    Rounding moves the norm of a long vector by about 0.7 * u / sqrt(length); four times that
    makes repairs rare and costs less than 1.05 of the distance. A short vector affords less.
    """
    if bounds.thin:
        return goal
    if bounds.wide:
        bias = margin(bounds.length) + 4 * _U64
    else:
        bias = min(3 / np.sqrt(bounds.length), 0.12) * bounds.grid.unit_roundoff
    middle = (bounds.lower + bounds.upper) / 2
    inward = np.where(goal >= bounds.upper, goal * (1 - bias), goal * (1 + bias))
    return np.where(goal >= bounds.upper, np.maximum(inward, middle), np.minimum(inward, middle))


def _deeper(
    aim: Float64, after: Float64, high: Mask, low: Mask, bounds: Bounds, attempt: int
) -> Float64:
    """The next aim of the vectors that were stored too high or too low.

    It is deeper by what they missed and a step that doubles with each attempt. The last attempt
    rounds toward the inside, so it aims at the bound itself.
    """
    top, bottom = _top(bounds), _bottom(bounds)
    if attempt == _ATTEMPTS - 2:
        return np.where(high, top * (1 - 8 * _U64), np.where(low, bottom * (1 + 8 * _U64), aim))
    step = aim * bounds.grid.unit_roundoff / np.sqrt(bounds.length) + bounds.grid.tiny
    step = np.ldexp(step, attempt - 2)
    down = np.maximum(aim - np.maximum(after - top, 0) - step, 0.0)
    up = aim + np.maximum(bottom - after, 0) + step
    return np.where(high, down, np.where(low, up, aim))


def _store(
    unit: Unit, place: Place, scaling: Scaling, aim: Float64, todo: Mask, rounding: Round
) -> Float64:
    """Stores the tiles that hold a vector of `todo`; returns the norms of those vectors."""
    norms, moving, factor = scaling.norms, scaling.moving, scaling.factor(aim)
    sums = SquareSum(unit, _extreme(aim))
    for tile in unit.tiles:
        if not (place.everything or todo[tile.index].any()):
            continue
        stored = place.read(tile.start, tile.stop).reshape(tile.shape)
        values = to_float64(stored)
        if norms.exponent.any():
            values = np.ldexp(values, -norms.exponent[tile.index])
        with np.errstate(invalid="ignore", over="ignore", under="ignore"):
            values = values * factor[tile.index]
        result = rounding(values, tile, stored.dtype)
        result = np.where(moving[tile.index], result, stored)
        after = to_float64(result)
        if np.any(moving[tile.index] & ~np.isfinite(after)):
            raise NotRepresentableError(stored.dtype.name, grid(stored.dtype).largest)
        place.write(tile.start, result.reshape(-1))
        sums.add(tile, after)
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


def _misses(
    unit: Unit, place: Place, after: Float64, bounds: Bounds, todo: Mask
) -> tuple[Mask, Mask]:
    """Which vectors of `todo` are stored with a norm too high, and which too low."""
    if bounds.thin:
        outside = todo & ~bounds.contain(after)
        return outside & (after > bounds.upper), outside & (after < bounds.lower)
    high, low = todo & (after > _top(bounds)), todo & (after < _bottom(bounds))
    border = (high | low) & bounds.contain(after)
    if border.any() and not bounds.wide:
        largest = float(after[border].max())
        exact = border & exactly_summable(unit, place.written, largest)
        high, low = high & ~exact, low & ~exact
    return high, low
