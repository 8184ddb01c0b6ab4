"""A progress bar: on standard error, on a terminal, for work beyond half a second."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import wproj

_PATIENCE = 0.5


def track(reports: Iterator[wproj.TensorReport], total: int) -> Iterator[wproj.TensorReport]:
    """Passes the reports on, and shows how many of `total` bytes are done."""
    # Not Rich's own test: CI systems force it to animate logs.
    if sys.stderr is None or not sys.stderr.isatty():
        yield from reports
        return
    start, done = time.monotonic(), 0
    with ExitStack() as stack:
        advance = None
        for report in reports:
            done += report.bytes
            if advance is None and time.monotonic() - start > _PATIENCE:
                advance = _bar(stack, total)
            if advance is not None:
                advance(done)
            yield report


def _bar(stack: ExitStack, total: int) -> Callable[[int], None]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    bar = stack.enter_context(Progress(*columns, console=Console(stderr=True), transient=True))
    task = bar.add_task("", total=total)
    return lambda done: bar.update(task, completed=done)
