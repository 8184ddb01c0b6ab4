"""Two contestants in turn, and how long each of them takes."""

import os
import time
from collections.abc import Sequence
from pathlib import Path

from commands import Command, output, running, spelled

BLOCK = 2**20

# What is run one after the other and timed as one.
Steps = Sequence[Command]


def alternate(ours: Steps, theirs: Steps, folder: Path, rounds: int) -> list[tuple[float, float]]:
    """Seconds of both in every round, after one that does not count; who begins changes."""
    counted = []
    for turn in range(rounds + 1):
        if turn % 2:
            mine = settled_seconds(ours, folder)
            other = settled_seconds(theirs, folder)
        else:
            other = settled_seconds(theirs, folder)
            mine = settled_seconds(ours, folder)
        counted.append((mine, other))
    return counted[1:]


def settled_seconds(steps: Steps, folder: Path) -> float:
    """Seconds of one contestant on a disk that has nothing left to write of an earlier one."""
    os.sync()
    try:
        return seconds(steps, folder)
    finally:
        for path in folder.glob(f"{output(folder).name}*"):
            path.unlink()


def seconds(steps: Steps, folder: Path) -> float:
    """Wall time of all steps, the start of each process included."""
    spoken = [spelled(command, folder) for command in steps]
    begin = time.perf_counter()
    for words in spoken:
        with running(words) as process:
            process.wait()
    return time.perf_counter() - begin


def warm(path: Path) -> None:
    """Brings a file into the page cache."""
    with path.open("rb", buffering=0) as file:
        while file.read(BLOCK):
            pass
