"""Values of a tensor that are in no checkpoint: in memory while they are few, else in a file."""

import os
import tempfile
from contextlib import AbstractContextManager
from typing import Any, Self

import numpy as np

from wproj.dtypes import Stored
from wproj.errors import WriteError
from wproj.formats.base import Store
from wproj.formats.positional import reserve


class Scratch(AbstractContextManager["Scratch"]):
    """The values of one tensor, by flat position: a `Store`; empty at first."""

    def __init__(self, size: int, dtype: np.dtype[Any], in_memory: int) -> None:
        self._file = None
        nbytes = size * dtype.itemsize
        if nbytes <= in_memory:
            self.values: Stored = np.empty(size, dtype)
            return
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 # see __exit__
        try:
            _reserve(self._file.fileno(), nbytes)
            self.values = np.asarray(np.memmap(self._file, np.uint8, "r+", shape=(nbytes,)))
            self.values = self.values.view(dtype)
        except OSError as error:
            self._file.close()
            problem = f"no room for {nbytes} temporary bytes: {error.strerror or error}"
            raise WriteError(tempfile.gettempdir(), problem) from error

    @classmethod
    def like(cls, store: Store, shape: tuple[int, ...], in_memory: int) -> Self:
        """One for values like those of `store`, of a tensor of `shape`."""
        return cls(int(np.prod(shape, dtype=object)), store.dtype, in_memory)

    def __exit__(self, *_error: object) -> None:
        if self._file is not None:
            self._file.close()

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the values."""
        return self.values.dtype

    def read(self, start: int, stop: int) -> Stored:
        """Entries `start` to `stop`: a view of them, to be read only."""
        values = self.values[start:stop]
        values.flags.writeable = False
        return values

    def write(self, start: int, values: Stored) -> None:
        """Stores `values` from entry `start` on."""
        self.values[start : start + len(values)] = values


def _reserve(descriptor: int, nbytes: int) -> None:
    """Makes sure of the room on disk: a mapped file that finds none ends the process."""
    if reserve(descriptor, 0, nbytes):
        return
    zeros = bytes(1 << 20)
    for start in range(0, nbytes, len(zeros)):
        os.write(descriptor, zeros[: nbytes - start])
