"""A file is replaced whole or not at all: sibling copy, fsync, rename."""

import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from wproj.errors import FileError, TargetError, WriteError
from wproj.formats.base import Extent
from wproj.formats.leftovers import draft_name
from wproj.formats.positional import (
    UnreadError,
    copy_range,
    ignore,
    open_regular,
    reserve,
    shares_blocks,
    unreadable,
)
from wproj.formats.stamps import Stamp, check_stamps
from wproj.formats.syncing import sync, syncing


@dataclass(slots=True)
class Draft:
    """A copy of a checkpoint beside its target; it becomes the target only if `keep` is set.

    Attributes:
        path: The copy.
        keep: Whether it replaces the target at the end.
        leave: Whether it is left for another run to go on with, if it is not kept.
        changed: The members that differ from the original, where it has members.
    """

    path: Path
    keep: bool = field(default=False)
    leave: bool = field(default=False)
    changed: set[str] = field(default_factory=set)


def check_target(source: Path, target: Path, *, overwrite: bool, in_place: bool) -> None:
    """Refuses targets that wproj does not write to, before any work is done.

    Raises:
        TargetError: The target is the source (also by link) without `in_place`, exists without
            `overwrite`, or is not a regular file.
    """
    try:
        mode = target.lstat().st_mode
    except FileNotFoundError:
        if not target.parent.is_dir():
            raise WriteError(str(target), f"there is no directory {target.parent}") from None
        return
    except OSError as error:
        raise WriteError(str(target), error.strerror or str(error)) from error
    if stat.S_ISLNK(mode):
        problem = "is a symbolic link, and links are never written through"
        raise TargetError(str(target), problem, "name the file that it points to")
    if not stat.S_ISREG(mode):
        raise TargetError(str(target), "exists and is not a regular file", "choose another name")
    with suppress(OSError):
        if source.samefile(target) and not in_place:
            raise TargetError(str(target), "is the file that is read", "--in-place replaces it")
    if not (overwrite or in_place):
        raise TargetError(str(target), "exists", "--force replaces it")


@contextmanager
def draft(
    source: Path,
    target: Path,
    *,
    overwrite: bool,
    holes: Sequence[Extent] = (),
    stamps: Mapping[Path, Stamp] = MappingProxyType({}),
    durable: bool = True,
    copied: Callable[[int], None] = ignore,
) -> Iterator[Draft]:
    """A draft of `target` that starts as a copy of `source`, but for the bytes of `holes`.

    At the end it is synced, if it is to be `durable`, and renamed onto the target if `keep` is set;
    it is removed otherwise, whatever happens in between. Its mode is the old target's, else the
    source's under the umask. The files of `stamps` have to be unchanged until then. `copied` is
    told how many bytes are copied, a part after the other.

    Raises:
        WriteError: The system refuses, or the disk has no room for it.
        TargetError: Without `overwrite`, the target has appeared in the meantime.
        FileError: The source cannot be read.
    """
    path = target.with_name(draft_name())
    try:
        check_room(target.parent, [(source, holes)])
        mode = copy_file(source, path, holes, copied)
        if target.exists():
            mode = stat.S_IMODE(target.stat().st_mode)
        result = Draft(path)
        with syncing([path] if durable else []):
            yield result
        if result.keep:
            if durable:
                sync(path)
            check_stamps(stamps)
            _replace(path, target, mode, overwrite=overwrite, durable=durable)
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise WriteError(str(target), reason(error)) from error
    finally:
        with suppress(OSError):
            path.unlink()


def reason(error: OSError) -> str:
    """What the system says of a fault."""
    return error.strerror or str(error)


def copy_file(
    source: Path,
    path: Path,
    holes: Sequence[Extent] = (),
    copied: Callable[[int], None] = ignore,
) -> int:
    """Copies the source to a new file, for the owner to write; returns its mode under the umask.

    The bytes of `holes` are not copied: they are for somebody else to write.

    Raises:
        FileError: The source cannot be read, or became shorter.
        OSError: The system refuses.
    """
    reader = open_regular(source)
    try:
        found = os.fstat(reader)
        wanted = stat.S_IMODE(found.st_mode)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        writer = os.open(path, flags, wanted | stat.S_IRUSR | stat.S_IWUSR)
        try:
            os.ftruncate(writer, found.st_size)
            if not _has_holes(found):
                for hole in holes:
                    reserve(writer, hole.offset, hole.nbytes)
            for start, stop in _between(holes, found.st_size):
                copy_range(reader, writer, start, stop, copied)
        except EOFError as error:
            raise FileError(str(source), str(error)) from error
        except UnreadError as error:
            raise unreadable(source, error) from error
        finally:
            os.close(writer)
    finally:
        os.close(reader)
    return mode_under_umask(source, path)


def _has_holes(found: os.stat_result) -> bool:
    """Whether a file takes less room than it has bytes; so should its copy."""
    return getattr(found, "st_blocks", 0) * 512 < found.st_size


def mode_under_umask(source: Path, copy: Path) -> int:
    """The mode of the source, as far as the umask let `copy_file` have it for a copy."""
    return stat.S_IMODE(source.stat().st_mode) & stat.S_IMODE(copy.stat().st_mode)


def check_room(folder: Path, copies: Sequence[tuple[Path, Sequence[Extent]]]) -> None:
    """Refuses to copy files to a folder whose disk has no room, before the first byte is written.

    Where the file system shares blocks, only the holes need room, which are written anew.

    Raises:
        OSError: There is too little room.
    """
    needed = sum(path.stat().st_size for path, _ in copies)
    free = shutil.disk_usage(folder).free
    if copies and free < needed and _shares(copies[0][0], folder):
        needed = sum(hole.nbytes for _, holes in copies for hole in holes)
    if free < needed:
        raise OSError(errno.ENOSPC, f"{needed} bytes are needed, and the disk has {free} left")


def _shares(source: Path, folder: Path) -> bool:
    with source.open("rb") as file, tempfile.TemporaryFile(dir=folder) as other:
        return shares_blocks(file.fileno(), other.fileno())


def _between(holes: Sequence[Extent], size: int) -> Iterator[tuple[int, int]]:
    """What lies between the holes, from and to."""
    start = 0
    for hole in sorted(holes, key=lambda hole: hole.offset):
        yield start, hole.offset
        start = hole.offset + hole.nbytes
    yield start, size


def _replace(path: Path, target: Path, mode: int, *, overwrite: bool, durable: bool) -> None:
    path.chmod(mode)
    if overwrite or not _link(path, target):
        if not overwrite and target.exists():
            raise TargetError(str(target), "exists", "--force replaces it")
        path.replace(target)
    if durable:
        with suppress(OSError):  # Not every system lets a directory be opened.
            sync(target.parent)


def _link(path: Path, target: Path) -> bool:
    """Gives the draft its name unless that exists; False where there are no hard links."""
    try:
        os.link(path, target)
    except FileExistsError as error:
        raise TargetError(str(target), "exists", "--force replaces it") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise
        return False
    return True
