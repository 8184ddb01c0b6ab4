"""The contract between formats and engine: a checkpoint maps names to tensors of fixed size."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from wproj.dtypes import Kind, Stored
from wproj.formats.stamps import Stamp

Layout = Literal["keras", "torch", "unknown"]
NameSource = Literal["config", "attribute", "path"]


@dataclass(frozen=True, slots=True)
class Extent:
    """Where a tensor's bytes lie in its file, all in one piece, in C order."""

    offset: int
    nbytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorEntry:
    """What a checkpoint says about one tensor, without its values.

    Attributes:
        name: What people call it; globs match it.
        path: Where it is stored; globs match it, too.
        shape: Its shape.
        dtype: The name of its dtype: NumPy's, or ml_dtypes', or the format's.
        stored: The dtype as stored, byte order included; None where NumPy has none.
        kind: What sort of numbers it holds.
        nbytes: The bytes of its values.
        extent: Where they lie, or None where the format's library has to fetch them.
        aliases: Further paths of the same tensor.
        obstacle: Why its values cannot be projected, or None.
        file: Which of the checkpoint's files holds it, where there are several.
        named_by: Where its name comes from, in files of Keras: the model's config, an attribute
            beside the variable, or the path alone.
        layer: The class of its layer, where a config tells.
        declared: The constraint that its layer declares for it, as serialized, or None.
        incoming: The axes of the weights incident to each hidden unit, where a config tells.
    """

    name: str
    path: str
    shape: tuple[int, ...]
    dtype: str
    stored: np.dtype[Any] | None
    kind: Kind
    nbytes: int
    extent: Extent | None = None
    aliases: tuple[str, ...] = ()
    obstacle: str | None = None
    file: str | None = None
    named_by: NameSource | None = None
    layer: str | None = None
    declared: Any = None
    incoming: tuple[int, ...] | None = None


class Store(Protocol):
    """The values of one tensor, by flat position in C order, in native byte order."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of what is read and written."""

    def read(self, start: int, stop: int) -> Stored:
        """Entries `start` to `stop`."""

    def write(self, start: int, values: Stored) -> None:
        """Stores `values` from entry `start` on."""


class PackedStore(ABC):
    """The values of one tensor by boxes of its entries, each of which is unpacked as a whole.

    Several threads may read and pack at once; one stores.
    """

    entry: TensorEntry

    @abstractmethod
    def boxes(self) -> Iterator[tuple[slice, ...]]:
        """The boxes, which together are the tensor; an empty one for a scalar."""

    @abstractmethod
    def read_box(self, box: tuple[slice, ...]) -> Stored:
        """The entries of a box, an array of its shape, in native byte order."""

    @abstractmethod
    def prepare_box(self, box: tuple[slice, ...], values: Stored) -> Callable[[], None]:
        """Packs the entries of a box; to call the result stores them, box by box in their order."""

    @abstractmethod
    def flush(self) -> None:
        """Hands what was stored to the operating system."""


Stores = Callable[[TensorEntry], Store | PackedStore]


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint(ABC):
    """The tensors of a file, or of several that belong together, in the order of the files.

    Attributes:
        path: The file or folder that it is opened by.
        format: The name of its format.
        layout: Where kernels have their output axis: last (keras), first (torch), or unknown.
        entries: The tensors.
        notes: What a reader should be warned of.
        config: The model's config, where the file has one.
        members: The files that make it up, relative to `folder`; none for a single file.
        stamps: What tells whether its files were changed since it was opened, by their paths.
    """

    path: Path
    format: str
    layout: Layout
    entries: tuple[TensorEntry, ...]
    notes: tuple[str, ...] = ()
    config: Mapping[str, Any] | None = None
    members: tuple[str, ...] = ()
    stamps: Mapping[Path, Stamp] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Where the members are."""
        return self.path if self.path.is_dir() else self.path.parent

    @property
    def owns_folder(self) -> bool:
        """Whether all that is in `folder` belongs to it."""
        return self.path.is_dir()

    def within(self, copy: Path) -> Path:
        """What a copy is opened by: a file at `copy`, or a folder there that has the members."""
        return copy

    def extents(self, entries: Iterable[TensorEntry]) -> dict[str, list[Extent]]:
        """The members that hold tensors, and where in them their values lie by offset.

        The name of a single file is empty.
        """
        found: dict[str, list[Extent]] = {}
        for entry in entries:
            at = found.setdefault(entry.file or "", [])
            at += [entry.extent] if entry.extent else []
        return found

    @abstractmethod
    def stores(
        self, path: Path | None = None, *, writable: bool = False
    ) -> AbstractContextManager[Stores]:
        """Opens the checkpoint, or a copy at `path`, and gives access to values by entry.

        The copy of a checkpoint with members is a folder that has them.
        """
