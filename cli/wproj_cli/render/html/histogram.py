"""Histograms as SVG path data: pixels and numbers only, so nothing in here needs escaping.

The height of a bar is the square root of its count, that a few vectors far out stay visible
beside the thousands that a projection stacks at its limit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import wproj

_LEFT, _WIDTH, _EDGE = 10.0, 140.0, 160.0
_TOP, _BASE = 13, 44
_ROOM = 44.0
_LONE_BAR = 7.0
_FEW = 2

Limits = Sequence[tuple[str, float]]


@dataclass(frozen=True, slots=True)
class Label:
    """The text of a limit, and where it ends (`end`) or starts."""

    x: str
    text: str
    end: bool


@dataclass(frozen=True, slots=True)
class Plot:
    """A histogram: one path before and one after, the limits' lines and labels, the range."""

    paths: list[str]
    lines: str
    labels: list[Label]
    axis: str


def plot(tensor: wproj.TensorReport) -> Plot | None:
    """The plot of a tensor's norms; None where there are not even two."""
    histogram = tensor.histogram
    if histogram is None or sum(histogram.counts) < _FEW:
        return None
    sides = [histogram.counts, *([] if histogram.after is None else [histogram.after])]
    highest = max(map(max, sides)) or 1
    low, high = histogram.low, histogram.high
    inside, labels = _placed(limits(tensor), low, high)
    return Plot(
        paths=[_outline(counts, highest) for counts in sides],
        lines="".join(f"M{_pixel(x)} {_TOP - 3}V{_BASE}" for x in inside),
        labels=labels,
        axis=_axis(low, high),
    )


def _axis(low: float, high: float) -> str:
    """The ends of the range, in as few digits as tell them apart."""
    for digits in (3, 6, 9, 17):
        ends = [f"{low:.{digits}g}", f"{high:.{digits}g}"]
        if ends[0] != ends[1]:
            return " ".join(ends)
    return f"{low:.3g}"


def limits(tensor: wproj.TensorReport) -> list[tuple[str, float]]:
    """What a tensor's constraints demand of norms, as a relation and a bound."""
    if tensor.axis is None:
        return []
    found: list[tuple[str, float]] = []
    for step in tensor.constraint:
        if step.name == "unit_norm":
            found.append(("=", 1.0))
        if step.name == "min_max_norm":
            found.append(("\u2265", float(step.config["min_value"])))
        if step.name in ("max_norm", "min_max_norm"):
            found.append(("\u2264", float(step.config["max_value"])))
    return found


def _outline(counts: Sequence[int], highest: int) -> str:
    """The upper edge of the bars, closed along the base."""
    width = _WIDTH / len(counts)
    x = _LEFT
    if len(counts) == 1:
        width = _LONE_BAR
        x += (_WIDTH - width) / 2
    heights = [math.ceil((_BASE - _TOP) * math.sqrt(count / highest)) for count in counts]
    runs = [(height, len(list(run))) for height, run in groupby(heights)]
    if runs[0][0] == 0:
        x += width * runs.pop(0)[1]
    return f"M{_pixel(x)} {_BASE}{''.join(_strokes(runs, width))}z"


def _strokes(runs: Sequence[tuple[int, int]], width: float) -> Iterator[str]:
    above = 0
    for at, (height, length) in enumerate(runs):
        if height == 0 and at == len(runs) - 1:
            break  # Nothing but the base is left.
        yield f"v{above - height}h{_pixel(width * length)}"
        above = height
    if above:
        yield f"V{_BASE}"


def _placed(bounds: Limits, low: float, high: float) -> tuple[list[float], list[Label]]:
    """Where the lines of limits are, and the labels, also of what is beyond either edge."""
    lines: list[float] = []
    labels: list[Label] = []
    beyond: dict[str, tuple[float, str]] = {}
    for relation, bound in bounds:
        x, text = _x(bound, low, high), f"{relation}{bound:.4g}"
        if 1 <= x < _EDGE:
            lines.append(x)
            left = x > _EDGE - _ROOM or (relation == "\u2265" and x > _ROOM)
            labels.append(Label(_pixel(x - 3 if left else x + 3), text, left))
        else:
            side = "left" if x < 1 else "right"
            beyond[side] = min(beyond.get(side, (math.inf, "")), (abs(x), text))
    if "left" in beyond:
        labels.append(Label("0", f"\u2190{beyond['left'][1]}", end=False))
    if "right" in beyond:
        labels.append(Label(_pixel(_EDGE), f"{beyond['right'][1]}\u2192", end=True))
    return lines, labels


def _x(value: float, low: float, high: float) -> float:
    if low == high:
        return _LEFT + _WIDTH / 2 + (0 if value == low else math.copysign(_EDGE, value - low))
    return _LEFT + _WIDTH * ((value - low) / (high - low))


def _pixel(x: float) -> str:
    return f"{round(x, 1):g}"
