"""What there has to be before something is measured: room on the disk, and files."""

import shutil
from collections.abc import Iterable
from pathlib import Path

from commands import OUT, Command, files
from timing import warm
from work import Work, make


def shortage(commands: tuple[Command, ...], folder: Path) -> str | None:
    """What the disk lacks for commands; None if there is room."""
    lacking = space(commands, folder) - shutil.disk_usage(folder).free
    return f"{lacking / 2**30:.1f} GiB more of free disk needed" if lacking > 0 else None


def space(commands: tuple[Command, ...], folder: Path) -> int:
    """Bytes of disk that commands take beyond the files that are there already."""
    works = files(commands)
    new = sum(work.disk for work in works if not (folder / work.name).exists())
    writing = any(OUT in command for command in commands)
    return new + max((work.bytes for work in works if writing), default=0)


def prepare(works: Iterable[Work], folder: Path) -> None:
    """Makes the files that are not there yet, and reads into the page cache what is not sparse."""
    for work in works:
        path = folder / work.name
        if not path.exists():
            make(work, path)
        if work.form != "sparse":
            warm(path)


def discard(folder: Path, wanted: Iterable[Work] = ()) -> None:
    """Removes all files but those that are still wanted."""
    names = {work.name for work in wanted}
    for path in folder.iterdir():
        if path.name not in names:
            path.unlink()
