"""The files that the benchmarks work on, as values, and how they are made."""

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import ml_dtypes
import numpy as np
from numpy.typing import NDArray

# The norm that a vector has about, so that each one is outside MaxNorm(2).
NORM = 3.2

# How safetensors calls a dtype.
CODES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}

CHUNK_BYTES = 2**20

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Work:
    """A file of `count` matrices of one shape; `form` says how it is written."""

    name: str
    count: int
    rows: int
    columns: int
    dtype: str = "float32"
    form: str = "safetensors"

    @property
    def type(self) -> np.dtype[Any]:
        """The dtype, those of ml_dtypes among them."""
        return np.dtype(getattr(ml_dtypes, self.dtype, self.dtype))

    @property
    def tensor_bytes(self) -> int:
        """The bytes of one tensor."""
        return self.rows * self.columns * self.type.itemsize

    @property
    def bytes(self) -> int:
        """The bytes of all tensors, and so about those of the file and of what is made of it."""
        return self.count * self.tensor_bytes

    @property
    def disk(self) -> int:
        """The bytes that the file takes on a disk."""
        return self.bytes // self.rows if self.form == "sparse" else self.bytes

    def scaled(self, divisor: int) -> "Work":
        """The same number of tensors with fewer entries, rows and columns alike.

        >>> W.scaled(16).rows, W.scaled(16).columns
        (1024, 1024)
        """
        rows, columns = (
            max(1, round(length / math.sqrt(divisor))) for length in (self.rows, self.columns)
        )
        return replace(self, rows=rows, columns=columns)

    def half(self) -> "Work":
        """A file of the same with half as many tensors."""
        return replace(self, name=f"half_{self.name}", count=self.count // 2)


def make(work: Work, path: Path) -> None:
    """Writes the file."""
    FORMS[work.form](work, path)


def matrices(work: Work) -> Iterator[Array]:
    """Its tensors, one after the other: entries N(0, s^2), s such that no vector is inside.

    For 4096 x 4096, s is 0.05.
    """
    rng = np.random.default_rng(0)
    scale = np.float32(NORM / math.sqrt(min(work.rows, work.columns)))
    for _ in range(work.count):
        values = rng.standard_normal((work.rows, work.columns), np.float32)
        values *= scale
        yield values.astype(work.type, copy=False)


def names(work: Work) -> list[str]:
    """The names of its tensors."""
    return [f"layers.{i}.weight" for i in range(work.count)]


def header(work: Work) -> bytes:
    """How a safetensors file of its tensors begins."""
    described = {
        name: {
            "dtype": CODES[work.dtype],
            "shape": [work.rows, work.columns],
            "data_offsets": [i * work.tensor_bytes, (i + 1) * work.tensor_bytes],
        }
        for i, name in enumerate(names(work))
    }
    text = json.dumps(described).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def make_safetensors(work: Work, path: Path) -> None:
    """A safetensors file, one tensor in memory at a time."""
    with path.open("wb") as file:
        file.write(header(work))
        for values in matrices(work):
            file.write(values.view(np.uint8).data)


def make_sparse(work: Work, path: Path) -> None:
    """A safetensors file in which only the first row of each tensor is on the disk.

    All else is holes, which read as zeros. Every column is outside because of its first entry.
    """
    row = np.full(work.columns, NORM, work.type).tobytes()
    beginning = header(work)
    with path.open("wb") as file:
        file.write(beginning)
        for i in range(work.count):
            file.seek(len(beginning) + i * work.tensor_bytes)
            file.write(row)
        file.truncate(len(beginning) + work.bytes)


def make_contiguous(work: Work, path: Path) -> None:
    """An HDF5 file of contiguous datasets."""
    with h5py.File(path, "w") as file:
        for name, values in zip(names(work), matrices(work), strict=True):
            file.create_dataset(name, data=values)


def make_gzip(work: Work, path: Path) -> None:
    """An HDF5 file of datasets in chunks of whole rows, shuffled, compressed at level 1."""
    rows = max(1, min(work.rows, CHUNK_BYTES // (work.columns * work.type.itemsize)))
    packing = {"chunks": (rows, work.columns), "compression": 1, "shuffle": True}
    with h5py.File(path, "w") as file:
        for name, values in zip(names(work), matrices(work), strict=True):
            file.create_dataset(name, data=values, **packing)


FORMS: dict[str, Callable[[Work, Path], None]] = {
    "safetensors": make_safetensors,
    "sparse": make_sparse,
    "hdf5": make_contiguous,
    "gzip": make_gzip,
}

# The standard work: 2 GiB in 32 tensors of 64 MiB.
W = Work("w.safetensors", 32, 4096, 4096)
BF16 = replace(W, name="bf16.safetensors", dtype="bfloat16")
F16 = replace(W, name="f16.safetensors", dtype="float16")
HDF5 = replace(W, name="contiguous.h5", form="hdf5")
GZIP = replace(W, name="gzip.h5", form="gzip")
MANY = Work("many.safetensors", 4096, 512, 256)
SPARSE = Work("sparse.safetensors", 256, 4096, 4096, form="sparse")
ONE = Work("one.safetensors", 1, 2**19, 4096, form="sparse")
SMALL = Work("small.safetensors", 6, 64, 64)
