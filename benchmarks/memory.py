"""How much memory a command takes at its peak, and how long it runs, as Linux tells it."""

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

from commands import Command, output, running, spelled

# Seconds between two looks.
PAUSE = 0.002


@dataclass(frozen=True, slots=True)
class Usage:
    """Wall time in seconds and peaks in bytes."""

    seconds: float
    resident: int
    anonymous: int


def available() -> bool:
    """Whether this system tells of the anonymous pages of a process."""
    status = Path("/proc/self/status")
    return status.exists() and "RssAnon" in status.read_text("utf-8")


def usage(command: Command, folder: Path) -> Usage:
    """Runs a command on a settled disk and watches it.

    The maximum resident set is the kernel's own (VmHWM), as of the last look; the peak of anonymous
    pages (RssAnon) is the highest seen. `ru_maxrss` would begin with the peak of this process.
    """
    words = spelled(command, folder)
    resident = anonymous = 0
    os.sync()
    begin = time.perf_counter()
    try:
        with running(words) as process:
            status = Path(f"/proc/{process.pid}/status")
            while process.poll() is None:
                high, now = looked_up(status)
                resident, anonymous = max(resident, high), max(anonymous, now)
                time.sleep(PAUSE)
        return Usage(time.perf_counter() - begin, resident, anonymous)
    finally:
        output(folder).unlink(missing_ok=True)


def looked_up(status: Path) -> tuple[int, int]:
    """Maximum resident set and anonymous pages in bytes; zeros of a process that has just ended."""
    text = status.read_text("utf-8")
    found = dict(re.findall(r"^(VmHWM|RssAnon):\s+(\d+) kB$", text, re.MULTILINE))
    return 1024 * int(found.get("VmHWM", 0)), 1024 * int(found.get("RssAnon", 0))
