"""Which links a checkpoint's folder may hold: those of Hugging Face's cache, and into itself."""

from collections.abc import Callable, Iterator
from pathlib import Path

# What git and downloads note about a folder; a copy with other weights is no clone of anything.
RECORDS = (".git", ".cache", ".huggingface")
_BLOBS, _SHARED = "blobs", ".huggingface-shared-blobs"


def belonging_to(folder: Path) -> Callable[[Path], bool]:
    """Whether a file that a link in `folder` finally leads to belongs to it, as a function."""
    own = folder.resolve()

    def belongs(end: Path) -> bool:
        if end.is_relative_to(own):
            return end.relative_to(own).parts[0] not in RECORDS
        return any(end.is_relative_to(home) for home in _blobs(own))

    return belongs


def _blobs(folder: Path) -> Iterator[Path]:
    """Where the links of a snapshot in Hugging Face's cache end: beside it, or for all models."""
    snapshots = next((above for above in folder.parents if above.name == "snapshots"), None)
    if snapshots is not None:
        yield snapshots.with_name(_BLOBS)
        shared = snapshots.parent.with_name(_BLOBS)
        if (shared / _SHARED).is_file():
            yield shared
