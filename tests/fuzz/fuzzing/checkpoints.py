"""Checkpoints that are in no file: for what is asked of the names and shapes of tensors."""

import math
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np

from wproj.formats.base import Extent, Stores, TensorEntry
from wproj.formats.keras_weights import KerasWeights


class Weights(KerasWeights):
    """Tensors without values."""

    __slots__ = ()

    def stores(
        self, path: Path | None = None, *, writable: bool = False
    ) -> AbstractContextManager[Stores]:
        """There are none."""
        raise NotImplementedError


def entry(path: str, shape: tuple[int, ...]) -> TensorEntry:
    """A tensor of float32."""
    nbytes = 4 * math.prod(shape)
    return TensorEntry(
        name=path,
        path=path,
        shape=shape,
        dtype="float32",
        stored=np.dtype("<f4"),
        kind="float",
        nbytes=nbytes,
        extent=Extent(0, nbytes),
    )


def weights(shapes: Iterable[tuple[str, tuple[int, ...]]]) -> Weights:
    """A checkpoint of Keras' layout with tensors of these names and shapes."""
    entries = tuple(entry(path, shape) for path, shape in shapes)
    return Weights(path=Path("fuzz.h5"), format="hdf5", layout="keras", entries=entries)


SMALL = weights(
    [
        ("conv1/kernel", (3, 3, 1, 4)),
        ("conv1/bias", (4,)),
        ("dense/kernel", (4, 2)),
        ("dense/bias", (2,)),
        ("w[0]", ()),
        ("empty", (0, 3)),
        ("model.layers.0.mlp.weight", (2, 3)),
    ]
)
