"""The four constraints of Keras, with its parameter names and defaults.

Formulas: `keras.constraints` of Keras 3, https://keras.io/api/layers/constraints/. Unlike Keras,
parameters are checked.
"""

import numbers
from dataclasses import dataclass

import numpy as np

from wproj.constraints.arrays import Array, between, namespace
from wproj.constraints.base import Axis, Constraint, ElementwiseConstraint, RadialConstraint
from wproj.errors import ConstraintError


@dataclass(frozen=True)
class MaxNorm(RadialConstraint):
    """Norms of at most `max_value`.

    >>> MaxNorm(max_value=5, axis=0)([[3.0, 6.0], [4.0, 8.0]]).round(6)
    array([[3., 3.],
           [4., 4.]])

    Attributes:
        max_value: The largest norm, not negative; infinite for no bound.
        axis: The axes summed over; None for all.
    """

    max_value: float = 2
    axis: Axis = 0

    def __post_init__(self) -> None:
        """Checks the parameters."""
        check_number(self, "max_value", self.max_value)
        check_axis(self)

    @property
    def bounds(self) -> tuple[float, float]:
        """From 0 to `max_value`."""
        return 0.0, float(self.max_value)

    def target(self, norms: Array) -> Array:
        """The norms, cut off at `max_value`."""
        return between(norms, upper=self.max_value)


@dataclass(frozen=True)
class NonNeg(ElementwiseConstraint):
    """No entry below zero; negative ones become +0.0, and -0.0 is not below zero.

    >>> NonNeg()([-1.0, 2.0])
    array([0., 2.])
    """

    def clip(self, values: Array) -> Array:
        """The values, zero where they were negative."""
        return between(values, lower=0.0)


@dataclass(frozen=True)
class UnitNorm(RadialConstraint):
    """Norms of 1, as near as the dtype holds them; a zero vector stays zero.

    >>> UnitNorm(axis=0)([[3.0], [4.0]]).round(6)
    array([[0.6],
           [0.8]])

    Attributes:
        axis: The axes summed over; None for all.
    """

    axis: Axis = 0

    def __post_init__(self) -> None:
        """Checks the parameters."""
        check_axis(self)

    @property
    def bounds(self) -> tuple[float, float]:
        """From 1 to 1."""
        return 1.0, 1.0

    def target(self, norms: Array) -> Array:
        """Ones."""
        return namespace(norms).ones_like(norms)


@dataclass(frozen=True)
class MinMaxNorm(RadialConstraint):
    """Norms from `min_value` to `max_value`; a zero vector stays zero.

    >>> MinMaxNorm(1, 10, axis=None)([0.3, 0.4]).round(6)
    array([0.6, 0.8])

    Attributes:
        min_value: The smallest norm, finite and not negative.
        max_value: The largest norm, not below `min_value`; infinite for no bound.
        rate: The part of the way that vectors outside are moved, from 0 to 1. Below 1 the result
            is a step toward the set, neither inside nor the same when repeated.
        axis: The axes summed over; None for all.
    """

    min_value: float = 0.0
    max_value: float = 1.0
    rate: float = 1.0
    axis: Axis = 0

    def __post_init__(self) -> None:
        """Checks the parameters."""
        for parameter in ("min_value", "max_value", "rate"):
            check_number(self, parameter, getattr(self, parameter))
        if np.isinf(self.min_value):
            raise ConstraintError(self.name, "min_value", self.min_value, "finite")
        if self.min_value > self.max_value:
            expected = f"at most max_value, which is {self.max_value!r}"
            raise ConstraintError(self.name, "min_value", self.min_value, expected)
        if self.rate > 1:
            raise ConstraintError(self.name, "rate", self.rate, "a number from 0 to 1")
        check_axis(self)

    @property
    def bounds(self) -> tuple[float, float]:
        """From `min_value` to `max_value`."""
        return float(self.min_value), float(self.max_value)

    @property
    def step(self) -> bool:
        """Whether `rate` is below 1."""
        return self.rate < 1

    def target(self, norms: Array) -> Array:
        """`rate` of the way from the norms to the nearest norms inside."""
        clipped = between(norms, self.min_value, self.max_value)
        return clipped if self.rate == 1 else self.rate * clipped + (1 - self.rate) * norms


def check_number(constraint: Constraint, parameter: str, value: object) -> None:
    """Refuses what is not a number, NaN, and what is below zero; makes others plain floats.

    Raises:
        ConstraintError: That.
    """
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not real or not value >= 0:  # type: ignore[operator] # a Real compares
        raise ConstraintError(constraint.name, parameter, value, "a number that is not negative")
    try:
        number = float(value)  # type: ignore[arg-type] # a Real converts
    except OverflowError as error:
        expected = "a number that float64 holds, or infinity"
        raise ConstraintError(constraint.name, parameter, value, expected) from error
    if type(value) not in (int, float):
        object.__setattr__(constraint, parameter, number)


def check_axis(constraint: RadialConstraint) -> None:
    """Makes the axis of a new constraint an int, a tuple or None.

    Raises:
        ConstraintError: It is of another type, empty, or names one axis twice.
    """
    axis = constraint.axis
    axes = axis if isinstance(axis, list | tuple) else [] if axis is None else [axis]
    valid = all(isinstance(a, int | np.integer) and not isinstance(a, bool) for a in axes)
    if not valid or (axis is not None and not axes) or len(set(axes)) < len(axes):
        expected = "an integer, several different ones, or None for all axes"
        raise ConstraintError(constraint.name, "axis", axis, expected)
    plain = tuple(map(int, axes))
    final = None if axis is None else plain if isinstance(axis, list | tuple) else plain[0]
    object.__setattr__(constraint, "axis", final)
