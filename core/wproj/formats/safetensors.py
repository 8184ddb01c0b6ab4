"""safetensors: a JSON header, then the tensors back to back.

Format: https://github.com/huggingface/safetensors#format. The header is read here, because the
library drops duplicate names and cannot say what is wrong where; the library then has to agree.
"""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from wproj.dtypes import kind_of
from wproj.errors import FileError, shown
from wproj.formats.base import Checkpoint, Extent, Layout, Stores, TensorEntry
from wproj.formats.positional import ExtentStore, open_regular, read_at
from wproj.formats.strict_json import JsonError, parse_json

_MAX_HEADER = 100_000_000
_MAX_RANK = 64  # Of NumPy's arrays.

# Every dtype of the specification: the name of NumPy or ml_dtypes, and the bits of an entry.
_DTYPES = {
    "BOOL": ("bool", 8),
    "U8": ("uint8", 8),
    "I8": ("int8", 8),
    "U16": ("uint16", 16),
    "I16": ("int16", 16),
    "U32": ("uint32", 32),
    "I32": ("int32", 32),
    "U64": ("uint64", 64),
    "I64": ("int64", 64),
    "F16": ("float16", 16),
    "BF16": ("bfloat16", 16),
    "F32": ("float32", 32),
    "F64": ("float64", 64),
    "C64": ("complex64", 64),
    "F8_E4M3": ("float8_e4m3fn", 8),
    "F8_E5M2": ("float8_e5m2", 8),
    "F8_E4M3FNUZ": ("float8_e4m3fnuz", 8),
    "F8_E5M2FNUZ": ("float8_e5m2fnuz", 8),
    "F8_E8M0": ("float8_e8m0fnu", 8),
    "F6_E2M3": ("float6_e2m3fn", 6),
    "F6_E3M2": ("float6_e3m2fn", 6),
    "F4": ("float4_e2m1fn", 4),
}


class _MalformedError(ValueError):
    """What is wrong with a header, without the file's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SafetensorsCheckpoint(Checkpoint):
    """A safetensors file; `entries` are in the order of their bytes."""

    @contextmanager
    def stores(self, path: Path | None = None, *, writable: bool = False) -> Iterator[Stores]:
        """Opens the file, or a copy of it at `path`, and gives access to values by entry."""
        path = path or self.path
        descriptor = open_regular(path, os.O_RDWR if writable else os.O_RDONLY)
        try:
            yield lambda entry: _store(path, descriptor, entry)
        finally:
            os.close(descriptor)


def open_safetensors(path: Path) -> SafetensorsCheckpoint:
    """The tensors that the header of the file at `path` declares.

    Raises:
        FileError: The header is damaged, or does not fit the file.
    """
    descriptor = open_regular(path)
    try:
        problem = _judge(path)  # First, since the memory that it takes serves the other then.
        metadata, entries = _read(descriptor)
        if problem is not None:
            raise _MalformedError(problem)
    except _MalformedError as error:
        raise FileError(str(path), f"is not valid safetensors: {error}") from error
    finally:
        os.close(descriptor)
    layout: Layout = "torch" if metadata.get("format") == "pt" else "unknown"
    return SafetensorsCheckpoint(
        path=path, format="safetensors", layout=layout, entries=tuple(entries)
    )


def _store(path: Path, descriptor: int, entry: TensorEntry) -> ExtentStore:
    if entry.extent is None or entry.stored is None:
        raise FileError(entry.name, f"{entry.dtype} entries cannot be read one by one")
    return ExtentStore(path, descriptor, entry.extent, entry.stored)


def _read(descriptor: int) -> tuple[dict[str, str], list[TensorEntry]]:
    size = os.fstat(descriptor).st_size
    length = int.from_bytes(read_at(descriptor, 0, 8), "little")
    if length > _MAX_HEADER:
        raise _MalformedError(
            f"the header claims {length} bytes, more than the {_MAX_HEADER} allowed"
        )
    if 8 + length > size:
        raise _MalformedError(f"the header claims {length} bytes, the file has {size - 8} after it")
    header = _parse(read_at(descriptor, 8, length))
    metadata = _metadata(header.pop("__metadata__", None))
    start = 8 + length
    # What is read of the header goes as the entries come: it takes as much memory as they do.
    entries = sorted((_entry(name, header.pop(name), start) for name in [*header]), key=_position)
    _check_cover(entries, start, size)
    return metadata, entries


def _position(entry: TensorEntry) -> tuple[int, int]:
    extent = entry.extent or Extent(0, 0)
    return extent.offset, extent.nbytes


def _parse(data: bytes) -> dict[str, Any]:
    try:
        header = parse_json(data, unique=True, constants=False)
    except JsonError as error:
        raise _MalformedError(f"the header {error}") from error
    if not isinstance(header, dict):
        raise _MalformedError("the header is not a JSON object")
    return header


def _metadata(value: object) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
        raise _MalformedError("__metadata__ does not map strings to strings")
    return value


def _entry(name: str, fields: object, start: int) -> TensorEntry:
    if not isinstance(fields, dict):
        raise _MalformedError(f"tensor {shown(name)} is not described by an object")
    code: Any = fields.get("dtype")
    shape: Any = fields.get("shape")
    offsets: Any = fields.get("data_offsets")
    if not isinstance(code, str) or code not in _DTYPES:
        raise _MalformedError(f"tensor {shown(name)} has the unknown dtype {shown(code)}")
    if not _counts(shape):
        raise _MalformedError(f"tensor {shown(name)} has the shape {shown(shape)}")
    if not _counts(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise _MalformedError(f"tensor {shown(name)} has the data_offsets {shown(offsets)}")
    if len(shape) > _MAX_RANK:
        raise _MalformedError(
            f"tensor {shown(name)} has {len(shape)} axes, more than the {_MAX_RANK} of any array"
        )
    dtype, bits = _DTYPES[code]
    nbytes = offsets[1] - offsets[0]
    extent = math.prod(size for size in shape if size)  # NumPy counts the others, too.
    if extent * bits >= 2**66:
        raise _MalformedError(
            f"tensor {shown(name)} has the shape {shown(shape)}, beyond any memory"
        )
    if math.prod(shape) * bits != 8 * nbytes:
        raise _MalformedError(
            f"tensor {shown(name)}: {dtype} of shape {shown(shape)} does not take {nbytes} bytes"
        )
    stored = _numpy(dtype) if bits >= 8 else None
    return TensorEntry(
        name=name,
        path=name,
        shape=tuple(shape),
        dtype=dtype,
        stored=stored,
        kind="packed" if stored is None else kind_of(stored),
        nbytes=nbytes,
        extent=Extent(start + offsets[0], nbytes),
    )


def _counts(value: Any) -> bool:  # noqa: ANN401 # anything that JSON holds
    return isinstance(value, list) and all(type(n) is int and 0 <= n < 2**64 for n in value)


def _numpy(name: str) -> np.dtype[Any]:
    if hasattr(ml_dtypes, name):
        extended: np.dtype[Any] = np.dtype(getattr(ml_dtypes, name))
        return extended
    return np.dtype(name).newbyteorder("<")


def _check_cover(entries: list[TensorEntry], start: int, size: int) -> None:
    """Tensors lie back to back: no holes, no overlaps, nothing behind the last."""
    position, before = start, "the header"
    for entry in entries:
        offset, nbytes = _position(entry)
        if offset < position:
            raise _MalformedError(f"tensor {shown(entry.name)} overlaps {before}")
        if offset > position:
            raise _MalformedError(f"there is a hole of {offset - position} bytes after {before}")
        position, before = offset + nbytes, f"tensor {shown(entry.name)}"
    if position > size:
        raise _MalformedError(f"{before} ends {position - size} bytes behind the end of the file")
    if position < size:
        raise _MalformedError(f"{size - position} bytes follow {before}")


def _judge(path: Path) -> str | None:
    """What the format's own library says against the header: what it refuses is refused."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            file.keys()
    except (SafetensorError, OSError) as error:
        return str(error)
    return None
