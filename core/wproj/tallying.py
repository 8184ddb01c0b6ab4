"""What is known of all vectors of a tensor, and what there is to say of it in a few numbers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wproj.constraints.base import ArrayConstraint, Constraint, RadialConstraint
from wproj.dtypes import Float64, to_float64
from wproj.errors import TensorError
from wproj.formats.base import Store
from wproj.measures import Distance, Histogram, NormSummary, OutsideVector, Violations
from wproj.numerics.changes import TileChange
from wproj.numerics.norms import count_nonfinite
from wproj.numerics.vectors import TILE, Index, Read, Unit, Vectors
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


Changes = list[tuple[Index, TileChange]]


@dataclass(frozen=True, slots=True)
class OutsideEntries:
    """Entries outside: how many, the worst, and by how much each vector's worst entry misses."""

    count: int
    worst: tuple[float, int, float]
    excess: Float64


@dataclass(frozen=True, slots=True)
class UnitSide:
    """Norms of a unit's vectors, NaN where not finite, and its entries outside, if they count."""

    norms: Float64
    entries: OutsideEntries | None


class Tally:
    """What was measured so far of all vectors of a tensor."""

    def __init__(
        self, vectors: Vectors, steps: Sequence[Constraint], tolerance: Tolerance, *, changing: bool
    ) -> None:
        self.vectors = vectors
        self.first = _Side(vectors, steps, tolerance)
        self.last = _Side(vectors, steps, tolerance) if changing else self.first
        self.changed = np.zeros(vectors.kept_shape, np.bool_)
        self.entries = 0
        self.squares = 0.0

    def add(self, unit: Unit, first: UnitSide, last: UnitSide | None, changes: Changes) -> None:
        """Takes over what was found of a unit."""
        self.first.add(unit, first)
        if last is not None:
            self.last.add(unit, last)
        for index, change in changes:
            self.changed[unit.index][index] |= change.vectors
            self.entries += change.entries
            self.squares += change.squares


class _Side:
    """Norms and violations of a tensor's vectors, before or after."""

    def __init__(self, vectors: Vectors, steps: Sequence[Constraint], tolerance: Tolerance) -> None:
        self._vectors = vectors
        self._steps = [step for step in steps if isinstance(step, RadialConstraint)]
        self._tolerance = tolerance
        self.norms: Float64 = np.zeros(vectors.kept_shape)
        self.excess: Float64 = np.zeros(vectors.kept_shape)
        self.outside = np.zeros(vectors.kept_shape, np.bool_)
        self.nonfinite = 0
        self.outside_entries = 0
        self.worst_entry = (0.0, 0, 0.0)

    def add(self, unit: Unit, found: UnitSide) -> None:
        """Takes over what was found of a unit."""
        self.norms[unit.index] = found.norms
        self.nonfinite += int(np.isnan(found.norms).sum())
        entries = found.entries
        if entries is not None:
            self.outside_entries += entries.count
            self.worst_entry = max(self.worst_entry, entries.worst, key=lambda one: one[0])
            self.excess[unit.index] = entries.excess
            self.outside[unit.index] = entries.excess > 0

    def judge(self, dtype: np.dtype[Any]) -> None:
        """Holds all norms against the bounds, for vectors stored as `dtype`."""
        for step in self._steps:
            limits = step.limits(self._vectors, dtype)
            excess = limits.excess(self.norms)
            np.maximum(self.excess, excess, out=self.excess)
            if self._tolerance != STRICT:
                relaxed = limits.relaxed(self._tolerance.rtol, self._tolerance.atol)
                excess = relaxed.excess(self.norms)
            self.outside |= excess > 0

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


def conclude(
    tally: Tally,
    shape: tuple[int, ...],
    axis: tuple[int, ...] | None,
    steps: Sequence[Constraint],
    before: Store,
    after: Store | None,
) -> Measures:
    """What there is to say of a tensor whose units have all been looked at."""
    first, last = tally.first, tally.last
    if 0 not in shape:
        dtype = before.dtype
        first.judge(dtype)
        if after:
            last.judge(dtype)
    for step in steps:
        first.add_whole(shape, before.read, step)
        if after:
            last.add_whole(shape, after.read, step)
    entries = axis is None
    nonfinite = first.nonfinite
    if entries and nonfinite and math.prod(shape):
        nonfinite = count_nonfinite(before.read, math.prod(shape), TILE)[0]
    side = last if after else None
    return Measures(
        norm_before=summarize_norms(first.norms),
        norm_after=summarize_norms(last.norms) if after else None,
        changed_vectors=tally.entries if entries else int(tally.changed.sum()),
        changed_entries=tally.entries,
        zero=int((first.norms == 0).sum()),
        unreachable=_unreachable(last.norms, steps),
        nonfinite=nonfinite,
        violations=_violations(tally.vectors, first, side, steps, entries=entries),
        distance=distance(first.norms, tally.squares) if after else None,
        histogram=histogram(first.norms, last.norms if after else None),
    )


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
