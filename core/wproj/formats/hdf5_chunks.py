"""Chunks of HDF5 datasets as they lie in the file, packed and unpacked without HDF5.

HDF5 packs one chunk at a time, under a lock that all of h5py shares; zlib and NumPy do the same
work in several threads. A chunk passes through the filters of its dataset in order as it is
written: here the byte shuffle, deflate, both in this order, or none.

Sources: "HDF5 File Format Specification", version 3.0, IV.A.2.l, "The Data Storage - Filter
Pipeline Message"; "H5Dread_chunk" and "H5Dwrite_chunk" in the HDF5 reference manual, on filter
masks; RFC 1950 and 1951, on deflate.
"""

import math
import zlib
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from wproj.dtypes import Stored
from wproj.formats.hdf5_boxes import Box, extent

Bytes = NDArray[np.uint8]

_SHUFFLE, _DEFLATE = h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_DEFLATE
_PIPELINES = ((), (_SHUFFLE,), (_DEFLATE,), (_SHUFFLE, _DEFLATE))

# A chunk may become larger by one part in as many: the same entropy takes more here, less there.
_MARGIN = 32


@dataclass(frozen=True, slots=True)
class Packing:
    """How the chunks of a dataset are packed.

    Attributes:
        shape: The shape of a chunk.
        dtype: The dtype of its entries in the file, byte order included.
        filters: HDF5's numbers of the filters, in the order of writing.
        level: The level of deflate.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    filters: tuple[int, ...]
    level: int

    @property
    def nbytes(self) -> int:
        """The bytes of an unpacked chunk."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def limit(self) -> int:
        """The bytes of a packed chunk beyond which it is not believed.

        What deflate cannot press becomes a thousandth larger.
        """
        return self.nbytes + self.nbytes // 8 + (1 << 16)

    def unpack(self, raw: memoryview, mask: int) -> Stored:
        """The entries of a chunk that `raw` packs; a bit of `mask` tells of a filter left out.

        Raises:
            ValueError: It is damaged.
        """
        plain: Bytes = np.frombuffer(raw, np.uint8)
        applied = self._applied(mask)
        if _DEFLATE in applied:
            plain = _inflate(plain, self.nbytes)
        if len(plain) != self.nbytes:
            raise ValueError(f"a chunk of {self.nbytes} bytes has {len(plain)} in the file")
        if _SHUFFLE in applied:
            plain = _unshuffle(plain, self.dtype.itemsize)
        return plain.view(self.dtype).reshape(self.shape)

    def pack(self, values: Stored, mask: int, before: int) -> memoryview:
        """What to store of the entries of a whole chunk, which took `before` bytes, or 0.

        It keeps its mask: HDF5 keeps that of a chunk whose size stays, whatever it is told.
        """
        plain: Bytes = np.ascontiguousarray(values, self.dtype).reshape(-1).view(np.uint8)
        planes = plain.reshape(1, -1)
        applied = self._applied(mask)
        if _SHUFFLE in applied:
            planes = np.ascontiguousarray(plain.reshape(-1, self.dtype.itemsize).T)
        if _DEFLATE in applied:
            return memoryview(_deflate(planes, self.level, before))
        return planes.reshape(-1).data

    def _applied(self, mask: int) -> list[int]:
        return [code for bit, code in enumerate(self.filters) if not mask >> bit & 1]


def packing_of(dataset: h5py.Dataset) -> Packing | None:
    """How the chunks of a dataset are packed; None where HDF5 has to unpack or convert them."""
    filters = _filters(dataset)
    codes = tuple(code for code, _ in filters)
    if not dataset.chunks or codes not in _PIPELINES or not _as_in_memory(dataset):
        return None
    parameters = dict(filters)
    if parameters.get(_SHUFFLE, dataset.dtype.itemsize) != dataset.dtype.itemsize:
        return None
    level = parameters.get(_DEFLATE, 0)
    return Packing(dataset.chunks, dataset.dtype, codes, level) if 0 <= level <= 9 else None


def _filters(dataset: h5py.Dataset) -> list[tuple[int, int]]:
    """The number and the first parameter of each filter: shuffle's item size, deflate's level."""
    plist = dataset.id.get_create_plist()
    found = (plist.get_filter(index)[::2] for index in range(plist.get_nfilters()))
    return [(code, values[0] if values else -1) for code, values in found]


def _as_in_memory(dataset: h5py.Dataset) -> bool:
    """Whether NumPy has the entries with the very bytes that the file has."""
    kind = dataset.id.get_type()
    if dataset.dtype.kind == "V":
        return isinstance(kind, h5py.h5t.TypeOpaqueID)
    return dataset.dtype.kind in "fiu" and bool(kind.equal(h5py.h5t.py_create(dataset.dtype)))


def _inflate(pressed: Bytes, size: int) -> Bytes:
    """What zlib makes of a chunk, with one byte more at most than the chunk can have.

    That byte lets zlib reach the checksum at the end of a sound one. What follows the checksum is
    left alone, as HDF5 does.
    """
    stream = zlib.decompressobj()
    try:
        plain = stream.decompress(pressed.data, size + 1)
    except zlib.error as error:
        raise ValueError(f"a chunk is damaged: {error}") from error
    if len(plain) > size:
        raise ValueError(f"a chunk inflates to more than its {size} bytes")
    if not stream.eof:
        raise ValueError("a chunk is damaged: its deflate stream has no end")
    return np.frombuffer(plain, np.uint8)


def _unshuffle(shuffled: Bytes, size: int) -> Bytes:
    """Puts the bytes of each entry together, of which the file has all first ones first."""
    planes = shuffled.reshape(size, -1)
    plain = np.empty((planes.shape[1], size), np.uint8)
    for byte, plane in enumerate(planes):  # A transposed copy takes NumPy thrice as long.
        plain[:, byte] = plane
    return plain.reshape(-1)


def _deflate(planes: Bytes, level: int, before: int) -> bytes:
    """Presses a chunk, no larger than it was if the fast way or the dataset's level can."""
    tries = [_deflate_fast(planes, level)] if before and level else []
    if not tries or len(tries[0]) > before + before // _MARGIN:
        tries.append(zlib.compress(planes.data, level))
    return min(tries, key=len)


def _deflate_fast(planes: Bytes, level: int) -> bytes:
    """Takes a third of the time of level 1, and no more room for weights as they are trained.

    They seldom repeat, and zlib takes most of its time to look for what does: here it looks for
    runs alone. What it can save is in signs and exponents, to which the shuffle gives bytes of
    their own: each of these gets a code of its own.
    """
    stream = zlib.compressobj(level, strategy=zlib.Z_RLE)
    parts = []
    for plane in planes:
        parts += [stream.compress(plane.data), stream.flush(zlib.Z_BLOCK)]
    return b"".join((*parts, stream.flush()))


def fetch(dataset: h5py.Dataset, packing: Packing, part: Box) -> tuple[memoryview, int] | None:
    """The packed chunk of which `part` is inside the dataset, with its mask.

    None where HDF5 has to tell what it holds.

    That is where nothing is stored yet, so that the fill value counts, and where the bytes of a
    chunk at the edge may not be packed at all: H5D_CHUNK_DONT_FILTER_PARTIAL_CHUNKS, which h5py
    does not show, leaves no trace in the mask. A chunk that HDF5 cannot find, it complains about.

    Raises:
        ValueError: It is too large to be sound.
    """
    room = np.empty(packing.limit, np.uint8)
    start = tuple(side.start for side in part)
    try:
        mask, raw = dataset.id.read_direct_chunk(start, out=room)
    except (OSError, RuntimeError):
        return None
    except ValueError as error:
        if not dataset.id.get_storage_size():  # h5py takes no chunk at all for one of random size.
            return None
        sizes = f"{packing.nbytes} bytes takes more than {packing.limit}"
        raise ValueError(f"a chunk of {sizes} in the file") from error
    if len(raw) == packing.nbytes and extent(part) != packing.shape:
        return None
    return raw, mask
