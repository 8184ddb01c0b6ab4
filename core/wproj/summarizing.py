"""Norms, changes and distances in a few numbers; of any number of norms, some at a time."""

import math
from collections.abc import Iterator

import numpy as np

from wproj.dtypes import Float64
from wproj.measures import Distance, Histogram, NormSummary

_BINS = 20
# So many norms are looked at at once.
_SOME = 1 << 18


def summarize_in_place(norms: Float64) -> NormSummary:
    """Smallest, mean, quantiles and largest of those norms in a row that are finite.

    No copy is made: the norms are not in their places any more then.
    """
    measured = _finite_first(norms)
    if not measured.size:
        return NormSummary(min=None, mean=None, p50=None, p99=None, max=None)
    low, high = float(measured.min()), float(measured.max())
    mean = _mean(measured, high)
    p50, p99 = _quantiles(measured)
    return NormSummary(min=low, mean=mean, p50=p50, p99=p99, max=high)


def _finite_first(norms: Float64) -> Float64:
    """Those that are finite, moved to the beginning in their order."""
    count = 0
    for some in _finite(norms):
        norms[count : count + some.size] = some
        count += some.size
    return norms[:count]


def _finite(norms: Float64) -> Iterator[Float64]:
    """Those that are finite, in order, some at a time."""
    for start in range(0, norms.size, _SOME):
        some = norms[start : start + _SOME]
        yield some[np.isfinite(some)]


def _mean(norms: Float64, highest: float) -> float:
    """The mean, scaled by a power of two on the way, lest sums of 1e308 overflow."""
    shift = max(0, math.frexp(highest)[1] - 512)
    scaled = np.ldexp(norms, -shift) if shift else norms
    return float(np.ldexp(scaled.mean(), shift))


def _quantiles(norms: Float64) -> list[float]:
    """The median and the 99th percentile, to the bit as np.quantile has them; changes the order.

    Of few norms, np.quantile takes ten times as long.
    """
    places = [(len(norms) - 1) * q for q in (0.5, 0.99)]
    floors = [int(place) for place in places]
    ceilings = [min(floor + 1, len(norms) - 1) for floor in floors]
    norms.partition(floors + ceilings)
    found = []
    for place, floor, ceiling in zip(places, floors, ceilings, strict=True):
        before, after, part = float(norms[floor]), float(norms[ceiling]), place - floor
        width = after - before
        found.append(after - width * (1 - part) if part >= 0.5 else before + width * part)
    return found


def histogram(before: Float64, after: Float64 | None) -> Histogram | None:
    """Counts of the finite norms before and after, in the same bins; None if there are none."""
    first, last = before.reshape(-1), None if after is None else after.reshape(-1)
    sides = [first] if last is None else [first, last]
    ends = [(some.min(), some.max()) for side in sides for some in _finite(side) if some.size]
    if not ends:
        return None
    low, high = float(min(low for low, _ in ends)), float(max(high for _, high in ends))
    return Histogram(
        low=low,
        high=high,
        counts=_counts(first, low, high),
        after=None if last is None else _counts(last, low, high),
    )


def _counts(norms: Float64, low: float, high: float) -> list[int]:
    """How many of the finite norms are in each bin; in the only one where all are equal."""
    parts = [_binned(some, low, high) for some in _finite(norms)]
    return [sum(bins) for bins in zip(*parts, strict=True)]


def _binned(norms: Float64, low: float, high: float) -> list[int]:
    if low == high:
        return [int(norms.size)]
    # By halves, as the width itself may be beyond float64; and without np.histogram, which
    # refuses widths of a few units in the last place, as UnitNorm leaves them.
    width = high / 2 - low / 2
    if not width:  # Of neighbors among the smallest numbers.
        return [int(norms.size)] + [0] * (_BINS - 1)
    place = (norms / 2 - low / 2) / width * _BINS
    bins = np.minimum(place.astype(np.intp), _BINS - 1)
    counts: list[int] = np.bincount(bins, minlength=_BINS).tolist()
    return counts


def distance(length: float, squares: float) -> Distance:
    """The root of the sum of squared changes, and that relative to the tensor's own, `length`."""
    absolute = math.sqrt(squares) if math.isfinite(squares) else math.inf
    relative = absolute / length if length else math.nan
    return Distance(absolute=finite(absolute), relative=finite(relative))


def finite(value: float) -> float | None:
    """The number, or None where JSON has none for it."""
    return float(value) if np.isfinite(value) else None
