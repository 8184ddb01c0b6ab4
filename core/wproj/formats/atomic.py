"""A file is replaced whole or not at all: sibling copy, fsync, rename."""

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from wproj.errors import FileError, TargetError, WriteError
from wproj.formats.positional import copy_all, open_regular

DRAFT = ".wproj-tmp"


@dataclass(slots=True)
class Draft:
    """A copy of a checkpoint beside its target; it becomes the target only if `keep` is set.

    Attributes:
        path: The copy.
        keep: Whether it replaces the target at the end.
    """

    path: Path
    keep: bool = field(default=False)


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
def draft(source: Path, target: Path, *, overwrite: bool) -> Iterator[Draft]:
    """A draft of `target` that starts as a copy of `source`.

    At the end it is synced and renamed onto the target if `keep` is set, and removed otherwise,
    whatever happens in between. Its mode is the old target's, else the source's under the umask.

    Raises:
        WriteError: The system refuses.
        TargetError: Without `overwrite`, the target has appeared in the meantime.
    """
    path = target.with_name(f".{secrets.token_hex(8)}{DRAFT}")
    try:
        mode = copy_file(source, path)
        if target.exists():
            mode = stat.S_IMODE(target.stat().st_mode)
        result = Draft(path)
        yield result
        if result.keep:
            _replace(path, target, mode, overwrite=overwrite)
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


def copy_file(source: Path, path: Path) -> int:
    """Copies the source to a new file, for the owner to write; returns its mode under the umask.

    Raises:
        FileError: The source cannot be read, or became shorter.
    """
    reader = open_regular(source)
    try:
        wanted = stat.S_IMODE(os.fstat(reader).st_mode)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        writer = os.open(path, flags, wanted | stat.S_IRUSR | stat.S_IWUSR)
        try:
            under_umask = wanted & stat.S_IMODE(os.fstat(writer).st_mode)
            copy_all(reader, writer, os.fstat(reader).st_size)
        except EOFError as error:
            raise FileError(str(source), str(error)) from error
        finally:
            os.close(writer)
    finally:
        os.close(reader)
    return under_umask


def _replace(path: Path, target: Path, mode: int, *, overwrite: bool) -> None:
    sync(path)
    path.chmod(mode)
    if overwrite or not _link(path, target):
        if not overwrite and target.exists():
            raise TargetError(str(target), "exists", "--force replaces it")
        path.replace(target)
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


def sync(path: Path) -> None:
    """Waits until the file or directory is on the disk."""
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
