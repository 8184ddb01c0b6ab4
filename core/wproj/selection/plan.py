"""A plan: what every rule does to every tensor of a checkpoint, before any value is read."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from wproj.errors import ExpectError, NothingLeftError, RequestError, raise_all
from wproj.formats.base import Checkpoint, Layout, TensorEntry
from wproj.selection import globs
from wproj.selection.assigning import (
    Assignment,
    Skipped,
    assign,
    axis_warning,
    leaves_alone,
)
from wproj.selection.exclusions import exclusion, obstacle
from wproj.selection.rules import Rule


@dataclass(frozen=True, slots=True)
class RuleUse:
    """What became of one rule.

    Attributes:
        rule: The rule.
        matched: The tensors that its patterns match, in the order of the file.
        taken: Those of them that it constrains.
        problems: Why it cannot be applied as it stands.
    """

    rule: Rule
    matched: tuple[TensorEntry, ...]
    taken: tuple[TensorEntry, ...]
    problems: tuple[RequestError, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """What is done to which tensors of a checkpoint.

    Attributes:
        checkpoint: The checkpoint.
        layout: Its layout, as the file or the caller says.
        items: The matched tensors in the order of the file, taken or left alone.
        warnings: What is odd, and was allowed.
        uses: What became of each rule, in their order.
    """

    checkpoint: Checkpoint
    layout: Layout
    items: tuple[Assignment | Skipped, ...]
    warnings: tuple[RequestError, ...] = ()
    uses: tuple[RuleUse, ...] = ()

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
    drawing = _draw(checkpoint, rules, exclude, layout)
    raise_all(drawing.problems if allow_unmatched else drawing.unmatched + drawing.problems)
    return drawing.plan()


def sketch_plan(
    checkpoint: Checkpoint,
    rules: Sequence[Rule],
    *,
    exclude: Sequence[str] = (),
    layout: Layout | None = None,
) -> Plan:
    """The same, whatever is wrong with single rules: that is told in `uses`.

    Raises:
        RequestError: There is no rule, or a pattern cannot be read.
    """
    return _draw(checkpoint, rules, exclude, layout).plan()


def _draw(
    checkpoint: Checkpoint, rules: Sequence[Rule], exclude: Sequence[str], layout: Layout | None
) -> "_Drawing":
    if not rules:
        raise RequestError("no rule is given", "give one with -m and -c, or with -r")
    drawing = _Drawing(checkpoint, layout or checkpoint.layout, excluded(checkpoint, exclude))
    for rule in rules:
        drawing.add(rule)
    return drawing


def excluded(checkpoint: Checkpoint, exclude: Sequence[str]) -> set[str]:
    """The paths of the tensors that any of the patterns matches."""
    return {entry.path for p in exclude for entry in globs.select(p, checkpoint.entries)}


def all_names(checkpoint: Checkpoint) -> set[str]:
    """All names and paths of a checkpoint's tensors."""
    names = {entry.name for entry in checkpoint.entries}
    return names.union(*(globs.paths(entry) for entry in checkpoint.entries))


@dataclass(slots=True)
class _Drawing:
    """A plan in the making."""

    checkpoint: Checkpoint
    layout: Layout
    excluded: set[str]
    taken: dict[str, Assignment | Skipped] = field(default_factory=dict)
    problems: list[RequestError] = field(default_factory=list)
    unmatched: list[RequestError] = field(default_factory=list)
    uses: list[RuleUse] = field(default_factory=list)

    def add(self, rule: Rule) -> None:
        """Gives the rule what is left of what it matches."""
        unmatched, problems = len(self.unmatched), len(self.problems)
        matched = self._matched(rule)
        free = [e for e in matched if not isinstance(self.taken.get(e.path), Assignment)]
        names = all_names(self.checkpoint) if free else set()
        reasons = {entry.path: self._reason(entry, rule, names) for entry in free}
        text = str(rule)
        for entry in free:
            self.taken[entry.path] = Skipped(entry, text, reasons[entry.path] or "")
        keep = [entry for entry in free if reasons[entry.path] is None]
        if matched and not keep and rule.expect != 0:
            left = [(e.name, reasons.get(e.path) or self._taken_by(e)) for e in matched]
            self.unmatched.append(NothingLeftError(text, left))
        if rule.expect not in (None, len(keep)):
            found = [entry.name for entry in keep]
            path = str(self.checkpoint.path)
            self.problems.append(ExpectError(text, rule.expect or 0, found, path))
        self._assign(rule, keep)
        taken = [e for e in keep if isinstance(self.taken[e.path], Assignment)]
        odd = (*self.unmatched[unmatched:], *self.problems[problems:])
        self.uses.append(RuleUse(rule, tuple(matched), tuple(taken), odd))

    def _assign(self, rule: Rule, keep: list[TensorEntry]) -> None:
        try:
            path = str(self.checkpoint.path)
            self.taken.update((a.entry.path, a) for a in assign(rule, keep, path, self.layout))
        except RequestError as error:
            self.problems.append(error)
            told, problem = str(rule), str(error)
            for entry in keep:
                self.taken[entry.path] = Skipped(entry, told, problem)

    def plan(self) -> Plan:
        """The plan, its items in the order of the file."""
        entries = self.checkpoint.entries
        items = tuple(self.taken[e.path] for e in entries if e.path in self.taken)
        odd = [axis_warning(item) for item in items if isinstance(item, Assignment)]
        warnings = (*self.unmatched, *(warning for warning in odd if warning))
        return Plan(self.checkpoint, self.layout, items, warnings, tuple(self.uses))

    def _matched(self, rule: Rule) -> list[TensorEntry]:
        found: set[str] = set()
        for pattern in rule.patterns:
            matched = globs.select(pattern, self.checkpoint.entries)
            if not matched and rule.expect != 0:
                self.unmatched.append(globs.no_match(pattern, self.checkpoint))
            found.update(entry.path for entry in matched)
        return [entry for entry in self.checkpoint.entries if entry.path in found]

    def _reason(self, entry: TensorEntry, rule: Rule, names: set[str]) -> str | None:
        """Why the rule leaves a tensor alone that it matches; None if it takes it."""
        if entry.path in self.excluded:
            return "excluded"
        named = any(globs.exactly(pattern, entry) for pattern in rule.patterns)
        return (
            obstacle(entry, names)
            or (None if named else exclusion(entry, names))
            or leaves_alone(rule, entry, self.layout)
        )

    def _taken_by(self, entry: TensorEntry) -> str:
        item = self.taken[entry.path]
        return f"taken by rule {item.rule!r}" if isinstance(item, Assignment) else item.reason
