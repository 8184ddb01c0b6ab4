"""Files for parsers that take a path."""

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path


@cache
def folder() -> Path:
    """A folder of this process, and of those that it forks from now on."""
    made = Path(tempfile.mkdtemp(prefix="wproj-fuzz-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


def file_of(data: bytes, name: str = "input") -> Path:
    """A file in `folder` with these bytes; the next one of its name replaces them."""
    path = folder() / name
    path.write_bytes(data)
    return path
