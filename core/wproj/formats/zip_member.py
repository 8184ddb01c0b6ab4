"""One stored member of a zip archive: its bytes in place, and the checksums that cover them.

Format: PKWARE's APPNOTE 6.3.10, sections 4.3.7 (local header), 4.3.9 (data descriptor) and 4.3.12
(central directory).
"""

import io
import os
import zipfile
import zlib
from dataclasses import dataclass

from wproj.formats.positional import read_at, write_at

_LOCAL, _CENTRAL = 30, 46  # The bytes of both headers before the name.
_DESCRIPTOR = b"PK\x07\x08"
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class StoredMember:
    """Where a member lies that was stored without compression.

    Attributes:
        offset: Where its bytes begin.
        size: How many there are.
        crc: Their CRC-32, as the archive has it.
        checksums: Where the archive has it: in both headers, and behind the bytes.
    """

    offset: int
    size: int
    crc: int
    checksums: tuple[int, ...]

    def measured(self, descriptor: int) -> int:
        """The CRC-32 of the member's bytes."""
        crc = 0
        for start in range(0, self.size, _CHUNK):
            part = read_at(descriptor, self.offset + start, min(_CHUNK, self.size - start))
            crc = zlib.crc32(part, crc)
        return crc

    def seal(self, descriptor: int) -> None:
        """Makes the archive's checksums those of the bytes as they are now."""
        crc = self.measured(descriptor).to_bytes(4, "little")
        for position in self.checksums:
            write_at(descriptor, position, memoryview(crc))


def stored_member(archive: zipfile.ZipFile, name: str, descriptor: int) -> StoredMember | None:
    """The member of this name, if it was stored as it is, in bytes that are its own alone."""
    info = archive.getinfo(name)
    if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
        return None
    local = read_at(descriptor, info.header_offset, _LOCAL)
    central = _central(archive, info, descriptor)
    if local[:4] != b"PK\x03\x04" or len(local) < _LOCAL or central is None:
        return None
    offset = info.header_offset + _LOCAL + _number(local[26:28]) + _number(local[28:30])
    end = offset + info.file_size
    others = [other.header_offset for other in archive.filelist if other is not info]
    if end > archive.start_dir or any(info.header_offset <= at < end for at in others):
        return None
    behind = _behind(info, end, descriptor)
    checksums = (central + 16, behind if info.flag_bits & 8 else info.header_offset + 14)
    return StoredMember(offset, info.file_size, info.CRC, checksums)


def _behind(info: zipfile.ZipInfo, end: int, descriptor: int) -> int:
    """Where the checksum behind the bytes is, which archives written as a stream have."""
    signed = read_at(descriptor, end, 4) == _DESCRIPTOR and _number(_DESCRIPTOR) != info.CRC
    return end + 4 if signed else end


def _central(archive: zipfile.ZipFile, info: zipfile.ZipInfo, descriptor: int) -> int | None:
    """Where the central directory has its record of a member."""
    position = archive.start_dir
    for _ in archive.filelist:
        record = read_at(descriptor, position, _CENTRAL)
        if record[:4] != b"PK\x01\x02":
            return None
        lengths = [_number(record[at : at + 2]) for at in (28, 30, 32)]
        name = read_at(descriptor, position + _CENTRAL, lengths[0])
        if name == info.orig_filename.encode() and _number(record[16:20]) == info.CRC:
            return position
        position += _CENTRAL + sum(lengths)
    return None


def _number(data: bytes) -> int:
    return int.from_bytes(data, "little")


class Section(io.RawIOBase):
    """A part of a file as a stream of its own, to read from any position.

    Attributes:
        fault: What the system said last when it could not read, as libraries may not pass it on.
    """

    def __init__(self, descriptor: int, offset: int, size: int) -> None:
        super().__init__()
        self.fault: OSError | None = None
        self._descriptor, self._offset, self._size, self._at = descriptor, offset, size, 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Moves to a position of the part."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def readinto(self, buffer: object) -> int:
        """Reads as much as there is room for and the part has."""
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type] # any buffer
        count = max(0, min(len(view), self._size - self._at))
        try:
            part = read_at(self._descriptor, self._offset + self._at, count)
        except OSError as error:
            self.fault = error
            raise
        view[: len(part)] = part
        self._at += len(part)
        return len(part)
