"""How a tensor falls into vectors, and into tiles that fit in memory.

A *vector* is the set of entries that share the indices of the axes that are not summed over. A
*tile* is a run of consecutive entries in C order: what is read, computed on and written at once. A
*unit* is the tiles of some whole vectors. The geometry depends on shape and axis alone, and with it
the order of summation: the result has the same bytes however it is computed.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from wproj.errors import AxisError

# 2**18 entries: one mebibyte of float32, two of float64. Part of the numerics, not a setting.
TILE = 1 << 18
# So many tiles are handed to a thread at once, where there are enough for all; if they hold whole
# vectors, as one unit.
JOINED, _SHARED = 4, 16

Read = Callable[[int, int], NDArray[Any]]
Write = Callable[[int, NDArray[Any]], None]
Index = tuple[int | slice, ...]
Item = TypeVar("Item")
Result = TypeVar("Result")


class Each(Protocol):
    """Applies a function to items and returns the results in order; maybe in several threads."""

    def __call__(
        self, function: Callable[[Item], Result], items: Iterable[Item], /
    ) -> Iterator[Result]:
        """The results; `map` is one of these."""


@dataclass(frozen=True, slots=True)
class Tile:
    """Entries `start` to `stop` of a tensor, in C order.

    Attributes:
        start: The first entry.
        stop: One past the last entry.
        shape: The shape of the entries; `axes` counts in it.
        axes: The axes summed over.
        index: Where the tile's vectors are, in an array of the unit's `shape`.
    """

    start: int
    stop: int
    shape: tuple[int, ...]
    axes: tuple[int, ...]
    index: Index

    @property
    def kept(self) -> tuple[int, ...]:
        """The shape of an array of one number for each vector, axes kept as length one."""
        return tuple(1 if axis in self.axes else n for axis, n in enumerate(self.shape))


@dataclass(frozen=True, slots=True)
class Unit:
    """Tiles that hold whole vectors only.

    Where a leading axis is summed over, they need not be consecutive: a panel of the columns of a
    matrix has one run of tiles in each row.

    Attributes:
        tiles: The tiles, in order.
        shape: The shape of an array of one number for each vector, axes kept as length one.
        index: Where these vectors are, in an array of the tensor's `kept_shape`.
    """

    tiles: tuple[Tile, ...]
    shape: tuple[int, ...]
    index: Index

    @property
    def start(self) -> int:
        """The first entry."""
        return self.tiles[0].start

    @property
    def stop(self) -> int:
        """One past the last entry."""
        return self.tiles[-1].stop

    @property
    def entries(self) -> int:
        """The number of entries of all its vectors."""
        return sum(tile.stop - tile.start for tile in self.tiles)

    @property
    def spans(self) -> Iterator[tuple[int, int]]:
        """Its entries as runs of consecutive ones: the first, and one past the last."""
        start = self.start
        for tile, after in itertools.pairwise(self.tiles):
            if tile.stop != after.start:
                yield start, tile.stop
                start = after.start
        yield start, self.stop

    def over_tiles(self, function: Callable[[Tile], Result], each: Each = map) -> Iterator[Result]:
        """What `function` returns for every tile, in order; threads get a few at a time."""
        size = max(1, min(JOINED, len(self.tiles) // _SHARED))
        runs = [self.tiles[start : start + size] for start in range(0, len(self.tiles), size)]
        found = each(lambda run: [function(tile) for tile in run], runs)
        return itertools.chain.from_iterable(found)


@dataclass(frozen=True, slots=True)
class Vectors:
    """The vectors of a C-ordered tensor of `shape` along `axis`, the axes summed over.

    `dims` and `summed` describe the same tensor with its axes of length one dropped and neighbors
    of the same kind merged.
    """

    shape: tuple[int, ...]
    axis: tuple[int, ...]
    dims: tuple[int, ...]
    summed: tuple[bool, ...]

    @classmethod
    def of(cls, shape: Sequence[int], axis: int | Sequence[int] | None) -> "Vectors":
        """The vectors along `axis`: an int, several, negative ones, or None for all axes.

        Raises:
            AxisError: The tensor has no such axis, or it is given twice.
        """
        return _vectors(tuple(shape), normalize_axis(axis, shape))

    @property
    def length(self) -> int:
        """The number of entries of one vector."""
        return math.prod(n for n, summed in zip(self.dims, self.summed, strict=True) if summed)

    @property
    def count(self) -> int:
        """The number of vectors."""
        return math.prod(self.kept_shape)

    @property
    def kept_shape(self) -> tuple[int, ...]:
        """The shape of an array of one number for each vector, axes kept as length one."""
        return tuple(1 if s else n for n, s in zip(self.dims, self.summed, strict=True))

    def index_of(self, position: int) -> list[int]:
        """The index, over the axes that are not summed over, of the vector at a flat position."""
        kept = [size for axis, size in enumerate(self.shape) if axis not in self.axis]
        return [int(i) for i in np.unravel_index(position, kept)] if kept else []

    def units(self, tile: int = TILE) -> Iterator[Unit]:
        """All units, in the order of their vectors, of tiles of at most `tile` entries.

        A unit has at most `tile` vectors where these go across more than one tile.

        >>> [len(unit.tiles) for unit in Vectors.of((4, 3), axis=0).units(tile=6)]
        [2]
        >>> [len(unit.tiles) for unit in Vectors.of((4, 3), axis=1).units(tile=6)]
        [1, 1]
        """
        if 0 in self.dims:
            return
        depth = self._depth(tile)
        whole = self.summed.index(True) if True in self.summed else len(self.dims)
        tiles = self._tiles(depth, min(whole, depth), tile)
        if whole > depth:
            size = max(1, min(JOINED, self._tile_count(depth, tile) // _SHARED))
            while joined := list(itertools.islice(tiles, size)):
                yield _panel(joined, (), self.kept_shape[1:])
            return
        outer = list(itertools.product(*map(range, self.dims[:whole])))
        per_unit = self._tile_count(depth, tile) // len(outer)
        for index in outer:
            group = tuple(itertools.islice(tiles, per_unit))
            shape = self.kept_shape[whole:]
            if math.prod(shape) <= tile:
                yield Unit(group, shape, index)
            else:
                yield from self._panels(group, index, tile)

    def over_units(
        self, function: Callable[[Unit, Each], Result], each: Each = map
    ) -> Iterator[Result]:
        """What `function` returns for every unit, in order.

        Threads share the units, or where a vector has many tiles, the tiles of one unit after the
        other: then `function` is given `each` to do so.
        """
        crossing = 0 not in self.dims and True in self.summed[: self._depth(TILE) + 1]
        if crossing and len(next(self.units()).tiles) > 1:
            return (function(unit, each) for unit in self.units())
        return each(lambda unit: function(unit, map), self.units())

    def _depth(self, tile: int) -> int:
        """The axis that is cut into tiles."""
        return next(d for d in range(len(self.dims)) if math.prod(self.dims[d + 1 :]) <= tile)

    def _rows(self, depth: int, tile: int) -> int:
        return max(1, tile // math.prod(self.dims[depth + 1 :]))

    def _tile_count(self, depth: int, tile: int) -> int:
        return math.prod(self.dims[:depth]) * -(-self.dims[depth] // self._rows(depth, tile))

    def _tiles(self, depth: int, whole: int, tile: int) -> Iterator[Tile]:
        inner, rows = math.prod(self.dims[depth + 1 :]), self._rows(depth, tile)
        axes = tuple(d for d, summed in enumerate(self.summed[depth:]) if summed)
        start = 0
        for outer in itertools.product(*map(range, self.dims[:depth])):
            for first in range(0, self.dims[depth], rows):
                span = slice(first, min(first + rows, self.dims[depth]))
                shape = (span.stop - span.start, *self.dims[depth + 1 :])
                stop = start + shape[0] * inner
                index = self._index(outer[whole:], span, whole, depth)
                yield Tile(start, stop, shape, axes, index)
                start = stop

    def _panels(self, tiles: Sequence[Tile], outer: tuple[int, ...], tile: int) -> Iterator[Unit]:
        """Units of the tiles at the index `outer`, whose vectors are too many for one."""
        first, depth = len(outer), self._depth(tile)
        grid = np.array(tiles, object).reshape(*self.dims[first:depth], -1)
        *fixed, cut = (axis for axis in range(grid.ndim) if not self.summed[first + axis])
        size = max(1, tile // math.prod(tiles[0].kept))
        for index in itertools.product(*(range(grid.shape[axis]) for axis in fixed)):
            for start in range(0, grid.shape[cut], size):
                part = dict(zip(fixed, (slice(i, i + 1) for i in index), strict=True))
                part[cut] = slice(start, start + size)
                group = grid[tuple(part.get(axis, slice(None)) for axis in range(grid.ndim))]
                yield _panel(group.reshape(-1).tolist(), outer, self.kept_shape[depth + 1 :])

    def _index(self, outer: tuple[int, ...], span: slice, whole: int, depth: int) -> Index:
        fixed = [
            0 if summed else i for i, summed in zip(outer, self.summed[whole:depth], strict=True)
        ]
        return (*fixed, slice(0, 1) if self.summed[depth] else span)


def _panel(tiles: list[Tile], outer: tuple[int, ...], rest: tuple[int, ...]) -> Unit:
    """A unit of the tiles of a box of vectors, whose indices are still those in all of `outer`."""
    low, high = _corners(tiles[0])[0], _corners(tiles[-1])[1]
    box = tuple(map(slice, low, high))
    shape = (*(stop - start for start, stop in zip(low, high, strict=True)), *rest)
    return Unit(tuple(_moved(tile, low) for tile in tiles), shape, (*outer, *box))


def _corners(tile: Tile) -> tuple[list[int], list[int]]:
    """The lowest index of a tile's vectors, and what is one past the highest."""
    spans = [at if isinstance(at, slice) else slice(at, at + 1) for at in tile.index]
    return [span.start for span in spans], [span.stop for span in spans]


def _moved(tile: Tile, low: list[int]) -> Tile:
    """A tile whose index counts from `low`."""
    index = (
        slice(at.start - by, at.stop - by) if isinstance(at, slice) else at - by
        for at, by in zip(tile.index, low, strict=True)
    )
    return replace(tile, index=tuple(index))


@lru_cache(maxsize=64)
def _vectors(shape: tuple[int, ...], axis: tuple[int, ...]) -> Vectors:
    """The same for sorted axes; the tensors of a checkpoint have few shapes."""
    dims: list[int] = []
    summed: list[bool] = []
    for position, size in enumerate(shape):
        if size == 1:
            continue
        if summed and summed[-1] == (position in axis):
            dims[-1] *= size
        else:
            dims.append(size)
            summed.append(position in axis)
    if not dims:
        dims, summed = [1], [True]
    return Vectors(shape, axis, tuple(dims), tuple(summed))


def normalize_axis(axis: int | Sequence[int] | None, shape: Sequence[int]) -> tuple[int, ...]:
    """`axis` as sorted numbers from 0; None means every axis.

    >>> normalize_axis([-1, 0], (2, 3, 4))
    (0, 2)

    Raises:
        AxisError: The tensor has no such axis, or it is given twice.
    """
    if axis is None:
        return tuple(range(len(shape)))
    given = (axis,) if isinstance(axis, int) else tuple(axis)
    if any(not -len(shape) <= a < len(shape) for a in given):
        raise AxisError(axis, shape, "is out of range")
    normal = tuple(sorted(a % len(shape) for a in given))
    if len(set(normal)) < len(normal):
        raise AxisError(axis, shape, "names an axis twice")
    return normal
