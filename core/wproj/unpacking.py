"""Tensors that HDF5 holds in chunks: each chunk is unpacked once, and packed once if it changed."""

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from wproj.dtypes import same_bytes
from wproj.formats.base import PackedStore, Store
from wproj.numerics.vectors import Each
from wproj.scratch import Scratch

Box = tuple[slice, ...]


@contextmanager
def unpacked(store: Store | PackedStore, each: Each, in_memory: int) -> Iterator[Store]:
    """The values of a tensor by flat position: as they are, or unpacked.

    Those are in memory if they are at most `in_memory` bytes, else in a temporary file.

    Raises:
        TensorError: They cannot be unpacked.
        WriteError: There is no room for them.
    """
    if not isinstance(store, PackedStore):
        yield store
        return
    with blank_like(store, in_memory) as scratch:
        values = scratch.values.reshape(store.entry.shape)

        def fetch(box: Box) -> None:
            values[box] = store.read_box(box)

        for _ in each(fetch, store.boxes()):
            pass
        yield scratch


def blank_like(store: PackedStore, in_memory: int) -> Scratch:
    """Room for the values of a tensor."""
    entry = store.entry
    assert entry.stored is not None  # noqa: S101 # entries without one are never opened
    dtype = entry.stored.newbyteorder("=")
    return Scratch(entry.nbytes // dtype.itemsize, dtype, in_memory)


def pack(store: PackedStore, old: Store, new: Scratch, each: Each, *, verify: bool) -> None:
    """Stores the boxes of a tensor in which `new` differs from `old`, which is there now.

    Raises:
        OSError: They cannot be written, or read back as something else.
    """
    shape, size = store.entry.shape, new.values.size
    before, after = old.read(0, size).reshape(shape), new.values.reshape(shape)

    def prepare(box: Box) -> Callable[[], None] | None:
        return None if unchanged(box) else store.prepare_box(box, after[box])

    def is_stored(box: Box) -> bool:
        return unchanged(box) or same_bytes(store.read_box(box), after[box])

    def unchanged(box: Box) -> bool:
        return same_bytes(before[box], after[box])

    for put in each(prepare, store.boxes()):
        if put is not None:
            put()
    store.flush()
    if verify and not all(each(is_stored, store.boxes())):
        raise OSError(errno.EIO, "what was written reads back as something else")
