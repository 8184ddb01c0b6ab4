"""What a step did to a unit of vectors: norms before and after, and what differs, byte by byte."""

from dataclasses import dataclass

import numpy as np

from wproj.dtypes import Float64, Stored
from wproj.numerics.scaling import Mask
from wproj.numerics.vectors import Tile, Unit


@dataclass(frozen=True, slots=True)
class Change:
    """What became of a unit.

    Attributes:
        unit: The unit.
        before: The norms of its vectors before, NaN where an entry is not finite.
        after: The norms as stored.
        vectors: Which vectors differ in a byte.
        entries: How many entries do.
        squares: The sum of the squared differences of the entries.
    """

    unit: Unit
    before: Float64
    after: Float64
    vectors: Mask
    entries: int
    squares: float


@dataclass(frozen=True, slots=True)
class TileChange:
    """What became of a tile; see `Change`."""

    vectors: Mask
    entries: int
    squares: float


def unchanged(unit: Unit, norms: Float64) -> Change:
    """A unit that stays as it is."""
    return Change(unit, norms, norms, np.zeros(unit.shape, np.bool_), 0, 0.0)


def compare(
    tile: Tile, old: Stored, new: Stored, before: Float64, after: Float64
) -> TileChange | None:
    """What differs in a tile, given as stored and in float64; None if nothing does.

    `before` is overwritten.
    """
    bits = np.dtype(f"u{old.dtype.itemsize}")
    different = (old.view(bits) != new.view(bits)).reshape(tile.shape)
    entries = int(np.count_nonzero(different))
    if not entries:
        return None
    if entries == different.size:
        shape = [1 if axis in tile.axes else n for axis, n in enumerate(tile.shape)]
        vectors: Mask = np.ones(shape, np.bool_)
    else:
        vectors = different.any(axis=tile.axes, keepdims=True)
    return TileChange(vectors, entries, _squares(different, before, after))


def _squares(different: Mask, before: Float64, after: Float64) -> float:
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.subtract(after, before, out=before).reshape(different.shape)
        np.square(squares, out=squares)
        total = float(squares.sum())
        # What is the same on both sides need not have a difference: infinity, for example.
        return total if np.isfinite(total) else float(squares[different].sum())
