"""`open_checkpoint`: which format a file has, told from its content, never from its name."""

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Literal

from wproj.errors import FileError, listed
from wproj.formats.base import Checkpoint
from wproj.formats.folders import names_in
from wproj.formats.positional import open_regular, read_at, read_regular
from wproj.formats.stamps import stamp_of

Source = str | os.PathLike[str] | Checkpoint
Hdf5 = Literal["read", "examine", "refuse"]

_HDF5 = b"\x89HDF\r\n\x1a\n"
_LFS = b"version https://git-lfs"
_KERAS_WEIGHTS = ("model.weights.h5", "model.weights.json")
_KNOWN = "wproj reads safetensors, HDF5 and .keras files"
_SPACES = b" \t\r\n"


def open_checkpoint(
    path: str | os.PathLike[str],
    config: str | os.PathLike[str] | None = None,
    *,
    hdf5: Hdf5 = "read",
) -> Checkpoint:
    """What is in the file or folder at `path`: names, shapes, dtypes; no values are read.

    Args:
        path: Where it is.
        config: The path of a Keras model's config as JSON, for weights that come without one.
        hdf5: What to do with HDF5, also in archives and folders: `read` it in this process, have a
            child process with limits `examine` it first, as files of strangers may crash the HDF5
            library, or `refuse` it, without loading that library.

    Raises:
        InputError: It is missing, not a regular file, damaged, refused, or of no format that wproj
            reads.
    """
    path = Path(path)
    try:
        early = {path: stamp_of(path)} if path.is_file() else {}
        checkpoint = _open(path, hdf5)
        if config is not None:
            checkpoint = _with_config(checkpoint, Path(config))
        members = [checkpoint.folder / member for member in checkpoint.members]
        stamps = early | {member: stamp_of(member) for member in members}
    except OSError as error:  # A name that is too long, a disk that fails, a file of the kernel's.
        raise FileError(str(path), f"cannot be read: {error.strerror or error}") from error
    return replace(checkpoint, stamps=stamps)


def _open(path: Path, hdf5: Hdf5) -> Checkpoint:
    if path.is_dir():
        return _open_folder(path, hdf5)
    descriptor = open_regular(path)
    try:
        size = os.fstat(descriptor).st_size
        head = read_at(descriptor, 0, 1 << 12)
        user_block = _hdf5_offset(descriptor, size)
    finally:
        os.close(descriptor)
    if head.startswith(b"PK\x03\x04"):
        _admit(path, hdf5)
        from wproj.formats import keras_archive

        _examine(path, hdf5, _size)
        return keras_archive.open_keras_archive(path)
    header = head[8:].lstrip(_SPACES)[:1] in (b"{", b"") and len(head) > 8
    fits = header and int.from_bytes(head[:8], "little") <= size - 8
    # A user block may hold anything, and so may the tensors of a safetensors file.
    if user_block is not None and not (fits and user_block):
        _admit(path, hdf5)
        from wproj.formats.hdf5 import open_hdf5

        _examine(path, hdf5, _size)
        return open_hdf5(path)
    # Where a header begins with its length, which never fills all eight bytes, JSON has text.
    if head.lstrip(_SPACES).startswith(b"{") and b"\0" not in head[:8]:
        return _open_map(path, hdf5)
    if header:
        from wproj.formats import safetensors

        return safetensors.open_safetensors(path)
    raise _unknown(str(path), head)


def _open_folder(path: Path, hdf5: Hdf5) -> Checkpoint:
    from wproj.formats import huggingface

    names = names_in(path)
    if any(name in names for name in _KERAS_WEIGHTS):
        _admit(path, hdf5)
        from wproj.formats import keras_folder

        _examine(path, hdf5, _size_of_files)
        return keras_folder.open_keras_folder(path)
    if huggingface.is_folder(path, names):
        return huggingface.open_folder(path)
    raise FileError(
        str(path),
        f"is a folder without {_KERAS_WEIGHTS[0]} (an unzipped .keras archive) "
        "or safetensors files (a Hugging Face model)",
        "give a checkpoint in it",
    )


def _open_map(path: Path, hdf5: Hdf5) -> Checkpoint:
    """The checkpoint of the JSON at `path`, which maps tensors, or groups of them, to files."""
    from wproj.formats import huggingface
    from wproj.formats.shards import read_map

    found = read_map(path)
    if huggingface.maps_to(found, ".safetensors"):
        return huggingface.open_index(path)
    if huggingface.maps_to(found, ".bin"):
        problem = "maps tensors to Python pickles, which wproj never loads"
        raise FileError(str(path), problem, "convert them with safetensors.torch.save_file")
    _admit(path, hdf5)
    from wproj.formats import keras_sharded

    _examine(path, hdf5, _size_of_files)
    return keras_sharded.open_sharded(path)


def _admit(path: Path, hdf5: Hdf5) -> None:
    """Returns if HDF5 may be read, which the checkpoint at `path` is or holds."""
    if hdf5 == "refuse":
        problem = "is HDF5 or holds it, which --no-hdf5 refuses"
        raise FileError(str(path), problem, "convert it to safetensors, or leave out --no-hdf5")


def _examine(path: Path, hdf5: Hdf5, size: Callable[[Path], int]) -> None:
    """Returns if the checkpoint at `path` does no harm to a child process, where one is asked for.

    Its reader has to be imported by now: else the child would do so, and this process again.
    """
    if hdf5 == "examine":
        from wproj.formats.examining import examine

        examine(path, size(path))


def _size(path: Path) -> int:
    return path.stat().st_size


def _size_of_files(path: Path) -> int:
    """The bytes of the files in a folder, or beside a file, as far as they can be looked at."""
    nbytes = 0
    with os.scandir(path if path.is_dir() else path.parent) as found:
        for each in found:
            with suppress(OSError):  # A link that leads to itself; the reader tells if it matters.
                nbytes += each.stat().st_size if each.is_file() else 0
    return nbytes


def _with_config(checkpoint: Checkpoint, path: Path) -> Checkpoint:
    """The checkpoint with what the config at `path` says; all of it has to be about this file."""
    from wproj.formats.keras_names import MAX_CONFIG, ConfigError, parse_config, unmatched
    from wproj.formats.keras_weights import KerasWeights

    keras = any(entry.named_by is not None for entry in checkpoint.entries)
    if not isinstance(checkpoint, KerasWeights) or not keras:
        problem = "a config goes with Keras weights in HDF5 that have none inside"
        raise FileError(str(checkpoint.path), problem)
    try:
        named = checkpoint.with_config(config := parse_config(read_regular(path, MAX_CONFIG)))
        lacking, foreign = unmatched(named.entries, config)
    except ConfigError as error:
        raise FileError(str(path), str(error)) from error
    if lacking:
        problem = f"is of another model: {checkpoint.path} lacks {listed(lacking)}"
        raise FileError(str(path), problem)
    if len(foreign) == len(named.entries):
        raise FileError(str(path), f"is of another model: it has no layer of {checkpoint.path}")
    return named


def _hdf5_offset(descriptor: int, size: int) -> int | None:
    """Where the HDF5 signature is: at 0, or behind a user block of 512 bytes times a power of 2."""
    offset = 0
    while offset < size:
        if read_at(descriptor, offset, 8) == _HDF5:
            return offset
        offset = offset * 2 or 512
    return None


def lfs_pointer(path: str, head: bytes) -> FileError | None:
    """What to say of the file at `path` if it begins like what Git LFS leaves for one."""
    if not head.startswith(_LFS):
        return None
    problem = "is a Git LFS pointer, not the file that it stands for"
    return FileError(path, problem, "fetch the file with 'git lfs pull'")


def _unknown(path: str, head: bytes) -> FileError:
    if not head:
        return FileError(path, "is empty")
    if pointer := lfs_pointer(path, head):
        return pointer
    if head.startswith(b"PK"):
        return FileError(path, "is an empty or damaged zip archive", _KNOWN)
    if head.startswith(b"\x80"):
        hint = "convert it with safetensors.torch.save_file"
        return FileError(path, "is a Python pickle, which wproj never loads", hint)
    if len(head) < 9:
        return FileError(path, f"has only {len(head)} bytes, too few for a checkpoint", _KNOWN)
    if all(byte in b"\t\n\r" or byte >= 32 for byte in head[:64]):
        return FileError(path, "is text, not a checkpoint", _KNOWN)
    return FileError(path, "is neither a safetensors nor an HDF5 file", _KNOWN)
