"""More than a million random vectors: none outside as stored, none that moves when repeated."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

from wproj import MaxNorm, MinMaxNorm, UnitNorm

Array = NDArray[Any]

DTYPES = ("float16", "bfloat16", "float32", "float64")
# How many vectors of which length, for each dtype, constraint and orientation.
LENGTHS = {
    1: 12_000,
    2: 12_000,
    3: 12_000,
    5: 12_000,
    16: 12_000,
    64: 8000,
    300: 2000,
    1024: 500,
    10_007: 30,
    100_000: 4,
}
CONSTRAINTS = (
    MaxNorm(2.0),
    MaxNorm(0.1),
    MaxNorm(math.pi),
    MinMaxNorm(0.3, 0.9),
    UnitNorm(),
)
ROUNDOFF = {"float16": 2.0**-11, "bfloat16": 2.0**-8, "float32": 2.0**-24, "float64": 2.0**-53}
TINY = {"float16": 2.0**-24, "bfloat16": 2.0**-133, "float32": 2.0**-149, "float64": 5e-324}


@dataclass
class Tally:
    """What the sweep has counted: vectors, moved ones, and whatever broke a law."""

    vectors: int = 0
    moved: int = 0
    broken: dict[str, int] = field(default_factory=dict)

    def add(self, law: str, where: str, bad: Array) -> None:
        """Adds up the vectors that break a law."""
        if bad.any():
            key = f"{law}: {where}"
            self.broken[key] = self.broken.get(key, 0) + int(bad.sum())


def random_vectors(rng: np.random.Generator, length: int, count: int, middle: float) -> Array:
    """Rows of several distributions, with norms from a quarter to sixteen times `middle`."""
    shape = (count, length)
    values = rng.standard_normal(shape)
    values[1::4] = rng.uniform(-1, 1, values[1::4].shape)
    values[2::4] = rng.standard_t(3, values[2::4].shape)
    values[3::4] *= np.exp(3 * rng.standard_normal(values[3::4].shape))
    norms = np.sqrt(np.square(values).sum(axis=1, keepdims=True))
    return values / norms * middle * np.exp2(rng.uniform(-2, 4, (count, 1)))


def extreme_norms(vectors: Array, bounds: tuple[float, float]) -> tuple[Array, Array]:
    """The smallest and the largest norm of each row, over orders of summation in float64."""
    squares = np.square(vectors.astype(np.float64))
    backward = np.ascontiguousarray(squares[:, ::-1])
    norms = np.sqrt([squares.sum(axis=1), backward.sum(axis=1), np.einsum("ij->i", squares)])
    low, high = norms.min(axis=0), norms.max(axis=0)
    near = np.any([np.abs(high / bound - 1) < 1e-12 for bound in bounds if bound], axis=0)
    for row in np.flatnonzero(near):
        exact = math.sqrt(math.fsum(squares[row]))
        low[row], high[row] = min(low[row], exact), max(high[row], exact)
    return low, high


def allowed(constraint: Any, length: int, dtype: str) -> float:
    """What a norm may miss a sphere by; nothing where the bounds differ."""
    lower, upper = constraint.bounds
    if lower < upper:
        return 0.0
    wide = 8 + math.sqrt(length) if dtype == "float64" else 1.0
    return float(lower * ROUNDOFF[dtype] * wide + math.sqrt(length) / 2 * TINY[dtype])


def differ(left: Array, right: Array) -> Array:
    """Which rows differ in a byte."""
    sides = (np.ascontiguousarray(a).view(np.uint8).reshape(len(a), -1) for a in (left, right))
    first, second = sides
    return np.any(first != second, axis=1)


def batches() -> Iterator[tuple[Any, str, int, Array]]:
    """Constraint, dtype, axis and rows of vectors, the same in every run."""
    for seed, (constraint, dtype) in enumerate((c, d) for c in CONSTRAINTS for d in DTYPES):
        for length, count in LENGTHS.items():
            for axis in (0, 1):
                rng = np.random.default_rng([seed, length, axis])
                rows = random_vectors(rng, length, count, constraint.bounds[1])
                yield constraint, dtype, axis, rows.astype(getattr(ml_dtypes, dtype, dtype))


def check(tally: Tally, constraint: Any, dtype: str, axis: int, before: Array) -> None:
    """Projects rows of vectors, as rows or as columns, and counts what breaks a law."""
    oriented = constraint.at(axis)
    result = oriented(before if axis else np.ascontiguousarray(before.T))
    again = oriented(result)
    after, repeated = (a if axis else np.ascontiguousarray(a.T) for a in (result, again))
    lower, upper = constraint.bounds
    miss = allowed(constraint, before.shape[1], dtype)
    low, high = extreme_norms(after, constraint.bounds)
    was_low, was_high = extreme_norms(before, constraint.bounds)
    moved = differ(before, after)
    where = f"{constraint} {dtype} of {before.shape[1]} along {axis}"
    tally.vectors += len(before)
    tally.moved += int(moved.sum())
    tally.add("outside", where, (high > upper + miss) | ((low < lower - miss) & (was_high > 0)))
    tally.add("not idempotent", where, differ(after, repeated))
    tally.add("moved from inside", where, moved & (was_low >= lower) & (was_high <= upper))


@pytest.mark.slow
def test_of_a_million_vectors_none_ends_outside(record_property):
    """Feasible as stored, bitwise idempotent, identity inside: no exception in a million."""
    tally = Tally()
    for constraint, dtype, axis, rows in batches():
        check(tally, constraint, dtype, axis, rows)
    record_property("vectors", tally.vectors)
    record_property("moved", tally.moved)

    assert tally.broken == {}
    assert tally.vectors >= 10**6
    assert tally.vectors / 2 < tally.moved < tally.vectors
