"""The engine: tensor after tensor, in threads and in bounded memory."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from wproj.constraints.base import Constraint, Numerics
from wproj.dtypes import Stored
from wproj.formats.base import PackedStore, Store, TensorEntry
from wproj.judging import STRICT, Tolerance
from wproj.measuring import measure_changes, measure_tensor
from wproj.numerics.vectors import Each
from wproj.resources import Resources, working
from wproj.scratch import Scratch
from wproj.selection.assigning import Assignment
from wproj.streaming import Target, project_tensor
from wproj.tallying import Measures
from wproj.unpacking import blank_like, pack, unpacked

Progress = Callable[[str, int], None]


def ignore(_name: str, _nbytes: int) -> None:
    """Takes a note of progress, and does nothing about it."""


@dataclass(frozen=True, slots=True)
class Engine:
    """Measures and projects tensors.

    Attributes:
        each: How tiles and units of vectors are shared by threads.
        in_memory: The bytes up to which unpacked tensors and intermediate results are in memory.
        progress: Is told the name of a tensor, and how many more bytes of it are done.
    """

    each: Each
    in_memory: int
    progress: Progress = ignore

    def measure(
        self,
        item: Assignment,
        store: Store | PackedStore,
        steps: Sequence[Constraint] | None = None,
        tolerance: Tolerance = STRICT,
    ) -> Measures:
        """Measures a tensor along the axis of its rule, against the steps of its rule or others."""
        steps, entry = item.steps if steps is None else steps, item.entry
        with unpacked(store, self.each, self.in_memory) as values:
            read = _Watched(values, self._once(entry))
            return measure_tensor(
                entry.shape, item.axis, steps, read, None, tolerance, self.each, self.in_memory
            )

    def project(
        self,
        item: Assignment,
        source: Store | PackedStore,
        target: Store | PackedStore,
        numerics: Numerics,
        *,
        blank: bool,
        verify: bool,
    ) -> Measures:
        """Writes the projection of a tensor; if `blank`, its old values are not in `target` yet.

        With `verify`, what is written is read back and compared.

        Raises:
            TensorError: NaN or infinite entries, or a result that the dtype cannot hold.
            OSError: The result cannot be written.
        """
        if isinstance(target, PackedStore):
            return self._repack(item, source, target, numerics, verify=verify)
        assert not isinstance(source, PackedStore)  # noqa: S101 # both are of one format
        done = self._once(item.entry)
        return self._project(item, source, Target(target, blank, verify, done), numerics)

    def rehearse(
        self, item: Assignment, source: Store | PackedStore, numerics: Numerics
    ) -> Measures:
        """The same, with a result that nobody gets."""
        with (
            unpacked(source, self.each, self.in_memory) as old,
            Scratch.like(old, item.entry.shape, self.in_memory) as scratch,
        ):
            return self._project(item, old, self._blank(item, scratch), numerics)

    def _repack(
        self,
        item: Assignment,
        source: Store | PackedStore,
        target: PackedStore,
        numerics: Numerics,
        *,
        verify: bool,
    ) -> Measures:
        with (
            unpacked(source, self.each, self.in_memory) as old,
            blank_like(target, self.in_memory) as new,
        ):
            measures = self._project(item, old, self._blank(item, new), numerics)
            if measures.changed_entries:
                pack(target, old, new, self.each, verify=verify)
        return measures

    def _blank(self, item: Assignment, scratch: Scratch) -> Target:
        return Target(scratch, blank=True, verify=False, done=self._once(item.entry))

    def _once(self, entry: TensorEntry) -> Callable[[int, int], None]:
        """Tells of bytes of a tensor, but not of those from the same entry on again."""
        told: set[int] = set()

        def tell(start: int, nbytes: int) -> None:
            if start not in told:
                told.add(start)
                self.progress(entry.name, nbytes)

        return tell

    def _project(
        self, item: Assignment, source: Store, target: Target, numerics: Numerics
    ) -> Measures:
        shape, each = item.entry.shape, self.each
        changes = project_tensor(shape, item.steps, source, target, numerics, each, self.in_memory)
        return measure_changes(
            shape, item.axis, item.steps, source, target, changes, each, self.in_memory
        )


@dataclass(frozen=True, slots=True)
class _Watched:
    """A store that tells from which entry on how many bytes are read from it."""

    store: Store
    done: Callable[[int, int], None]

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the values."""
        return self.store.dtype

    def read(self, start: int, stop: int) -> Stored:
        """Entries `start` to `stop`."""
        values = self.store.read(start, stop)
        self.done(start, values.nbytes)
        return values

    def write(self, start: int, values: Stored) -> None:
        """Stores `values` from entry `start` on."""
        self.store.write(start, values)


@contextmanager
def running(resources: Resources, progress: Progress = ignore) -> Iterator[Engine]:
    """An engine with these resources; its threads have ended when this ends."""
    _keep_freed_memory()
    with working(resources) as each:
        yield Engine(each, resources.unpacked, progress)


def _keep_freed_memory() -> None:
    """Lets the allocator keep what a tile frees for the next one.

    glibc hands large blocks back to the system as they are freed, and every tile would fault its
    pages in anew: most of the time, on large files. Once it has seen a block of nearly 32 MiB
    freed, it keeps up to twice that (`M_MMAP_THRESHOLD` in mallopt(3)). Elsewhere nothing happens.
    """
    np.empty(31 << 20, np.uint8)
