"""One tensor in blocks: the steps of its rule.

Memory is decided here: a tile of the tensor, an intermediate result of up to 64 MiB (beyond that
on disk), and one number for each vector.
"""

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, Self

import numpy as np

from wproj.constraints.base import Constraint, Numerics
from wproj.dtypes import Stored
from wproj.formats.base import Store
from wproj.numerics.scaling import Place
from wproj.numerics.vectors import TILE, Read

_IN_MEMORY = 64 << 20


def project_tensor(
    shape: tuple[int, ...],
    steps: Sequence[Constraint],
    source: Store,
    target: Store,
    numerics: Numerics,
) -> None:
    """Applies `steps` in order to the tensor in `source`; `target`, a copy of it, gets the result.

    Raises:
        TensorError: NaN or infinite entries, or a result that the dtype cannot hold.
    """
    if 0 in shape:
        return
    with ExitStack() as stack:
        read = source.read
        for step in steps[:-1]:
            scratch = stack.enter_context(Scratch(read(0, 1).dtype))
            step.store(shape, Place(read, scratch.write, scratch.read, everything=True), numerics)
            read = scratch.read
        place = Place(read, target.write, target.read, everything=len(steps) > 1)
        steps[-1].store(shape, place, numerics)


def keep_freed_memory() -> None:
    """Lets the allocator keep what a tile frees for the next one.

    glibc hands large blocks back to the system as they are freed, and every tile would fault its
    pages in anew: most of the time, on large files. Once it has seen a block of nearly 32 MiB
    freed, it keeps up to twice that (`M_MMAP_THRESHOLD` in mallopt(3)). Elsewhere nothing happens.
    """
    np.empty(31 << 20, np.uint8)


class Scratch:
    """An intermediate result: in memory while it is small, in an unnamed file when it is not."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self._dtype = dtype
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 # see __exit__

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._file.close()

    def flush(self) -> None:
        """Has nobody to hand anything to."""

    def fill(self, read: Read, size: int) -> None:
        """Takes over all `size` entries."""
        for start in range(0, size, TILE):
            self.write(start, read(start, min(start + TILE, size)))

    def read(self, start: int, stop: int) -> Stored:
        """Entries `start` to `stop`."""
        self._file.seek(start * self._dtype.itemsize)
        return np.frombuffer(self._file.read((stop - start) * self._dtype.itemsize), self._dtype)

    def write(self, start: int, values: Stored) -> None:
        """Stores `values` from entry `start` on."""
        self._file.seek(start * self._dtype.itemsize)
        self._file.write(np.ascontiguousarray(values).tobytes())
