"""What tells whether a file was written to, or replaced, since it was opened."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from wproj.errors import FileError


class Stamp(NamedTuple):
    """The number of a file, its bytes, and when it was last changed, in nanoseconds."""

    number: int
    size: int
    changed: int


def stamp_of(path: Path) -> Stamp:
    """What tells a file from another, and from what it was.

    Raises:
        FileError: It is gone.
    """
    try:
        found = path.stat()
    except FileNotFoundError as error:
        raise FileError(str(path), "there is no such file") from error
    except OSError as error:
        problem = f"cannot be read: {error.strerror or error}"
        raise FileError(str(path), problem) from error
    return Stamp(found.st_ino, found.st_size, found.st_mtime_ns)


@contextmanager
def unchanged(stamps: Mapping[Path, Stamp]) -> Iterator[None]:
    """Makes sure that files are as they were, at the beginning and at the end.

    Raises:
        FileError: One is not.
    """
    check_stamps(stamps)
    yield
    check_stamps(stamps)


def check_stamps(stamps: Mapping[Path, Stamp]) -> None:
    """Makes sure that files are as they were.

    Raises:
        FileError: One is not.
    """
    for path, stamp in stamps.items():
        if stamp_of(path) != stamp:
            problem = "was changed by another process while it was read"
            raise FileError(str(path), problem, "run again when it is complete")
