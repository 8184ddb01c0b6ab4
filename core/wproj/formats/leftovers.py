"""What killed runs left beside their targets: it is told from what is in use, and removed.

Whoever writes into a folder holds a shared lock on that folder, which the system frees when the
process ends, however it does. Who gets the lock for himself is alone there, and whatever else
looks like a draft is a leftover. He holds it only while he looks: drafts that are begun later are
not on his list.
"""

import hashlib
import json
import os
import platform
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

DRAFT = ".wproj-tmp"
JOURNAL = f".journal{DRAFT}"

_HOST = hashlib.sha256(platform.node().encode()).hexdigest()[:8]
_NAME = re.compile(rf"\.([0-9a-f]{{8}})?[0-9a-f]{{16}}{re.escape(DRAFT)}")
_DAY = 86_400  # Seconds.
_PATIENCE = 2.0  # Seconds; others hold the lock for themselves for milliseconds.


def draft_name() -> str:
    """A name for a draft that nothing else has; it says on which machine it was made."""
    return f".{_HOST}{secrets.token_hex(8)}{DRAFT}"


def journal_of(draft: Path) -> Path:
    """Where the journal of a draft is."""
    return draft.with_name(draft.name.removesuffix(DRAFT) + JOURNAL)


@contextmanager
def occupied(folder: Path) -> Iterator[None]:
    """Tells other runs that drafts in `folder` are in use, and removes those of runs that ended.

    A draft goes if no run is under way in the folder and it was made on this machine, by this user.
    Of other machines, which need not see each other's locks, and where the file system has no
    locks, it goes when nobody has touched it for a day. What can be resumed stays: a draft with
    finished shards in its journal, as long as its target does not exist.
    """
    descriptor = _opened(folder)
    try:
        _sweep(folder, descriptor)
        yield
    finally:
        # Once more for what a signal in the middle of tidying up, or a target, has made useless.
        _sweep(folder, descriptor)
        if descriptor is not None:
            os.close(descriptor)


def _opened(folder: Path) -> int | None:
    """A descriptor of the folder; None where there is none to be had, as on Windows."""
    with suppress(OSError):
        return os.open(folder, os.O_RDONLY)
    return None


def _sweep(folder: Path, descriptor: int | None) -> None:
    """Removes leftovers, if it can be told that they are; the folder is shared with others then."""
    alone = _lock(descriptor, exclusive=True)
    found = [] if alone is False else _leftovers(folder, alone=bool(alone))
    deadline = time.monotonic() + _PATIENCE
    while _lock(descriptor, exclusive=False) is False and time.monotonic() < deadline:
        time.sleep(0.01)
    for path in found:
        _remove(path)


def _lock(descriptor: int | None, *, exclusive: bool) -> bool | None:
    """Whether the folder could be locked; None where there are no locks."""
    if descriptor is None:
        return None
    try:
        import fcntl

        fcntl.flock(descriptor, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        return None
    return True


def _leftovers(folder: Path, *, alone: bool) -> list[Path]:
    found = []
    with suppress(OSError):
        for path in folder.iterdir():
            if path.name.endswith(DRAFT):
                with suppress(OSError):
                    if _is_leftover(path, alone=alone):
                        found.append(path)
    return found


def _is_leftover(path: Path, *, alone: bool) -> bool:
    is_journal = path.name.endswith(JOURNAL)
    draft = path.with_name(path.name.removesuffix(JOURNAL) + DRAFT) if is_journal else path
    named, found = _NAME.fullmatch(draft.name), path.lstat()
    if named is None or not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
        return False
    if found.st_uid != getattr(os, "geteuid", lambda: 0)() or _can_be_resumed(draft):
        return False
    return (alone and named[1] == _HOST) or _age(draft) > _DAY


def _can_be_resumed(draft: Path) -> bool:
    """Whether a draft has finished shards, each a line in its journal, and no target yet."""
    journal = journal_of(draft)
    try:
        if draft.is_symlink() or not draft.is_dir() or journal.is_symlink():
            return False
        first, *shards = journal.read_bytes().split(b"\n")[:-1]
        return bool(shards) and not os.path.lexists(draft.with_name(json.loads(first)["target"]))
    except (OSError, ValueError, LookupError, TypeError):
        return False


def _age(draft: Path) -> float:
    """The seconds since anything of a draft was written to."""
    times = []
    for path in (draft, journal_of(draft), *draft.rglob("*")):
        with suppress(FileNotFoundError):
            times.append(path.lstat().st_mtime)
    return time.time() - max(times)


def _remove(path: Path) -> None:
    """Removes a file or a folder, never what a link leads to."""
    with suppress(OSError):
        if stat.S_ISDIR(path.lstat().st_mode):
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()
