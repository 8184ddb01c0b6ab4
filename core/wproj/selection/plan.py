"""A plan: what every rule does to every tensor of a checkpoint, before any value is read."""

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
    NothingLeftError,
    RequestError,
    plural,
    printable,
    raise_all,
    shape_text,
)
from wproj.formats.base import Checkpoint, Layout, TensorEntry
from wproj.numerics.vectors import Vectors, normalize_axis
from wproj.selection import globs
from wproj.selection.axes import axes_text, incoming
from wproj.selection.exclusions import exclusion, obstacle
from wproj.selection.rules import Rule, needs_axis, steps_text


@dataclass(frozen=True, slots=True)
class Assignment:
    """One tensor and what its rule does to it.

    Attributes:
        entry: The tensor.
        rule: The rule's text.
        steps: The constraints in order, their axes resolved.
        axis: The axes summed over, from 0; None where every entry is judged by itself.
    """

    entry: TensorEntry
    rule: str
    steps: tuple[Constraint, ...]
    axis: tuple[int, ...] | None

    def __str__(self) -> str:
        entry = self.entry
        tensor = f"{printable(entry.name)} {shape_text(entry.shape)} {short_name(entry.dtype)}"
        steps = printable(steps_text(self.steps))
        if self.axis is None:
            return f"{tensor} -> {plural(self.vectors, 'entry', 'entries')} \u00b7 {steps}"
        axis = axes_text(self.axis) or "all"
        vectors = f"{plural(self.vectors, 'vector')} of {self.vector_length}"
        return f"{tensor} axis {axis} -> {vectors} \u00b7 {steps}"

    @property
    def vectors(self) -> int:
        """How many vectors the tensor has; its entries where there is no axis."""
        shape = self.entry.shape
        return math.prod(shape) if self.axis is None else Vectors.of(shape, self.axis).count

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


@dataclass(frozen=True, slots=True)
class Plan:
    """What is done to which tensors of a checkpoint.

    Attributes:
        checkpoint: The checkpoint.
        layout: Its layout, as the file or the caller says.
        items: The matched tensors in the order of the file, taken or left alone.
        warnings: What is odd, and was allowed.
    """

    checkpoint: Checkpoint
    layout: Layout
    items: tuple[Assignment | Skipped, ...]
    warnings: tuple[RequestError, ...] = ()

    @property
    def assignments(self) -> tuple[Assignment, ...]:
        """The tensors that are taken."""
        return tuple(item for item in self.items if isinstance(item, Assignment))


def make_plan(
    checkpoint: Checkpoint,
    rules: Sequence[Rule],
    *,
    exclude: Sequence[str] = (),
    layout: Layout | None = None,
    allow_unmatched: bool = False,
) -> Plan:
    """Gives each tensor to the first rule that matches it, and resolves the axes.

    Args:
        checkpoint: What is in the file.
        rules: The rules, in order.
        exclude: Patterns of tensors that no rule takes.
        layout: Overrides the layout that the file is known to have.
        allow_unmatched: Whether a rule without a tensor is a warning instead of an error.

    Raises:
        RequestError: A rule matches nothing, or has no tensor left, or its axis does not fit, or
            needs to be given; all such problems together.
    """
    if not rules:
        raise RequestError("no rule is given", "give one with -m and -c, or with -r")
    layout = layout or checkpoint.layout
    excluded = {entry.path for p in exclude for entry in globs.select(p, checkpoint.entries)}
    every_name = {entry.name for entry in checkpoint.entries}
    every_name |= {path for entry in checkpoint.entries for path in globs.paths(entry)}
    taken: dict[str, Assignment | Skipped] = {}
    problems: list[RequestError] = []
    unmatched: list[RequestError] = []
    for rule in rules:
        matched = _matched(rule, checkpoint, problems if not allow_unmatched else unmatched)
        free = [entry for entry in matched if _is_free(entry, taken)]
        fresh = {e.path: _reason(e, rule, layout, excluded, every_name) for e in free}
        keep = [entry for entry in free if fresh[entry.path] is None]
        taken.update((e.path, Skipped(e, str(rule), fresh[e.path] or "")) for e in free)
        if matched and not keep:
            reasons = [(e.name, fresh.get(e.path) or _taken_by(taken[e.path])) for e in matched]
            (unmatched if allow_unmatched else problems).append(
                NothingLeftError(str(rule), reasons)
            )
        try:
            taken.update((a.entry.path, a) for a in _assign(rule, keep, checkpoint, layout))
        except RequestError as error:
            problems.append(error)
    raise_all(problems)
    items = tuple(taken[e.path] for e in checkpoint.entries if e.path in taken)
    return Plan(checkpoint, layout, items, tuple(unmatched))


def _is_free(entry: TensorEntry, taken: dict[str, Assignment | Skipped]) -> bool:
    """A tensor that an earlier rule left alone is still there for a rule that names it."""
    return not isinstance(taken.get(entry.path), Assignment)


def _taken_by(item: Assignment | Skipped) -> str:
    return f"taken by rule {item.rule!r}" if isinstance(item, Assignment) else item.reason


def _matched(rule: Rule, checkpoint: Checkpoint, problems: list[RequestError]) -> list[TensorEntry]:
    found: dict[str, TensorEntry] = {}
    for pattern in rule.patterns:
        matched = globs.select(pattern, checkpoint.entries)
        if not matched:
            problems.append(globs.no_match(pattern, checkpoint))
        found.update((entry.path, entry) for entry in matched)
    return [entry for entry in checkpoint.entries if entry.path in found]


def _reason(
    entry: TensorEntry, rule: Rule, layout: Layout, excluded: set[str], every_name: set[str]
) -> str | None:
    """Why the rule leaves a tensor alone that it matches; None if it takes it."""
    if entry.path in excluded:
        return "excluded"
    named = any(globs.exactly(pattern, entry) for pattern in rule.patterns)
    return (
        obstacle(entry, every_name)
        or (None if named else exclusion(entry, every_name))
        or _no_incoming(entry, rule, layout)
        or _no_such_axis(entry, rule)
    )


def _no_incoming(entry: TensorEntry, rule: Rule, layout: Layout) -> str | None:
    vector = rule.axis == "in" and layout != "unknown" and len(entry.shape) < 2
    return f"rank {len(entry.shape)}: no incoming axis" if vector else None


def _no_such_axis(entry: TensorEntry, rule: Rule) -> str | None:
    if not rule.partial or rule.axis is None or isinstance(rule.axis, str):
        return None
    try:
        normalize_axis(rule.axis, entry.shape)
    except AxisError:
        return f"rank {len(entry.shape)}: no axis {axes_text(rule.axis)}"
    return None


def _assign(
    rule: Rule, entries: Sequence[TensorEntry], checkpoint: Checkpoint, layout: Layout
) -> list[Assignment]:
    """The rule applied to its tensors; all that do not fit its axis are named at once."""
    if not entries:
        return []
    if rule.axis == "in" and layout == "unknown":
        raise LayoutNeededError(str(checkpoint.path), str(rule))
    if rule.axis == "auto" and needs_axis(rule.steps):
        raise AxisNeededError(str(rule), [(e.name, e.shape) for e in entries])
    assigned, misfits = [], []
    for entry in entries:
        try:
            assigned.append(_assignment(rule, entry, layout))
        except AxisError:
            misfits.append(entry)
    if misfits:
        shapes = [(entry.name, entry.shape) for entry in misfits]
        raise AxisOutOfRangeError(str(rule), axes_text(_given_axis(rule)), shapes)
    return assigned


def _given_axis(rule: Rule) -> int | Sequence[int] | str | None:
    if rule.axis is not None:
        return rule.axis
    return next((getattr(s, "axis", None) for s in rule.steps if hasattr(s, "axis")), None)


def _assignment(rule: Rule, entry: TensorEntry, layout: Layout) -> Assignment:
    if rule.axis is None:
        return _with_own_axes(rule, entry)
    axis = _resolve(rule, entry, layout)
    return Assignment(entry, str(rule), tuple(step.at(axis) for step in rule.steps), axis)


def _with_own_axes(rule: Rule, entry: TensorEntry) -> Assignment:
    radial = [step for step in rule.steps if isinstance(step, RadialConstraint)]
    axes = {normalize_axis(step.axis, entry.shape) for step in radial}
    if len(axes) > 1:
        raise RequestError(f"rule {str(rule)!r}: the constraints of a rule share one axis")
    axis = axes.pop() if axes else None
    return Assignment(entry, str(rule), tuple(step.at(axis) for step in rule.steps), axis)


def _resolve(rule: Rule, entry: TensorEntry, layout: Layout) -> tuple[int, ...] | None:
    if rule.axis == "auto":
        return None
    if rule.axis == "in":
        return incoming(len(entry.shape), layout)
    return normalize_axis(None if rule.axis == "all" else rule.axis, entry.shape)
