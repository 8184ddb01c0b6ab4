"""One rule and one tensor: the axes that they make, or why the rule leaves the tensor alone."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from wproj.constraints.base import Constraint, RadialConstraint
from wproj.dtypes import short_name
from wproj.errors import (
    AxisError,
    AxisNeededError,
    AxisOutOfRangeError,
    LayoutNeededError,
    RequestError,
    plural,
    printable,
    shape_text,
)
from wproj.formats.base import Layout, TensorEntry
from wproj.numerics.vectors import Vectors, normalize_axis
from wproj.selection.axes import axes_text, incoming
from wproj.selection.rules import Rule, needs_axis, steps_text


@dataclass(frozen=True, slots=True)
class Assignment:
    """One tensor and what its rule does to it.

    Attributes:
        entry: The tensor.
        rule: The rule's text.
        steps: The constraints in order, their axes resolved.
        axis: The axes summed over, from 0; None where every entry is judged by itself.
        given: Whether the axes were given, not told by the layer or the layout.
    """

    entry: TensorEntry
    rule: str
    steps: tuple[Constraint, ...]
    axis: tuple[int, ...] | None
    given: bool = True

    def __str__(self) -> str:
        entry = self.entry
        tensor = f"{printable(entry.name)} {shape_text(entry.shape)} {short_name(entry.dtype)}"
        steps = printable(steps_text(self.steps))
        if self.axis is None:
            return f"{tensor} -> {plural(self.vectors, 'entry', 'entries')} \u00b7 {steps}"
        axis = axes_text(self.axis) or "all"
        if not self.given:
            axis = f"{axis} (in, {entry.layer or 'by layout'})"
        vectors = f"{plural(self.vectors, 'vector')} of {self.vector_length}"
        return f"{tensor} axis {axis} -> {vectors} \u00b7 {steps}"

    @property
    def vectors(self) -> int:
        """How many vectors the tensor has; its entries where there is no axis."""
        shape = self.entry.shape
        whole = self.axis is None or 0 in shape
        return math.prod(shape) if whole else Vectors.of(shape, self.axis).count

    @property
    def vector_length(self) -> int:
        """How many entries a vector has."""
        return 1 if self.axis is None else Vectors.of(self.entry.shape, self.axis).length


@dataclass(frozen=True, slots=True)
class Skipped:
    """A tensor that a rule matches and that is left alone, and why."""

    entry: TensorEntry
    rule: str
    reason: str

    def __str__(self) -> str:
        return f"{printable(self.entry.name)} skipped: {printable(self.reason)}"


def leaves_alone(rule: Rule, entry: TensorEntry, layout: Layout) -> str | None:
    """Why the rule's axis makes no vectors of this tensor; None if it does, or is an error."""
    rank = len(entry.shape)
    if rule.axis == "in" or (rule.axis == "auto" and entry.layer and needs_axis(rule.steps)):
        known = entry.layer is not None or layout != "unknown"
        if known and incoming(entry, layout) is None:
            return f"rank {rank}: no incoming axis"
    if rule.partial and not isinstance(rule.axis, str | None):
        try:
            normalize_axis(rule.axis, entry.shape)
        except AxisError:
            return f"rank {rank}: no axis {axes_text(rule.axis)}"
    return None


def assign(
    rule: Rule, entries: Sequence[TensorEntry], path: str, layout: Layout
) -> list[Assignment]:
    """The rule applied to tensors of the file at `path`.

    Raises:
        RequestError: The rule's axis does not fit, or needs to be given, for some; all are named.
    """
    if needs_axis(rule.steps) or rule.axis != "auto":
        _check_known(rule, entries, path, layout)
    assigned: list[Assignment] = []
    told = str(rule)
    misfits: list[tuple[str, tuple[int, ...]]] = []
    for entry in entries:
        try:
            assigned.append(_assignment(rule, told, entry, layout))
        except AxisError:
            misfits.append((entry.name, entry.shape))
    if misfits:
        raise AxisOutOfRangeError(str(rule), axes_text(_given(rule)), misfits)
    return assigned


def axis_warning(item: Assignment) -> RequestError | None:
    """A warning if norms sum over other axes than those of the weights that a unit takes in."""
    entry, told = item.entry, item.entry.incoming
    if told is None or item.axis in (None, told) or not needs_axis(item.steps):
        return None
    other = Vectors.of(entry.shape, told)
    return RequestError(
        f"{printable(entry.name)}: axis {axes_text(item.axis)} sums over "
        f"{plural(item.vector_length, 'weight')} at a time ({plural(item.vectors, 'vector')}); "
        f"each unit of this {entry.layer} takes in {other.length}, along axis {axes_text(told)} "
        f"({plural(other.count, 'vector')})",
    )


def _check_known(rule: Rule, entries: Sequence[TensorEntry], path: str, layout: Layout) -> None:
    """Refuses to guess the axis of tensors whose layer is not known."""
    unknown = [entry for entry in entries if entry.layer is None]
    if unknown and rule.axis == "in" and layout == "unknown":
        raise LayoutNeededError(path, str(rule))
    if unknown and rule.axis == "auto":
        raise AxisNeededError(str(rule), [(entry.name, entry.shape) for entry in unknown])


def _given(rule: Rule) -> int | Sequence[int] | str | None:
    if rule.axis is not None:
        return rule.axis
    return next((step.axis for step in rule.steps if isinstance(step, RadialConstraint)), None)


def _assignment(rule: Rule, told: str, entry: TensorEntry, layout: Layout) -> Assignment:
    axis, given = _resolve(rule, entry, layout), rule.axis not in ("in", "auto")
    steps = tuple(step.at(axis) for step in rule.steps)
    return Assignment(entry, told, steps, axis, given or axis is None)


def _resolve(rule: Rule, entry: TensorEntry, layout: Layout) -> tuple[int, ...] | None:
    if rule.axis is None:
        return _own_axis(rule, entry)
    if rule.axis == "auto" and not needs_axis(rule.steps):
        return None
    if rule.axis == "in" or rule.axis == "auto":  # narrows the type
        return incoming(entry, layout)
    return normalize_axis(None if rule.axis == "all" else rule.axis, entry.shape)


def _own_axis(rule: Rule, entry: TensorEntry) -> tuple[int, ...] | None:
    """The axis that the constraints themselves have."""
    radial = [step for step in rule.steps if isinstance(step, RadialConstraint)]
    axes = {normalize_axis(step.axis, entry.shape) for step in radial}
    if len(axes) > 1:
        raise RequestError(f"rule {str(rule)!r}: the constraints of a rule share one axis")
    return axes.pop() if axes else None
