"""Waiting for the disk: at the end, and on the way there, so that the end is near."""

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

_SECONDS = 0.2


def sync(path: Path) -> None:
    """Waits until the file or directory is on the disk."""
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def syncing(paths: Sequence[Path]) -> Iterator[None]:
    """Has the disk write what is in the files while more is being computed.

    Otherwise nearly all of it would have to be waited for at the end. Faults are left to `sync`.
    """
    if not paths:
        yield
        return
    done = threading.Event()
    thread = threading.Thread(target=_sync_until, args=(paths, done), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _sync_until(paths: Sequence[Path], done: threading.Event) -> None:
    while not done.wait(_SECONDS):
        for path in paths:
            with suppress(OSError):
                _write_out(path)


def _write_out(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR)
    try:
        getattr(os, "fdatasync", os.fsync)(descriptor)
    finally:
        os.close(descriptor)
