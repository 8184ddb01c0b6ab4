"""HDF5 of any shape that h5py opens; contiguous data is read and written by offset.

Everything else (compact, chunked, compressed) goes through h5py. Only hard links are followed: a
soft or external link names data that is elsewhere, perhaps in another file.
"""

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np

from wproj.dtypes import Kind, extended, kind_of
from wproj.errors import FileError
from wproj.formats.base import Extent, PackedStore, Store, Stores, TensorEntry
from wproj.formats.hdf5_store import (
    FAULTS,
    DatasetStore,
    abandon,
    first_line,
    make_room,
    room_for,
    writing,
)
from wproj.formats.keras_legacy import legacy_layout
from wproj.formats.keras_names import MAX_CONFIG
from wproj.formats.keras_weights import KerasWeights
from wproj.formats.positional import ExtentStore, open_regular

# One band of chunks across a wide matrix has to stay decompressed while its rows go by.
_CHUNK_CACHE = 64 << 20
_CHUNK_SLOTS = 10_007

# Attributes of Keras 1 and 2 and of what Keras 3 calls legacy; the last is of Keras before 1.0.
_LEGACY = frozenset({"model_config", "layer_names", "layer_names0", "nb_layers"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Hdf5Checkpoint(KerasWeights):
    """An HDF5 file; `entries` are in the order of the tree, numbers in names counted as such."""

    @contextmanager
    def stores(self, path: Path | None = None, *, writable: bool = False) -> Iterator[Stores]:
        """Opens the file, or a copy of it at `path`, and gives access to values by entry."""
        path = path or self.path
        with ExitStack() as stack:
            descriptor = open_regular(path, os.O_RDWR if writable else os.O_RDONLY)
            stack.callback(os.close, descriptor)
            file: h5py.File | None = None
            reserved: set[str] = set()

            def store(entry: TensorEntry) -> Store | PackedStore:
                nonlocal file
                if entry.extent is not None and entry.stored is not None:
                    return ExtentStore(descriptor, entry.extent, entry.stored)
                if file is None:
                    opening = _patched(path, descriptor) if writable else _open(path, "r")
                    file = stack.enter_context(opening)
                try:
                    dataset = file[entry.path]
                except FAULTS as error:
                    raise FileError(str(path), f"is damaged HDF5: {first_line(error)}") from error
                if writable and entry.path not in reserved:
                    reserved.add(entry.path)
                    make_room(descriptor, room_for(dataset))
                return DatasetStore(dataset, entry)

            yield store


def open_hdf5(path: Path, stream: BinaryIO | None = None) -> Hdf5Checkpoint:
    """The datasets of the file at `path`, or of the file that `stream` reads.

    Raises:
        FileError: It is damaged, locked by another process, or not HDF5.
    """
    with _open(path, "r", stream) as file:
        try:
            entries, labels, notes = _walk(file)
            legacy = _is_legacy(file)
            config = _text(file, "model_config")
            if config is None and "model_config" in file.attrs:
                notes.append("the attribute model_config is not the text of a config")
        except FAULTS as error:
            raise FileError(str(path), f"is damaged HDF5: {first_line(error)}") from error
    keras = legacy or any(re.search(r"[/\\]vars[/\\]\d+$", f"/{entry.path}") for entry in entries)
    checkpoint = Hdf5Checkpoint(
        path=path,
        format="hdf5",
        layout=legacy_layout(entries) if keras else "unknown",
        entries=tuple(entries),
        notes=tuple(notes),
        labels=labels,
    )
    return checkpoint.named_by(config, "the attribute model_config") if keras else checkpoint


def _is_legacy(file: h5py.File) -> bool:
    """Whether a version of Keras before `.weights.h5` has left its attributes here.

    Names that are too long for one attribute are in several, the first of which ends in 0.
    """
    roots = [file]
    if file.get("model_weights", getclass=True, getlink=True) is h5py.HardLink:
        roots.append(file["model_weights"])
    return any(not _LEGACY.isdisjoint(root.attrs) for root in roots)


def _text(item: h5py.HLObject, name: str) -> str | bytes | None:
    """The text of an attribute; None where there is none, or where it is anything else.

    HDF5 crashes on damaged attributes of some other types: they must not be read.
    """
    if name not in item.attrs:
        return None
    found = item.attrs.get_id(name)
    if not isinstance(found.get_type(), h5py.h5t.TypeStringID) or found.shape != ():
        return None
    text = item.attrs[name] if found.get_storage_size() <= MAX_CONFIG else None
    return text if isinstance(text, str | bytes) else None


def _open(path: Path, mode: str, stream: BinaryIO | None = None) -> h5py.File:
    try:
        return h5py.File(stream or path, mode, rdcc_nbytes=_CHUNK_CACHE, rdcc_nslots=_CHUNK_SLOTS)
    except BlockingIOError as error:
        raise FileError(
            str(path),
            "is being written by another process",
            "wait until it is closed; on file systems without locks, set "
            "HDF5_USE_FILE_LOCKING=FALSE",
        ) from error
    except FAULTS as error:
        raise FileError(str(path), f"is damaged HDF5: {first_line(error)}") from error


@contextmanager
def _patched(path: Path, descriptor: int) -> Iterator[h5py.File]:
    """The file, to write to; `descriptor` is of the same file, which is cut off where it ends."""
    file = _open(path, "r+")
    try:
        yield file
        with writing():
            file.flush()  # h5py does not tell of what fails while it closes.
        os.ftruncate(descriptor, file.id.get_filesize())
    except BaseException:
        abandon(file)
        raise
    file.close()


def _natural(name: str | bytes) -> list[tuple[int, int, str]]:
    """A key that sorts `vars/10` behind `vars/2`; h5py has names that are not UTF-8 as bytes."""
    if not isinstance(name, str):
        return [(2, 0, repr(name))]
    return [
        (0, int(part), "") if part.isdecimal() else (1, 0, part)
        for part in re.split(r"(\d+)", name)
        if part
    ]


def _walk(file: h5py.File) -> tuple[list[TensorEntry], dict[str, str], list[str]]:
    """All datasets that hard links reach, each once; layer names; links that are not followed."""
    entries: dict[int, TensorEntry] = {}
    labels: dict[str, str] = {}
    notes: list[str] = []
    seen = {h5py.h5o.get_info(file.id).addr}
    stack: list[tuple[str, h5py.Group]] = [("", file)]
    while stack:
        prefix, group = stack.pop()
        label = _text(group, "name") if prefix.endswith("/vars/") else None
        if isinstance(label, str):
            labels[prefix.removesuffix("/vars/")] = label
        below: list[tuple[str, h5py.Group]] = []
        for name in sorted(group, key=_natural):
            path = f"{prefix}{name if isinstance(name, str) else repr(name)}"
            problem = _refusal(group, name)
            if problem is not None:
                notes.append(f"{path} is {problem} and is not followed")
                continue
            child = group[name]
            address = h5py.h5o.get_info(child.id).addr
            if address in entries:
                known = entries[address]
                entries[address] = replace(known, aliases=(*known.aliases, path))
            elif isinstance(child, h5py.Dataset):
                entries[address] = _entry(path, child)
            elif isinstance(child, h5py.Group) and address not in seen:
                seen.add(address)
                below.append((f"{path}/", child))
        stack.extend(reversed(below))
    return list(entries.values()), labels, notes


def _refusal(group: h5py.Group, name: str | bytes) -> str | None:
    """What a name in a group is, if it is not followed; told without opening its target."""
    if not isinstance(name, str):
        return "not UTF-8"
    kinds = {h5py.SoftLink: "a soft link", h5py.ExternalLink: "an external link"}
    link = group.get(name, getlink=True)
    return None if type(link) is h5py.HardLink else kinds.get(type(link), "a user-defined link")


def _entry(path: str, dataset: h5py.Dataset) -> TensorEntry:
    dtype, stored, kind = _dtype(dataset)
    return TensorEntry(
        name=path,
        path=path,
        shape=dataset.shape or (),
        dtype=dtype,
        stored=stored,
        kind=kind,
        nbytes=dataset.id.get_type().get_size() * (dataset.size or 0),
        extent=_extent(dataset, stored),
        obstacle=_obstacle(dataset),
    )


def _dtype(dataset: h5py.Dataset) -> tuple[str, np.dtype[Any] | None, Kind]:
    """The name, the stored dtype and the kind; Keras tags opaque bytes with an attribute `dtype`.

    See `_write_h5_dataset` in Keras' saving_lib: bfloat16 has no HDF5 type of its own there.
    """
    dtype = dataset.dtype
    if dtype.kind == "V" and dtype.names is None:
        tag = _text(dataset, "dtype")
        named = extended(tag) if isinstance(tag, str) else None
        if named is not None and named.itemsize == dtype.itemsize:
            return named.name, named, kind_of(named)
        return f"opaque{8 * dtype.itemsize}", None, "other"
    if dtype.names or dtype.kind not in "biufc":
        return _other(dtype), None, "other"
    return dtype.newbyteorder("=").name, dtype, kind_of(dtype)


def _other(dtype: np.dtype[Any]) -> str:
    """What sort of entries these are that are not numbers."""
    if dtype.names:
        return "compound"
    if h5py.check_string_dtype(dtype):
        return "string"
    if h5py.check_ref_dtype(dtype):
        return "reference"
    return "ragged" if h5py.check_vlen_dtype(dtype) else "other"


def _obstacle(dataset: h5py.Dataset) -> str | None:
    """Why the values of a dataset cannot be projected, as far as its storage says."""
    if dataset.shape is None:
        return "has no dataspace"
    if dataset.external:
        return "its values are in another file"
    if dataset.is_virtual:
        return "its values are in other datasets"
    if dataset.dtype.kind == "V" and dataset.dtype.names is None and _dtype(dataset)[1] is None:
        name = f"opaque{8 * dataset.dtype.itemsize}"
        return f"{name}: bytes, as legacy files have bfloat16, and nothing says how to read them"
    if dataset.scaleoffset is not None:
        return "the scale-offset filter would change what is stored"
    if dataset.dtype.kind == "f" and dataset.id.get_type().get_size() != dataset.dtype.itemsize:
        return f"its {8 * dataset.id.get_type().get_size()}-bit floats are not IEEE floats"
    return None


def _extent(dataset: h5py.Dataset, stored: np.dtype[Any] | None) -> Extent | None:
    """Where contiguous values lie; None where anything about them is out of the ordinary."""
    if stored is None or dataset.shape is None or not dataset.size:
        return None
    plain = dataset.id.get_create_plist().get_layout() == h5py.h5d.CONTIGUOUS
    if not plain or dataset.external or dataset.is_virtual:
        return None
    nbytes = dataset.size * dataset.dtype.itemsize
    same = dataset.id.get_type().equal(h5py.h5t.py_create(dataset.dtype))
    opaque = dataset.dtype.kind == "V"
    if dataset.id.get_storage_size() != nbytes or not (same or opaque):
        return None
    offset = dataset.id.get_offset()
    return None if offset is None else Extent(offset, nbytes)
