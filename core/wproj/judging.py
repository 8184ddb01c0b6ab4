"""What is outside: norms by the bounds of radial constraints, entries by a user's own code."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wproj.constraints.base import ArrayConstraint, Constraint, RadialConstraint
from wproj.dtypes import Float64, to_float64
from wproj.errors import TensorError
from wproj.numerics.norms import Bounds
from wproj.numerics.scaling import Mask
from wproj.numerics.vectors import Read, Vectors


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far outside a norm may be without counting as a violation; nothing by default.

    Attributes:
        rtol: Relative to the bound.
        atol: Besides, in the unit of the norms.
    """

    rtol: float = 0.0
    atol: float = 0.0


STRICT = Tolerance()


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of all steps, and the same with the tolerance."""

    strict: list[Bounds]
    relaxed: list[Bounds]

    @classmethod
    def of(
        cls,
        vectors: Vectors,
        steps: Sequence[Constraint],
        tolerance: Tolerance,
        dtype: np.dtype[Any],
    ) -> "Limits":
        """The limits of those of the steps that have any, for vectors stored as `dtype`."""
        radial = [step for step in steps if isinstance(step, RadialConstraint)]
        strict = [step.limits(vectors, dtype) for step in radial]
        if tolerance == STRICT:
            return cls(strict, strict)
        return cls(strict, [one.relaxed(tolerance.rtol, tolerance.atol) for one in strict])

    def judge(self, norms: Float64) -> tuple[Float64, Mask]:
        """How far outside norms are, and which are by more than the tolerance."""
        excess = np.zeros(norms.shape)
        for one in self.strict:
            np.maximum(excess, one.excess(norms), out=excess)
        if self.relaxed is self.strict:
            return excess, excess > 0
        outside = np.zeros(norms.shape, np.bool_)
        for one in self.relaxed:
            outside |= one.excess(norms) > 0
        return excess, outside


@dataclass(frozen=True, slots=True)
class Whole:
    """What user-defined constraints say of a tensor, which they can only be asked of as a whole.

    Attributes:
        entries: How many entries are outside.
        excess: By how many of the constraints each vector is outside; None if none can tell.
    """

    entries: int
    excess: Float64 | None

    @classmethod
    def of(
        cls, vectors: Vectors, shape: tuple[int, ...], read: Read, steps: Sequence[Constraint]
    ) -> "Whole":
        """What they say of the tensor that `read` reads; nothing where none of them can tell.

        Raises:
            TensorError: The constraint's own code failed.
        """
        entries, excess = 0, None
        axes = tuple(d for d, summed in enumerate(vectors.summed) if summed)
        for step in steps:
            outside = _outside_whole(shape, read, step)
            if outside is not None:
                outside = outside.reshape(vectors.dims)
                entries += int(np.count_nonzero(outside))
                found = outside.any(axis=axes).reshape(-1)
                excess = found.astype(np.float64) if excess is None else excess + found
        return cls(entries, excess)


def _outside_whole(shape: tuple[int, ...], read: Read, step: Constraint) -> Mask | None:
    """Which entries of a tensor a user-defined constraint says are outside, if it can tell."""
    contains = None if isinstance(step, ArrayConstraint) else getattr(step, "contains", None)
    if contains is None or 0 in shape:
        return None
    values = to_float64(read(0, math.prod(shape)).reshape(shape))
    try:
        return np.broadcast_to(np.logical_not(contains(values)), shape)
    except Exception as error:  # whatever the user's code raises or returns
        problem = f"{step.name}.contains failed: {type(error).__name__}: {error}"
        raise TensorError(problem, "the constraint's own code raised this") from error
