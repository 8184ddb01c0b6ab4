"""The options that the programs of this folder share, and the folder in which they work."""

import argparse
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def parser(description: str, into: str) -> argparse.ArgumentParser:
    """A command line with sizes, rounds, a folder to work in and a path to write to."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument(
        "--scale", type=divisor, default=1, metavar="N", help="divide sizes by N; 1/N is the same"
    )
    made.add_argument(
        "--rounds", type=divisor, default=5, metavar="N", help="how often to measure (default: 5)"
    )
    made.add_argument(
        "--folder", type=Path, metavar="DIR", help="where files are made (default: a temporary one)"
    )
    made.add_argument("--write", type=Path, metavar="PATH", help=into)
    return made


def divisor(text: str) -> int:
    """A positive number, also as the fraction that it divides by.

    >>> divisor("16"), divisor("1/16")
    (16, 16)
    """
    number = int(text.removeprefix("1/"))
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return number


@contextmanager
def workplace(parent: Path | None) -> Iterator[Path]:
    """A folder for files, removed in the end, also when the program is told to stop."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="wproj-bench-", dir=parent) as name:
        yield Path(name).resolve()
