"""Checkpoints in shards: the JSON that maps names to files beside it, and access to those files."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from wproj.errors import FileError, brief, shown, storable
from wproj.formats.base import Checkpoint, PackedStore, Store, Stores, TensorEntry
from wproj.formats.positional import read_regular
from wproj.formats.strict_json import JsonError, parse_json

_MAX_MAP = 1 << 26
_ELSEWHERE = frozenset("/\\:\0")
_LONGEST = 255  # Bytes of a file's name, on nearly every file system.
_PORTS = tuple(f"{port}{number}" for port in ("COM", "LPT") for number in "123456789\xb9\xb2\xb3")
_DEVICES = frozenset({"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", *_PORTS})


def read_map(path: Path) -> dict[str, Any]:
    """The JSON object at `path`, whose weight_map is an object that is not empty.

    Raises:
        FileError: It is too long, not JSON, has a name twice or no weight_map.
    """
    try:
        found = parse_json(read_regular(path, _MAX_MAP), unique=True)
    except JsonError as error:
        raise FileError(str(path), str(error)) from error
    groups = found.get("weight_map") if isinstance(found, dict) else None
    if not isinstance(groups, dict) or not groups:
        raise FileError(str(path), "is JSON without the weight_map of a sharded checkpoint")
    return dict(found)


def file_beside(path: Path, key: str, name: object) -> str:
    """The name of the file that the map at `path` has for `key`.

    Raises:
        FileError: It is not a file's name and nothing more, on any system.
    """
    if isinstance(name, str) and name not in ("", ".", "..") and not _is_special(name):
        return name
    given = f"maps {brief(key, 200)} to {brief(shown(name), 200)}"
    raise FileError(
        str(path),
        f"{given}, which is not the name of a file beside it",
        "shards are read from the folder of their map alone",
    )


def _is_special(name: str) -> bool:
    """Whether the name is a path, is too long, or means something else on some system.

    Windows takes `nul.h5` for a device, `a:b` for a part of a file `a`, and `a.` for `a`.
    """
    stem = name.partition(".")[0].rstrip(" ").upper()
    strange = not _ELSEWHERE.isdisjoint(name) or name[-1] in ". "
    return strange or stem in _DEVICES or len(storable(name).encode()) > _LONGEST


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
