"""What a process that fuzzes leaves behind, however it ends: how many inputs, and the last one."""

import hashlib
import mmap
import struct
from pathlib import Path

from fuzzing.judging import Finding, judge
from fuzzing.target import Target

_HEAD = struct.Struct("<QQ")
_ROOM = 1 << 21


class Logbook:
    """A file in memory that outlives its process; processes that are forked share it."""

    def __init__(self, path: Path) -> None:
        """Opens the logbook at `path`, or begins it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.truncate(_HEAD.size + _ROOM)
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)

    @property
    def count(self) -> int:
        """How many inputs have been begun."""
        return _HEAD.unpack_from(self._map)[0]

    @property
    def last(self) -> bytes:
        """The input that was begun last."""
        length = _HEAD.unpack_from(self._map)[1]
        return self._map[_HEAD.size : _HEAD.size + length]

    def begin(self, data: bytes) -> None:
        """Notes an input, before it can do any harm."""
        kept = data[:_ROOM]
        self._map[_HEAD.size : _HEAD.size + len(kept)] = kept
        _HEAD.pack_into(self._map, 0, self.count + 1, len(kept))


def execute(target: Target, data: bytes, logbook: Logbook, found: Path, name: str) -> None:
    """Has a target read an input, and keeps the input if it makes a finding."""
    logbook.begin(data)
    finding = judge(target.run, data)
    if finding is not None:
        keep(found, name, finding, data)


def keep(folder: Path, name: str, finding: Finding, data: bytes) -> None:
    """Keeps the smallest input for each finding, and what it led to."""
    folder.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(f"{finding.kind} {finding.place}".encode()).hexdigest()[:8]
    path = folder / f"{name}-{finding.kind}-{digest}.bin"
    if not path.exists() or path.stat().st_size > len(data):
        path.write_bytes(data)
        text = f"{name}: {finding.kind} at {finding.place}\n\n{finding.trace}"
        path.with_suffix(".txt").write_text(text, encoding="utf-8", errors="backslashreplace")
