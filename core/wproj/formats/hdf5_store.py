"""The values of HDF5 datasets that only HDF5 can fetch: compact, chunked, compressed."""

import errno
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import h5py
import numpy as np

from wproj.dtypes import Stored
from wproj.errors import TensorError
from wproj.formats.base import TensorEntry

# What h5py raises on files that are damaged or that need a missing filter.
FAULTS = (OSError, RuntimeError, KeyError, ValueError, TypeError)


@dataclass(frozen=True, slots=True)
class DatasetStore:
    """The values of a dataset that HDF5 has to fetch."""

    dataset: h5py.Dataset
    entry: TensorEntry

    def read(self, start: int, stop: int) -> Stored:
        """Entries `start` to `stop`."""
        stored = self.entry.stored
        assert stored is not None  # noqa: S101 # entries without one are never opened
        try:
            parts = [
                np.asarray(self.dataset[slab]).reshape(-1)
                for slab in slabs(self.entry.shape, start, stop)
            ]
        except FAULTS as error:
            raise TensorError(f"HDF5 cannot read it: {first_line(error)}") from error
        values = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return values.view(stored).astype(stored.newbyteorder("="), copy=False)

    def write(self, start: int, values: Stored) -> None:
        """Stores `values` from entry `start` on."""
        values = values.astype(self.entry.stored, copy=False).view(self.dataset.dtype)
        done = 0
        for slab in slabs(self.entry.shape, start, start + len(values)):
            shape = tuple(s.stop - s.start for s in slab)
            part = values[done : done + math.prod(shape)]
            self.dataset[slab] = part.reshape(shape)
            done += part.size

    def flush(self) -> None:
        """Lets HDF5 compress and write what it holds.

        Without it HDF5 would when the dataset is deleted, where Python drops any exception, Ctrl-C
        among them.
        """
        if self.dataset.file.mode != "r":
            self.dataset.flush()


def slabs(shape: Sequence[int], start: int, stop: int) -> Iterator[tuple[slice, ...]]:
    """The boxes that together hold the entries `start` to `stop` of a C-ordered array, in order.

    >>> list(slabs((4,), 1, 3))
    [(slice(1, 3, None),)]
    >>> len(list(slabs((3, 4), 2, 9)))
    3
    """
    if not shape:
        yield ()
    elif start < stop:
        row = math.prod(shape[1:])
        (first, before), (last, behind) = divmod(start, row), divmod(stop, row)
        if first == last:
            yield from _within(first, shape, before, behind)
            return
        if before:
            yield from _within(first, shape, before, row)
            first += 1
        if first < last:
            yield (slice(first, last), *(slice(0, n) for n in shape[1:]))
        if behind:
            yield from _within(last, shape, 0, behind)


def _within(row: int, shape: Sequence[int], start: int, stop: int) -> Iterator[tuple[slice, ...]]:
    for rest in slabs(shape[1:], start, stop):
        yield (slice(row, row + 1), *rest)


def reserve(descriptor: int, nbytes: int) -> None:
    """Makes room at the end of the file, as HDF5 does not survive a disk that fills up.

    Rewritten chunks may go there. What is not needed is cut off in the end.
    """
    if not hasattr(os, "posix_fallocate"):
        return
    try:
        room = nbytes + nbytes // 64 + (1 << 16)
        os.posix_fallocate(descriptor, os.fstat(descriptor).st_size, room)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
            raise


def first_line(error: BaseException) -> str:
    """What HDF5 says first, of the many lines that it may have."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__
