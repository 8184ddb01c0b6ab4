"""What there is to say of one tensor: norms, violations, changes, before and after, in blocks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wproj.constraints.base import (
    ArrayConstraint,
    Constraint,
    ElementwiseConstraint,
    RadialConstraint,
)
from wproj.dtypes import Float64, to_float64
from wproj.errors import TensorError
from wproj.formats.base import Store
from wproj.measures import Distance, Histogram, NormSummary, OutsideVector, Violations
from wproj.numerics.norms import count_nonfinite, measure
from wproj.numerics.vectors import TILE, Read, Tile, Unit, Vectors
from wproj.summarizing import distance, finite, histogram, summarize_norms

_LISTED = 5


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far outside a norm may be without counting as a violation; nothing by default.

    Attributes:
        rtol: Relative to the bound.
        atol: Besides, in the unit of the norms.
    """

    rtol: float = 0.0
    atol: float = 0.0


STRICT = Tolerance()


@dataclass(frozen=True, slots=True)
class Measures:
    """What was measured of one tensor; see `report.TensorReport` for the fields."""

    norm_before: NormSummary
    norm_after: NormSummary | None
    changed_vectors: int
    changed_entries: int
    zero: int
    unreachable: int
    nonfinite: int
    violations: Violations
    distance: Distance | None
    histogram: Histogram | None


def measure_tensor(
    shape: tuple[int, ...],
    axis: tuple[int, ...] | None,
    steps: Sequence[Constraint],
    before: Store,
    after: Store | None,
    tolerance: Tolerance = STRICT,
) -> Measures:
    """Measures a tensor's vectors along `axis`, as stored in `before` and, if given, in `after`.

    Without an axis every entry is a vector, except for the norms, which are then of the whole.
    Non-finite vectors are counted; they count neither as violations nor in the norms.
    """
    vectors = Vectors.of((0,), ()) if 0 in shape else Vectors.of(shape, axis)
    first = _Side(vectors, tolerance)
    last = _Side(vectors, tolerance) if after else first
    change = _Change(vectors)
    for unit in vectors.units():
        first.add(unit, before.read, steps)
        if after:
            last.add(unit, after.read, steps)
            change.add(unit, before.read, after.read)
    for step in steps:
        first.add_whole(shape, before.read, step)
        if after:
            last.add_whole(shape, after.read, step)
    entries = axis is None
    nonfinite = first.nonfinite
    if entries and nonfinite and math.prod(shape):
        nonfinite = count_nonfinite(before.read, math.prod(shape), TILE)[0]
    return Measures(
        norm_before=summarize_norms(first.norms),
        norm_after=summarize_norms(last.norms) if after else None,
        changed_vectors=change.entries if entries else int(change.vectors.sum()),
        changed_entries=change.entries,
        zero=int((first.norms == 0).sum()),
        unreachable=_unreachable(last.norms, steps),
        nonfinite=nonfinite,
        violations=_violations(vectors, first, last if after else None, steps, entries=entries),
        distance=distance(first.norms, change.squares) if after else None,
        histogram=histogram(first.norms, last.norms if after else None),
    )


class _Side:
    """Norms and violations of a tensor's vectors, before or after."""

    def __init__(self, vectors: Vectors, tolerance: Tolerance) -> None:
        self._vectors = vectors
        self._tolerance = tolerance
        self.norms: Float64 = np.zeros(vectors.kept_shape)
        self.excess: Float64 = np.zeros(vectors.kept_shape)
        self.outside: NDArray[np.bool_] = np.zeros(vectors.kept_shape, np.bool_)
        self.nonfinite = 0
        self.outside_entries = 0
        self.worst_entry = (0.0, 0, 0.0)

    def add(self, unit: Unit, read: Read, steps: Sequence[Constraint]) -> None:
        norms = measure(unit, read)
        self.nonfinite += int((~norms.finite).sum())
        value = np.where(norms.finite, norms.value, np.nan)
        self.norms[unit.index] = value
        excess = self.excess[unit.index]
        for step in steps:
            if isinstance(step, RadialConstraint):
                limits = step.limits(self._vectors, read(0, 1).dtype)
                np.maximum(excess, limits.excess(value), out=excess)
                relaxed = limits.relaxed(self._tolerance.rtol, self._tolerance.atol)
                self.outside[unit.index] |= relaxed.excess(value) > 0
            elif isinstance(step, ElementwiseConstraint):
                self._add_entries(unit, read, step, excess)

    def _add_entries(
        self, unit: Unit, read: Read, step: ElementwiseConstraint, excess: Float64
    ) -> None:
        for tile in unit.tiles:
            values = to_float64(read(tile.start, tile.stop)).reshape(tile.shape)
            with np.errstate(invalid="ignore"):
                miss = np.abs(step.clip(values) - values)
            miss[~np.isfinite(values)] = 0
            self.outside_entries += int((miss > 0).sum())
            at = int(miss.argmax())
            found = (float(miss.flat[at]), tile.start + at, float(values.flat[at]))
            self.worst_entry = max(self.worst_entry, found, key=lambda worst: worst[0])
            worst = miss.max(axis=tile.axes, keepdims=True)
            excess[tile.index] = np.maximum(excess[tile.index], worst)
            self.outside[unit.index][tile.index] |= worst > 0

    def add_whole(self, shape: tuple[int, ...], read: Read, step: Constraint) -> None:
        """Asks a user-defined constraint what is inside, if it can tell."""
        contains = None if isinstance(step, ArrayConstraint) else getattr(step, "contains", None)
        if contains is None or 0 in shape:
            return
        values = to_float64(read(0, math.prod(shape)).reshape(shape))
        try:
            outside = np.broadcast_to(np.logical_not(contains(values)), shape)
        except Exception as error:  # whatever the user's code raises or returns
            problem = f"{step.name}.contains failed: {type(error).__name__}: {error}"
            raise TensorError(problem, "the constraint's own code raised this") from error
        outside = outside.reshape(self._vectors.dims)
        self.outside_entries += int(outside.sum())
        axes = tuple(d for d, summed in enumerate(self._vectors.summed) if summed)
        self.excess += outside.any(axis=axes, keepdims=True)
        self.outside |= outside.any(axis=axes, keepdims=True)


class _Change:
    """What differs between a tensor before and after, byte by byte."""

    def __init__(self, vectors: Vectors) -> None:
        self.vectors: NDArray[np.bool_] = np.zeros(vectors.kept_shape, np.bool_)
        self.entries = 0
        self.squares = 0.0

    def add(self, unit: Unit, before: Read, after: Read) -> None:
        for tile in unit.tiles:
            self._add_tile(tile, self.vectors[unit.index], before, after)

    def _add_tile(self, tile: Tile, changed: NDArray[np.bool_], before: Read, after: Read) -> None:
        old, new = before(tile.start, tile.stop), after(tile.start, tile.stop)
        bits = np.dtype(f"u{old.dtype.itemsize}")
        different = old.view(bits) != new.view(bits)
        if not different.any():
            return
        self.entries += int(different.sum())
        with np.errstate(over="ignore", invalid="ignore"):
            moved = to_float64(new)[different] - to_float64(old)[different]
            self.squares += float(np.square(moved).sum())
        changed[tile.index] |= different.reshape(tile.shape).any(axis=tile.axes, keepdims=True)


def _violations(
    vectors: Vectors,
    first: _Side,
    last: _Side | None,
    steps: Sequence[Constraint],
    *,
    entries: bool,
) -> Violations:
    if not any(hasattr(step, "contains") for step in steps):
        return Violations(before=None, after=None, worst_index=None, worst_norm=None)

    def count(side: _Side) -> int:
        return side.outside_entries if entries else int(side.outside.sum())

    outside = [] if entries else _outside(vectors, first)
    index: list[int] | None = outside[0].index if outside else None
    miss, value = outside[0].excess if outside else None, None
    if entries and first.worst_entry[0] > 0:
        miss, at, value = first.worst_entry
        index = [int(i) for i in np.unravel_index(at, vectors.shape)]
    return Violations(
        before=count(first),
        after=None if last is None else count(last),
        worst_index=index,
        worst_norm=outside[0].norm if outside else None,
        worst_value=value,
        worst_excess=miss,
        vectors=outside,
    )


def _outside(vectors: Vectors, side: _Side) -> list[OutsideVector]:
    """The vectors that are farthest outside, the worst first."""
    excess = np.where(side.outside, side.excess, -1.0).reshape(-1)
    count = min(_LISTED, int(side.outside.sum()))
    if not count:
        return []
    worst = np.argpartition(-excess, count - 1)[:count]
    worst = worst[np.lexsort((worst, -excess[worst]))]
    return [
        OutsideVector(
            index=vectors.index_of(int(at)),
            norm=finite(side.norms.flat[at]),
            excess=finite(excess[at]),
        )
        for at in worst
    ]


def _unreachable(norms: Float64, steps: Sequence[Constraint]) -> int:
    lowest = [s.bounds[0] for s in steps if isinstance(s, RadialConstraint)]
    return int((norms == 0).sum()) if any(low > 0 for low in lowest) else 0
