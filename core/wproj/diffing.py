"""The job `diff`: two checkpoints, tensor by tensor, also across formats."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wproj.dtypes import Float64, projectable, to_float64
from wproj.engine import Engine, Progress, ignore, running
from wproj.errors import AxisError, RequestError
from wproj.formats.base import Checkpoint, Layout, PackedStore, Store, TensorEntry
from wproj.formats.stamps import unchanged
from wproj.measures import Difference, NormSummary
from wproj.numerics.norms import measure
from wproj.numerics.vectors import TILE, Each, Unit, Vectors, normalize_axis
from wproj.report import Status, TensorReport
from wproj.reporting import compared_report, located
from wproj.resources import DEFAULT, Resources
from wproj.scratch import Scratch
from wproj.selection import globs
from wproj.selection.axes import Axes, incoming
from wproj.selection.plan import excluded
from wproj.summarizing import finite, summarize_in_place
from wproj.unpacking import unpacked

Pair = tuple[TensorEntry | None, TensorEntry | None]


def diff(
    a: Checkpoint,
    b: Checkpoint,
    *,
    axis: Axes = "auto",
    layout: Layout | None = None,
    rtol: float = 0.0,
    atol: float = 0.0,
    match: Sequence[str] = (),
    exclude: Sequence[str] = (),
    resources: Resources = DEFAULT,
    progress: Progress = ignore,
) -> Iterator[TensorReport]:
    """Compares the tensors of two checkpoints; nothing is written.

    Tensors belong together by name, and where that leaves some over, by path. Yields a report for
    each pair and for each tensor without one, in the order of `a`, then of `b`. The status is
    `removed`, `added`, `reshaped`, `retyped`, `changed` or `unchanged`; `skipped` where values
    cannot be read. Entries differ if `|a - b| > atol + rtol * |a|`, or, without tolerances, if
    their bytes do; NaN is like NaN.

    Args:
        a: The checkpoint before.
        b: The checkpoint after.
        axis: The axes that norms sum over; `auto` takes the incoming axes where the layer or the
            layout tells them, and the whole tensor elsewhere.
        layout: Overrides the layout that the files are known to have.
        rtol: What two entries may differ by, relative to the first.
        atol: Besides, absolutely.
        match: Patterns of the tensors to compare, in either checkpoint; all if there are none.
        exclude: Patterns of tensors to leave out, in either.
        resources: How many threads share the work, and how much memory they may take.
        progress: Is told of a tensor, and how many more bytes of it are done, from any thread.

    Raises:
        RequestError: A tolerance is not a number from 0, or a pattern matches in neither.
        InputError: A file cannot be read.
    """
    for name, value in (("rtol", rtol), ("atol", atol)):
        if not (np.isfinite(value) and value >= 0):
            raise RequestError(f"{name} is a number that is not negative, not {value!r}")
    told = layout or (b.layout if a.layout == "unknown" else a.layout)
    chosen, left_out = _Selection.of(match, a, b), _Selection.of(exclude, a, b)
    for pattern in match:
        if not _Selection.of([pattern], a, b):
            raise globs.no_match(pattern, a)
    compared = [p for p in pairs(a, b) if (not match or p in chosen) and p not in left_out]
    return _diff(a, b, compared, _Terms(axis, told, rtol, atol), resources, progress)


@dataclass(frozen=True, slots=True)
class _Selection:
    """The tensors that patterns match in either checkpoint, by path."""

    a: set[str]
    b: set[str]

    @classmethod
    def of(cls, patterns: Sequence[str], a: Checkpoint, b: Checkpoint) -> "_Selection":
        """What any of the patterns matches."""
        return cls(excluded(a, patterns), excluded(b, patterns))

    def __contains__(self, pair: Pair) -> bool:
        one, two = pair
        return bool((one and one.path in self.a) or (two and two.path in self.b))

    def __bool__(self) -> bool:
        return bool(self.a or self.b)


@dataclass(frozen=True, slots=True)
class _Terms:
    """On which terms tensors are compared."""

    axis: Axes
    layout: Layout
    rtol: float
    atol: float

    def axes(self, one: TensorEntry, two: TensorEntry) -> tuple[int, ...]:
        """The axes that the norms of a tensor sum over; all where none else are known."""
        entry = two if one.layer is None else one
        whole = tuple(range(len(entry.shape)))
        if self.axis in ("in", "auto"):
            return incoming(entry, self.layout) or whole
        try:
            return normalize_axis(None if self.axis == "all" else self.axis, entry.shape)  # type: ignore[arg-type] # only numbers are left
        except AxisError:
            return whole

    def different(self, old: NDArray[Any], new: NDArray[Any]) -> NDArray[np.bool_]:
        """Which entries differ."""
        if old.dtype == new.dtype and not (self.rtol or self.atol):
            return np.asarray((_bytes(old) != _bytes(new)).any(axis=1))
        one, two = _numbers(old), _numbers(new)
        with np.errstate(invalid="ignore", over="ignore"):
            near = np.abs(one - two) <= self.atol + self.rtol * np.abs(one)
        return np.asarray(~(near | (one == two) | (np.isnan(one) & np.isnan(two))))


def _diff(
    a: Checkpoint,
    b: Checkpoint,
    compared: Sequence[Pair],
    terms: _Terms,
    resources: Resources,
    progress: Progress,
) -> Iterator[TensorReport]:
    with (
        unchanged({**a.stamps, **b.stamps}),
        a.stores() as before,
        b.stores() as after,
        running(resources, progress) as engine,
    ):
        for one, two in compared:
            if one is None or two is None:
                yield compared_report(one, two, "removed" if two is None else "added")
            elif one.shape != two.shape:
                yield compared_report(one, two, "reshaped")
            elif one.stored is None or two.stored is None or one.obstacle or two.obstacle:
                reason = one.obstacle or two.obstacle or "its entries cannot be read one by one"
                status: Status = "retyped" if one.dtype != two.dtype else "skipped"
                yield compared_report(one, two, status, reason=reason)
            else:
                with located(a.path, one):
                    old = before(one)
                with located(b.path, two):
                    yield _compare(one, two, old, after(two), terms, engine)


def pairs(a: Checkpoint, b: Checkpoint) -> Iterator[Pair]:
    """The tensors that belong together: by name, and those that are left over by path."""
    mates: dict[str, TensorEntry] = {}
    for kind in ("name", "path"):
        taken = {entry.path for entry in mates.values()}
        old = _called(kind, [entry for entry in a.entries if entry.path not in mates])
        new = _called(kind, [entry for entry in b.entries if entry.path not in taken])
        mates |= {entry.path: new[called] for called, entry in old.items() if called in new}
    yield from ((entry, mates.get(entry.path)) for entry in a.entries)
    found = {entry.path for entry in mates.values()}
    yield from ((None, entry) for entry in b.entries if entry.path not in found)


def _called(kind: str, entries: Sequence[TensorEntry]) -> dict[str, TensorEntry]:
    """The entries by name or path, without those that share it."""
    counts = Counter(getattr(entry, kind) for entry in entries)
    called = ((getattr(entry, kind), entry) for entry in entries)
    return {name: entry for name, entry in called if counts[name] == 1}


def _compare(
    one: TensorEntry,
    two: TensorEntry,
    before: Store | PackedStore,
    after: Store | PackedStore,
    terms: _Terms,
    engine: Engine,
) -> TensorReport:
    axis, each = terms.axes(one, two), engine.each
    with (
        unpacked(before, each, engine.in_memory) as old,
        unpacked(after, each, engine.in_memory) as new,
    ):
        difference = _difference(one.shape, old, new, terms, each)
        norms = _norms(one, old, axis, engine), _norms(two, new, axis, engine)
    engine.progress(one.name, one.nbytes)
    changed: Status = "changed" if difference.entries else "unchanged"
    status = "retyped" if one.dtype != two.dtype else changed
    return compared_report(one, two, status, axis=axis, norms=norms, difference=difference)


@dataclass(frozen=True, slots=True)
class _Gap:
    """How two tiles differ: in how many entries, by how much at most, and where that is."""

    entries: int
    largest: float
    relative: float
    at: int


def _difference(
    shape: tuple[int, ...], before: Store, after: Store, terms: _Terms, each: Each
) -> Difference:
    size = int(np.prod(shape, dtype=object))

    def compare(start: int) -> _Gap | None:
        return _gap(start, min(start + TILE, size), before, after, terms)

    found = [gap for gap in each(compare, range(0, size, TILE)) if gap is not None]
    worst = max(found, key=lambda gap: gap.largest, default=_Gap(0, 0.0, 0.0, -1))
    return Difference(
        entries=sum(gap.entries for gap in found),
        largest=finite(worst.largest),
        relative=finite(max((gap.relative for gap in found), default=0.0)),
        index=[int(i) for i in np.unravel_index(worst.at, shape)] if found else None,
    )


def _gap(start: int, stop: int, before: Store, after: Store, terms: _Terms) -> _Gap | None:
    old, new = before.read(start, stop), after.read(start, stop)
    different = terms.different(old, new)
    if not different.any():
        return None
    one, two = _numbers(old), _numbers(new)
    with np.errstate(all="ignore"):
        gap = np.where(different, np.abs(one - two), 0.0)
        ratio = np.where(different & (gap > 0), gap / np.abs(one), 0.0)
    gap[np.isnan(gap)] = np.inf  # NaN on one side is as far as can be.
    worst = int(gap.argmax())
    relative = float(np.nan_to_num(ratio, nan=np.inf).max())
    return _Gap(int(different.sum()), float(gap[worst]), relative, start + worst)


def _norms(
    entry: TensorEntry, store: Store, axis: tuple[int, ...], engine: Engine
) -> NormSummary | None:
    """The norms along an axis, of floats alone."""
    if entry.stored is None or not projectable(entry.stored) or 0 in entry.shape:
        return None
    vectors = Vectors.of(entry.shape, axis)

    def look(unit: Unit, share: Each) -> Float64:
        found = measure(unit, store.read, share)
        return np.where(found.finite, found.value, np.nan).reshape(-1)

    with Scratch(vectors.count, np.dtype(np.float64), engine.in_memory) as norms:
        at = 0
        for found in vectors.over_units(look, engine.each):
            norms.write(at, found)
            at += found.size
        return summarize_in_place(norms.values)


def _bytes(values: NDArray[Any]) -> NDArray[np.uint8]:
    """The bytes of each entry, as a row."""
    return np.ascontiguousarray(values).view(np.uint8).reshape(-1, values.dtype.itemsize)


def _numbers(values: NDArray[Any]) -> NDArray[Any]:
    """Any numbers in float64, complex ones in complex128."""
    if projectable(values.dtype):
        return to_float64(values)
    return values.astype(np.complex128 if values.dtype.kind == "c" else np.float64)
