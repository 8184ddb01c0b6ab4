"""What was measured of a tensor's vectors, as frozen values: parts of the report.

A measure that does not exist (of an empty set, of non-finite values, of a constraint that cannot
tell) is None, and `null` in JSON.
"""

import msgspec


class NormSummary(msgspec.Struct, frozen=True, kw_only=True):
    """Euclidean norms of a tensor's vectors, in float64, of the values as stored.

    Quantiles interpolate linearly. Vectors with non-finite entries are left out; all five are None
    where no vector remains.
    """

    min: float | None
    mean: float | None
    p50: float | None
    p99: float | None
    max: float | None


class Histogram(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of norms in bins of equal width from `low` to `high`; `after` a projection, too."""

    low: float
    high: float
    counts: list[int]
    after: list[int] | None = None


class OutsideVector(msgspec.Struct, frozen=True, kw_only=True):
    """A vector outside the constraint's set: its index, its norm, and by how much it misses.

    The index is over the axes that are not summed over.
    """

    index: list[int]
    norm: float | None
    excess: float | None


class Violations(msgspec.Struct, frozen=True, kw_only=True):
    """Vectors outside the constraint's set, before and after.

    `worst_index` is the index, over the axes that are not summed over, of the vector that was
    farthest outside before, and `worst_norm` its norm; where every entry is judged by itself, the
    index of the entry, and `worst_value` its value. `worst_excess` is how far it misses. `vectors`
    has the worst vectors, up to five. A user-defined constraint without `contains` leaves all of
    them None.
    """

    before: int | None
    after: int | None
    worst_index: list[int] | None
    worst_norm: float | None
    worst_value: float | None = None
    worst_excess: float | None = None
    vectors: list[OutsideVector] = []


class Distance(msgspec.Struct, frozen=True, kw_only=True):
    """Euclidean distance between the tensor before and after; relative to its norm before.

    None where it is beyond float64, or the norm is 0.
    """

    absolute: float | None
    relative: float | None


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """How the values of one shape differ between two checkpoints.

    `entries` counts those that differ by more than the tolerance, `largest` is the largest absolute
    difference, at `index`, and `relative` the largest relative to the entry's magnitude in the
    first checkpoint. The measures are None where they are beyond float64, or not numbers.
    """

    entries: int
    largest: float | None
    relative: float | None
    index: list[int] | None
