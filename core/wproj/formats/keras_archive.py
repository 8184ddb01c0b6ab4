"""`.keras` archives: a zip of metadata.json, config.json and model.weights.h5.

Format: `keras.src.saving.saving_lib` of Keras 3. Weights that are stored as they are, in one piece
each, as Keras writes them, are read and patched in the archive itself, checksums included. Others
are unpacked beside the copy that is written, patched as HDF5, and packed again in their place;
every other member keeps its bytes, its place and its metadata.
"""

import copy
import errno
import io
import lzma
import os
import shutil
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from wproj.errors import FileError
from wproj.formats.base import Checkpoint, Extent, Stores, TensorEntry
from wproj.formats.hdf5 import Hdf5Checkpoint, open_hdf5
from wproj.formats.keras_names import MAX_CONFIG
from wproj.formats.leftovers import draft_name, occupied
from wproj.formats.positional import ExtentStore, open_regular, unreadable
from wproj.formats.zip_member import Section, StoredMember, stored_member
from wproj.formats.zip_safety import check_archive

WEIGHTS, CONFIG = "model.weights.h5", "config.json"
NO_CONFIG = f"has no {CONFIG} inside, so names come from the weights alone"

_CHUNK = 1 << 20
# What zipfile and the decompressors raise on archives that are damaged.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    OverflowError,
    OSError,
    ValueError,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class KerasArchive(Checkpoint):
    """A `.keras` archive; `entries` are those of the weights inside.

    Attributes:
        weights: The weights as a file of their own.
        member: Where they are in the archive, if all of them can be read there.
    """

    weights: Hdf5Checkpoint
    member: StoredMember | None

    def extents(self, entries: Iterable[TensorEntry]) -> dict[str, list[Extent]]:
        """See `Checkpoint.extents`; weights that have to be unpacked lie nowhere."""
        return Checkpoint.extents(self, entries) if self.member is not None else {"": []}

    @contextmanager
    def stores(self, path: Path | None = None, *, writable: bool = False) -> Iterator[Stores]:
        """Opens the archive, or a copy of it at `path`, and gives access to values by entry.

        Raises:
            FileError: The weights are not those that the archive's checksum was made of.
        """
        path = path or self.path
        if self.member is not None:
            with _in_place(path, self.member, writable=writable) as stores:
                yield stores
            return
        with _unpacked(path, path.parent if writable else None) as weights:
            with self.weights.stores(weights, writable=writable) as stores:
                yield stores
            if writable:
                _repack(path, weights)


def open_keras_archive(path: Path) -> KerasArchive:
    """The tensors of the weights in the archive at `path`.

    Raises:
        FileError: It is damaged or unsafe, or holds no Keras weights.
    """
    with _archive(path) as archive, _descriptor(path) as descriptor:
        _check_weights(path, archive)
        check_archive(path, archive, descriptor)
        config = _config(archive)
        member = stored_member(archive, WEIGHTS, descriptor)
    inside = _open_weights(path, member).named_by(config, f"{CONFIG} inside")
    missing = (NO_CONFIG,) if config is None else ()
    if not all(map(_in_one_piece, inside.entries)):
        member = None
    return KerasArchive(
        path=path,
        format="keras",
        layout="keras",
        entries=tuple(_moved(entry, member) for entry in inside.entries),
        notes=(*inside.notes, *missing),
        config=inside.config,
        weights=inside,
        member=member,
    )


@contextmanager
def _descriptor(path: Path) -> Iterator[int]:
    descriptor = open_regular(path)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _open_weights(path: Path, member: StoredMember | None) -> Hdf5Checkpoint:
    if member is None:
        with _as_a_part(path), _unpacked(path, None) as weights:
            return open_hdf5(weights)
    with _descriptor(path) as descriptor:
        section = Section(descriptor, member.offset, member.size)
        with _as_a_part(path, section):
            return open_hdf5(path, io.BufferedReader(section))


@contextmanager
def _as_a_part(path: Path, section: Section | None = None) -> Iterator[None]:
    """Tells of damage in the weights as of damage inside the archive."""
    try:
        yield
    except FileError as error:
        if section is not None and section.fault is not None:
            raise unreadable(path, section.fault) from error
        raise FileError(str(path), f"{WEIGHTS} inside is damaged") from error


def _in_one_piece(entry: TensorEntry) -> bool:
    """Whether a tensor's values, if it has any that can be read, lie in the file in one piece."""
    return entry.extent is not None or entry.stored is None or entry.nbytes == 0


def _moved(entry: TensorEntry, member: StoredMember | None) -> TensorEntry:
    """The tensor as the archive has it, which has its bytes elsewhere than the weights alone."""
    if member is None or entry.extent is None:
        return entry
    return replace(entry, extent=replace(entry.extent, offset=entry.extent.offset + member.offset))


@contextmanager
def _in_place(path: Path, member: StoredMember, *, writable: bool) -> Iterator[Stores]:
    descriptor = open_regular(path, os.O_RDWR if writable else os.O_RDONLY)
    try:
        if not writable:
            _check_sum(path, member, descriptor)
        yield lambda entry: _extent_store(path, descriptor, entry)
        if writable:
            member.seal(descriptor)
    finally:
        os.close(descriptor)


def _check_sum(path: Path, member: StoredMember, descriptor: int) -> None:
    try:
        found = member.measured(descriptor)
    except OSError as error:
        raise unreadable(path, error) from error
    if found != member.crc:
        raise FileError(str(path), f"{WEIGHTS} inside is damaged: its checksum is another")


def _extent_store(path: Path, descriptor: int, entry: TensorEntry) -> ExtentStore:
    if entry.stored is None:
        raise FileError(entry.name, f"{entry.dtype} entries cannot be read one by one")
    return ExtentStore(path, descriptor, entry.extent or Extent(0, 0), entry.stored)


@contextmanager
def _archive(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with (
            open(open_regular(path), "rb") as file,  # noqa: PTH123 # by descriptor
            zipfile.ZipFile(file) as archive,
        ):
            yield archive
    except _DAMAGE as error:
        # Of what the system says, only that a position or a stream is invalid is about the archive.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        raise FileError(str(path), f"is a damaged zip archive: {error}") from error


def _check_weights(path: Path, archive: zipfile.ZipFile) -> None:
    if WEIGHTS not in archive.namelist():
        raise FileError(str(path), f"is a zip archive without {WEIGHTS}, so not one of Keras")


def _config(archive: zipfile.ZipFile) -> bytes | None:
    """The config, or so much of it as shows that it is too long."""
    if CONFIG not in archive.namelist():
        return None
    with archive.open(CONFIG) as member:
        return member.read(MAX_CONFIG + 1)


@contextmanager
def _unpacked(path: Path, folder: Path | None) -> Iterator[Path]:
    """The weights of the archive as a file of its own: in `folder`, or where temporary files go."""
    folder = folder or Path(tempfile.gettempdir())
    weights = folder / draft_name()
    with occupied(folder):
        try:
            with (
                open(weights, "xb", opener=_private) as target,
                _archive(path) as archive,
                archive.open(WEIGHTS) as source,
            ):
                shutil.copyfileobj(source, target, _CHUNK)
            yield weights
        finally:
            with suppress(OSError):
                weights.unlink()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _repack(path: Path, weights: Path) -> None:
    """Puts the weights back into the archive at `path`, if they differ from those in it."""
    beside = path.with_name(draft_name())
    try:
        with _archive(path) as old:
            if _crc(weights) == old.getinfo(WEIGHTS).CRC:
                return
            with zipfile.ZipFile(beside, "x") as new:
                new.comment = old.comment
                for info in old.infolist():
                    _copy_member(old, new, info, weights if info.filename == WEIGHTS else None)
        shutil.copymode(path, beside)
        beside.replace(path)
    finally:
        with suppress(OSError):
            beside.unlink()


def _copy_member(
    old: zipfile.ZipFile, new: zipfile.ZipFile, info: zipfile.ZipInfo, content: Path | None
) -> None:
    clone = copy.copy(info)
    if content is not None:
        clone.file_size = content.stat().st_size
    with (
        content.open("rb") if content else old.open(info) as source,
        new.open(clone, "w", force_zip64=clone.file_size >= zipfile.ZIP64_LIMIT) as target,
    ):
        shutil.copyfileobj(source, target, _CHUNK)


def _crc(path: Path) -> int:
    crc = 0
    with path.open("rb") as file:
        while part := file.read(_CHUNK):
            crc = zlib.crc32(part, crc)
    return crc
