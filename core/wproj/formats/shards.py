"""Checkpoints in shards: the JSON that maps names to files beside it, and access to those files."""

import json
import reprlib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from wproj.errors import FileError
from wproj.formats.base import Checkpoint, PackedStore, Store, Stores, TensorEntry
from wproj.formats.positional import read_regular

_MAX_MAP = 1 << 26
_MAX_NAME = 255  # Bytes; no system has longer ones.


class _TwiceError(ValueError):
    """A name that is twice in an object of JSON."""


def read_map(path: Path) -> dict[str, Any]:
    """The JSON object at `path`, whose weight_map is an object that is not empty.

    Raises:
        FileError: It is too long, not JSON, has a name twice or no weight_map.
    """
    try:
        found = json.loads(read_regular(path, _MAX_MAP), object_pairs_hook=_unique)
    except _TwiceError as error:
        raise FileError(str(path), f"has {error} twice") from error
    except (ValueError, RecursionError) as error:
        raise FileError(str(path), f"is not JSON: {error}") from error
    groups = found.get("weight_map") if isinstance(found, dict) else None
    if not isinstance(groups, dict) or not groups:
        raise FileError(str(path), "is JSON without the weight_map of a sharded checkpoint")
    return dict(found)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        ((name, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise _TwiceError(name)
    return result


def file_beside(path: Path, key: str, name: object) -> str:
    """The name of the file that the map at `path` has for `key`.

    Raises:
        FileError: It is not a file's name and nothing more, on any system.
    """
    if isinstance(name, str):
        windows = PureWindowsPath(name)
        plain = windows.name == name and PurePosixPath(name).name == name
        short = len(name.encode("utf-8", "surrogatepass")) <= _MAX_NAME
        if plain and short and name not in ("", ".", "..") and "\0" not in name:
            return name
    raise FileError(
        str(path),
        f"maps {key} to {reprlib.repr(name)}, which is not the name of a file beside it",
        "shards are read from the folder of their map alone",
    )


@contextmanager
def shard_stores(
    shards: Mapping[str, Checkpoint], folder: Path, *, writable: bool
) -> Iterator[Stores]:
    """Gives access to values by entry, one open shard at a time, in `folder`."""
    opened: dict[str, Stores] = {}
    with ExitStack() as stack:

        def store(entry: TensorEntry) -> Store | PackedStore:
            shard = entry.file or ""
            if shard not in opened:
                opened.clear()
                stack.pop_all().close()
                context = shards[shard].stores(folder / shard, writable=writable)
                opened[shard] = stack.enter_context(context)
            return opened[shard](entry)

        yield store
