"""The module `keras.constraints`, for weights in files: same names, same configs."""

from wproj.constraints.base import Constraint, ElementwiseConstraint, RadialConstraint
from wproj.constraints.keras import MaxNorm, MinMaxNorm, NonNeg, UnitNorm
from wproj.constraints.registry import CUSTOM_OBJECTS, deserialize, get, serialize

constraint = Constraint
custom_objects = CUSTOM_OBJECTS
max_norm = MaxNorm
min_max_norm = MinMaxNorm
non_neg = NonNeg
unit_norm = UnitNorm

__all__ = [
    "Constraint",
    "ElementwiseConstraint",
    "MaxNorm",
    "MinMaxNorm",
    "NonNeg",
    "RadialConstraint",
    "UnitNorm",
    "constraint",
    "custom_objects",
    "deserialize",
    "get",
    "max_norm",
    "min_max_norm",
    "non_neg",
    "serialize",
    "unit_norm",
]
