"""Keras weights in shards: a map `x.weights.json`, and the HDF5 files beside it that it names.

Format: `ShardedH5IOStore` in `keras.src.saving.saving_lib` of Keras 3.10 and newer. The map has the
files of each group of variables; a group may lie in several.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from wproj.errors import FileError, brief, listed, plural
from wproj.formats.base import Stores, TensorEntry
from wproj.formats.hdf5 import Hdf5Checkpoint, open_hdf5
from wproj.formats.keras_weights import KerasWeights
from wproj.formats.links import belonging_to
from wproj.formats.positional import open_regular
from wproj.formats.shards import file_beside, read_map, shard_stores


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardedWeights(KerasWeights):
    """Weights in shards; `entries` are in the order of the map, `members` the map and its files."""

    shards: Mapping[str, Hdf5Checkpoint]

    def within(self, copy: Path) -> Path:
        """The map in a folder that has the members."""
        return copy / self.path.name

    @contextmanager
    def stores(self, path: Path | None = None, *, writable: bool = False) -> Iterator[Stores]:
        """Gives access to values by entry, one open shard at a time; see `Checkpoint.stores`."""
        with shard_stores(self.shards, path or self.folder, writable=writable) as stores:
            yield stores


def open_sharded(path: Path) -> ShardedWeights:
    """The tensors of the shards that the map at `path` names.

    Raises:
        FileError: The map is damaged, names a file that is missing or elsewhere, or does not fit
            what its files hold.
    """
    groups = _groups(path)
    names = list(dict.fromkeys(name for files in groups.values() for name in files))
    shards = {name: _shard(path, name) for name in names}
    held = {name: _by_group(shard.entries) for name, shard in shards.items()}
    entries = [entry for group, files in groups.items() for entry in _members(group, files, held)]
    _check_unique(path, entries)
    _check_complete(path, groups, entries)
    sharded = ShardedWeights(
        path=path,
        format="keras-sharded",
        layout="keras",
        entries=tuple(entries),
        notes=tuple(_notes(shards, entries)),
        members=(path.name, *names),
        labels={at: label for shard in shards.values() for at, label in shard.labels.items()},
        shards=shards,
    )
    return sharded.with_config(None)


def _groups(path: Path) -> dict[str, list[str]]:
    """The groups of variables by path, each with the files that hold it."""
    groups: Mapping[str, object] = read_map(path)["weight_map"]
    return {group.strip("/"): _files(path, group, files) for group, files in groups.items()}


def _files(path: Path, group: str, files: object) -> list[str]:
    names = files if isinstance(files, list) else [files]
    if not names:
        raise FileError(str(path), f"maps {brief(group, 200)} to no file")
    return list(dict.fromkeys(file_beside(path, group, name) for name in names))


def _shard(path: Path, name: str) -> Hdf5Checkpoint:
    """What the HDF5 file `name` beside the map at `path` holds."""
    beside = path.with_name(name)
    if not beside.exists():
        raise FileError(str(path), f"names the shard {name}, which is missing")
    if beside.is_symlink() and not belonging_to(path.parent)(beside.resolve()):
        problem = f"names the shard {name}, which is a link to a file from elsewhere"
        raise FileError(str(path), problem, "put the file itself there, if it is of this model")
    try:
        os.close(open_regular(beside))  # HDF5 would wait for a pipe.
        return open_hdf5(beside)
    except FileError as error:
        raise FileError(
            str(path), f"names the shard {name}, which cannot be read: {error}"
        ) from error


def _by_group(entries: Sequence[TensorEntry]) -> dict[str, list[TensorEntry]]:
    groups: dict[str, list[TensorEntry]] = {}
    for entry in entries:
        groups.setdefault(entry.path.rpartition("/")[0], []).append(entry)
    return groups


def _members(
    group: str, files: list[str], held: Mapping[str, Mapping[str, list[TensorEntry]]]
) -> Iterator[TensorEntry]:
    """The variables of a group, in the order of their numbers."""
    found = [replace(entry, file=name) for name in files for entry in held[name].get(group, ())]
    yield from sorted(found, key=lambda entry: (len(entry.path), entry.path))


def _check_unique(path: Path, entries: list[TensorEntry]) -> None:
    homes: dict[str, str | None] = {}
    for entry in entries:
        if entry.path in homes:
            problem = f"{entry.path} is in two shards, {homes[entry.path]} and {entry.file}"
            raise FileError(str(path), problem)
        homes[entry.path] = entry.file


def _check_complete(
    path: Path, groups: Mapping[str, list[str]], entries: list[TensorEntry]
) -> None:
    """Every mapped group has variables in each of the files that it is mapped to."""
    held = {(entry.path.rpartition("/")[0], entry.file) for entry in entries}
    for group, files in groups.items():
        lacking = [name for name in files if (group, name) not in held]
        if lacking:
            raise FileError(
                str(path), f"maps {brief(group, 200)} to {listed(lacking)}, which does not hold it"
            )


def _notes(shards: Mapping[str, Hdf5Checkpoint], entries: list[TensorEntry]) -> Iterator[str]:
    mapped = {(entry.file, entry.path) for entry in entries}
    for name, shard in shards.items():
        yield from (f"{name}: {note}" for note in shard.notes)
        stray = [entry.path for entry in shard.entries if (name, entry.path) not in mapped]
        if stray:
            count = plural(len(stray), "tensor")
            yield f"{name} holds {count} that the map does not name: {listed(stray)}"
