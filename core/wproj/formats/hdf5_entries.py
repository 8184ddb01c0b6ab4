"""What an HDF5 dataset is, by what the file says of its type, its storage and its filters."""

import math
from dataclasses import replace
from typing import Any, NamedTuple

import h5py
import numpy as np

from wproj.dtypes import Kind, extended, kind_of
from wproj.formats.base import Extent, TensorEntry
from wproj.formats.hdf5_filters import inexact_filter
from wproj.formats.hdf5_text import text_of

# A chunk is in memory as a whole, some of its steps twice or thrice. One of more bytes is believed
# if the file has at least the tenth part of it.
_CHUNK_BYTES, _CHUNK_RATIO = 1 << 27, 10
_THIN = 100


class Described(NamedTuple):
    """A dataset, and the bytes that are stored for its values."""

    entry: TensorEntry
    stored: int

    @property
    def is_thin(self) -> bool:
        """Whether nearly nothing is stored of what it claims."""
        return self.entry.nbytes > _THIN * self.stored

    def without_values(self) -> TensorEntry:
        """The same as one whose values are not to be read."""
        claim = f"it claims {self.entry.nbytes} bytes, of which the file has {self.stored}"
        return replace(self.entry, extent=None, obstacle=self.entry.obstacle or claim)


def describe(path: str, dataset: h5py.h5d.DatasetID) -> Described:
    """What the dataset at `path` is; no value is read, and no other file is opened."""
    plist, kind = dataset.get_create_plist(), dataset.get_type()
    shape = _shape(dataset, plist)
    numpy_type = _numpy_type(kind)
    dtype, stored, sort = _dtype(dataset, numpy_type)
    elsewhere = _elsewhere(plist)
    nbytes = 0 if shape is None else int(kind.get_size()) * math.prod(shape)
    size = int(dataset.get_storage_size()) if elsewhere is None and nbytes else 0
    obstacle = (
        ("has no dataspace" if shape is None else elsewhere)
        or _unreadable(numpy_type, dtype, kind)
        or inexact_filter(plist)
        or _chunk_bomb(plist, kind.get_size(), size)
    )
    entry = TensorEntry(
        name=path,
        path=path,
        shape=shape or (),
        dtype=dtype,
        stored=stored,
        kind=sort,
        nbytes=nbytes,
        extent=None if obstacle or size != nbytes else _extent(dataset, plist, stored, size),
        obstacle=obstacle,
    )
    return Described(entry, size)


def _shape(dataset: h5py.h5d.DatasetID, plist: h5py.h5p.PropDCID) -> tuple[int, ...] | None:
    """The shape; None where there is no dataspace.

    HDF5 opens the files that a virtual dataset shows to tell its shape, whatever they are. What
    the dataset was made with is told without them.
    """
    if plist.get_layout() != h5py.h5d.VIRTUAL:
        shape: tuple[int, ...] | None = dataset.shape
        return shape
    if not plist.get_virtual_count():
        return ()
    return tuple(plist.get_virtual_vspace(0).get_simple_extent_dims())


def _numpy_type(kind: h5py.h5t.TypeID) -> np.dtype[Any] | None:
    """NumPy's name for a type; None for those that it does not have, such as times."""
    try:
        dtype: np.dtype[Any] = kind.dtype
    except (TypeError, ValueError):
        return None
    return dtype


def _dtype(
    dataset: h5py.h5d.DatasetID, dtype: np.dtype[Any] | None
) -> tuple[str, np.dtype[Any] | None, Kind]:
    """The name, the stored dtype and the kind; Keras tags opaque bytes with an attribute `dtype`.

    See `_write_h5_dataset` in Keras' saving_lib: bfloat16 has no HDF5 type of its own there.
    """
    if dtype is None or dtype.names or dtype.subdtype or dtype.kind not in "biufcV":
        return _other(dtype), None, "other"
    if dtype.kind == "V":
        tag = text_of(dataset, b"dtype")
        named = extended(tag) if isinstance(tag, str) else None
        if named is not None and named.itemsize == dtype.itemsize:
            return named.name, named, kind_of(named)
        return f"opaque{8 * dtype.itemsize}", None, "other"
    return dtype.newbyteorder("=").name, dtype, kind_of(dtype)


def _other(dtype: np.dtype[Any] | None) -> str:
    """What sort of entries these are that are not numbers."""
    if dtype is None:
        return "other"
    if dtype.names:
        return "compound"
    if dtype.subdtype:
        return "array"
    if h5py.check_string_dtype(dtype):
        return "string"
    if h5py.check_ref_dtype(dtype):
        return "reference"
    return "ragged" if h5py.check_vlen_dtype(dtype) else "other"


def _elsewhere(plist: h5py.h5p.PropDCID) -> str | None:
    """Where the values are, if they are not in the file."""
    if plist.get_external_count() > 0:
        return "its values are in another file"
    if plist.get_layout() == h5py.h5d.VIRTUAL:
        return "its values are in other datasets"
    return None


def _unreadable(dtype: np.dtype[Any] | None, name: str, kind: h5py.h5t.TypeID) -> str | None:
    """Why entries of this type cannot be projected."""
    if name.startswith("opaque"):
        return f"{name}: bytes, as legacy files have bfloat16, and nothing says how to read them"
    if dtype is not None and dtype.kind == "f" and not kind.equal(h5py.h5t.py_create(dtype)):
        return f"its {8 * kind.get_size()}-bit floats are not IEEE floats"
    return None


def _chunk_bomb(plist: h5py.h5p.PropDCID, itemsize: int, stored: int) -> str | None:
    """Why chunks of this size are not unpacked."""
    if plist.get_layout() != h5py.h5d.CHUNKED:
        return None
    nbytes = itemsize * math.prod(plist.get_chunk())
    if nbytes <= max(_CHUNK_BYTES, _CHUNK_RATIO * stored):
        return None
    return f"its chunks claim {nbytes} bytes each, and the file has {stored} of them all"


def _extent(
    dataset: h5py.h5d.DatasetID,
    plist: h5py.h5p.PropDCID,
    stored: np.dtype[Any] | None,
    nbytes: int,
) -> Extent | None:
    """Where contiguous values lie; None where anything about them is out of the ordinary."""
    if stored is None or not nbytes or plist.get_layout() != h5py.h5d.CONTIGUOUS:
        return None
    kind = dataset.get_type()
    same = isinstance(kind, h5py.h5t.TypeOpaqueID) or kind.equal(h5py.h5t.py_create(stored))
    offset = dataset.get_offset()
    return Extent(offset, nbytes) if same and offset is not None else None
