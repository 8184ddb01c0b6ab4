"""Boxes of multidimensional arrays: what HDF5 calls hyperslabs, without strides."""

import math
from collections.abc import Iterator, Sequence

Box = tuple[slice, ...]

# The entries of a box, unless one chunk has more: enough for NumPy, little enough for the cache.
BOX_ENTRIES = 1 << 17


def grid(box: Box, step: Sequence[int]) -> Iterator[Box]:
    """The boxes of at most `step` entries along each axis that tile `box`, in C order.

    >>> list(grid((slice(0, 3),), (2,)))
    [(slice(0, 2, None),), (slice(2, 3, None),)]
    """
    if not box:
        yield ()
        return
    first, *others = box
    for start in range(first.start, first.stop, step[0]):
        for rest in grid(tuple(others), step[1:]):
            yield (slice(start, min(start + step[0], first.stop)), *rest)


def several(chunk: Sequence[int], shape: Sequence[int]) -> tuple[int, ...]:
    """The shape of boxes that hold whole chunks: one, or neighbors up to `BOX_ENTRIES` entries.

    >>> several((8, 64), (1024, 1024)), several((512, 512), (1024, 1024)), several((1, 1), (10, 3))
    ((128, 1024), (512, 512), (10, 3))
    """
    if 0 in shape:
        return tuple(chunk)
    step = list(chunk)
    for axis in reversed(range(len(step))):
        there = -(-shape[axis] // step[axis])
        inside = math.prod(map(min, step, shape))
        taken = max(1, min(there, BOX_ENTRIES // inside))
        step[axis] *= taken
        if taken < there:
            break
    return tuple(step)


def whole(shape: Sequence[int]) -> Box:
    """The box that is all of an array."""
    return tuple(slice(0, n) for n in shape)


def extent(box: Box) -> tuple[int, ...]:
    """The shape of a box."""
    return tuple(side.stop - side.start for side in box)


def within(box: Box, outer: Box) -> Box:
    """A box by its place in another one."""
    starts = [side.start for side in outer]
    return tuple(
        slice(side.start - start, side.stop - start)
        for side, start in zip(box, starts, strict=True)
    )
