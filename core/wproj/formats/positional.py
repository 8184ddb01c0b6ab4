"""Reading and writing by offset, and copying, with the fastest call that the system has."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wproj.dtypes import Stored
from wproj.errors import FileError
from wproj.formats.base import Extent

_CHUNK = 1 << 24


def open_regular(path: Path, flags: int = os.O_RDONLY) -> int:
    """A descriptor of the regular file at `path`; the caller closes it.

    Raises:
        FileError: It is missing, not readable, or not a regular file.
    """
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise FileError(str(path), "is a directory", "give a safetensors or HDF5 file in it")
        if not stat.S_ISREG(mode):
            raise FileError(str(path), "is not a regular file")
        return os.open(path, flags | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0))
    except FileNotFoundError as error:
        raise FileError(str(path), "there is no such file") from error
    except OSError as error:
        raise FileError(str(path), f"cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # A NUL byte in the path.
        raise FileError(str(path), f"is not a path: {error}") from error


def read_regular(path: Path, limit: int) -> bytes:
    """All of the regular file at `path`.

    Raises:
        FileError: It is missing, not readable, not a regular file, or longer than `limit` bytes.
    """
    descriptor = open_regular(path)
    try:
        size = os.fstat(descriptor).st_size
        if size > limit:
            raise FileError(str(path), f"has {size} bytes, more than the {limit} allowed")
        return read_at(descriptor, 0, size)
    finally:
        os.close(descriptor)


def read_at(descriptor: int, offset: int, count: int) -> bytes:
    """`count` bytes from `offset`, or fewer where the file ends before."""
    parts = []
    while count > 0:
        part = _pread(descriptor, min(count, _CHUNK), offset)
        if not part:
            break
        parts.append(part)
        offset, count = offset + len(part), count - len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def write_at(descriptor: int, offset: int, data: memoryview) -> None:
    """Writes all of `data` at `offset`."""
    while data:
        written = _pwrite(descriptor, data[:_CHUNK], offset)
        offset, data = offset + written, data[written:]


def copy_all(source: int, target: int, size: int) -> None:
    """Copies the first `size` bytes; by the kernel alone where it can, sharing blocks if so."""
    done = 0
    copy_range = getattr(os, "copy_file_range", None)
    while copy_range and done < size:
        try:
            count = copy_range(source, target, size - done, done, done)
        except OSError:
            break  # Not between these file systems; a real fault shows again below.
        if count == 0:
            break
        done += count
    while done < size:
        part = read_at(source, done, min(_CHUNK, size - done))
        if not part:
            raise EOFError("the file became shorter while it was copied")
        write_at(target, done, memoryview(part))
        done += len(part)


@dataclass(frozen=True, slots=True)
class ExtentStore:
    """The values of a tensor that lies in a file in one piece."""

    descriptor: int
    extent: Extent
    stored: np.dtype[Any]

    def read(self, start: int, stop: int) -> Stored:
        """Entries `start` to `stop`."""
        size = self.stored.itemsize
        data = read_at(self.descriptor, self.extent.offset + start * size, (stop - start) * size)
        if len(data) < (stop - start) * size:
            raise EOFError("the file became shorter while it was read")
        values = np.frombuffer(data, self.stored)
        return values.astype(self.stored.newbyteorder("="), copy=False)

    def write(self, start: int, values: Stored) -> None:
        """Stores `values` from entry `start` on."""
        data = np.ascontiguousarray(values, self.stored).reshape(-1).view(np.uint8)
        offset = self.extent.offset + start * self.stored.itemsize
        write_at(self.descriptor, offset, data.data)

    def flush(self) -> None:
        """Has nothing left to hand on."""


def _pread(descriptor: int, count: int, offset: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(descriptor, count, offset)
    os.lseek(descriptor, offset, os.SEEK_SET)  # Windows has no pread.
    return os.read(descriptor, count)


def _pwrite(descriptor: int, data: memoryview, offset: int) -> int:
    if hasattr(os, "pwrite"):
        return os.pwrite(descriptor, data, offset)
    os.lseek(descriptor, offset, os.SEEK_SET)
    return os.write(descriptor, data)
