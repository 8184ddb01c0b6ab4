"""One tensor in blocks: the steps of its rule, from its old values to its new ones."""

import errno
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from wproj.constraints.base import Constraint, Numerics
from wproj.dtypes import Stored, same_bytes
from wproj.errors import InputError
from wproj.formats.base import Store
from wproj.formats.positional import ExtentStore
from wproj.numerics.changes import Change
from wproj.numerics.scaling import Place
from wproj.numerics.vectors import Each, Unit
from wproj.scratch import Scratch


@dataclass(frozen=True, slots=True)
class Target:
    """Where a tensor's new values go.

    Attributes:
        store: The values there.
        blank: Whether the old values are yet to be copied there.
        verify: Whether what is written is read back and compared.
        done: Is told from which entry on how many bytes are in place.
    """

    store: Store
    blank: bool
    verify: bool
    done: Callable[[int, int], None]

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the values."""
        return self.store.dtype

    def read(self, start: int, stop: int) -> Stored:
        """What is stored as entries `start` to `stop`.

        Raises:
            OSError: It cannot be read again.
        """
        try:
            return self.store.read(start, stop)
        except InputError as error:
            cause = error.__cause__
            why = cause.strerror if isinstance(cause, OSError) else error
            raise OSError(errno.EIO, f"what was written cannot be read again: {why}") from error

    def write(self, start: int, values: Stored) -> None:
        """Stores `values` from entry `start` on.

        Raises:
            OSError: They cannot be written, or read back as something else.
        """
        self.store.write(start, values)
        if self.verify and not same_bytes(self.read(start, start + len(values)), values):
            raise OSError(errno.EIO, "what was written reads back as something else")
        self.done(start, values.nbytes)

    def keeper(self, source: Store) -> Callable[[int, int], None]:
        """What stores entries as they are in `source`."""

        def keep(start: int, stop: int) -> None:
            if not self.blank:
                self.done(start, (stop - start) * source.dtype.itemsize)
            elif isinstance(self.store, ExtentStore) and isinstance(source, ExtentStore):
                self.store.adopt(source, start, stop)
                self.done(start, (stop - start) * source.dtype.itemsize)
            else:
                self.write(start, source.read(start, stop))

        return keep


def project_tensor(
    shape: tuple[int, ...],
    steps: Sequence[Constraint],
    source: Store,
    target: Target,
    numerics: Numerics,
    each: Each,
    in_memory: int,
) -> Iterator[Change | Unit]:
    """Applies `steps` in order to the tensor in `source`; `target` gets the result.

    Intermediate results are in memory up to `in_memory` bytes. Yields what became of each unit
    of vectors, or the unit where that has to be measured; nothing where all of it has to be. The
    result is there when the iteration ends.

    Raises:
        TensorError: NaN or infinite entries, or a result that the dtype cannot hold.
        OSError: The result cannot be written.
    """
    if 0 in shape:
        return
    with ExitStack() as stack:
        before = source
        for step in steps[:-1]:
            scratch = stack.enter_context(Scratch.like(before, shape, in_memory))
            between = Target(scratch, blank=True, verify=False, done=lambda _start, _nbytes: None)
            for _ in _apply(step, shape, before, between, numerics, each):
                pass
            before = scratch
            target = replace(target, blank=True)
        for change in _apply(steps[-1], shape, before, target, numerics, each):
            if before is source:
                yield change


def _apply(
    step: Constraint,
    shape: tuple[int, ...],
    source: Store,
    target: Target,
    numerics: Numerics,
    each: Each,
) -> Iterator[Change | Unit]:
    keep = target.keeper(source)
    place = Place(source.read, target.write, target.read, keep, each)
    return step.store(shape, place, numerics)
