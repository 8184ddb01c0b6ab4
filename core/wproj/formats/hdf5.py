"""HDF5 of any shape that h5py opens; contiguous data is read and written by offset.

Everything else (compact, chunked, compressed) goes through h5py.
"""

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import h5py

from wproj.errors import FileError
from wproj.formats.base import PackedStore, Store, Stores, TensorEntry
from wproj.formats.hdf5_store import (
    FAULTS,
    DatasetStore,
    abandon,
    first_line,
    make_room,
    room_for,
    writing,
)
from wproj.formats.hdf5_text import text_of
from wproj.formats.hdf5_walk import DamageError, walk
from wproj.formats.keras_legacy import legacy_layout
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
                    return ExtentStore(path, descriptor, entry.extent, entry.stored)
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
            found = walk(file)
            legacy = _is_legacy(file)
            config = text_of(file.id, b"model_config")
            lost = config is None and "model_config" in file.attrs
        except DamageError as error:
            raise FileError(str(path), f"is damaged HDF5, or made to do harm: {error}") from error
        except FAULTS as error:
            raise FileError(str(path), f"is damaged HDF5: {first_line(error)}") from error
    entries = tuple(found.entries)
    keras = legacy or any(re.search(r"[/\\]vars[/\\]\d+$", f"/{entry.path}") for entry in entries)
    unread = ("the attribute model_config is not the text of a config",) if lost else ()
    checkpoint = Hdf5Checkpoint(
        path=path,
        format="hdf5",
        layout=legacy_layout(entries) if keras else "unknown",
        entries=entries,
        notes=(*found.notes, *unread),
        labels=found.labels,
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
