"""What a step did to a unit of vectors: norms before and after, and what differs, byte by byte."""

from dataclasses import dataclass, replace

import numpy as np

from wproj.dtypes import Float64, Grid, Stored, to_float64
from wproj.numerics.scaling import Mask
from wproj.numerics.vectors import Tile, Unit

# Nine digits: what 1e-13 of a norm are to the difference of two, and sqrt(1e-9 * 2) to an angle.
_NORM_ERROR, _TURN = 1e-4, 1 / 4.4e-5


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


def compare(tile: Tile, old: Stored, new: Stored, *, measuring: bool = True) -> TileChange | None:
    """What differs in a tile; None if nothing does. The squares are 0 without `measuring`."""
    different = _differs(old, new).reshape(tile.shape)
    entries = int(np.count_nonzero(different))
    if not entries:
        return None
    if entries == different.size:
        vectors: Mask = np.ones(tile.kept, np.bool_)
    else:
        vectors = np.asarray(different.any(axis=tile.axes, keepdims=True))
    return TileChange(vectors, entries, _squares(different, old, new) if measuring else 0.0)


def amended(change: Change, vectors: Mask, *, old: Stored, first: Stored, new: Stored) -> Change:
    """`change` with the rows `new` stored for some vectors in place of `first`, but for the norms.

    `old` are the same vectors as they were before.
    """
    was, differs = _differs(old, first), _differs(old, new)
    moved = change.vectors.copy()
    moved[vectors] = differs.any(axis=1)
    return replace(
        change,
        vectors=moved,
        entries=change.entries + int(np.count_nonzero(differs)) - int(np.count_nonzero(was)),
        squares=change.squares + _squares(differs, old, new) - _squares(was, old, first),
    )


def _differs(old: Stored, new: Stored) -> Mask:
    """Which entries differ in a bit."""
    bits = np.dtype(f"u{old.dtype.itemsize}")
    found: Mask = old.view(bits) != new.view(bits)
    return found


def _squares(different: Mask, old: Stored, new: Stored) -> float:
    with np.errstate(over="ignore", invalid="ignore"):
        squares = to_float64(new)
        squares -= to_float64(old)
        total = float(np.square(squares, out=squares).sum())
        # What is the same on both sides need not have a difference: infinity, for example.
        return total if np.isfinite(total) else float(squares[different.reshape(old.shape)].sum())


def told_by_norms(before: Float64, after: Float64, length: int, grid: Grid) -> Mask:
    """Of which vectors the norms before and after scaling tell the distance, to nine digits.

    It is the difference of the norms, but that rounding turns a vector by an angle: by at most
    the unit roundoff, and half the smallest number for each entry that underflows.
    """
    with np.errstate(all="ignore"):
        factor = after / before
        angle = grid.unit_roundoff + np.sqrt(length) / 2 * (grid.tiny / after)
        told: Mask = np.abs(1 - factor) >= _NORM_ERROR + _TURN * angle * np.sqrt(factor)
    return told


def distance_by_norms(before: Float64, after: Float64, moved: Mask) -> float:
    """The sum of the squared distances between vectors of these norms and directions alike."""
    with np.errstate(over="ignore"):
        return float(np.square((before - after)[moved]).sum())
