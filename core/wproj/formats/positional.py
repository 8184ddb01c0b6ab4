"""Reading and writing by offset, and copying, with the fastest call that the system has."""

import errno
import itertools
import os
import stat
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wproj.dtypes import Stored
from wproj.errors import FileError
from wproj.formats.base import Extent

_CHUNK = 1 << 24
# So many bytes are copied by one call of the kernel, between which progress is told.
_STRIDE = 1 << 26
# So many bytes are written at once. For more, Linux takes memory in larger blocks, which a virtual
# machine may have given back to its host: to get them again takes longer than to fill them.
_PIECE = 1 << 18
_BLOCK = 1 << 12  # Bytes; of nearly all file systems.
_FICLONE = 0x40049409  # linux/fs.h: share all blocks of another file.
# Without O_NONBLOCK, a FIFO that has taken the place of a file would be waited for.
_FLAGS = sum(getattr(os, f"O_{name}", 0) for name in ("BINARY", "CLOEXEC", "NONBLOCK", "NOCTTY"))
_SEEKING = threading.Lock()


def open_regular(path: Path, flags: int = os.O_RDONLY) -> int:
    """A descriptor of the regular file at `path`; the caller closes it.

    Raises:
        FileError: It is missing, not readable, or not a regular file.
    """
    try:
        _check_regular(path, path.stat().st_mode)  # To open a device can be to do something.
        descriptor = os.open(path, flags | _FLAGS)
        try:
            _check_regular(path, os.fstat(descriptor).st_mode)  # It may be another thing by now.
        except FileError:
            os.close(descriptor)
            raise
        return descriptor
    except FileNotFoundError as error:
        raise FileError(str(path), "there is no such file") from error
    except OSError as error:
        raise unreadable(path, error) from error
    except ValueError as error:  # A NUL byte in the path.
        raise FileError(str(path), f"is not a path: {error}") from error


def unreadable(path: Path, error: OSError) -> FileError:
    """That the system cannot read a file, and why."""
    return FileError(str(path), f"cannot be read: {error.strerror or error}")


def _check_regular(path: Path, mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise FileError(str(path), "is a directory", "give a safetensors or HDF5 file in it")
    if not stat.S_ISREG(mode):
        raise FileError(str(path), "is not a regular file")


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
        written = _pwrite(descriptor, data[:_PIECE], offset)
        offset, data = offset + written, data[written:]


class UnreadError(OSError):
    """What is to be copied cannot be read; the rest of a copy's faults are those of writing."""


def ignore(_nbytes: int) -> None:
    """Takes a note of what is copied, and does nothing about it."""


def copy_range(
    source: int, target: int, start: int, stop: int, copied: Callable[[int], None] = ignore
) -> None:
    """Copies bytes to the same offset of `target`, which is at least as long already.

    By the kernel where it can, sharing whole blocks if the file system does. What is a hole in the
    source remains one. `copied` is told how many bytes are in place, a part after the other.

    Raises:
        EOFError: The source ends before `stop`.
        UnreadError: The system cannot read it.
        OSError: The system cannot write it.
    """
    while start < stop:
        first, last = _data(source, start, stop)
        # Blocks are shared only if the range begins and ends with one.
        inner = -(-first // _BLOCK) * _BLOCK, last // _BLOCK * _BLOCK
        cuts = [first, *inner, last] if inner[0] < inner[1] else [first, last]
        copied(first - start)
        for begin, end in itertools.pairwise(cuts):
            for at in range(begin, end, _STRIDE):
                till = min(at + _STRIDE, end)
                _copy_data(source, target, at, till)
                copied(till - at)
        start = last


def reserve(descriptor: int, start: int, nbytes: int) -> bool:
    """Has the file system set room aside for bytes of a file; False where it cannot.

    Besides, what is written there later is written faster.

    Raises:
        OSError: There is no room.
    """
    if not nbytes:
        return True
    try:
        os.posix_fallocate(descriptor, start, nbytes)
    except AttributeError:  # Not every system has it.
        return False
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
            raise
        return False
    return True


def shares_blocks(source: int, target: int) -> bool:
    """Whether the file system lets the empty file `target` share the blocks of `source`."""
    try:
        import fcntl

        fcntl.ioctl(target, _FICLONE, source)
    except (ImportError, OSError):
        return False
    os.ftruncate(target, 0)
    return True


def _data(descriptor: int, start: int, stop: int) -> tuple[int, int]:
    """Where data begins from `start` on, and where it ends; both `stop` if there is none."""
    if not hasattr(os, "SEEK_DATA"):
        return start, stop
    try:
        first = min(os.lseek(descriptor, start, os.SEEK_DATA), stop)
        return first, min(os.lseek(descriptor, first, os.SEEK_HOLE), stop)
    except OSError as error:
        if error.errno == errno.ENXIO and os.fstat(descriptor).st_size >= stop:
            return stop, stop
        return start, stop


def _copy_data(source: int, target: int, start: int, stop: int) -> None:
    copy = getattr(os, "copy_file_range", None)
    while copy and start < stop:
        try:
            count = copy(source, target, stop - start, start, start)
        except OSError:
            break  # Not between these file systems; a real fault shows again below.
        if count == 0:
            break
        start += count
    while start < stop:
        try:
            part = read_at(source, start, min(_CHUNK, stop - start))
        except OSError as error:
            raise UnreadError(error.errno, error.strerror) from error
        if not part:
            raise EOFError("the file became shorter while it was copied")
        write_at(target, start, memoryview(part))
        start += len(part)


@dataclass(frozen=True, slots=True)
class ExtentStore:
    """The values of a tensor that lies in a file in one piece; `path` is what faults name."""

    path: Path
    descriptor: int
    extent: Extent
    stored: np.dtype[Any]

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype, in native byte order."""
        return self.stored.newbyteorder("=")

    def read(self, start: int, stop: int) -> Stored:
        """Entries `start` to `stop`.

        Raises:
            FileError: The system cannot read them.
            EOFError: The file ends before.
        """
        size = self.stored.itemsize
        offset = self.extent.offset + start * size
        try:
            data = read_at(self.descriptor, offset, (stop - start) * size)
        except OSError as error:
            raise unreadable(self.path, error) from error
        if len(data) < (stop - start) * size:
            raise EOFError("the file became shorter while it was read")
        values = np.frombuffer(data, self.stored)
        return values.astype(self.stored.newbyteorder("="), copy=False)

    def write(self, start: int, values: Stored) -> None:
        """Stores `values` from entry `start` on."""
        data = np.ascontiguousarray(values, self.stored).reshape(-1).view(np.uint8)
        offset = self.extent.offset + start * self.stored.itemsize
        write_at(self.descriptor, offset, data.data)

    def adopt(self, source: "ExtentStore", start: int, stop: int) -> None:
        """Takes over entries `start` to `stop` of the same extent of another file.

        Raises:
            FileError: The system cannot read them there.
            EOFError: That file ends before.
        """
        size, offset = self.stored.itemsize, self.extent.offset
        begin, end = offset + start * size, offset + stop * size
        try:
            copy_range(source.descriptor, self.descriptor, begin, end)
        except UnreadError as error:
            raise unreadable(source.path, error) from error


def _pread(descriptor: int, count: int, offset: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(descriptor, count, offset)
    with _SEEKING:  # Windows has no pread.
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.read(descriptor, count)


def _pwrite(descriptor: int, data: memoryview, offset: int) -> int:
    if hasattr(os, "pwrite"):
        return os.pwrite(descriptor, data, offset)
    with _SEEKING:
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.write(descriptor, data)
