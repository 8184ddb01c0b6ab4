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
from wproj.formats.base import Store
from wproj.numerics.norms import count_nonfinite, measure
from wproj.numerics.vectors import TILE, Read, Tile, Unit, Vectors
from wproj.report import Distance, Histogram, NormSummary, Violations

_BINS = 20


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
) -> Measures:
    """Measures a tensor's vectors along `axis`, as stored in `before` and, if given, in `after`.

    Without an axis every entry is a vector, except for the norms, which are then of the whole.
    Non-finite vectors are counted; they count neither as violations nor in the norms.
    """
    vectors = Vectors.of((0,), ()) if 0 in shape else Vectors.of(shape, axis)
    first = _Side(vectors)
    last = _Side(vectors) if after else first
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
        norm_before=_summary(first.norms),
        norm_after=_summary(last.norms) if after else None,
        changed_vectors=change.entries if entries else int(change.vectors.sum()),
        changed_entries=change.entries,
        zero=int((first.norms == 0).sum()),
        unreachable=_unreachable(last.norms, steps),
        nonfinite=nonfinite,
        violations=_violations(vectors, first, last if after else None, steps, entries=entries),
        distance=_distance(first.norms, change.squares) if after else None,
        histogram=None if after else _histogram(first.norms),
    )


class _Side:
    """Norms and violations of a tensor's vectors, before or after."""

    def __init__(self, vectors: Vectors) -> None:
        self._vectors = vectors
        self.norms: Float64 = np.zeros(vectors.kept_shape)
        self.excess: Float64 = np.zeros(vectors.kept_shape)
        self.nonfinite = 0
        self.outside_entries = 0

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
            worst = miss.max(axis=tile.axes, keepdims=True)
            excess[tile.index] = np.maximum(excess[tile.index], worst)

    def add_whole(self, shape: tuple[int, ...], read: Read, step: Constraint) -> None:
        """Asks a user-defined constraint what is inside, if it can tell."""
        contains = None if isinstance(step, ArrayConstraint) else getattr(step, "contains", None)
        if contains is None or 0 in shape:
            return
        inside = contains(to_float64(read(0, math.prod(shape)).reshape(shape)))
        outside = np.broadcast_to(np.logical_not(inside), shape).reshape(self._vectors.dims)
        self.outside_entries += int(outside.sum())
        axes = tuple(d for d, summed in enumerate(self._vectors.summed) if summed)
        self.excess += outside.any(axis=axes, keepdims=True)


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
        return side.outside_entries if entries else int((side.excess > 0).sum())

    worst = int(first.excess.argmax()) if first.excess.size else 0
    found = count(first) > 0 and not entries
    return Violations(
        before=count(first),
        after=None if last is None else count(last),
        worst_index=vectors.index_of(worst) if found else None,
        worst_norm=_finite(first.norms.flat[worst]) if found else None,
    )


def _unreachable(norms: Float64, steps: Sequence[Constraint]) -> int:
    lowest = [s.bounds[0] for s in steps if isinstance(s, RadialConstraint)]
    return int((norms == 0).sum()) if any(low > 0 for low in lowest) else 0


def _summary(norms: Float64) -> NormSummary:
    measured = norms[np.isfinite(norms)]
    if not measured.size:
        return NormSummary(min=None, mean=None, p50=None, p99=None, max=None)
    # Scaled by a power of two, lest sums of 1e308 overflow.
    shift = max(0, int(np.frexp(measured.max())[1]) - 512)
    p50, p99 = np.ldexp(np.quantile(np.ldexp(measured, -shift), [0.5, 0.99]), shift)
    return NormSummary(
        min=float(measured.min()),
        mean=float(np.ldexp(np.ldexp(measured, -shift).mean(), shift)),
        p50=float(p50),
        p99=float(p99),
        max=float(measured.max()),
    )


def _histogram(norms: Float64) -> Histogram | None:
    measured = norms[np.isfinite(norms)]
    if not measured.size:
        return None
    low, high = float(measured.min()), float(measured.max())
    if low == high:
        return Histogram(low=low, high=high, counts=[int(measured.size)])
    # By halves, as the width itself may be beyond float64; and without np.histogram, which
    # refuses widths of a few units in the last place, as UnitNorm leaves them.
    place = (measured / 2 - low / 2) / (high / 2 - low / 2) * _BINS
    bins = np.minimum(np.nan_to_num(place).astype(np.intp), _BINS - 1)
    return Histogram(low=low, high=high, counts=np.bincount(bins, minlength=_BINS).tolist())


def _distance(norms: Float64, squares: float) -> Distance:
    with np.errstate(over="ignore"):
        whole = float(np.sqrt(np.nansum(np.square(norms))))
    absolute = math.sqrt(squares) if math.isfinite(squares) else math.inf
    relative = absolute / whole if whole else math.nan
    return Distance(absolute=_finite(absolute), relative=_finite(relative))


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
