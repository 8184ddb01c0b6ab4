"""Checkpoints of several files: copied to a folder that appears whole, under its final name."""

import os
import shutil
import stat
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import MappingProxyType

from wproj.errors import FileError, PartlyWrittenError, TargetError, WriteError
from wproj.formats.atomic import (
    Draft,
    check_room,
    copy_file,
    mode_under_umask,
    reason,
)
from wproj.formats.base import Extent
from wproj.formats.leftovers import DRAFT, draft_name
from wproj.formats.stamps import Stamp, check_stamps
from wproj.formats.syncing import sync, syncing

_NO_LINKS = "copy the folder with 'cp -rL' first"
_OWN_LINKS = f"if what it leads to belongs to the model, {_NO_LINKS}"


def names_in(folder: Path) -> list[str]:
    """The names of what is directly in a folder, sorted.

    Raises:
        FileError: It cannot be read.
    """
    try:
        return sorted(path.name for path in folder.iterdir())
    except OSError as error:
        raise FileError(str(folder), f"cannot be read: {reason(error)}") from error


def files_below(
    folder: Path, *, apart: Collection[str] = (), follow: Callable[[Path], bool] | None = None
) -> list[str]:
    """The files in a folder and the folders in it, by their path from there, sorted.

    What is directly in it under a name of `apart` is left out, and so are drafts that a killed
    run left behind. A link to a regular file is a file if `follow` takes what it finally leads to.

    Raises:
        FileError: There are other links, or other things that are neither file nor folder.
    """
    found = []
    for parent, folders, files in os.walk(folder, onerror=_refuse):
        here = Path(parent)
        left_out = apart if here == folder else ()
        folders[:] = [n for n in folders if n not in left_out and not n.endswith(DRAFT)]
        kept = [n for n in files if n not in left_out and not n.endswith(DRAFT)]
        for name in (*folders, *kept):
            _check_kind(folder, here / name, follow)
        found += [(here / name).relative_to(folder).as_posix() for name in kept]
    return sorted(found)


def _check_kind(folder: Path, path: Path, follow: Callable[[Path], bool] | None) -> None:
    mode = path.lstat().st_mode
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return
    name = path.relative_to(folder).as_posix()
    if not stat.S_ISLNK(mode):
        raise FileError(str(folder), f"holds {name}, which is not a file", _NO_LINKS)
    if follow is None:
        raise FileError(str(folder), f"holds {name}, which is a link", _NO_LINKS)
    try:
        end = Path(os.path.realpath(path, strict=True))
    except OSError as error:
        problem = f"holds {name}, which is a link that leads nowhere: {reason(error)}"
        raise FileError(str(folder), problem, "fetch what is missing, or remove the link") from None
    if not end.is_file():
        raise FileError(str(folder), f"holds {name}, which is a link to no file", _OWN_LINKS)
    if not follow(end):
        problem = f"holds {name}, which is a link to {end}, a file from elsewhere"
        raise FileError(str(folder), problem, _OWN_LINKS)


def _refuse(error: OSError) -> None:
    raise FileError(str(error.filename), f"cannot be read: {reason(error)}") from error


def check_folder(whole: Path | None, target: Path, *, in_place: bool) -> None:
    """Refuses what wproj does not write a folder to, before any work is done.

    `whole` is the folder all of which is read, if one is.

    Raises:
        TargetError: There is something already, or it lies in the folder that is read.
    """
    if in_place:
        return
    if os.path.lexists(target):
        problem = "exists, and a checkpoint of several files never replaces anything"
        raise TargetError(str(target), problem, "name a folder that does not exist yet")
    if target.suffix in (".json", ".safetensors"):
        problem = "names a file, but a checkpoint of several files is written as a folder"
        raise TargetError(str(target), problem, f"for example -o {target.with_suffix('')}")
    if not target.parent.is_dir():
        raise WriteError(str(target), f"there is no directory {target.parent}")
    if whole is not None and target.parent.resolve().is_relative_to(whole.resolve()):
        raise TargetError(str(target), "is inside of the folder that is read")


@contextmanager
def draft_folder(
    source: Path,
    members: Sequence[str],
    target: Path,
    *,
    in_place: bool,
    written: Mapping[str, Sequence[Extent]],
    begun: tuple[Path, Collection[str]] | None = None,
    stamps: Mapping[Path, Stamp] = MappingProxyType({}),
    durable: bool = True,
    copied: Callable[[str, int], None] = lambda _member, _nbytes: None,
) -> Iterator[Draft]:
    """A draft of the folder `target` that starts with copies of `members` of `source`.

    `written` are the members that will be written to, and the bytes in them that are not copied.
    `begun` is the draft of an interrupted run that this one goes on with, and the members in it
    that are finished. At the end, if `keep` is set, all of it is synced and gets its name in one
    step; with `in_place`, each member of `changed` replaces the original instead, one after the
    other. The files of `stamps` have to be unchanged until then. Otherwise the draft is removed,
    whatever happens in between, unless `leave` is set. `copied` is told of a member, and how many
    more bytes of it are copied.

    Raises:
        WriteError: The system refuses, or the disk has no room for it.
        TargetError: The target has appeared in the meantime, or a member is a link.
        FileError: A member cannot be read.
    """
    fresh = (source if in_place else target.parent) / draft_name()
    beside, done = begun or (fresh, ())
    result = Draft(beside, leave=begun is not None)
    try:
        linked = [member for member in members if in_place and member not in written]
        modes = _fill(source, beside, set(members) - set(linked), written, done, copied)
        for member in linked:
            _link(source / member, beside / member)
        with syncing([beside / member for member in written] if durable else []):
            yield result
        if result.keep:
            _finish(beside, modes, durable=durable)
            check_stamps(stamps)
            if in_place:
                _replace_members(beside, sorted(result.changed), source, durable=durable)
            else:
                _rename(beside, target, durable=durable)
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        left = str(beside) if result.leave else None
        raise WriteError(str(target), reason(error), left) from error
    finally:
        if not result.leave:
            shutil.rmtree(beside, ignore_errors=True)


def _fill(
    source: Path,
    draft: Path,
    members: Collection[str],
    written: Mapping[str, Sequence[Extent]],
    done: Collection[str],
    copied: Callable[[str, int], None],
) -> dict[str, int]:
    """Makes the draft, and copies members there that are not done; returns the modes of all."""
    holes = {member: written.get(member, ()) for member in sorted(members) if member not in done}
    check_room(draft.parent, [(source / member, at) for member, at in holes.items()])
    draft.mkdir(exist_ok=True)
    modes = {member: mode_under_umask(source / member, draft / member) for member in done}
    for member, at in holes.items():
        (draft / member).parent.mkdir(parents=True, exist_ok=True)
        (draft / member).unlink(missing_ok=True)
        told = partial(copied, member)
        modes[member] = copy_file(source / member, draft / member, at, told)
    return modes


def _link(source: Path, copy: Path) -> None:
    """Another name for a file that nobody writes to; a copy where there are no hard links."""
    copy.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(os.path.realpath(source), copy)
    except OSError:
        copy_file(source, copy)


def _finish(draft: Path, modes: Mapping[str, int], *, durable: bool) -> None:
    for member, mode in modes.items():
        if durable:
            sync(draft / member)
        (draft / member).chmod(mode)


def _rename(draft: Path, target: Path, *, durable: bool) -> None:
    if durable:
        for parent, _, _ in os.walk(draft):
            _sync_folder(Path(parent))
    if os.path.lexists(target):
        raise TargetError(str(target), "exists", "name a folder that does not exist yet")
    draft.rename(target)
    if durable:
        _sync_folder(target.parent)


def _replace_members(draft: Path, changed: Sequence[str], folder: Path, *, durable: bool) -> None:
    links = [member for member in changed if (folder / member).is_symlink()]
    if links:
        problem = "is a symbolic link, and links are never written through"
        raise TargetError(str(folder / links[0]), problem, "write to a folder with -o")
    for count, member in enumerate(changed):
        try:
            (draft / member).replace(folder / member)
        except OSError as error:
            if not count:
                raise
            problem = f"{member}: {reason(error)}"
            raise PartlyWrittenError(str(folder), problem, changed[:count]) from error
    if durable:
        _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    with suppress(OSError):  # Not every system lets a directory be opened.
        sync(folder)
