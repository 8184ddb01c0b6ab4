"""Texts in the attributes of HDF5 objects."""

import h5py
import numpy as np

from wproj.formats.keras_names import MAX_CONFIG


def text_of(item: h5py.h5g.GroupID | h5py.h5d.DatasetID, name: bytes) -> str | bytes | None:
    """The text of an attribute; None where there is none, or where it is anything else.

    HDF5 crashes on damaged attributes of some other types: they must not be read.
    """
    if not h5py.h5a.exists(item, name):
        return None
    found = h5py.h5a.open(item, name)
    if not isinstance(found.get_type(), h5py.h5t.TypeStringID) or found.shape != ():
        return None
    if found.get_storage_size() > MAX_CONFIG:
        return None
    values = np.zeros((), found.dtype)
    found.read(values)
    text: object = values[()]
    if isinstance(text, bytes) and values.dtype.kind == "O":
        return text.decode("utf-8", "surrogateescape")
    return text if isinstance(text, str | bytes) else None
