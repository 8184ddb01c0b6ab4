"""The values of HDF5 datasets that do not lie in one piece: compact, chunked, compressed."""

import errno
import math
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import partial
from itertools import chain
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import h5py
import numpy as np

from wproj.dtypes import Stored
from wproj.errors import TensorError
from wproj.formats.base import PackedStore, TensorEntry
from wproj.formats.hdf5_boxes import Box, extent, grid, several, whole, within
from wproj.formats.hdf5_chunks import fetch, packing_of
from wproj.formats.hdf5_filters import missing_filter
from wproj.formats.positional import reserve

# What h5py raises on files that are damaged or that need a missing filter.
FAULTS = (OSError, RuntimeError, KeyError, ValueError, TypeError)

# Chunks of more bytes are packed and unpacked one at a time, each of which takes three times that.
_HUGE = 64 << 20


class DatasetStore(PackedStore):
    """The values of a dataset that does not lie in the file in one piece, from several threads.

    Chunks that are packed with deflate, shuffle, both or nothing are fetched and stored as they
    lie in the file, and packed and unpacked here: HDF5 would let one thread do so at a time. What
    else there is, HDF5 fetches.

    Attributes:
        entry: What the checkpoint says about it.
        shape: Its shape.
    """

    def __init__(self, dataset: h5py.Dataset, entry: TensorEntry) -> None:
        assert entry.stored is not None  # noqa: S101 # entries without one are never opened
        if missing := missing_filter(dataset.id.get_create_plist()):
            raise TensorError(*missing)
        self.entry = entry
        self.shape = entry.shape
        self._dataset = dataset
        self._dtype = dataset.dtype
        self._stored = entry.stored
        self._packing = packing_of(dataset)
        self._chunk = dataset.chunks or (1,) * len(entry.shape)
        huge = self._packing is not None and self._packing.nbytes > _HUGE
        self._turn: AbstractContextManager[object] = Lock() if huge else nullcontext()

    def boxes(self) -> Iterator[Box]:
        """Boxes that tile the dataset, in C order; of whole chunks, where it has chunks.

        They have 2**17 entries at most, unless one chunk has more.
        """
        return grid(whole(self.shape), several(self._chunk, self.shape))

    def read_box(self, box: Box) -> Stored:
        """The values in a box that is one of `boxes`, or of whole chunks in one."""
        with self._turn, _faults():
            return self._native(self._gather(box))

    def prepare_box(self, box: Box, values: Stored) -> Callable[[], None]:
        """Packs the values of a box that is one of `boxes`; to call the result stores them.

        Threads may pack while one stores what comes out of them. In the order of the boxes the file
        hardly grows: HDF5 gives a chunk that became larger another place, and the place that it
        left to a chunk that fits. In other orders the holes are too small.
        """
        with self._turn, _faults():
            data = values.astype(self._stored).view(self._dtype)
            packed = [self._pack(part, data[within(part, box)]) for part in self._parts(box)]
        return partial(self._store, packed)

    def flush(self) -> None:
        """Lets HDF5 pack and write what it holds.

        Without it HDF5 would when the dataset is deleted, where Python drops any exception, Ctrl-C
        among them.
        """
        with writing():
            self._dataset.flush()

    def _native(self, values: Stored) -> Stored:
        return values.view(self._stored).astype(self._stored.newbyteorder("="), copy=False)

    def _parts(self, box: Box) -> Iterator[Box]:
        """What to read or write at once: a chunk, or, where HDF5 does it, all of the box."""
        return iter((box,)) if self._packing is None else grid(box, self._chunk)

    def _gather(self, box: Box) -> Stored:
        parts = self._parts(box)
        part = next(parts)
        if part == box:
            return self._read(box)
        values: Stored = np.empty(extent(box), self._dtype)
        for each in chain((part,), parts):
            values[within(each, box)] = self._read(each)
        return values

    def _read(self, part: Box) -> Stored:
        packed = None if self._packing is None else fetch(self._dataset, self._packing, part)
        if self._packing is None or packed is None:
            return np.asarray(self._dataset[part])
        return self._packing.unpack(*packed)[whole(extent(part))]

    def _pack(self, part: Box, values: Stored) -> "_Packed":
        """What is to be stored of a part.

        The values of a chunk that is only partly inside the dataset go into the chunk as it is.
        """
        if self._packing is None:
            return _Packed(part, values)
        packed = fetch(self._dataset, self._packing, part)
        raw, mask = packed or (b"", 0)
        if values.shape != self._packing.shape:
            if packed is None:
                return _Packed(part, values)
            chunk = self._packing.unpack(*packed).copy()
            chunk[whole(values.shape)] = values
            values = chunk
        return _Packed(part, self._packing.pack(values, mask, len(raw)), mask)

    def _store(self, packed: Sequence["_Packed"]) -> None:
        with writing():
            for part, content, mask in packed:
                if isinstance(content, memoryview):
                    start = tuple(side.start for side in part)
                    self._dataset.id.write_direct_chunk(start, content, mask)
                else:
                    self._dataset[part] = content


class _Packed(NamedTuple):
    """A chunk as the file has it, with its mask, or values that HDF5 packs."""

    part: Box
    content: memoryview | Stored
    mask: int = 0


@contextmanager
def _faults() -> Iterator[None]:
    """Tells of what HDF5 cannot read as of any other tensor that cannot be read."""
    try:
        yield
    except (*FAULTS, MemoryError) as error:
        raise TensorError(f"HDF5 cannot read it: {first_line(error)}") from error


@contextmanager
def writing() -> Iterator[None]:
    """Tells of what HDF5 cannot write as the system does.

    Raises:
        OSError: It cannot be written.
    """
    try:
        yield
    except FAULTS as error:
        told = re.search(r"errno = (\d+)", str(error))
        number = int(told[1]) if told else errno.EIO
        raise OSError(number, os.strerror(number) if told else first_line(error)) from error


def room_for(dataset: h5py.Dataset) -> int:
    """The bytes that rewriting all chunks may take, all filters in vain.

    Of chunks that are partly outside the dataset, that part is packed again as it is.
    """
    size: int = dataset.id.get_type().get_size()
    nbytes = size * int(dataset.size or 0)
    if not dataset.chunks:
        return nbytes
    sides = zip(dataset.shape, dataset.chunks, strict=True)
    padded: int = size * math.prod(-(-n // chunk) * chunk for n, chunk in sides)
    return nbytes + min(padded - nbytes, int(dataset.id.get_storage_size()))


def make_room(descriptor: int, nbytes: int) -> None:
    """Makes room at the end of the file, as HDF5 does not survive a disk that fills up.

    Rewritten chunks may go there. What is not needed is cut off in the end.
    """
    reserve(descriptor, os.fstat(descriptor).st_size, nbytes + nbytes // 64 + (1 << 16))


def first_line(error: BaseException) -> str:
    """What HDF5 says first, of the many lines that it may have."""
    said = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
    return said.splitlines()[0] if said else type(error).__name__


def abandon(file: h5py.File) -> None:
    """Closes a file that nobody wants any more; what HDF5 still holds goes nowhere.

    Else, on a full disk, closing fails, HDF5 tries again at the end of the process, and crashes.
    """
    if os.name == "posix":
        with suppress(*FAULTS), Path(os.devnull).open("r+b", buffering=0) as nowhere:
            os.dup2(nowhere.fileno(), file.id.get_vfd_handle(), inheritable=False)
    with suppress(*FAULTS):
        file.close()
