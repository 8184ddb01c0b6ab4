"""An unzipped `.keras` archive: a folder with config.json and the weights.

Format: `save_model(zipped=False)` in `keras.src.saving.saving_lib`. The weights are one file, or
shards with their map.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from wproj.errors import FileError
from wproj.formats.base import Checkpoint, Extent, Stores, TensorEntry
from wproj.formats.folders import files_below
from wproj.formats.hdf5 import open_hdf5
from wproj.formats.keras_archive import CONFIG, NO_CONFIG, WEIGHTS
from wproj.formats.keras_names import MAX_CONFIG
from wproj.formats.keras_sharded import open_sharded
from wproj.formats.keras_weights import KerasWeights
from wproj.formats.positional import read_regular

_MAP = "model.weights.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class KerasFolder(Checkpoint):
    """An unzipped archive; `entries` are those of the weights, `members` all files inside."""

    weights: KerasWeights

    def extents(self, entries: Iterable[TensorEntry]) -> dict[str, list[Extent]]:
        """See `Checkpoint.extents`."""
        found = Checkpoint.extents(self, entries)
        return {name or WEIGHTS: extents for name, extents in found.items()}

    @contextmanager
    def stores(self, path: Path | None = None, *, writable: bool = False) -> Iterator[Stores]:
        """Gives access to values by entry; see `Checkpoint.stores`."""
        folder = path or self.path
        inside = folder if self.weights.members else folder / WEIGHTS
        with self.weights.stores(inside, writable=writable) as stores:
            yield stores


def open_keras_folder(path: Path) -> KerasFolder:
    """The tensors of the weights in the folder at `path`.

    Raises:
        FileError: It holds no Keras weights, or links or other things that are not files.
    """
    members = files_below(path)
    if WEIGHTS in members:
        weights: KerasWeights = open_hdf5(path / WEIGHTS)
    elif _MAP in members:
        weights = open_sharded(path / _MAP)
    else:
        raise FileError(
            str(path),
            f"is a folder without {WEIGHTS}, so not an unzipped .keras archive",
            "give a checkpoint in it",
        )
    config = read_regular(path / CONFIG, MAX_CONFIG) if CONFIG in members else None
    weights = weights.named_by(config, f"{CONFIG} inside")
    missing = () if CONFIG in members else (NO_CONFIG,)
    return KerasFolder(
        path=path,
        format="keras-folder",
        layout="keras",
        entries=weights.entries,
        notes=(*weights.notes, *missing),
        config=weights.config,
        members=tuple(members),
        weights=replace(weights, config=None),
    )
