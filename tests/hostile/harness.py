"""Runs the program with a stranger's file: its verdict, its cost, and what it touched outside."""

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

# What any file up to 10 MB may cost before the verdict.
SECONDS, BYTES = 10, 512 << 20

# A process is charged with the memory of the one that starts it, so a small one stands between.
_MEASURE = """
import json, os, subprocess, sys
child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(child.pid, 0)
unit = 1 if sys.platform == "darwin" else 1024
seconds, peak = usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit
print(json.dumps([os.waitstatus_to_exitcode(status), seconds, peak]))
"""


@dataclass(frozen=True)
class Verdict:
    """How a run ended, and what it took, its children included.

    The seconds are of processors, so that a busy machine makes no difference.
    """

    code: int
    stderr: str
    seconds: float
    peak: int


def verdict(words, folder):
    """Runs `wproj WORDS` in a folder; a run that waits without end is an error."""
    program = [sys.executable, "-m", "wproj_cli", *map(os.fspath, words)]
    done = subprocess.run(
        [sys.executable, "-S", "-c", _MEASURE, *program],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        timeout=10 * SECONDS,
    )
    code, seconds, peak = json.loads(done.stdout)
    return Verdict(code, done.stderr, seconds, peak)


class Sentinel:
    """A file that nobody is to read or to write."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._digest = _digest(path)
        control = path.with_name("control")
        control.write_bytes(b"read me")
        os.utime(control, (1, 1))
        control.read_bytes()
        self._tells_of_reading = control.stat().st_atime != 1  # Not all file systems do.
        os.utime(path, (1, 1))  # As old as its last change: the next reading is noted.

    def assert_untouched(self):
        """Checks its times and its content."""
        found = self.path.stat()
        assert not self._tells_of_reading or found.st_atime == 1, "the sentinel was read"
        assert found.st_mtime == 1
        assert _digest(self.path) == self._digest


def _digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()
