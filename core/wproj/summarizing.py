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
    # Scaled by a power of two, lest sums of 1e308 overflow.
    shift = max(0, int(np.frexp(measured.max())[1]) - 512)
    p50, p99 = np.ldexp(np.quantile(np.ldexp(measured, -shift), [0.5, 0.99]), shift)
    return NormSummary(
        min=float(measured.min()),
        mean=float(np.ldexp(np.ldexp(measured, -shift).mean(), shift)),
        p50=float(p50),
        p99=float(p99),
        max=float(measured.max()),
    )


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
    place = (norms / 2 - low / 2) / (high / 2 - low / 2) * _BINS
    bins = np.minimum(np.nan_to_num(place).astype(np.intp), _BINS - 1)
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
