"""What is made of the pairs of values that rounds measure, what is aimed at, how both are said."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

Pair = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Unit:
    """A figure: how it follows from a pair, what it and both of the pair are said in."""

    of: Callable[[float, float], float]
    said: str
    digits: int
    each: Callable[[float, float], tuple[str, str]]
    larger_is_better: bool = False


@dataclass(frozen=True, slots=True)
class Goal:
    """A limit in a unit; None where the figure is reported only."""

    unit: Unit
    limit: float | None = None

    def met(self, value: float) -> bool | None:
        """Whether a figure is on the right side of the limit.

        >>> Goal(RATIO, 1.3).met(1.2), Goal(FASTER, 5).met(4.9), Goal(RATIO).met(1)
        (True, False, None)
        """
        if self.limit is None:
            return None
        return value >= self.limit if self.unit.larger_is_better else value <= self.limit

    def __str__(self) -> str:
        """The goal in words.

        >>> str(Goal(RATIO, 1.3)), str(Goal(FASTER, 5)), str(Goal(RATIO))
        ('<= 1.3 x', '>= 5 x faster', 'reported')
        """
        if self.limit is None:
            return "reported"
        return f"{'>=' if self.unit.larger_is_better else '<='} {self.limit:g} {self.unit.said}"


@dataclass(frozen=True, slots=True)
class Figure:
    """The median of a figure over all rounds and its range, and the median of both of the pair."""

    goal: Goal
    middle: float
    least: float
    most: float
    each: Pair


def figure(goal: Goal, pairs: list[Pair]) -> Figure:
    """The figure of rounds.

    >>> figure(Goal(RATIO), [(2, 1), (3, 1), (1, 1)]).middle
    2.0
    """
    values = [goal.unit.of(*pair) for pair in pairs]
    first, second = (median(side) for side in zip(*pairs, strict=True))
    return Figure(goal, median(values), min(values), max(values), (first, second))


def in_seconds(ours: float, theirs: float) -> tuple[str, str]:
    """Two times."""
    return f"{ours:.2f} s", f"{theirs:.2f} s"


def in_milliseconds(ours: float, theirs: float) -> tuple[str, str]:
    """Two short times, given in seconds."""
    return f"{1000 * ours:.0f} ms", f"{1000 * theirs:.0f} ms"


def in_mebibytes(resident: float, anonymous: float) -> tuple[str, str]:
    """Two peaks of memory, given in bytes."""
    return f"{resident / 2**20:.0f} MiB resident", f"{anonymous / 2**20:.0f} MiB anonymous"


# Of our seconds and those of the opponent.
RATIO = Unit(lambda ours, theirs: ours / theirs, "x", 2, in_seconds)
FASTER = Unit(lambda ours, theirs: theirs / ours, "x faster", 2, in_seconds, larger_is_better=True)
MORE = Unit(lambda ours, theirs: 1000 * (ours - theirs), "ms more", 0, in_milliseconds)
# Of the maximum resident set and the peak of anonymous pages.
PEAK = Unit(lambda resident, anonymous: max(resident, anonymous) / 2**20, "MiB", 0, in_mebibytes)
