"""Hugging Face folders: safetensors files, the index that maps tensors to them, all beside them.

Format: what `save_pretrained` of transformers and diffusers, and `huggingface_hub`, write. The
index is `{"metadata": {"total_size": bytes}, "weight_map": {tensor: file}}`.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wproj.errors import FileError, listed
from wproj.formats.base import Checkpoint, Stores, TensorEntry
from wproj.formats.folders import files_below
from wproj.formats.huggingface_notes import SUFFIX, Shards, folder_notes, index_notes
from wproj.formats.links import RECORDS, belonging_to
from wproj.formats.opening import lfs_pointer
from wproj.formats.positional import open_regular, read_at
from wproj.formats.safetensors import SafetensorsCheckpoint, open_safetensors
from wproj.formats.shards import file_beside, read_map, shard_stores

_STALE = "the index is of another state of the files: fetch or save all of them anew"


@dataclass(frozen=True, slots=True, kw_only=True)
class SafetensorsFolder(Checkpoint):
    """A folder with tensors in safetensors files, or the index in it; `members` are all its files.

    `entries` are in the order of the shards' names, and of the bytes in each shard.
    """

    shards: Shards

    @property
    def owns_folder(self) -> bool:
        """All files of the folder are members, also when it is opened by its index."""
        return True

    def within(self, copy: Path) -> Path:
        """The folder, or the index in it, whichever the checkpoint is opened by."""
        return copy if self.path.is_dir() else copy / self.path.name

    @contextmanager
    def stores(self, path: Path | None = None, *, writable: bool = False) -> Iterator[Stores]:
        """Gives access to values by entry, one open shard at a time; see `Checkpoint.stores`."""
        with shard_stores(self.shards, path or self.folder, writable=writable) as stores:
            yield stores


def maps_to(found: Mapping[str, Any], suffix: str) -> bool:
    """Whether a map of tensors to files names one with this suffix."""
    files = found["weight_map"].values()
    return any(isinstance(name, str) and name.endswith(suffix) for name in files)


def is_folder(path: Path, names: Sequence[str]) -> bool:
    """Whether the folder at `path`, in which `names` are, has safetensors files or an index."""
    return any(
        not (path / name).is_dir() and (_is_shard(name) or _is_index(path / name)) for name in names
    )


def open_folder(path: Path) -> SafetensorsFolder:
    """The tensors of the folder at `path`: those of its index, or else of its safetensors files.

    Raises:
        FileError: It has several indexes, or one that does not fit, or no index and a tensor in
            two files; or it holds links to files from elsewhere, or other things than files.
    """
    members = _members(path)
    indexes = [name for name in members if "/" not in name and _is_index(path / name)]
    if len(indexes) > 1:
        hint = f"give the path of the one that is meant, for example {path / indexes[0]}"
        raise FileError(str(path), f"holds several indexes: {listed(indexes)}", hint)
    return _indexed(path, path / indexes[0], members) if indexes else _unindexed(path, members)


def open_index(path: Path) -> SafetensorsFolder:
    """The tensors of the index at `path`; the members are all files of its folder.

    Raises:
        FileError: The index is damaged or does not fit the files; else as for `open_folder`.
    """
    return _indexed(path, path, _members(path.parent))


def _is_shard(name: str) -> bool:
    return name.endswith(SUFFIX) and not name.startswith(".") and "/" not in name


def _is_index(path: Path) -> bool:
    """Whether it is an index by its name, or by what is in it if the name does not say of what."""
    name = path.name
    if name.startswith(".") or ".index." not in name or not name.endswith(".json"):
        return False
    if f"{SUFFIX}.index." in name:
        return True
    try:
        return maps_to(read_map(path), SUFFIX)
    except FileError:
        return False


def _members(folder: Path) -> list[str]:
    """The files of the folder; the links of Hugging Face's cache are the files they lead to."""
    return files_below(folder, apart=RECORDS, follow=belonging_to(folder))


def _unindexed(path: Path, members: Sequence[str]) -> SafetensorsFolder:
    """All tensors of the safetensors files directly in the folder."""
    shards = {name: _shard(path, name) for name in members if _is_shard(name)}
    for tensor, homes in _homes(shards).items():
        if len(homes) > 1:
            raise FileError(
                str(path),
                f"holds {tensor} in two files, {homes[0]} and {homes[1]}, and has no index",
                f"give the path of the one that is meant, for example {path / homes[0]}",
            )
    entries = tuple(_located(shards))
    return _folder(path, path, members, shards, entries)


def _indexed(path: Path, index: Path, members: Sequence[str]) -> SafetensorsFolder:
    """The tensors that the index maps to the files beside it."""
    found = read_map(index)
    mapped: dict[str, str] = {
        tensor: file_beside(index, tensor, name) for tensor, name in found["weight_map"].items()
    }
    shards = {name: _mapped_shard(index, name, members) for name in sorted(set(mapped.values()))}
    _check_map(index, mapped, _homes(shards))
    entries = tuple(e for e in _located(shards) if e.name in mapped)
    notes = tuple(index_notes(index, found, shards, entries, members))
    return _folder(path, index.parent, members, shards, entries, notes)


def _folder(
    path: Path,
    folder: Path,
    members: Sequence[str],
    shards: Shards,
    entries: tuple[TensorEntry, ...],
    notes: tuple[str, ...] = (),
) -> SafetensorsFolder:
    torch = all(shard.layout == "torch" for shard in shards.values())
    return SafetensorsFolder(
        path=path,
        format="safetensors-folder",
        layout="torch" if torch else "unknown",
        entries=entries,
        notes=(*notes, *folder_notes(folder, members, shards, entries)),
        members=tuple(members),
        shards=shards,
    )


def _mapped_shard(index: Path, name: str, members: Sequence[str]) -> SafetensorsCheckpoint:
    beside = index.with_name(name)
    if name not in members and not beside.is_dir():
        problem = f"names the shard {name}, which is missing"
        raise FileError(str(index), problem, "is a download incomplete? fetch the files again")
    try:
        return _shard(index.parent, name)
    except FileError as error:
        problem = f"names the shard {name}, which cannot be read: {error}"
        raise FileError(str(index), problem, error.hint) from error


def _shard(folder: Path, name: str) -> SafetensorsCheckpoint:
    path = folder / name
    try:
        return open_safetensors(path)
    except FileError as error:
        raise (_pointer(path) or error) from error


def _pointer(path: Path) -> FileError | None:
    if not path.is_file():
        return None
    with open(open_regular(path), "rb") as file:  # noqa: PTH123 # by descriptor
        return lfs_pointer(str(path), read_at(file.fileno(), 0, 64))


def _located(shards: Shards) -> Iterator[TensorEntry]:
    """The tensors of all shards, each with the file that it is in."""
    for name, shard in shards.items():
        yield from (replace(entry, file=name) for entry in shard.entries)


def _homes(shards: Shards) -> dict[str, list[str]]:
    """The files that each tensor is in."""
    homes: dict[str, list[str]] = {}
    for name, shard in shards.items():
        for entry in shard.entries:
            homes.setdefault(entry.name, []).append(name)
    return homes


def _check_map(index: Path, mapped: Mapping[str, str], homes: Mapping[str, Sequence[str]]) -> None:
    """Every tensor is in the file that it is mapped to, and in no other.

    Raises:
        FileError: One is not.
    """
    for tensor, name in mapped.items():
        held = homes.get(tensor, ())
        if len(held) > 1:
            problem = f"{tensor} is in two shards, {held[0]} and {held[1]}, and mapped to {name}"
            raise FileError(str(index), problem, _STALE)
        if held and held[0] != name:
            problem = f"maps {tensor} to {name}, but it is in {held[0]}"
            raise FileError(str(index), problem, _STALE)
        if not held:
            lacking = [t for t, file in mapped.items() if file == name and t not in homes]
            them = "it" if len(lacking) == 1 else "them"
            problem = f"maps {listed(lacking)} to {name}, which does not hold {them}"
            raise FileError(str(index), problem, _STALE)
