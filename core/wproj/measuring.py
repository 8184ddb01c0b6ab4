"""Looking at a tensor in blocks: norms, violations, changes, before and after."""

from collections.abc import Iterable, Sequence
from itertools import chain

import numpy as np

from wproj.constraints.base import Constraint, ElementwiseConstraint
from wproj.dtypes import Float64, same_bytes, to_float64
from wproj.formats.base import Store
from wproj.judging import STRICT, Tolerance
from wproj.numerics.changes import Change, TileChange, compare
from wproj.numerics.norms import measure
from wproj.numerics.vectors import Each, Read, Tile, Unit, Vectors
from wproj.tallying import (
    Changes,
    Measures,
    OutsideEntries,
    Tally,
    UnitSide,
    conclude,
)


def measure_tensor(
    shape: tuple[int, ...],
    axis: tuple[int, ...] | None,
    steps: Sequence[Constraint],
    before: Store,
    after: Store | None,
    tolerance: Tolerance,
    each: Each,
    in_memory: int,
) -> Measures:
    """Measures a tensor's vectors along `axis`, as stored in `before` and, if given, in `after`.

    Without an axis every entry is a vector, except for the norms, which are then of the whole.
    Non-finite vectors are counted; they count neither as violations nor in the norms. Norms are in
    memory up to `in_memory` bytes.
    """
    vectors = Vectors.of((0,), ()) if 0 in shape else Vectors.of(shape, axis)
    with Tally(vectors, shape, steps, tolerance, before, after, in_memory) as tally:
        for found in vectors.over_units(
            lambda unit, share: _look(unit, share, steps, before, after), each
        ):
            tally.add(*found)
        return conclude(tally, shape, axis, steps, before)


def measure_changes(
    shape: tuple[int, ...],
    axis: tuple[int, ...] | None,
    steps: Sequence[Constraint],
    before: Store,
    after: Store,
    changes: Iterable[Change | Unit],
    each: Each,
    in_memory: int,
) -> Measures:
    """The same of a tensor whose units become known one after the other, each once it is stored.

    Those that are not said what became of are measured; all of them if there are none.
    """
    coming = iter(changes)
    first = next(coming, None)
    if first is None:
        return measure_tensor(shape, axis, steps, before, after, STRICT, each, in_memory)
    vectors = Vectors.of(shape, axis)
    with Tally(vectors, shape, steps, STRICT, before, after, in_memory) as tally:
        for change in chain([first], coming):
            if isinstance(change, Unit):
                tally.add(*_look(change, each, steps, before, after))
            else:
                whole = TileChange(change.vectors, change.entries, change.squares)
                sides = UnitSide(change.before, None), UnitSide(change.after, None)
                tally.add(change.unit, *sides, [((), whole)])
        return conclude(tally, shape, axis, steps, before)


def _look(
    unit: Unit, each: Each, steps: Sequence[Constraint], before: Store, after: Store | None
) -> tuple[Unit, UnitSide, UnitSide | None, Changes]:
    """Measures a unit, before and after."""
    first = _side(unit, before.read, steps, each)
    if after is None:
        return unit, first, None, []
    old, new = before.read, after.read
    compared = unit.over_tiles(lambda tile: (tile.index, _compare(tile, old, new)), each)
    changes = [(index, change) for index, change in compared if change is not None]
    return unit, first, _side(unit, new, steps, each), changes


def _compare(tile: Tile, before: Read, after: Read) -> TileChange | None:
    old, new = before(tile.start, tile.stop), after(tile.start, tile.stop)
    return None if same_bytes(old, new) else compare(tile, old, new)


def _side(unit: Unit, read: Read, steps: Sequence[Constraint], each: Each) -> UnitSide:
    norms = measure(unit, read, each)
    clips = [step for step in steps if isinstance(step, ElementwiseConstraint)]
    value = np.where(norms.finite, norms.value, np.nan)
    return UnitSide(value, _entries(unit, read, clips, each) if clips else None)


def _entries(
    unit: Unit, read: Read, steps: Sequence[ElementwiseConstraint], each: Each
) -> OutsideEntries:
    """The entries of a unit that any of the steps would move."""

    def look(tile: Tile) -> tuple[int, tuple[float, int, float], Float64]:
        values = to_float64(read(tile.start, tile.stop)).reshape(tile.shape)
        with np.errstate(invalid="ignore"):
            miss = [np.abs(step.clip(values) - values) for step in steps]
        most = np.maximum.reduce(miss)
        most[~np.isfinite(values)] = 0
        at = int(most.argmax())
        worst = float(most.flat[at]), tile.start + at, float(values.flat[at])
        return int((most > 0).sum()), worst, most.max(axis=tile.axes, keepdims=True)

    count, worst, excess = 0, (0.0, 0, 0.0), np.zeros(unit.shape)
    for tile, found in zip(unit.tiles, unit.over_tiles(look, each), strict=True):
        count += found[0]
        worst = max(worst, found[1], key=lambda one: one[0])
        excess[tile.index] = np.maximum(excess[tile.index], found[2])
    return OutsideEntries(count, worst, excess)
