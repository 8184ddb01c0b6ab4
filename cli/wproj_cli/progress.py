"""A progress bar: on standard error, on a terminal, for work beyond half a second."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Lock
from typing import TYPE_CHECKING

import wproj

if TYPE_CHECKING:
    from rich.progress import Progress

_PATIENCE = 0.5


@contextmanager
def showing(total: int) -> Iterator[wproj.Progress]:
    """Gives what is to be told of progress, and shows how many of `total` bytes are done."""
    # Not Rich's own test: CI systems force it to animate logs.
    if sys.stderr is None or not sys.stderr.isatty():
        yield wproj.ignore
        return
    with ExitStack() as stack:
        yield _Meter(stack, total).advance


class _Meter:
    """Counts bytes, from any thread; begins to show them when people lose patience."""

    def __init__(self, stack: ExitStack, total: int) -> None:
        self._stack, self._total = stack, total
        self._start, self._done, self._lock = time.monotonic(), 0, Lock()
        self._bar: Progress | None = None

    def advance(self, name: str, nbytes: int) -> None:
        """So many more bytes of a tensor, or of a file that is copied, are done."""
        with self._lock:
            self._done = min(self._done + nbytes, self._total)
            if self._bar is None and time.monotonic() - self._start > _PATIENCE:
                self._bar = _bar(self._stack, self._total)
            if self._bar is not None:
                (task,) = self._bar.task_ids
                told = wproj.printable(name)
                self._bar.update(task, completed=self._done, description=told)


def _bar(stack: ExitStack, total: int) -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.table import Column

    name = TextColumn(
        "{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")
    )
    columns = (
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        name,
    )
    bar = stack.enter_context(Progress(*columns, console=Console(stderr=True), transient=True))
    bar.add_task("", total=total)
    return bar
