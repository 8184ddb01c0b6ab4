"""What is refused of a zip archive before any member of it is read.

Format: PKWARE's APPNOTE 6.3.10, sections 4.3.7 (local header) and 4.4 (fields). An archive says
everything twice, in the central directory and before each member, and readers differ in whom they
believe; names, places and sizes are whatever its writer wanted.
"""

import posixpath
import stat
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

from wproj.errors import FileError, shown
from wproj.formats.positional import read_at

# What inflates to more than this, and a hundredfold, is a bomb.
_BOMB_BYTES, _BOMB_RATIO = 1 << 28, 100
# Others are read in pieces of any size.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1 | 0x40 | 0x2000
_STREAMED, _UTF8 = 0x8, 0x800
_LOCAL = 30  # The bytes of a local header before the name.
_ELSEWHERE = 0xFFFFFFFF  # A size that only the zip64 field has.


def check_archive(path: Path, archive: zipfile.ZipFile, descriptor: int) -> None:
    """Refuses what no writer of Keras archives makes, and what a reader could be hurt by.

    Raises:
        FileError: A member has a name that leads out of the archive or that another has, is a
            link, is encrypted, inflates to too much, or lies where another does; or its two headers
            contradict each other.
    """
    try:
        _check_names(archive.filelist)
        for info in archive.filelist:
            _check_kind(info)
        _check_sizes(archive.filelist, path.stat().st_size)
        _check_places(archive, descriptor)
    except _UnsafeError as error:
        raise FileError(str(path), str(error)) from None


class _UnsafeError(ValueError):
    """What is wrong with an archive, without its name."""


def _check_names(infos: Sequence[zipfile.ZipInfo]) -> None:
    seen: set[str] = set()
    for info in infos:
        name = posixpath.normpath(info.filename.replace("\\", "/"))
        if name in seen:
            raise _UnsafeError(f"holds two members named {_name(info)}")
        if _escapes(info.filename):
            raise _UnsafeError(f"holds the member {_name(info)}, which leaves the archive")
        if "\0" in info.orig_filename:
            raise _UnsafeError(f"holds the member {_name(info)}, whose name has a NUL inside")
        seen.add(name)


def _escapes(name: str) -> bool:
    windows = PureWindowsPath(name)
    absolute = bool(windows.drive or windows.root or PurePosixPath(name).is_absolute())
    return absolute or ".." in windows.parts


def _check_kind(info: zipfile.ZipInfo) -> None:
    if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise _UnsafeError(f"holds {_name(info)}, which is a link or another thing than a file")
    if info.flag_bits & _ENCRYPTED:
        raise _UnsafeError(f"{_name(info)} inside is encrypted")
    if info.compress_type not in _METHODS:
        method = info.compress_type
        raise _UnsafeError(f"{_name(info)} inside is compressed by method {method}, not by deflate")


def _check_sizes(infos: Sequence[zipfile.ZipInfo], whole: int) -> None:
    for info in infos:
        if info.file_size > max(_BOMB_BYTES, _BOMB_RATIO * info.compress_size):
            problem = f"{_name(info)} inside inflates {info.compress_size} bytes to"
            raise _UnsafeError(f"{problem} {info.file_size}")
    total = sum(info.file_size for info in infos)
    if total > max(_BOMB_BYTES, _BOMB_RATIO * whole):
        raise _UnsafeError(f"inflates {whole} bytes to {total}, in {len(infos)} members")


def _check_places(archive: zipfile.ZipFile, descriptor: int) -> None:
    """Every member is where the directory says, once, and before the next one begins."""
    end, before = 0, "the beginning"
    for info in sorted(archive.filelist, key=lambda info: info.header_offset):
        if info.header_offset < end:
            raise _UnsafeError(f"{_name(info)} inside overlaps {before}")
        if info.header_offset >= archive.start_dir:
            raise _UnsafeError(f"{_name(info)} inside is not where the directory has it")
        end = info.header_offset + _local_size(info, descriptor) + info.compress_size
        if end > archive.start_dir:
            raise _UnsafeError(f"{_name(info)} inside ends behind the last member")
        before = _name(info)


def _local_size(info: zipfile.ZipInfo, descriptor: int) -> int:
    """The bytes of a member's own header, which has to say what the directory says of it."""
    name = info.orig_filename.encode("utf-8" if info.flag_bits & _UTF8 else "cp437")
    header = read_at(descriptor, info.header_offset, _LOCAL + len(name))
    if len(header) < _LOCAL + len(name) or header[:4] != b"PK\x03\x04":
        raise _UnsafeError(f"{_name(info)} inside is not where the directory has it")
    fields = [int.from_bytes(header[at : at + 2], "little") for at in (6, 8, 26, 28)]
    flags, method, length, extra = fields
    crc, packed, size = (int.from_bytes(header[at : at + 4], "little") for at in (14, 18, 22))
    same = method == info.compress_type and header[_LOCAL:] == name and length == len(name)
    if not flags & _STREAMED:
        same &= crc == info.CRC
        same &= packed in (info.compress_size, _ELSEWHERE) and size in (info.file_size, _ELSEWHERE)
    if not same or flags & _ENCRYPTED:
        raise _UnsafeError(f"{_name(info)} inside has two headers that differ")
    return _LOCAL + length + extra


def _name(info: zipfile.ZipInfo) -> str:
    """The name of a member, without quotation marks."""
    return shown(info.orig_filename)[1:-1]
