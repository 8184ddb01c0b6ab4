"""Norms, changes and distances in a few numbers."""

import math

import numpy as np

from wproj.dtypes import Float64
from wproj.measures import Distance, Histogram, NormSummary

_BINS = 20


def summarize_norms(norms: Float64) -> NormSummary:
    """Smallest, mean, quantiles and largest of those norms that are finite."""
    measured = norms[np.isfinite(norms)]
    if not measured.size:
        return NormSummary(min=None, mean=None, p50=None, p99=None, max=None)
    low, high = float(measured.min()), float(measured.max())
    p50, p99 = _quantiles(measured)
    return NormSummary(min=low, mean=_mean(measured, high), p50=p50, p99=p99, max=high)


def _mean(norms: Float64, highest: float) -> float:
    """The mean, scaled by a power of two on the way, lest sums of 1e308 overflow."""
    shift = max(0, math.frexp(highest)[1] - 512)
    scaled = np.ldexp(norms, -shift) if shift else norms
    return float(np.ldexp(scaled.mean(), shift))


def _quantiles(norms: Float64) -> list[float]:
    """The median and the 99th percentile, to the bit as np.quantile has them.

    Of few norms, np.quantile takes ten times as long.
    """
    places = [(len(norms) - 1) * q for q in (0.5, 0.99)]
    floors = [int(place) for place in places]
    ceilings = [min(floor + 1, len(norms) - 1) for floor in floors]
    ordered = np.partition(norms, floors + ceilings)
    found = []
    for place, floor, ceiling in zip(places, floors, ceilings, strict=True):
        before, after, part = float(ordered[floor]), float(ordered[ceiling]), place - floor
        width = after - before
        found.append(after - width * (1 - part) if part >= 0.5 else before + width * part)
    return found


def histogram(before: Float64, after: Float64 | None) -> Histogram | None:
    """Counts of the finite norms before and after, in the same bins; None if there are none."""
    first = before[np.isfinite(before)]
    last = first if after is None else after[np.isfinite(after)]
    both = np.concatenate([first.reshape(-1), last.reshape(-1)])
    if not both.size:
        return None
    low, high = float(both.min()), float(both.max())
    return Histogram(
        low=low,
        high=high,
        counts=_counts(first, low, high),
        after=None if after is None else _counts(last, low, high),
    )


def _counts(norms: Float64, low: float, high: float) -> list[int]:
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


def distance(norms: Float64, squares: float) -> Distance:
    """The root of the sum of squared changes, and that relative to the tensor's norm."""
    with np.errstate(over="ignore"):
        whole = float(np.sqrt(np.nansum(np.square(norms))))
    absolute = math.sqrt(squares) if math.isfinite(squares) else math.inf
    relative = absolute / whole if whole else math.nan
    return Distance(absolute=finite(absolute), relative=finite(relative))


def finite(value: float) -> float | None:
    """The number, or None where JSON has none for it."""
    return float(value) if np.isfinite(value) else None
