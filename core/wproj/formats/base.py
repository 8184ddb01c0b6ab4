"""The contract between formats and engine: a checkpoint maps names to tensors of fixed size."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from wproj.dtypes import Kind, Stored

Layout = Literal["keras", "torch", "unknown"]


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
    layer: str | None = None
    declared: Any = None
    incoming: tuple[int, ...] | None = None


class Store(Protocol):
    """The values of one tensor, by flat position in C order, in native byte order."""

    def read(self, start: int, stop: int) -> Stored:
        """Entries `start` to `stop`."""

    def write(self, start: int, values: Stored) -> None:
        """Stores `values` from entry `start` on."""

    def flush(self) -> None:
        """Hands what was stored to the operating system."""


Stores = Callable[[TensorEntry], Store]


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint(ABC):
    """A file's tensors, in the order of the file.

    Attributes:
        path: The file.
        format: The name of its format.
        layout: Where kernels have their output axis: last (keras), first (torch), or unknown.
        entries: The tensors.
        notes: What a reader should be warned of.
        config: The model's config, where the file has one.
    """

    path: Path
    format: str
    layout: Layout
    entries: tuple[TensorEntry, ...]
    notes: tuple[str, ...] = ()
    config: Mapping[str, Any] | None = None

    @abstractmethod
    def stores(
        self, path: Path | None = None, *, writable: bool = False
    ) -> AbstractContextManager[Stores]:
        """Opens the file, or a copy of it at `path`, and gives access to values by entry."""
