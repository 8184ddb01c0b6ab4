"""Where a unit of vectors is read and written, and how its vectors are scaled."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from wproj.dtypes import Float64, Stored
from wproj.numerics.norms import Norms
from wproj.numerics.vectors import JOINED, TILE, Each, Read, Tile, Unit, Write

# Factors that float64 multiplies by without a second thought.
_FACTORS = 2.0**-900, 2.0**900
# NumPy copies factors that go with rows of less than half a buffer, and takes twice the time.
_BUFFER = 1024

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a unit is read from and written to.

    `read` gives the values before the step, `written` what has been stored so far. `keep` stores
    the entries from one position to another as they were. `fresh` says that nothing has been
    stored yet; `each` is how tiles are worked on.
    """

    read: Read
    write: Write
    written: Read
    keep: Callable[[int, int], None]
    each: Each = map
    fresh: bool = True

    def reading_once(self, unit: Unit) -> "Place":
        """This place, with the values of a unit of a few tiles in memory."""
        if unit.stop - unit.start > JOINED * TILE:
            return self
        first, values = unit.start, self.read(unit.start, unit.stop)
        return replace(self, read=lambda start, stop: values[start - first : stop - first])

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

    def of(self, vectors: Mask) -> "Scaling":
        """The same for some of the vectors, as a column."""
        norms = Norms(self.norms.fraction[vectors][:, None], self.norms.exponent[vectors][:, None])
        return Scaling(norms, self.moving[vectors][:, None], self.epsilon)

    def to(self, goal: Float64) -> Callable[[Float64, Tile], Float64]:
        """What scales the values of a tile to the norms `goal`; rounded once, overwriting them."""
        exponent = self.norms.exponent
        norm = self.norms.fraction
        with np.errstate(all="ignore"):
            if self.epsilon:
                norm = norm + np.ldexp(self.epsilon, -exponent)
            plain = np.where(norm > 0, goal / norm, 0.0)
            within = (plain > _FACTORS[0]) & (plain < _FACTORS[1])
            if np.all(within | (norm == 0) | (goal == 0)) and not exponent.any():
                return lambda values, tile: _multiplied(values, plain[tile.index])
            # A factor beyond float64 is a part of 1/4 to 1 and an exact power of two, which comes
            # first where it enlarges, so that neither step loses what the result can hold.
            top, up = np.frexp(goal)
            bottom, down = np.frexp(norm)
            part = np.where(norm > 0, top / (2 * bottom), 0.0)
            shift = up + 1 - down - exponent
        return lambda values, tile: _shifted(values, part[tile.index], shift[tile.index])


def _multiplied(values: Float64, factor: Float64) -> Float64:
    with np.errstate(all="ignore"):
        np.setbufsize(_BUFFER)  # Until errstate ends.
        return np.multiply(values, factor, out=values)


def _shifted(values: Float64, part: Float64, shift: NDArray[np.intc]) -> Float64:
    with np.errstate(all="ignore"):
        once = values * np.ldexp(part, np.clip(shift, 0, 2))
        grown = np.ldexp(values, np.maximum(shift - 2, 0)) * (4 * part)
        scaled: Float64 = np.where(shift > 2, grown, np.ldexp(once, np.minimum(shift, 0)))
        return scaled
