"""What is known of all vectors of a tensor, and what there is to say of it in a few numbers."""

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass

import numpy as np

from wproj.constraints.base import Constraint, RadialConstraint
from wproj.dtypes import Float64
from wproj.formats.base import Store
from wproj.judging import Limits, Tolerance, Whole
from wproj.measures import Distance, Histogram, NormSummary, OutsideVector, Violations
from wproj.numerics.changes import TileChange
from wproj.numerics.norms import count_nonfinite
from wproj.numerics.scaling import Mask
from wproj.numerics.vectors import TILE, Index, Unit, Vectors
from wproj.scratch import Scratch
from wproj.summarizing import distance, finite, histogram, summarize_in_place

_LISTED = 5


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


class Tally(AbstractContextManager["Tally"]):
    """What was measured so far of a tensor's vectors, told unit by unit, in order.

    Of each vector its norm is kept, before and after, in memory up to `in_memory` bytes and beyond
    in a temporary file; of everything else, counts, sums and the worst.
    """

    def __init__(
        self,
        vectors: Vectors,
        shape: tuple[int, ...],
        steps: Sequence[Constraint],
        tolerance: Tolerance,
        before: Store,
        after: Store | None,
        in_memory: int,
    ) -> None:
        limits = Limits.of(vectors, steps, tolerance, before.dtype)
        sides = [before] if after is None else [before, after]
        with ExitStack() as stack:
            self.sides = [
                stack.enter_context(
                    Side(
                        vectors,
                        limits,
                        Whole.of(vectors, shape, store.read, steps),
                        in_memory // len(sides),
                    )
                )
                for store in sides
            ]
            self._scratch = stack.pop_all()
        self.vectors = vectors
        self.changed = 0
        self.entries = 0
        self.squares = 0.0

    def __exit__(self, *_error: object) -> None:
        self._scratch.close()

    def add(self, unit: Unit, first: UnitSide, last: UnitSide | None, changes: Changes) -> None:
        """Takes over what was found of the next unit."""
        self.sides[0].add(first)
        if last is not None:
            self.sides[-1].add(last)
        moved = np.zeros(unit.shape, np.bool_)
        for index, change in changes:
            moved[index] |= change.vectors
            self.entries += change.entries
            self.squares += change.squares
        self.changed += int(np.count_nonzero(moved))


class Side(AbstractContextManager["Side"]):
    """Norms and violations of a tensor's vectors, before or after."""

    def __init__(self, vectors: Vectors, limits: Limits, whole: Whole, in_memory: int) -> None:
        self._vectors = vectors
        self._limits = limits
        self._whole = whole
        self._norms = Scratch(vectors.count, np.dtype(np.float64), in_memory)
        self._seen = 0
        self._worst: list[tuple[float, int, float]] = []
        self.zero = 0
        self.nonfinite = 0
        self.squares = 0.0
        self.outside = 0
        self.outside_entries = whole.entries
        self.worst_entry = (0.0, 0, 0.0)

    def __exit__(self, *_error: object) -> None:
        self._norms.__exit__()

    @property
    def norms(self) -> Float64:
        """The norms of all vectors, NaN where not finite."""
        return self._norms.values

    @property
    def worst(self) -> list[OutsideVector]:
        """The vectors that are farthest outside, the worst first."""
        return [
            OutsideVector(
                index=self._vectors.index_of(at), norm=finite(norm), excess=finite(excess)
            )
            for excess, at, norm in self._worst
        ]

    def add(self, found: UnitSide) -> None:
        """Takes over what was found of the next unit."""
        norms = found.norms.reshape(-1)
        self._norms.write(self._seen, norms)
        self.zero += int(np.count_nonzero(norms == 0))
        self.nonfinite += int(np.count_nonzero(np.isnan(norms)))
        with np.errstate(over="ignore"):
            self.squares += float(np.nansum(np.square(norms)))
        excess, outside = self._limits.judge(norms)
        if found.entries is not None:
            self.outside_entries += found.entries.count
            self.worst_entry = max(self.worst_entry, found.entries.worst, key=lambda one: one[0])
            missed = found.entries.excess.reshape(-1)
            excess, outside = np.maximum(excess, missed), outside | (missed > 0)
        if self._whole.excess is not None:
            more = self._whole.excess[self._seen : self._seen + norms.size]
            excess, outside = excess + more, outside | (more > 0)
        self._list(excess, outside, norms)
        self._seen += norms.size

    def _list(self, excess: Float64, outside: Mask, norms: Float64) -> None:
        """Lists the worst of those outside among the worst so far; the first of equals."""
        at = np.flatnonzero(outside)
        self.outside += at.size
        if at.size > _LISTED:
            least = np.partition(excess[at], -_LISTED)[-_LISTED]
            at = at[excess[at] >= least]
            at = at[np.argsort(-excess[at], kind="stable")[:_LISTED]]
        found = [(float(excess[i]), self._seen + int(i), float(norms[i])) for i in at]
        listed = sorted([*self._worst, *found], key=lambda one: (-one[0], one[1]))
        self._worst = listed[:_LISTED]


def conclude(
    tally: Tally,
    shape: tuple[int, ...],
    axis: tuple[int, ...] | None,
    steps: Sequence[Constraint],
    before: Store,
) -> Measures:
    """What there is to say of a tensor whose units have all been told of; ends the tally."""
    first, last = tally.sides[0], tally.sides[-1]
    after = last if last is not first else None
    entries = axis is None
    nonfinite = first.nonfinite
    if entries and nonfinite and math.prod(shape):
        nonfinite = count_nonfinite(before.read, math.prod(shape), TILE)[0]
    counts = histogram(first.norms, after.norms if after else None)
    with np.errstate(over="ignore"):
        length = float(np.sqrt(first.squares))
    return Measures(
        norm_before=summarize_in_place(first.norms),
        norm_after=summarize_in_place(after.norms) if after else None,
        changed_vectors=tally.entries if entries else tally.changed,
        changed_entries=tally.entries,
        zero=first.zero,
        unreachable=last.zero if _has_lower_bound(steps) else 0,
        nonfinite=nonfinite,
        violations=_violations(tally.vectors, first, after, steps, entries=entries),
        distance=distance(length, tally.squares) if after else None,
        histogram=counts,
    )


def _violations(
    vectors: Vectors,
    first: Side,
    last: Side | None,
    steps: Sequence[Constraint],
    *,
    entries: bool,
) -> Violations:
    if not any(hasattr(step, "contains") for step in steps):
        return Violations(before=None, after=None, worst_index=None, worst_norm=None)

    def count(side: Side) -> int:
        return side.outside_entries if entries else side.outside

    outside = [] if entries else first.worst
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


def _has_lower_bound(steps: Sequence[Constraint]) -> bool:
    return any(isinstance(step, RadialConstraint) and step.bounds[0] > 0 for step in steps)
